//! The namespace controller; what it decides is `kinds::namespace::reconcile`.
//!
//! Invariant: a change in a namespace that lives costs one look-up; of one that goes, its turn comes when something comes,
//! is held by other finalizers, or was the last of its kind, and else every few seconds.

use base::Timestamp;
use client::{Delta, Gvr, Object, Want};
use kinds::Catalogue;
use kinds::namespace::KIND as NAMESPACES;
use kinds::namespace::reconcile::{Content, terminate};
use kinds::plan::Plan;
use serde_json::Value;

use crate::context::gvr;
use crate::driver::{Failure, Key};
use crate::reconcile::{Reads, Reconcile};

/// The controller.
pub(crate) struct Namespaces;

impl Reconcile for Namespaces {
    const NAME: &'static str = "namespace-controller";
    /// The namespace and what is in it.
    type Observed = (Value, Vec<Content>);

    fn watches(&self, catalogue: &Catalogue) -> Vec<Gvr> {
        std::iter::once(&*NAMESPACES).chain(catalogue.namespaced()).map(|k| gvr(k)).collect()
    }

    fn routes(&self, reads: Reads<'_>, delta: &Delta) -> Vec<Key> {
        if delta.namespace.is_empty() {
            return vec![Key::of(delta)];
        }
        let namespace = reads.object(&NAMESPACES, "", &delta.namespace);
        let matters = || match (&delta.before, &delta.after) {
            (Some(before), Some(after)) => before.facts.finalizers != after.facts.finalizers,
            (_, Some(_)) => true,
            (_, None) => {
                let want = Want { gvr: (*delta.gvr).clone(), namespace: delta.namespace.to_string() };
                reads.is_empty(&want)
            }
        };
        let goes = namespace.is_some_and(|n| n.facts.deleting) && matters();
        goes.then(|| Key::new("", "", &delta.namespace)).into_iter().collect()
    }

    fn observe(&self, reads: Reads<'_>, key: &Key) -> Result<Option<Self::Observed>, Failure> {
        let stored: Option<Value> = reads.one(&NAMESPACES, "", &key.name)?;
        let stored = stored.filter(|n| n["metadata"]["deletionTimestamp"].is_string());
        let Some(stored) = stored else { return Ok(None) };
        let catalogue = reads.catalogue();
        let kinds: Vec<_> = catalogue.namespaced().cloned().collect();
        let sets = reads.collections(&kinds, &key.name);
        let facts = |set: Vec<Object>| set.into_iter().map(|object| object.facts).collect();
        let content = kinds.into_iter().zip(sets).map(|(kind, set)| Content { kind, objects: facts(set) });
        Ok(Some((stored, content.collect())))
    }

    fn decide(&self, now: Timestamp, (stored, content): &Self::Observed) -> Result<Plan, serde_json::Error> {
        terminate(now, stored, content)
    }
}
