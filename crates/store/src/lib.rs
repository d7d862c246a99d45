//! The store: one revision order over all objects, durable before acknowledged, read from memory, watched by cursor.
//!
//! Invariants: a revision is never reused, not even after a crash; an acknowledged write is on disk; every reader
//! sees the writes of all earlier revisions and none of later ones. Deliberately absent: any knowledge of kinds (what is
//! asked of objects is read out of them once per version by a function given at the opening), of JSON beyond the splice
//! of `resourceVersion`, of HTTP. Only `apiserver` imports this crate.
//!
//! Map: `view` is what readers and watchers see and knows no engine; `collection` is one bucket's objects and their
//! index, on a persistent `tree`; `ring` is one bucket's history, `interest` who waits for which of its events; `sqlite`
//! is the embedded engine (`log` the file, `writer` the one thread that changes anything); `envelope` and `splice` are
//! the two forms of a value, on disk and in memory.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use base::Facts;
use bytes::Bytes;

mod collection;
mod envelope;
mod interest;
mod quarantine;
mod ring;
mod splice;
mod sqlite;
mod tree;
mod view;

pub use collection::{Change, Collection};
pub use interest::{Interest, Scope};
pub use sqlite::{OpenError, Options, SqliteStore, Stats};

/// Position in the one order of all writes. 0 means "before everything"; the first write gets 1 or more.
pub type Revision = u64;

/// One version of one object, as every reader and watcher shares it.
///
/// `value` is the JSON object that the API serves, without `apiVersion` and `kind` (the key's bucket says them), and
/// with `metadata.resourceVersion` spliced in: it always begins with `{"metadata":{"resourceVersion":"N"`.
#[derive(Debug)]
pub struct Entry {
    /// `BUCKET/NAMESPACE/NAME` or, cluster-scoped, `BUCKET/NAME`; a bucket is `RESOURCE` or `RESOURCE.GROUP`.
    pub key: Arc<str>,
    /// The revision of the write that made this version; the object's `resourceVersion`.
    pub revision: Revision,
    /// The JSON described above.
    pub value: Bytes,
    /// The protobuf transcoding of `value`, made at most once, on demand, by the API server.
    pub protobuf: OnceLock<Bytes>,
    facts: OnceLock<Arc<Facts>>,
    read_facts: ReadFacts,
}

impl Entry {
    /// A version whose facts are read when they are first asked for.
    #[must_use]
    pub fn new(key: Arc<str>, revision: Revision, value: Bytes, read_facts: &ReadFacts) -> Self {
        let read_facts = read_facts.clone();
        Self { key, revision, value, protobuf: OnceLock::new(), facts: OnceLock::new(), read_facts }
    }

    /// What readers ask of this version.
    #[must_use]
    pub fn facts(&self) -> &Arc<Facts> {
        self.facts.get_or_init(|| Arc::new(self.read_facts.read(&self.key, &self.value)))
    }

    /// Facts that are known already.
    pub(crate) fn with_facts(self, facts: Option<Arc<Facts>>) -> Self {
        Self { facts: facts.map(OnceLock::from).unwrap_or_default(), ..self }
    }
}

/// How facts are read out of an object, given its key and its JSON, with or without resourceVersion.
#[derive(Clone)]
pub struct ReadFacts(Arc<Read>);

type Read = dyn Fn(&str, &[u8]) -> Facts + Send + Sync;

impl ReadFacts {
    /// By this function. It cannot fail: what cannot be read has no facts.
    pub fn new(read: impl Fn(&str, &[u8]) -> Facts + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// Only those that every object's metadata tells.
    #[must_use]
    pub fn of_metadata() -> Self {
        Self::new(|_, json| Facts::of_metadata(json).unwrap_or_default())
    }

    fn read(&self, key: &str, json: &[u8]) -> Facts {
        (self.0)(key, json)
    }
}

impl std::fmt::Debug for ReadFacts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ReadFacts")
    }
}

/// What a write expects of the key's current state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Nothing: last writer wins.
    Any,
    /// The key does not exist.
    Absent,
    /// The key's current version has this revision.
    Revision(Revision),
}

/// What a write does.
#[derive(Debug, Clone)]
pub enum Op {
    /// Stores this JSON; it begins with `{"metadata":{` and holds no `resourceVersion`.
    Put(Bytes),
    /// Like [`Op::Put`], of an object on its way to removal: like a deletion it may spend the engine's reserve when the
    /// disk is full.
    Ending(Bytes),
    /// Removes the key. The event's `entry` carries the last value with the deletion's revision spliced in; if
    /// `Some`, that value is this JSON (the final state, e.g. with finalizers emptied) instead of the stored one.
    Delete(Option<Bytes>),
}

impl Op {
    /// Whether it frees something, now or in the end: then it works on a full disk as long as the engine's reserve lasts.
    pub fn may_spend_reserve(&self) -> bool {
        matches!(self, Self::Ending(_) | Self::Delete(_))
    }
}

/// One compare-and-set.
#[derive(Debug, Clone)]
pub struct Write {
    /// The key, see [`Entry::key`].
    pub key: Arc<str>,
    /// The condition.
    pub expect: Expect,
    /// The effect.
    pub op: Op,
}

/// What happened at one revision.
#[derive(Debug, Clone)]
pub struct Event {
    /// The version written; for a deletion the last value with the deletion's revision.
    pub entry: Arc<Entry>,
    /// The version before, if there was one.
    pub previous: Option<Arc<Entry>>,
    /// Whether the key is gone after this event.
    pub deleted: bool,
}

/// A question for a range of keys in key order.
#[derive(Debug, Clone, Default)]
pub struct RangeQuery<'a> {
    /// Keys that begin with this; it holds a `/`, hence names one bucket.
    pub prefix: &'a str,
    /// Only keys at or after this one (`start` of a continue token), if given.
    pub start: Option<&'a str>,
    /// At most this many entries; `None` is no limit.
    pub limit: Option<usize>,
    /// The state at exactly this revision; `None` is the newest.
    pub at: Option<Revision>,
    /// Only what the bucket's index has under this key, if given.
    pub index: Option<&'a str>,
}

/// A page of a range.
#[derive(Debug, Clone)]
pub struct Page {
    /// The revision that the page shows.
    pub revision: Revision,
    /// The entries in key order.
    pub entries: Vec<Arc<Entry>>,
    /// How many keys of the range remain after the page.
    pub remaining: usize,
}

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The write's expectation does not hold; `current` is the key's present state.
    #[error("the key has another version")]
    Conflict {
        /// The key's current version, if it exists.
        current: Option<Arc<Entry>>,
    },
    /// The history asked for is no longer kept.
    #[error("revision {asked} is compacted, the oldest kept is {oldest}")]
    Compacted {
        /// The revision asked for.
        asked: Revision,
        /// The oldest revision from which history is complete.
        oldest: Revision,
    },
    /// The revision asked for does not exist yet.
    #[error("revision {asked} is ahead of {current}")]
    Future {
        /// The revision asked for.
        asked: Revision,
        /// The newest revision.
        current: Revision,
    },
    /// The write is malformed: a caller's mistake, not a state of the store.
    #[error("store: {0}")]
    Invalid(&'static str),
    /// The disk has no room for the write; nothing was changed, and later writes work once there is room.
    #[error("store: {0}")]
    Full(String),
    /// The engine could not write or read; nothing was acknowledged.
    #[error("store: {0}")]
    Unavailable(String),
}

/// The contract of every engine. The same test suite runs on all of them.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The newest revision in the view.
    fn revision(&self) -> Revision;
    /// Returns once the view holds every write that was acknowledged, anywhere, before this call.
    async fn barrier(&self) -> Result<Revision, StoreError>;
    /// Returns once the view has reached `revision`.
    async fn wait_for(&self, revision: Revision);
    /// The newest version of a key.
    fn get(&self, key: &str) -> Option<Arc<Entry>>;
    /// A page of keys, now or at a past revision that is still kept.
    fn range(&self, query: &RangeQuery<'_>) -> Result<Page, StoreError>;
    /// Several buckets at one and the same revision, in the order asked; costs a pointer each.
    fn read(&self, buckets: &[&str]) -> (Revision, Vec<Collection>);
    /// Performs one write durably; the entry is what readers now see (for a deletion, the final one).
    async fn commit(&self, write: Write) -> Result<Arc<Entry>, StoreError>;
    /// The same of a write whose caller knows the facts of what it stores, which are then not read out of it.
    async fn commit_known(&self, write: Write, facts: Facts) -> Result<Arc<Entry>, StoreError> {
        drop(facts);
        self.commit(write).await
    }
    /// A cursor over the events that one of the interests wants, with revisions greater than `after`. A revision that
    /// does not exist yet is [`StoreError::Future`] (see [`Store::wait_for`]), one whose successors in one of the buckets
    /// are gone is `Compacted`.
    fn watch(&self, interests: &[Interest], after: Revision) -> Result<Box<dyn Watcher>, StoreError>;
    /// Forgets history up to and including `before`: from then on `range` and `watch` answer for revisions from
    /// `before` on. The current state stays whole; disk space is freed in small steps afterwards. Engines also
    /// compact by themselves, by age and size.
    async fn compact(&self, before: Revision) -> Result<(), StoreError>;
    /// Whether writes work, asked of what writes them: the error is that of the last write, if it failed for want of
    /// room or of a working disk and would still fail.
    async fn probe(&self) -> Result<(), StoreError>;
}

/// A cursor into buckets' rings of events, in one order. It never blocks a writer; if an event that it wants falls off
/// the ring before it looked, it ends with [`StoreError::Compacted`].
#[async_trait]
pub trait Watcher: Send {
    /// All events of interest since the last call, at least one, waiting if there is none yet. Dropping the future loses nothing.
    async fn next(&mut self) -> Result<Vec<Event>, StoreError>;
    /// The revision up to which this cursor has seen everything of interest: what a bookmark may say.
    fn position(&self) -> Revision;
}
