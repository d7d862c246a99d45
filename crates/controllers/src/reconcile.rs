//! A controller as three pure questions and one shell: which keys a change wakes, what a key's turn has to look at, what is
//! to be done.
//!
//! Invariants: `observe` only reads, `decide` reads nothing but what was observed; both may be called at any time and as
//! often as one likes; what a change or a turn costs depends on what it is about, not on who else is there. Absent: caches;
//! the queue, the barrier after failures and panics are the driver's.

use std::sync::Arc;

use async_trait::async_trait;
use base::Timestamp;
use base::facts::owner_key;
use base::labels::Selector;
use client::{Delta, Gvr, Object, Owner, Want};
use kinds::plan::{Failed, Plan};
use kinds::workload::index;
use kinds::{Catalogue, Kind};
use serde::de::DeserializeOwned;

use crate::context::{Context, gvr};
use crate::driver::{Controller, Failure, Key, Turn};

/// One controller.
pub(crate) trait Reconcile: Send + Sync + 'static {
    /// Upstream's name: its service account, the source of its events, its row in `kinds::rights`.
    const NAME: &'static str;
    /// What a turn looks at.
    type Observed: Send + Sync;

    /// Whose changes concern it, of all that is served.
    fn watches(&self, catalogue: &Catalogue) -> Vec<Gvr>;
    /// The keys that a change wakes. At first each present object is told as one that is new.
    fn routes(&self, reads: Reads<'_>, delta: &Delta) -> Vec<Key>;
    /// What there is to look at; nothing if there is nothing to do.
    fn observe(&self, reads: Reads<'_>, key: &Key) -> Result<Option<Self::Observed>, Failure>;
    /// What is to be done.
    fn decide(&self, now: Timestamp, observed: &Self::Observed) -> Result<Plan, serde_json::Error>;
    /// What is to be done after a write of that was refused; the key is tried again in any case.
    fn failed(&self, _: Timestamp, _: &Self::Observed, _: &Failed) -> Result<Plan, serde_json::Error> {
        Ok(Plan::default())
    }
}

/// The driver's view of a [`Reconcile`].
pub(crate) struct Driven<R>(pub(crate) R);

#[async_trait]
impl<R: Reconcile> Controller for Driven<R> {
    fn name(&self) -> &'static str {
        R::NAME
    }

    fn watches(&self, catalogue: &Catalogue) -> Vec<Gvr> {
        self.0.watches(catalogue)
    }

    fn keys(&self, context: &Context, delta: &Delta) -> Vec<Key> {
        self.0.routes(Reads(context), delta)
    }

    async fn sync(&self, context: &Context, key: &Key) -> Turn {
        let Some(observed) = self.0.observe(Reads(context), key)? else { return Ok(None) };
        let plan = self.0.decide(context.now(), &observed)?;
        let refused = match context.carry_out(plan).await {
            Ok(wake_at) => return Ok(wake_at),
            Err(refused) => refused,
        };
        // Its outcome does not matter for the key: that is tried again, and then what still holds is told again.
        let told = context.execute(self.0.failed(context.now(), &observed, &refused.failed)?).await;
        if let Err(failure) = told {
            tracing::debug!(controller = R::NAME, name = %key.name, "the failure could not be told: {failure}");
        }
        Err(Failure::Api(refused.status))
    }
}

/// What controllers read, beside the store.
#[derive(Clone, Copy)]
pub(crate) struct Reads<'a>(&'a Context);

impl<'a> Reads<'a> {
    /// Those of a controller.
    pub(crate) fn of(context: &'a Context) -> Self {
        Self(context)
    }
}

impl Reads<'_> {
    /// One object.
    pub(crate) fn one<T: DeserializeOwned>(
        self,
        kind: &Kind,
        namespace: &str,
        name: &str,
    ) -> Result<Option<T>, Failure> {
        Ok(self.0.read(kind, namespace, name)?)
    }

    /// One object, unparsed, with its facts.
    pub(crate) fn object(self, kind: &Kind, namespace: &str, name: &str) -> Option<Object> {
        self.0.get(kind, namespace, name)
    }

    /// Whether there is such an object.
    pub(crate) fn has(self, kind: &Kind, namespace: &str, name: &str) -> bool {
        self.object(kind, namespace, name).is_some()
    }

    /// The first object under a key of the kind's index that is as wanted.
    pub(crate) fn find(self, kind: &Kind, key: &str, is_wanted: &dyn Fn(&Object) -> bool) -> Option<Object> {
        self.0.snapshots.find(&gvr(kind), key, is_wanted)
    }

    /// Whether a collection has no object.
    pub(crate) fn is_empty(self, want: &Want) -> bool {
        self.0.snapshots.is_empty(want)
    }

    /// A namespace's objects of several kinds, all of one revision.
    pub(crate) fn collections(self, kinds: &[Arc<Kind>], namespace: &str) -> Vec<Vec<Object>> {
        let want = |kind: &Arc<Kind>| Want { gvr: gvr(kind), namespace: namespace.to_owned() };
        self.0.snapshots.snapshot(&kinds.iter().map(want).collect::<Vec<_>>()).sets
    }

    /// The kinds that are served.
    pub(crate) fn catalogue(self) -> Arc<Catalogue> {
        self.0.snapshots.catalogue()
    }

    /// Now, for who remembers when it saw something first.
    pub(crate) fn now(self) -> Timestamp {
        self.0.now()
    }

    /// The objects that the kind's index has under any of these keys, each once, all of one revision.
    pub(crate) fn indexed(self, kind: &Kind, keys: &[&str]) -> Vec<Object> {
        self.0.snapshots.indexed(&gvr(kind), keys)
    }

    /// The objects of a namespace that a selector selects, whoever controls them.
    pub(crate) fn matching<T: DeserializeOwned>(
        self,
        kind: &Kind,
        namespace: &str,
        selector: &Selector,
    ) -> Result<Vec<T>, Failure> {
        let key = index::label_key(namespace, selector).filter(|_| kind.strategy.is_selected());
        let mut found = key.map_or_else(|| self.0.list(kind, namespace), |key| self.indexed(kind, &[&key]));
        found.retain(|object| index::selects(selector, &object.facts));
        parsed(&found)
    }

    /// The objects in a namespace that have this controller.
    pub(crate) fn owned<T: DeserializeOwned>(
        self,
        kind: &Kind,
        namespace: &str,
        uid: &str,
    ) -> Result<Vec<T>, Failure> {
        parsed(&self.held_by(kind, namespace, uid))
    }

    /// The same, unparsed, with their facts.
    pub(crate) fn held_by(self, kind: &Kind, namespace: &str, uid: &str) -> Vec<Object> {
        self.held(kind, namespace, uid, None)
    }

    /// Those, and the objects that have no controller and are selected: what a claimant looks through.
    pub(crate) fn selected<T: DeserializeOwned>(
        self,
        kind: &Kind,
        namespace: &str,
        uid: &str,
        selector: &Selector,
    ) -> Result<Vec<T>, Failure> {
        let mut found = self.held(kind, namespace, uid, Some(&index::orphan_key(namespace, selector)));
        found.retain(|o| o.facts.controller().is_some() || index::selects(selector, &o.facts));
        parsed(&found)
    }

    /// All objects of a kind, unparsed.
    pub(crate) fn list(self, kind: &Kind) -> Vec<Object> {
        self.0.list(kind, "")
    }

    /// How many objects of a kind a namespace has.
    pub(crate) fn count(self, kind: &Kind, namespace: &str) -> usize {
        self.0.list(kind, namespace).len()
    }

    /// The keys of all objects of a namespace, or of all where it is empty.
    pub(crate) fn keys(self, kind: &Kind, namespace: &str) -> Vec<Key> {
        let all = self.0.list(kind, namespace).into_iter();
        all.map(|o| Key { bucket: Arc::default(), namespace: o.namespace, name: o.name }).collect()
    }

    /// All objects of a namespace, or of all where it is empty.
    pub(crate) fn all<T: DeserializeOwned>(self, kind: &Kind, namespace: &str) -> Result<Vec<T>, Failure> {
        parsed(&self.0.list(kind, namespace))
    }

    /// The keys of the claimants of one kind that the change of an object concerns: who controls it, who did, and where
    /// nobody does who selects it since now.
    pub(crate) fn claimants(self, kind: &Kind, delta: &Delta) -> Vec<Key> {
        let of = |object: &Option<Object>| object.as_ref().and_then(|o| o.facts.controller().cloned());
        let (before, after) = (of(&delta.before), of(&delta.after));
        let named = |owner: &Owner| {
            owner
                .is_a(&kind.group, &kind.kind)
                .then(|| Key { name: Arc::from(&*owner.name), ..Key::of(delta) })
        };
        let mut keys: Vec<Key> = after.iter().chain(&before).filter_map(named).collect();
        keys.dedup();
        if let Some(orphan) = delta.after.as_ref().filter(|o| after.is_none() && !o.facts.deleting) {
            let labels = |object: &Object| object.facts.labels.clone();
            let same = delta.before.as_ref().is_some_and(|b| before.is_none() && labels(b) == labels(orphan));
            if !same {
                keys.extend(self.selecting(kind, orphan));
            }
        }
        keys
    }

    /// The keys of those of a kind that select an object of their namespace.
    pub(crate) fn selecting(self, kind: &Kind, object: &Object) -> Vec<Key> {
        let namespace = &*object.namespace;
        let read = kind.strategy.selector();
        let candidates = match read {
            Some(_) => {
                let keys = index::claimant_keys(namespace, &object.facts);
                self.indexed(kind, &keys.iter().map(String::as_str).collect::<Vec<_>>())
            }
            // It says nothing of its selector: all are looked at.
            None => self.0.list(kind, namespace),
        };
        let read = read.unwrap_or(index::label_selector);
        let selects = |claimant: &&Object| match claimant.parse() {
            Ok(value) => index::selects(&read(&value), &object.facts),
            Err(error) => {
                tracing::warn!(kind = kind.kind, name = %claimant.name, "it selects nothing: {error}");
                false
            }
        };
        let key =
            |c: &Object| Key { bucket: Arc::default(), namespace: c.namespace.clone(), name: c.name.clone() };
        candidates.iter().filter(selects).map(key).collect()
    }

    /// What a controller has in a namespace and, under a key of theirs, what nobody has.
    fn held(self, kind: &Kind, namespace: &str, uid: &str, orphans: Option<&str>) -> Vec<Object> {
        let mut found = match orphans {
            None => self.indexed(kind, &[&owner_key(uid)]),
            Some(key) if kind.strategy.is_claimed() => self.indexed(kind, &[&owner_key(uid), key]),
            // Such orphans are in no index: all are looked at.
            Some(_) => self.0.list(kind, namespace),
        };
        found.retain(|object| {
            let is_held = object.facts.controller().map_or(orphans.is_some(), |owner| owner.uid == uid);
            is_held && *object.namespace == *namespace
        });
        found
    }
}

fn parsed<T: DeserializeOwned>(objects: &[Object]) -> Result<Vec<T>, Failure> {
    objects.iter().map(|object| object.parse().map_err(Failure::Stored)).collect()
}

/// Resources of built-in kinds.
pub(crate) fn resources(kinds: &[&Kind]) -> Vec<Gvr> {
    kinds.iter().map(|kind| gvr(kind)).collect()
}
