//! What every part of the request path works with: the store, who decides about rights, time and chance, keys of tokens, the kinds.
//!
//! Invariant: holds no state of its own that outlives a request, but for what is read out of the store again. Absent: the
//! admission chain and everything else that works with these.

use std::sync::Arc;

use base::Timestamp;
use client::Status;
use kinds::{Catalogue, Kind};
use serde_json::Value;
use store::{Entry, RangeQuery, Store};
use tokio::sync::watch;

use crate::context::allocation::Allocator;
use crate::context::audit::Audit;
use crate::context::authz::Authorizer;
use crate::context::gauge::Gauge;
use crate::context::nature::Nature;
use crate::context::object;
use crate::context::token::Tokens;

/// What a full disk asks of people.
pub(crate) const FREE_SPACE: &str = "free space on the disk that holds the data directory";

/// See the head of the file.
pub(crate) struct Services {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) nature: Arc<dyn Nature>,
    pub(crate) authorizer: Arc<Authorizer>,
    pub(crate) tokens: Tokens,
    pub(crate) allocator: Allocator,
    pub(crate) gauge: Arc<dyn Gauge>,
    pub(crate) catalogue: watch::Sender<Arc<Catalogue>>,
    /// Who sees every request, if anybody.
    pub(crate) audit: Option<Arc<dyn Audit>>,
}

impl Services {
    /// The time that objects are dated with.
    pub(crate) fn now(&self) -> Timestamp {
        self.nature.now()
    }

    /// Chance for UIDs and names.
    pub(crate) fn random(&self) -> [u8; 16] {
        self.nature.random()
    }

    /// The kinds that are served now.
    pub(crate) fn catalogue(&self) -> Arc<Catalogue> {
        self.catalogue.borrow().clone()
    }

    /// Serves these kinds beside the built-in ones.
    pub(crate) fn serve_custom(&self, custom: Vec<Arc<Kind>>) {
        self.catalogue.send_if_modified(|current| {
            let same = current.iter().skip(kinds::built_in().iter().count()).map(Arc::as_ptr);
            if same.eq(custom.iter().map(Arc::as_ptr)) {
                return false;
            }
            *current = kinds::with_custom(current.generation() + 1, custom);
            true
        });
    }

    /// The parsed object of a built-in resource, named by group, version and plural.
    pub(crate) fn find(&self, resource: (&str, &str, &str), namespace: &str, name: &str) -> Option<Value> {
        let kind = kinds::built_in().by_resource(resource.0, resource.1, resource.2)?;
        let entry = self.store.get(&object::key(kind, namespace, name))?;
        Some(object::parse(kind, &entry.value))
    }

    /// The same unparsed.
    pub(crate) fn entry(
        &self,
        resource: (&str, &str, &str),
        namespace: &str,
        name: &str,
    ) -> Option<Arc<Entry>> {
        let kind = kinds::built_in().by_resource(resource.0, resource.1, resource.2)?;
        self.store.get(&object::key(kind, namespace, name))
    }

    /// The parsed objects of a built-in resource in a namespace (empty: in all); with an index key only those under it.
    pub(crate) fn all(
        &self,
        resource: (&str, &str, &str),
        namespace: &str,
        index: Option<&str>,
    ) -> Result<Vec<Value>, Status> {
        let Some(kind) = kinds::built_in().by_resource(resource.0, resource.1, resource.2) else {
            return Ok(Vec::new());
        };
        let prefix = object::prefix(kind, namespace);
        let page = self.store.range(&RangeQuery { prefix: &prefix, index, ..RangeQuery::default() });
        let entries = page.map_err(Status::internal)?.entries;
        Ok(entries.iter().map(|entry| object::parse(kind, &entry.value)).collect())
    }
}
