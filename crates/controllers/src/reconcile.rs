//! A controller as three pure questions and one shell: which keys a change wakes, what a key's turn has to look at, what is
//! to be done.
//!
//! Invariants: `observe` only reads, `decide` reads nothing but what was observed; both may be called at any time and as
//! often as one likes. Absent: caches; the queue, the barrier after failures and panics are the driver's.

use async_trait::async_trait;
use base::Timestamp;
use client::{Gvr, Object, Wake};
use kinds::plan::{Failed, Plan};
use kinds::view::Any;
use kinds::{Catalogue, Kind};
use serde::de::DeserializeOwned;

use crate::context::{Context, gvr};
use crate::driver::{Controller, Failure, Key, Turn};
use crate::job::mentions;

/// What the stored bytes of an object with a controller have in them.
const CONTROLLED: &str = "\"controller\":true";

/// One controller.
pub(crate) trait Reconcile: Send + Sync + 'static {
    /// Upstream's name: its service account, the source of its events, its row in `kinds::rights`.
    const NAME: &'static str;
    /// What a turn looks at.
    type Observed: Send + Sync;

    /// Whose changes concern it, of all that is served.
    fn watches(&self, catalogue: &Catalogue) -> Vec<Gvr>;
    /// The keys that a change wakes.
    fn routes(&self, reads: Reads<'_>, wake: &Wake) -> Vec<Key>;
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

    fn keys(&self, context: &Context, wake: &Wake) -> Vec<Key> {
        self.0.routes(Reads(context), wake)
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

    /// Whether there is such an object.
    pub(crate) fn has(self, kind: &Kind, namespace: &str, name: &str) -> bool {
        self.0.get(kind, namespace, name).is_some()
    }

    /// The objects in a namespace that have this controller.
    pub(crate) fn owned<T: DeserializeOwned>(
        self,
        kind: &Kind,
        namespace: &str,
        uid: &str,
    ) -> Result<Vec<T>, Failure> {
        self.by_controller(kind, namespace, uid, false)
    }

    /// Those, and the objects that have no controller: what a claimant looks through.
    pub(crate) fn claimable<T: DeserializeOwned>(
        self,
        kind: &Kind,
        namespace: &str,
        uid: &str,
    ) -> Result<Vec<T>, Failure> {
        self.by_controller(kind, namespace, uid, true)
    }

    /// All objects of a namespace.
    pub(crate) fn all<T: DeserializeOwned>(self, kind: &Kind, namespace: &str) -> Result<Vec<T>, Failure> {
        self.0.list(kind, namespace).iter().map(|o| o.parse().map_err(Failure::Stored)).collect()
    }

    /// Most objects of a namespace belong to others: their bytes rule them out without parsing.
    fn by_controller<T: DeserializeOwned>(
        self,
        kind: &Kind,
        namespace: &str,
        uid: &str,
        orphans: bool,
    ) -> Result<Vec<T>, Failure> {
        let mut found = Vec::new();
        for object in self.0.list(kind, namespace) {
            let is_orphan = || orphans && !mentions(&object, CONTROLLED);
            if !mentions(&object, uid) && !is_orphan() {
                continue;
            }
            let any: Any = object.parse()?;
            if any.metadata.controller().map_or(orphans, |owner| owner.uid == uid) {
                found.push(Object::parse(&object)?);
            }
        }
        Ok(found)
    }
}

/// Resources of built-in kinds.
pub(crate) fn resources(kinds: &[&Kind]) -> Vec<Gvr> {
    kinds.iter().map(|kind| gvr(kind)).collect()
}
