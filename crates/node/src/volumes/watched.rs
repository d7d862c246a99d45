//! The ConfigMaps and Secrets that volumes show: each watched by its name as long as some Pod shows it (upstream: the
//! watching manager of `pkg/kubelet/util/manager`).
//!
//! Invariants: one watch for each object, however many Pods show it; nothing is asked for again while its watch lives;
//! a Pod is woken when an object of it changed. Absent: leaving immutable objects unwatched.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use client::{Change, Gvr, Objects, Options, Status, Target};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

/// After a watch that ended, doubled up to [`LONGEST`] until one is in step again.
const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(10);
/// How long a volume waits for the first answer of a watch.
const ANSWER: Duration = Duration::from_secs(10);

/// Which object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) resource: &'static str,
    pub(super) namespace: String,
    pub(super) name: String,
}

/// An object's JSON, `None` if there is none; or why nothing is known.
type Known = Result<Option<Bytes>, Status>;

/// One watch.
struct Entry {
    state: watch::Receiver<Option<Known>>,
    /// Who shows it.
    pods: BTreeSet<String>,
    task: AbortHandle,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A Pod that is told of news.
struct Follower {
    wake: Arc<Notify>,
    news: bool,
}

#[derive(Default)]
struct Inner {
    objects: BTreeMap<Key, Entry>,
    followers: BTreeMap<String, Follower>,
}

/// All that are watched.
pub(super) struct Watched {
    api: Arc<dyn Objects>,
    inner: Arc<Mutex<Inner>>,
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watched {
    pub(super) fn new(api: Arc<dyn Objects>) -> Self {
        Self { api, inner: Arc::default() }
    }

    /// `wake` is notified whenever an object of the Pod changed.
    pub(super) fn follow(&self, uid: &str, wake: Arc<Notify>) {
        lock(&self.inner).followers.insert(uid.to_owned(), Follower { wake, news: false });
    }

    /// Whether an object of the Pod changed since this was asked last.
    pub(super) fn take_news(&self, uid: &str) -> bool {
        lock(&self.inner).followers.get_mut(uid).is_some_and(|follower| std::mem::take(&mut follower.news))
    }

    /// The Pod shows nothing any more; what nobody else shows is watched no longer.
    pub(super) fn forget(&self, uid: &str) {
        let mut inner = lock(&self.inner);
        inner.followers.remove(uid);
        inner.objects.retain(|_, entry| {
            entry.pods.remove(uid);
            !entry.pods.is_empty()
        });
    }

    /// An object for a Pod, watched from now on.
    pub(super) async fn get(&self, uid: &str, key: Key) -> Known {
        let mut state = {
            let mut inner = lock(&self.inner);
            let entry = inner.objects.entry(key.clone()).or_insert_with(|| self.start(key.clone()));
            entry.pods.insert(uid.to_owned());
            entry.state.clone()
        };
        let late = Status::timeout;
        match tokio::time::timeout(ANSWER, state.wait_for(Option::is_some)).await {
            Ok(Ok(known)) => known.clone().unwrap_or_else(|| Err(late())),
            Ok(Err(_)) | Err(_) => Err(late()),
        }
    }

    fn start(&self, key: Key) -> Entry {
        let (sender, state) = watch::channel(None);
        let watcher =
            Watcher { api: self.api.clone(), key, state: sender, inner: Arc::downgrade(&self.inner) };
        Entry { state, pods: BTreeSet::new(), task: tokio::spawn(watcher.run()).abort_handle() }
    }
}

struct Watcher {
    api: Arc<dyn Objects>,
    key: Key,
    state: watch::Sender<Option<Known>>,
    inner: Weak<Mutex<Inner>>,
}

impl Watcher {
    async fn run(self) {
        let mut pause = FIRST;
        loop {
            let Err(why) = self.once(&mut pause).await;
            tracing::debug!("the watch of {} {:?} ended: {why}", self.key.resource, self.key.name);
            // What was known is better than nothing.
            if !matches!(*self.state.borrow(), Some(Ok(_))) {
                self.state.send_replace(Some(Err(why)));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST);
        }
    }

    /// One watch, until it ends.
    async fn once(&self, pause: &mut Duration) -> Result<std::convert::Infallible, Status> {
        let Key { resource, namespace, name } = &self.key;
        let target = Target {
            gvr: Gvr::new("", "v1", resource),
            namespace: namespace.clone(),
            name: String::new(),
            subresource: String::new(),
        };
        let options = Options { field_selector: format!("metadata.name={name}"), ..Options::default() };
        let mut watch = self.api.watch(target, options).await?;
        let (mut synced, mut found) = (false, None);
        loop {
            for event in watch.next().await? {
                match event.change {
                    Change::Added | Change::Modified => found = event.object.map(|object| object.json),
                    Change::Deleted => found = None,
                    Change::Synced => (synced, *pause) = (true, FIRST),
                    Change::Bookmark => {}
                }
                if synced {
                    self.tell(found.clone());
                }
            }
        }
    }

    /// Keeps what is known now and wakes who shows it, if it is news.
    fn tell(&self, found: Option<Bytes>) {
        let first = self.state.borrow().is_none();
        let news = self.state.send_if_modified(|state| {
            let same = matches!(state, Some(Ok(known)) if *known == found);
            if !same {
                *state = Some(Ok(found));
            }
            !same
        });
        let Some(inner) = self.inner.upgrade().filter(|_| news && !first) else { return };
        let mut inner = lock(&inner);
        let Inner { objects, followers } = &mut *inner;
        for uid in objects.get(&self.key).into_iter().flat_map(|entry| &entry.pods) {
            if let Some(follower) = followers.get_mut(uid) {
                follower.news = true;
                follower.wake.notify_one();
            }
        }
    }
}
