//! [`Snapshots`] beside the store: collections at one revision, objects by name and by index.
//!
//! Invariant: what is answered costs what is in it, not what else is in the store.

use std::sync::Arc;

use async_trait::async_trait;
use client::{Deltas, Gvr, Object, Snapshot, Snapshots, Status, Want};
use kinds::{Catalogue, Kind};
use store::Store;
use tokio::sync::watch;

use super::as_object;
use super::deltas::Feed;
use crate::context::object;

/// Reads of the whole store.
pub(crate) struct View {
    store: Arc<dyn Store>,
    catalogue: watch::Receiver<Arc<Catalogue>>,
}

impl View {
    pub(crate) fn new(store: Arc<dyn Store>, catalogue: watch::Receiver<Arc<Catalogue>>) -> Self {
        Self { store, catalogue }
    }

    /// The kind of a resource that is stored.
    fn kind_of(&self, gvr: &Gvr) -> Option<Arc<Kind>> {
        let catalogue = self.catalogue.borrow();
        let kind = catalogue.by_resource(&gvr.group, &gvr.version, &gvr.resource)?;
        kind.is_stored().then(|| kind.clone())
    }
}

#[async_trait]
impl Snapshots for View {
    fn snapshot(&self, wants: &[Want]) -> Snapshot {
        let kinds: Vec<Option<Arc<Kind>>> = wants.iter().map(|want| self.kind_of(&want.gvr)).collect();
        // What is not served is in no bucket.
        let buckets: Vec<&str> =
            kinds.iter().map(|kind| kind.as_ref().map_or("", |kind| &kind.bucket)).collect();
        let (revision, collections) = self.store.read(&buckets);
        let sets = wants.iter().zip(&kinds).zip(&collections).map(|((want, kind), collection)| {
            let Some(kind) = kind else { return Vec::new() };
            let prefix = object::prefix(kind, &want.namespace);
            collection.prefix(&prefix).map(|entry| as_object(kind, entry)).collect()
        });
        Snapshot { revision, sets: sets.collect() }
    }

    fn get(&self, gvr: &Gvr, namespace: &str, name: &str) -> Option<Object> {
        let kind = self.kind_of(gvr)?;
        let entry = self.store.get(&object::key(&kind, namespace, name))?;
        Some(as_object(&kind, &entry))
    }

    fn indexed(&self, gvr: &Gvr, keys: &[&str]) -> Vec<Object> {
        let Some(kind) = self.kind_of(gvr) else { return Vec::new() };
        let (_, collections) = self.store.read(&[&kind.bucket]);
        let collections = collections.iter();
        let found = collections.flat_map(|all| keys.iter().flat_map(|key| all.indexed(key)));
        let mut found: Vec<Object> = found.map(|entry| as_object(&kind, entry)).collect();
        if keys.len() > 1 {
            found.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
            found.dedup_by(|a, b| (&a.namespace, &a.name) == (&b.namespace, &b.name));
        }
        found
    }

    fn find(&self, gvr: &Gvr, key: &str, is_wanted: &dyn Fn(&Object) -> bool) -> Option<Object> {
        let kind = self.kind_of(gvr)?;
        let (_, collections) = self.store.read(&[&kind.bucket]);
        let mut found = collections.iter().flat_map(|all| all.indexed(key));
        found.find_map(|entry| Some(as_object(&kind, entry)).filter(|object| is_wanted(object)))
    }

    fn is_empty(&self, want: &Want) -> bool {
        let Some(kind) = self.kind_of(&want.gvr) else { return true };
        let (_, collections) = self.store.read(&[&kind.bucket]);
        let prefix = object::prefix(&kind, &want.namespace);
        collections.iter().all(|all| all.prefix(&prefix).next().is_none())
    }

    async fn wait_for(&self, revision: u64) {
        self.store.wait_for(revision).await;
    }

    async fn barrier(&self) -> Result<(), Status> {
        let revision = self.store.barrier().await.map_err(Status::internal)?;
        self.store.wait_for(revision).await;
        Ok(())
    }

    fn catalogue(&self) -> Arc<Catalogue> {
        self.catalogue.borrow().clone()
    }

    async fn catalogue_after(&self, generation: u64) -> Arc<Catalogue> {
        let mut catalogue = self.catalogue.clone();
        let newer = catalogue.wait_for(|current| current.generation() > generation).await.map(|c| c.clone());
        match newer {
            Ok(newer) => newer,
            // The server is gone and with it all change.
            Err(_) => std::future::pending().await,
        }
    }

    fn deltas(&self, gvrs: &[Gvr]) -> Box<dyn Deltas> {
        let kinds = gvrs.iter().filter_map(|gvr| Some((gvr.clone(), self.kind_of(gvr)?)));
        Box::new(Feed::new(self.store.clone(), kinds))
    }
}
