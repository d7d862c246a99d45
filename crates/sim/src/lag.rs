//! A view of the store that lags behind it, as that of a second API server on a shared store does.
//!
//! Invariants: it shows one revision at a time, never an older one than before; `wait_for` returns only once it shows what
//! was waited for. So stale reads happen here, which beside an embedded store never do, and what the controllers do
//! against them (waiting for their own writes) is put to the test.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use store::{
    Collection, Entry, Event, Interest, Page, RangeQuery, Revision, Store, StoreError, Watcher, Write,
};
use tokio::sync::Notify;

use crate::seed::Dice;

/// The revision shown. Waiters go on in the order in which they came (those of tokio's `watch` do not).
struct Shown {
    revision: AtomicU64,
    changed: Notify,
}

impl Shown {
    fn get(&self) -> Revision {
        self.revision.load(Ordering::Relaxed)
    }

    fn set(&self, revision: Revision) {
        self.revision.store(revision, Ordering::Relaxed);
        self.changed.notify_waiters();
    }
}

/// See the module.
pub struct LaggingStore {
    inner: Arc<dyn Store>,
    shown: Arc<Shown>,
    honest: bool,
}

impl LaggingStore {
    /// A view of `inner` that follows it, up to `most` milliseconds late, for as long as its task runs. One that is not
    /// `honest` says that it shows what it does not: to see that the checks notice.
    #[must_use]
    pub fn follow(inner: Arc<dyn Store>, most: u64, dice: Dice, honest: bool) -> Arc<Self> {
        let shown = Shown { revision: AtomicU64::new(inner.revision()), changed: Notify::new() };
        let shown = Arc::new(shown);
        let lagging = Arc::new(Self { inner, shown, honest });
        tokio::spawn(lagging.clone().advance(most, dice));
        lagging
    }

    async fn advance(self: Arc<Self>, most: u64, dice: Dice) {
        loop {
            let shown = self.shown.get();
            self.inner.wait_for(shown + 1).await;
            tokio::time::sleep(dice.millis(1..=most)).await;
            let next = dice.within(shown + 1..=self.inner.revision());
            self.shown.set(next);
        }
    }

    fn at(&self, query: &RangeQuery<'_>) -> Result<Page, StoreError> {
        let at = query.at.unwrap_or_else(|| self.revision());
        self.inner.range(&RangeQuery { at: Some(at), ..query.clone() })
    }
}

#[async_trait]
impl Store for LaggingStore {
    fn revision(&self) -> Revision {
        self.shown.get()
    }

    async fn barrier(&self) -> Result<Revision, StoreError> {
        let newest = self.inner.barrier().await?;
        self.wait_for(newest).await;
        Ok(newest)
    }

    async fn wait_for(&self, revision: Revision) {
        while self.honest && self.shown.get() < revision {
            self.shown.changed.notified().await;
        }
    }

    fn get(&self, key: &str) -> Option<Arc<Entry>> {
        let page = self.at(&RangeQuery { prefix: key, ..RangeQuery::default() }).ok()?;
        page.entries.into_iter().find(|entry| &*entry.key == key)
    }

    fn range(&self, query: &RangeQuery<'_>) -> Result<Page, StoreError> {
        self.at(query)
    }

    fn read(&self, buckets: &[&str]) -> (Revision, Vec<Collection>) {
        let at = self.revision();
        let set = |bucket: &&str| {
            let query = RangeQuery { prefix: &format!("{bucket}/"), at: Some(at), ..RangeQuery::default() };
            self.inner.range(&query).map(|page| page.entries).unwrap_or_default().into_iter().collect()
        };
        (at, buckets.iter().map(set).collect())
    }

    async fn commit(&self, write: Write) -> Result<Arc<Entry>, StoreError> {
        self.inner.commit(write).await
    }

    fn watch(&self, interests: &[Interest], after: Revision) -> Result<Box<dyn Watcher>, StoreError> {
        let inner = self.inner.watch(interests, after)?;
        let shown = self.shown.clone();
        Ok(Box::new(LaggingWatcher { inner, shown, held: VecDeque::new(), told: after }))
    }

    async fn compact(&self, before: Revision) -> Result<(), StoreError> {
        self.inner.compact(before).await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.inner.probe().await
    }
}

/// A cursor that holds back what the view does not show yet.
struct LaggingWatcher {
    inner: Box<dyn Watcher>,
    shown: Arc<Shown>,
    held: VecDeque<Event>,
    told: Revision,
}

#[async_trait]
impl Watcher for LaggingWatcher {
    async fn next(&mut self) -> Result<Vec<Event>, StoreError> {
        loop {
            let shown = self.shown.get();
            let ready = self.held.iter().take_while(|event| event.entry.revision <= shown).count();
            if ready > 0 {
                let events: Vec<Event> = self.held.drain(..ready).collect();
                self.told = events.last().map_or(self.told, |event| event.entry.revision);
                return Ok(events);
            }
            tokio::select! {
                biased;
                events = self.inner.next() => self.held.extend(events?),
                () = self.shown.changed.notified() => {}
            }
        }
    }

    fn position(&self) -> Revision {
        self.told
    }
}
