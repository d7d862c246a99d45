//! How everything but the API server's own HTTP layer speaks to the API: the traits [`Objects`] and [`Snapshots`].
//!
//! Invariant: a handle carries one identity and every call through it passes the same authorization, admission and
//! validation, in-process or over HTTPS. Deliberately absent: caches with opinions, retries that hide conflicts.

mod answer;
pub mod api;
pub mod events;
pub mod follow;
pub mod https;
pub mod names;
pub mod post;
mod selfmade;
pub mod trust;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use answer::{Answer, Head};
pub use api::Api;
pub use https::{Credential, Https};

use async_trait::async_trait;
pub use base::facts::{self, Facts, Owner};
use bytes::Bytes;
pub use kinds::Catalogue;
pub use kinds::status::Status;
use serde_json::Value;

/// Who makes a call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// `system:node:n1`.
    pub name: String,
    /// Opaque, may be empty.
    pub uid: String,
    /// Groups, `system:authenticated` included.
    pub groups: Vec<String>,
    /// Extra attributes.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// A resource as a path names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Gvr {
    /// Empty for the core group.
    pub group: String,
    /// `v1`.
    pub version: String,
    /// Plural, lower case.
    pub resource: String,
}

impl Gvr {
    /// `Gvr::new("batch", "v1", "jobs")`.
    #[must_use]
    pub fn new(group: &str, version: &str, resource: &str) -> Self {
        Self { group: group.into(), version: version.into(), resource: resource.into() }
    }

    /// The resource of a typed kind.
    #[must_use]
    pub fn of<K: k8s_openapi::Resource>() -> Self {
        Self::new(K::GROUP, K::VERSION, K::URL_PATH_SEGMENT)
    }
}

/// Which object, or which collection.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// The resource.
    pub gvr: Gvr,
    /// Namespace; empty for cluster-scoped kinds and for "all namespaces".
    pub namespace: String,
    /// Name; empty for a collection.
    pub name: String,
    /// `status`, `binding`, …; empty for the object itself.
    pub subresource: String,
}

/// The kinds of patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchType {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Kubernetes' own, by the schema's merge keys.
    Strategic,
    /// Server-side apply.
    Apply,
}

/// What to do.
#[derive(Debug, Clone)]
pub enum Verb {
    /// Read one.
    Get,
    /// Read many.
    List,
    /// Make.
    Create(Value),
    /// Replace.
    Update(Value),
    /// Change.
    Patch(PatchType, Bytes),
    /// Remove one; the body is `DeleteOptions`, if any.
    Delete(Option<Value>),
    /// Remove many.
    DeleteCollection(Option<Value>),
}

/// Query parameters, as the API names them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// `labelSelector`.
    pub label_selector: String,
    /// `fieldSelector`.
    pub field_selector: String,
    /// `resourceVersion`.
    pub resource_version: String,
    /// `fieldManager`.
    pub field_manager: String,
    /// `limit`; 0 is none.
    pub limit: usize,
    /// `continue`.
    pub continue_token: String,
    /// `dryRun=All`.
    pub dry_run: bool,
    /// `force` of apply.
    pub force: bool,
    /// `fieldValidation=Strict`: unknown and duplicate fields are refused.
    pub strict: bool,
}

/// One call.
#[derive(Debug, Clone)]
pub struct Call {
    /// On what.
    pub target: Target,
    /// What.
    pub verb: Verb,
    /// How.
    pub options: Options,
}

/// What kind of change a watch reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// New, or newly matching the selector.
    Added,
    /// Changed.
    Modified,
    /// Gone, or no longer matching; the object is the last state.
    Deleted,
    /// Only `revision` means anything.
    Bookmark,
    /// The initial list is complete up to `revision`.
    Synced,
}

/// One object as served (with apiVersion and kind absent: the resource is known), shared, parsed on demand. What most
/// readers ask is in its facts.
#[derive(Debug, Clone)]
pub struct Object {
    /// Namespace, empty if cluster-scoped.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// resourceVersion as a number.
    pub revision: u64,
    /// The JSON.
    pub json: Bytes,
    /// What is known without parsing; from over HTTPS only what the metadata says.
    pub facts: Arc<Facts>,
}

impl Object {
    /// A typed, read-only view; never write it back.
    ///
    /// # Errors
    /// If the JSON does not fit the type, or only stands for an object that cannot be read: nobody may act on what it
    /// lacks.
    pub fn parse<T: serde::de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        if self.facts.unreadable {
            return Err(serde::de::Error::custom(
                "the stored value is damaged; the object can only be replaced or deleted",
            ));
        }
        serde_json::from_slice(&self.json)
    }
}

/// One event of a watch.
#[derive(Debug, Clone)]
pub struct WatchEvent {
    /// What happened.
    pub change: Change,
    /// The object; `None` for bookmarks and `Synced`.
    pub object: Option<Object>,
    /// The revision after this event.
    pub revision: u64,
}

/// A running watch.
#[async_trait]
pub trait Watch: Send {
    /// The next events, at least one; an error ends the watch (`Expired`: list again).
    async fn next(&mut self) -> Result<Vec<WatchEvent>, Status>;
}

/// The API as one identity sees it.
#[async_trait]
pub trait Objects: Send + Sync + 'static {
    /// Performs one call; the answer is the object, the list, or the `Status` of a deletion.
    async fn call(&self, call: Call) -> Result<Answer, Status>;
    /// Starts a watch. With an empty `options.resource_version` the present objects come first as `Added`, then
    /// `Synced`.
    async fn watch(&self, target: Target, options: Options) -> Result<Box<dyn Watch>, Status>;
}

/// One kind, in one namespace or all (empty).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Want {
    /// The resource.
    pub gvr: Gvr,
    /// Namespace, or empty for all.
    pub namespace: String,
}

/// Several collections at one revision.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The revision of everything here.
    pub revision: u64,
    /// One set for each `Want`, in its order, sorted by namespace and name.
    pub sets: Vec<Vec<Object>>,
}

/// A change of one object, as the one after the change before it of the same object: nothing is left out.
#[derive(Debug, Clone)]
pub struct Delta {
    /// The resource.
    pub gvr: Arc<Gvr>,
    /// Namespace of the object, empty if cluster-scoped.
    pub namespace: Arc<str>,
    /// Name of the object.
    pub name: Arc<str>,
    /// Its owners; of its last state if it is gone.
    pub owners: Arc<[Owner]>,
    /// The object before, as the last delta showed it; `None` if it is new to whoever takes them.
    pub before: Option<Object>,
    /// The object now; `None` if it is gone.
    pub after: Option<Object>,
    /// The revision of the change; where a lost position was made up for, the revision up to which it was.
    pub revision: u64,
}

impl Delta {
    /// A change of an object of which at least one side is there.
    #[must_use]
    pub fn new(gvr: Arc<Gvr>, before: Option<Object>, after: Option<Object>, revision: u64) -> Option<Self> {
        let object = after.as_ref().or(before.as_ref())?;
        let (namespace, name) = (object.namespace.clone(), object.name.clone());
        Some(Self { gvr, namespace, name, owners: object.facts.owners.clone(), before, after, revision })
    }

    /// The object: as it is, or as it was last.
    #[must_use]
    pub fn object(&self) -> Option<&Object> {
        self.after.as_ref().or(self.before.as_ref())
    }
}

/// Reads of several kinds at one revision; exists only beside a store (controllers and scheduler).
#[async_trait]
pub trait Snapshots: Send + Sync + 'static {
    /// Reads all wanted collections at one revision.
    fn snapshot(&self, wants: &[Want]) -> Snapshot;
    /// One object of the newest revision.
    fn get(&self, gvr: &Gvr, namespace: &str, name: &str) -> Option<Object>;
    /// The objects of the newest revision that the index has under any of these keys ([`Facts::keys`]), each once, by
    /// namespace and name.
    fn indexed(&self, gvr: &Gvr, keys: &[&str]) -> Vec<Object>;
    /// The objects of the newest revision that name this UID as an owner, by namespace and name.
    fn owned(&self, gvr: &Gvr, uid: &str) -> Vec<Object> {
        self.indexed(gvr, &[&facts::owner_key(uid)])
    }
    /// The first of the objects under a key that is as wanted; nobody looks at those after it.
    fn find(&self, gvr: &Gvr, key: &str, is_wanted: &dyn Fn(&Object) -> bool) -> Option<Object>;
    /// Whether a collection has no object.
    fn is_empty(&self, want: &Want) -> bool;
    /// Returns once snapshots show `revision` or later.
    async fn wait_for(&self, revision: u64);
    /// Returns once snapshots show every write that was done before this call, whoever did it and whether or not its
    /// answer arrived. For the moment after a failure or a change of leader, when no revision is known to wait for.
    ///
    /// # Errors
    /// If the store does not answer; then nothing is known.
    async fn barrier(&self) -> Result<(), Status>;
    /// What changes in these resources from now on, in one order; first one delta for each present object.
    fn deltas(&self, gvrs: &[Gvr]) -> Box<dyn Deltas>;
    /// The kinds that are served now.
    fn catalogue(&self) -> Arc<Catalogue> {
        kinds::built_in().clone()
    }
    /// Returns once a catalogue of a higher generation is the current one.
    async fn catalogue_after(&self, _generation: u64) -> Arc<Catalogue> {
        std::future::pending().await
    }
}

/// A stream of changes. Never errors: after a lost position it tells what differs from what it told last.
#[async_trait]
pub trait Deltas: Send {
    /// The next changes, at least one. Cancel-safe: a dropped call loses none.
    async fn next(&mut self) -> Vec<Delta>;
}
