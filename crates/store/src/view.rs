//! What readers and watchers see: each bucket's collection and its ring. It knows no engine.
//!
//! Invariants: changes enter in revision order under one write lock, so every read shows exactly one revision; whoever
//! reads holds the lock for no longer than it takes to copy what it is answered. Absent: durability (the engine
//! publishes only what is durable).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::collection::{Collection, Part};
use crate::interest::{Interest, Subscription, Subscriptions};
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
    current: Collection,
    ring: Ring,
    subscriptions: Subscriptions,
}

impl Bucket {
    fn starting_at(floor: Revision) -> Self {
        Self {
            current: Collection::default(),
            ring: Ring::starting_at(floor),
            subscriptions: Subscriptions::default(),
        }
    }

    /// A page as it was at a past revision: the current state with every later event undone.
    fn page_at(&self, part: Part<'_>, limit: usize, at: Revision) -> (Vec<Arc<Entry>>, usize) {
        let mut undone: BTreeMap<&str, Option<&Arc<Entry>>> = BTreeMap::new();
        let of_keys = Part { index: None, ..part };
        for event in self.ring.after(at).filter(|event| of_keys.has(&event.entry)) {
            let before = event.previous.as_ref().filter(|previous| part.has(previous));
            undone.entry(&event.entry.key).or_insert(before);
        }
        for entry in self.current.part(part) {
            undone.entry(&entry.key).or_insert(Some(entry));
        }
        let mut entries = undone.into_values().flatten();
        let page = entries.by_ref().take(limit).cloned().collect();
        (page, entries.count())
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
    pub(crate) fn publish(&self, events: Vec<Event>, now: Instant) -> Vec<Event> {
        let (mut gone, mut woken) = (Vec::new(), Vec::new());
        let Some(last) = events.last().map(|event| event.entry.revision) else { return gone };
        let mut guard = self.write_state();
        let state = &mut *guard;
        for event in events {
            let name = bucket_of(&event.entry.key).expect("the writer takes only keys with a bucket");
            let bucket = state.bucket(name);
            bucket.current.apply(&event);
            bucket.subscriptions.mark(&event, &mut woken);
            bucket.ring.push(event, now, &self.limits, &mut gone);
        }
        state.revision = state.revision.max(last);
        drop(guard);
        woken.iter().for_each(|subscription| subscription.changed.notify_one());
        self.newest.send_replace(last);
        gone
    }

    /// Takes in what the engine kept, in revision order, before anybody reads; returns the events that history does not
    /// hold: an event at or below its bucket's floor changes only the state. Reads no facts: see [`View::restored`].
    pub(crate) fn restore(&self, events: Vec<Event>, now: Instant) -> Vec<Event> {
        let mut gone = Vec::new();
        let mut state = self.write_state();
        for event in events {
            let name = bucket_of(&event.entry.key).expect("the log holds only keys with a bucket");
            let bucket = state.bucket(name);
            bucket.current.place(&event);
            if event.entry.revision <= bucket.ring.floor() {
                gone.push(event);
            } else {
                bucket.ring.push(event, now, &self.limits, &mut gone);
            }
        }
        gone
    }

    /// Ends the restoring: the objects that are there now are indexed, so only their facts are read.
    pub(crate) fn restored(&self, revision: Revision) {
        let mut state = self.write_state();
        state.buckets.values_mut().for_each(|bucket| bucket.current.build_index());
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
        let subscriptions = state.buckets.values().flat_map(|bucket| bucket.subscriptions.iter());
        subscriptions.for_each(|subscription| subscription.changed.notify_one());
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
        let part = Part { prefix: query.prefix, start: query.start, index: query.index };
        let limit = query.limit.unwrap_or(usize::MAX);
        let (entries, remaining) = if bucket.ring.newest() <= revision {
            let current = bucket.current.clone();
            drop(state);
            current.page(part, limit)
        } else {
            bucket.page_at(part, limit, revision)
        };
        Ok(Page { revision, entries, remaining })
    }

    pub(crate) fn read(&self, buckets: &[&str]) -> (Revision, Vec<Collection>) {
        let state = self.read_state();
        let current = |name: &&str| state.buckets.get(*name).map(|bucket| bucket.current.clone());
        (state.revision, buckets.iter().map(|name| current(name).unwrap_or_default()).collect())
    }

    pub(crate) fn watch(
        self: &Arc<Self>,
        interests: &[Interest],
        after: Revision,
    ) -> Result<Cursor, StoreError> {
        let mut state = self.write_state();
        for interest in interests {
            state.check_history(&interest.bucket, after)?;
        }
        let subscription = Subscription::new(state.events(interests, after).map(|e| e.entry.revision).min());
        for interest in interests {
            state.bucket(&interest.bucket).subscriptions.add(&interest.scope, &subscription);
        }
        drop(state);
        Ok(Cursor { view: self.clone(), interests: interests.to_vec(), seen: after, subscription })
    }
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

    /// The bucket, made if it does not exist.
    fn bucket(&mut self, name: &str) -> &mut Bucket {
        if !self.buckets.contains_key(name) {
            self.buckets.insert(name.into(), Bucket::starting_at(self.floor));
        }
        self.buckets.get_mut(name).expect("inserted above")
    }

    /// The kept events of interest after a revision, bucket by bucket.
    fn events<'a>(&'a self, interests: &'a [Interest], after: Revision) -> impl Iterator<Item = &'a Event> {
        interests.iter().flat_map(move |interest| {
            let bucket = self.buckets.get(&*interest.bucket);
            let events = bucket.into_iter().flat_map(move |bucket| bucket.ring.after(after));
            events.filter(|event| interest.wants(event))
        })
    }
}

/// A position in the rings of some buckets.
#[derive(Debug)]
pub(crate) struct Cursor {
    view: Arc<View>,
    interests: Vec<Interest>,
    /// Everything up to here was handed out.
    seen: Revision,
    subscription: Arc<Subscription>,
}

impl Cursor {
    /// What waits, in revision order; nothing if nothing does.
    fn take(&self) -> Result<Vec<Event>, StoreError> {
        let state = self.view.read_state();
        let Some(pending) = self.subscription.pending() else {
            let closed = || StoreError::Unavailable("closed".to_owned());
            return if state.closed { Err(closed()) } else { Ok(Vec::new()) };
        };
        for bucket in self.interests.iter().filter_map(|interest| state.buckets.get(&*interest.bucket)) {
            if pending <= bucket.ring.dropped() {
                return Err(StoreError::Compacted { asked: self.seen, oldest: bucket.ring.floor() });
            }
        }
        let mut events: Vec<Event> = state.events(&self.interests, pending - 1).cloned().collect();
        self.subscription.clear();
        // Several interests in one bucket may want the same event.
        if self.interests.len() > 1 {
            events.sort_by_key(|event| event.entry.revision);
            events.dedup_by_key(|event| event.entry.revision);
        }
        Ok(events)
    }
}

#[async_trait]
impl Watcher for Cursor {
    async fn next(&mut self) -> Result<Vec<Event>, StoreError> {
        loop {
            let events = self.take()?;
            if let Some(last) = events.last() {
                self.seen = last.entry.revision;
                return Ok(events);
            }
            // A change since then has left its permit.
            self.subscription.changed.notified().await;
        }
    }

    fn position(&self) -> Revision {
        let state = self.view.read_state();
        if self.subscription.pending().is_some() { self.seen } else { state.revision.max(self.seen) }
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        let mut state = self.view.write_state();
        for interest in &self.interests {
            if let Some(bucket) = state.buckets.get_mut(&*interest.bucket) {
                bucket.subscriptions.remove(&interest.scope, &self.subscription);
            }
        }
    }
}
