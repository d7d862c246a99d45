//! [`Deltas`]: the changes of some resources, each with the object before and after.
//!
//! Invariant: the deltas that were handed out, applied one after the other, make the collections as they were at the last
//! one's revision. So a lost position costs a comparison with the present, and no consumer ever sees a gap.

use std::sync::Arc;

use async_trait::async_trait;
use client::{Delta, Deltas, Gvr};
use kinds::Kind;
use store::{Collection, Entry, Event, Interest, Store, StoreError, Watcher};

use super::as_object;

/// See the module.
pub(super) struct Feed {
    store: Arc<dyn Store>,
    sources: Vec<Source>,
    /// `None` before the first look and after a lost position.
    watcher: Option<Box<dyn Watcher>>,
}

/// One resource.
struct Source {
    gvr: Arc<Gvr>,
    kind: Arc<Kind>,
    /// What was handed out.
    told: Collection,
}

impl Source {
    fn delta(&self, before: Option<&Arc<Entry>>, after: Option<&Arc<Entry>>, revision: u64) -> Option<Delta> {
        let object = |entry: Option<&Arc<Entry>>| entry.map(|entry| as_object(&self.kind, entry));
        Delta::new(self.gvr.clone(), object(before), object(after), revision)
    }

    /// Makes up for everything that happened up to a revision.
    fn reconcile(&mut self, now: Collection, revision: u64) -> Vec<Delta> {
        let changes = self.told.changes(&now);
        self.told = now;
        let deltas = changes.iter();
        deltas.filter_map(|(before, after)| self.delta(before.as_ref(), after.as_ref(), revision)).collect()
    }

    fn take(&mut self, event: &Event) -> Option<Delta> {
        event.entry.key.strip_prefix(&*self.kind.bucket).filter(|rest| rest.starts_with('/'))?;
        self.told.place(event);
        let after = (!event.deleted).then_some(&event.entry);
        self.delta(event.previous.as_ref(), after, event.entry.revision)
    }
}

impl Feed {
    pub(super) fn new(store: Arc<dyn Store>, kinds: impl Iterator<Item = (Gvr, Arc<Kind>)>) -> Self {
        let sources =
            kinds.map(|(gvr, kind)| Source { gvr: Arc::new(gvr), kind, told: Collection::default() });
        Self { store, sources: sources.collect(), watcher: None }
    }

    /// Begins, or begins again, at the present.
    fn begin(&mut self) -> Vec<Delta> {
        let buckets: Vec<&str> = self.sources.iter().map(|source| &*source.kind.bucket).collect();
        let interests: Vec<Interest> = buckets.iter().map(|bucket| Interest::whole(bucket)).collect();
        let (revision, now) = self.store.read(&buckets);
        match self.store.watch(&interests, revision) {
            Ok(watcher) => self.watcher = Some(watcher),
            // History ran away from under it: at the next look it is tried from there.
            Err(error) => tracing::debug!(%error, "a stream of changes begins again"),
        }
        let sources = self.sources.iter_mut().zip(now);
        sources.flat_map(|(source, now)| source.reconcile(now, revision)).collect()
    }

    fn take(&mut self, events: &[Event]) -> Vec<Delta> {
        let mut deltas = Vec::with_capacity(events.len());
        for event in events {
            deltas.extend(self.sources.iter_mut().filter_map(|source| source.take(event)));
        }
        deltas
    }
}

#[async_trait]
impl Deltas for Feed {
    async fn next(&mut self) -> Vec<Delta> {
        if self.sources.is_empty() {
            return std::future::pending().await;
        }
        loop {
            let deltas = match &mut self.watcher {
                None => self.begin(),
                Some(watcher) => match watcher.next().await {
                    Ok(events) => self.take(&events),
                    Err(StoreError::Unavailable(why)) => {
                        tracing::debug!(why, "a stream of changes ends with its store");
                        return std::future::pending().await;
                    }
                    Err(error) => {
                        tracing::debug!(%error, "a stream of changes lost its place");
                        self.watcher = None;
                        continue;
                    }
                },
            };
            if !deltas.is_empty() {
                return deltas;
            }
        }
    }
}
