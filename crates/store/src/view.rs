//! What readers and watchers see: the current state, ordered, and each bucket's ring. It knows no engine.
//!
//! Invariant: changes enter in revision order under one write lock, so every read shows exactly one revision.
//! Absent: durability (the engine publishes only what is durable).

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use async_trait::async_trait;
use tokio::sync::{Notify, watch};

use crate::ring::{Limits, Ring};
use crate::{Entry, Event, Page, RangeQuery, Revision, StoreError, Watcher};

/// The bucket that a key or prefix begins with.
pub(crate) fn bucket_of(key: &str) -> Option<&str> {
    key.split_once('/').map(|(bucket, _)| bucket)
}

/// See the module.
#[derive(Debug)]
pub(crate) struct View {
    state: RwLock<State>,
    newest: watch::Sender<Revision>,
    limits: Limits,
}

#[derive(Debug, Default)]
struct State {
    revision: Revision,
    /// Explicit compaction: the floor of buckets that do not exist yet.
    floor: Revision,
    buckets: HashMap<Arc<str>, Bucket>,
    closed: bool,
}

#[derive(Debug)]
struct Bucket {
    current: BTreeMap<Arc<str>, Arc<Entry>>,
    ring: Ring,
    changed: Arc<Notify>,
}

impl Bucket {
    fn starting_at(floor: Revision) -> Self {
        Self { current: BTreeMap::new(), ring: Ring::starting_at(floor), changed: Arc::default() }
    }

    /// Changes the current state as the event says.
    fn apply(&mut self, event: &Event) {
        if event.deleted {
            self.current.remove(&event.entry.key);
        } else {
            self.current.insert(event.entry.key.clone(), event.entry.clone());
        }
    }

    /// The current entries with this prefix, from `start` on.
    fn entries<'a>(&'a self, prefix: &'a str, start: Option<&str>) -> impl Iterator<Item = &'a Arc<Entry>> {
        let from = start.map_or(prefix, |start| start.max(prefix));
        self.current
            .range::<str, _>((Bound::Included(from), Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
            .map(|(_, entry)| entry)
    }

    /// The entries as they were at a past revision: the current state with every later event undone.
    fn entries_at<'a>(
        &'a self,
        prefix: &'a str,
        start: Option<&str>,
        at: Revision,
    ) -> impl Iterator<Item = &'a Arc<Entry>> {
        let from = start.map_or(prefix, |start| start.max(prefix));
        let mut undone: BTreeMap<&str, Option<&Arc<Entry>>> = BTreeMap::new();
        for event in self.ring.after(at) {
            let key: &str = &event.entry.key;
            if key.starts_with(prefix) && key >= from {
                undone.entry(key).or_insert(event.previous.as_ref());
            }
        }
        for entry in self.entries(prefix, start) {
            undone.entry(&entry.key).or_insert(Some(entry));
        }
        undone.into_values().flatten()
    }
}

/// What the view holds, for metrics.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Held {
    pub(crate) keys: usize,
    pub(crate) events: usize,
    pub(crate) event_bytes: usize,
}

impl View {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { state: RwLock::default(), newest: watch::Sender::new(0), limits }
    }

    // Nothing panics while it holds the lock; if something did, the state is still whole.
    fn read_state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_state(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the floors an engine kept, before anything is published.
    pub(crate) fn restore_floors(&self, all: Revision, floors: &[(Arc<str>, Revision)]) {
        let mut state = self.write_state();
        state.floor = all;
        for (bucket, floor) in floors {
            state.buckets.insert(bucket.clone(), Bucket::starting_at((*floor).max(all)));
        }
    }

    /// Adds events, in revision order, all visible at once; returns those that history lost for them.
    /// An event at or below its bucket's floor changes only the state.
    pub(crate) fn publish(&self, events: Vec<Event>, now: Instant) -> Vec<Event> {
        let mut gone = Vec::new();
        let mut changed: Vec<Arc<Notify>> = Vec::new();
        let Some(last) = events.last().map(|event| event.entry.revision) else { return gone };
        let mut guard = self.write_state();
        let state = &mut *guard;
        for event in events {
            let name = bucket_of(&event.entry.key).expect("the writer takes only keys with a bucket");
            if !state.buckets.contains_key(name) {
                state.buckets.insert(name.into(), Bucket::starting_at(state.floor));
            }
            let bucket = state.buckets.get_mut(name).expect("inserted above");
            bucket.apply(&event);
            if event.entry.revision <= bucket.ring.floor() {
                gone.push(event);
                continue;
            }
            bucket.ring.push(event, now, &self.limits, &mut gone);
            if !changed.iter().any(|known| Arc::ptr_eq(known, &bucket.changed)) {
                changed.push(bucket.changed.clone());
            }
        }
        state.revision = state.revision.max(last);
        drop(guard);
        changed.iter().for_each(|bucket| bucket.notify_waiters());
        self.newest.send_replace(last);
        gone
    }

    /// Raises the revision without an event: history up to it may be gone altogether.
    pub(crate) fn advance(&self, revision: Revision) {
        let mut state = self.write_state();
        state.revision = state.revision.max(revision);
        let revision = state.revision;
        drop(state);
        self.newest.send_replace(revision);
    }

    /// Drops history that is too old; also says when the next is.
    pub(crate) fn expire(&self, now: Instant) -> (Vec<Event>, Option<Instant>) {
        let mut gone = Vec::new();
        let mut state = self.write_state();
        for bucket in state.buckets.values_mut() {
            bucket.ring.expire(now, &self.limits, &mut gone);
        }
        let oldest = state.buckets.values().filter_map(|bucket| bucket.ring.oldest_since()).min();
        (gone, oldest.map(|since| since + self.limits.age))
    }

    /// Drops history up to and including `before`, a revision that exists.
    pub(crate) fn compact(&self, before: Revision) -> Vec<Event> {
        let mut gone = Vec::new();
        let mut state = self.write_state();
        state.floor = state.floor.max(before);
        for bucket in state.buckets.values_mut() {
            bucket.ring.compact(before, &mut gone);
        }
        gone
    }

    /// The revision after which a bucket's history is complete.
    pub(crate) fn floor(&self, bucket: &str) -> Revision {
        let state = self.read_state();
        state.buckets.get(bucket).map_or(state.floor, |bucket| bucket.ring.floor())
    }

    /// Ends every watcher.
    pub(crate) fn close(&self) {
        let mut state = self.write_state();
        state.closed = true;
        state.buckets.values().for_each(|bucket| bucket.changed.notify_waiters());
    }

    pub(crate) fn held(&self) -> Held {
        let state = self.read_state();
        state.buckets.values().fold(Held::default(), |sum, bucket| Held {
            keys: sum.keys + bucket.current.len(),
            events: sum.events + bucket.ring.len(),
            event_bytes: sum.event_bytes + bucket.ring.bytes(),
        })
    }

    pub(crate) fn revision(&self) -> Revision {
        self.read_state().revision
    }

    pub(crate) async fn wait_for(&self, revision: Revision) {
        let mut newest = self.newest.subscribe();
        newest.wait_for(|newest| *newest >= revision).await.expect("the view owns the sender");
    }

    pub(crate) fn get(&self, key: &str) -> Option<Arc<Entry>> {
        let state = self.read_state();
        state.buckets.get(bucket_of(key)?)?.current.get(key).cloned()
    }

    pub(crate) fn range(&self, query: &RangeQuery<'_>) -> Result<Page, StoreError> {
        let name = bucket_of(query.prefix).ok_or(StoreError::Invalid("a range's prefix names its bucket"))?;
        let state = self.read_state();
        let revision = query.at.unwrap_or(state.revision);
        state.check_history(name, revision)?;
        let Some(bucket) = state.buckets.get(name) else {
            return Ok(Page { revision, entries: Vec::new(), remaining: 0 });
        };
        let limit = query.limit.unwrap_or(usize::MAX);
        let (entries, remaining) = if bucket.ring.newest() <= revision {
            cut(bucket.entries(query.prefix, query.start), limit)
        } else {
            cut(bucket.entries_at(query.prefix, query.start, revision), limit)
        };
        Ok(Page { revision, entries, remaining })
    }

    pub(crate) fn read(&self, prefixes: &[&str]) -> (Revision, Vec<Vec<Arc<Entry>>>) {
        let state = self.read_state();
        let entries = |prefix: &&str| {
            let bucket = bucket_of(prefix).and_then(|name| state.buckets.get(name));
            bucket.map_or_else(Vec::new, |bucket| bucket.entries(prefix, None).cloned().collect())
        };
        (state.revision, prefixes.iter().map(entries).collect())
    }

    pub(crate) fn watch(self: &Arc<Self>, name: &str, after: Revision) -> Result<Cursor, StoreError> {
        let mut guard = self.write_state();
        let state = &mut *guard;
        state.check_history(name, after)?;
        let floor = state.floor;
        let bucket = state.buckets.entry(name.into()).or_insert_with(|| Bucket::starting_at(floor));
        let changed = bucket.changed.clone();
        Ok(Cursor { view: self.clone(), bucket: name.into(), seen: after, changed })
    }
}

fn cut<'a>(mut entries: impl Iterator<Item = &'a Arc<Entry>>, limit: usize) -> (Vec<Arc<Entry>>, usize) {
    let page = entries.by_ref().take(limit).cloned().collect();
    (page, entries.count())
}

impl State {
    /// Whether everything that happened in the bucket after `revision` is still known.
    fn check_history(&self, bucket: &str, revision: Revision) -> Result<(), StoreError> {
        let oldest = self.buckets.get(bucket).map_or(self.floor, |bucket| bucket.ring.floor());
        if revision > self.revision {
            return Err(StoreError::Future { asked: revision, current: self.revision });
        }
        if revision < oldest {
            return Err(StoreError::Compacted { asked: revision, oldest });
        }
        Ok(())
    }
}

/// A position in a bucket's ring.
#[derive(Debug)]
pub(crate) struct Cursor {
    view: Arc<View>,
    bucket: Arc<str>,
    /// Everything up to here was handed out.
    seen: Revision,
    changed: Arc<Notify>,
}

impl Cursor {
    fn pending(&self) -> Result<Vec<Event>, StoreError> {
        let state = self.view.read_state();
        let bucket = state.buckets.get(&self.bucket).expect("watch() made it and none is ever removed");
        if self.seen < bucket.ring.dropped() {
            return Err(StoreError::Compacted { asked: self.seen, oldest: bucket.ring.floor() });
        }
        let events: Vec<Event> = bucket.ring.after(self.seen).cloned().collect();
        if events.is_empty() && state.closed {
            return Err(StoreError::Unavailable("closed".to_owned()));
        }
        Ok(events)
    }
}

#[async_trait]
impl Watcher for Cursor {
    async fn next(&mut self) -> Result<Vec<Event>, StoreError> {
        let changed = self.changed.clone();
        loop {
            // Made before looking: a change in between wakes it.
            let wake = changed.notified();
            let events = self.pending()?;
            if let Some(last) = events.last() {
                self.seen = last.entry.revision;
                return Ok(events);
            }
            wake.await;
        }
    }

    fn position(&self) -> Revision {
        let state = self.view.read_state();
        match state.buckets.get(&self.bucket) {
            Some(bucket) if bucket.ring.newest() > self.seen => self.seen,
            _ => state.revision.max(self.seen),
        }
    }
}
