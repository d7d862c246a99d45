//! Who waits for what: watchers by the objects they are interested in, so that a change wakes nobody else.
//!
//! Invariant: a subscription knows the oldest event that it has not looked at, so whoever is not concerned by what
//! happens neither wakes nor loses its place, however much happens. Absent: the events (the ring's) and locks (the
//! view's: a subscription is marked under its write lock and looked at under its read lock).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::{Event, Revision};

/// Which changes of one bucket a watcher wants to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interest {
    /// The bucket.
    pub bucket: String,
    /// What in it.
    pub scope: Scope,
}

/// A part of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All objects.
    Bucket,
    /// All objects of a namespace.
    Namespace(String),
    /// The one object of this key.
    Key(String),
    /// The objects that are, or were before the change, under this index key.
    Index(String),
}

impl Interest {
    /// In all objects of a bucket.
    #[must_use]
    pub fn whole(bucket: &str) -> Self {
        Self { bucket: bucket.to_owned(), scope: Scope::Bucket }
    }

    /// Whether an event of the bucket is of interest.
    pub(crate) fn wants(&self, event: &Event) -> bool {
        match &self.scope {
            Scope::Bucket => true,
            Scope::Namespace(namespace) => namespace_of(&event.entry.key) == Some(namespace),
            Scope::Key(key) => *event.entry.key == **key,
            Scope::Index(index) => versions(event).any(|entry| entry.facts().has_key(index)),
        }
    }
}

/// The versions of an event that count for an index.
fn versions(event: &Event) -> impl Iterator<Item = &crate::Entry> {
    std::iter::once(&*event.entry).chain(event.previous.as_deref())
}

fn namespace_of(key: &str) -> Option<&str> {
    let (_, rest) = key.split_once('/')?;
    rest.split_once('/').map(|(namespace, _)| namespace)
}

/// What the view and one watcher share.
#[derive(Debug)]
pub(crate) struct Subscription {
    /// The oldest event of interest that was not looked at; 0 is none.
    pending: AtomicU64,
    pub(crate) changed: Notify,
}

impl Subscription {
    pub(crate) fn new(pending: Option<Revision>) -> Arc<Self> {
        Arc::new(Self { pending: AtomicU64::new(pending.unwrap_or(0)), changed: Notify::new() })
    }

    /// The oldest event that waits.
    pub(crate) fn pending(&self) -> Option<Revision> {
        Some(self.pending.load(Ordering::Relaxed)).filter(|revision| *revision > 0)
    }

    /// Everything that waited is being looked at.
    pub(crate) fn clear(&self) {
        self.pending.store(0, Ordering::Relaxed);
    }

    /// Whether nothing waited before.
    fn mark(&self, revision: Revision) -> bool {
        self.pending.compare_exchange(0, revision, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// The subscriptions of one bucket.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    whole: Vec<Arc<Subscription>>,
    namespaces: Waiting,
    keys: Waiting,
    indexes: Waiting,
}

type Waiting = HashMap<Box<str>, Vec<Arc<Subscription>>>;

impl Subscriptions {
    pub(crate) fn add(&mut self, scope: &Scope, subscription: &Arc<Subscription>) {
        let (waiting, text) = match scope {
            Scope::Bucket => return self.whole.push(subscription.clone()),
            Scope::Namespace(text) => (&mut self.namespaces, text),
            Scope::Key(text) => (&mut self.keys, text),
            Scope::Index(text) => (&mut self.indexes, text),
        };
        waiting.entry(text.as_str().into()).or_default().push(subscription.clone());
    }

    pub(crate) fn remove(&mut self, scope: &Scope, subscription: &Arc<Subscription>) {
        let keep = |other: &Arc<Subscription>| !Arc::ptr_eq(other, subscription);
        let (waiting, text) = match scope {
            Scope::Bucket => return self.whole.retain(keep),
            Scope::Namespace(text) => (&mut self.namespaces, text),
            Scope::Key(text) => (&mut self.keys, text),
            Scope::Index(text) => (&mut self.indexes, text),
        };
        if let Some(all) = waiting.get_mut(text.as_str()) {
            all.retain(keep);
            if all.is_empty() {
                waiting.remove(text.as_str());
            }
        }
    }

    /// Marks those that want the event; who is to be woken for it goes into `woken`.
    pub(crate) fn mark(&self, event: &Event, woken: &mut Vec<Arc<Subscription>>) {
        self.whole.iter().for_each(|subscription| note(subscription, event, woken));
        let named = |waiting: &Waiting, text: &str, woken: &mut Vec<_>| {
            let all = waiting.get(text).into_iter().flatten();
            all.for_each(|subscription| note(subscription, event, woken));
        };
        if !self.namespaces.is_empty()
            && let Some(namespace) = namespace_of(&event.entry.key)
        {
            named(&self.namespaces, namespace, woken);
        }
        if !self.keys.is_empty() {
            named(&self.keys, &event.entry.key, woken);
        }
        if !self.indexes.is_empty() {
            let keys = versions(event).flat_map(|entry| entry.facts().keys.iter());
            keys.for_each(|key| named(&self.indexes, key, woken));
        }
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Subscription>> {
        let scoped = [&self.namespaces, &self.keys, &self.indexes];
        self.whole.iter().chain(scoped.into_iter().flat_map(HashMap::values).flatten())
    }
}

fn note(subscription: &Arc<Subscription>, event: &Event, woken: &mut Vec<Arc<Subscription>>) {
    if subscription.mark(event.entry.revision) {
        woken.push(subscription.clone());
    }
}
