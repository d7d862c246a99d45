//! The controllers of ReplicaSets and of ReplicationControllers; what they decide is `kinds::replicaset::reconcile`, in the
//! form of each kind.
//!
//! Invariant: a Pod without a controller wakes every set that selects it.

use base::Timestamp;
use client::{Delta, Gvr};
use kinds::Catalogue;
use kinds::plan::{Failed, Plan};
use kinds::pod::KIND as PODS;
use kinds::replicaset::reconcile::{Form, Observed, failed, reconcile};
use kinds::replicaset::{self, ReplicaSetView};
use kinds::replicationcontroller;
use kinds::view::{Any, PodView};
use serde_json::Value;

use crate::driver::{Failure, Key};
use crate::reconcile::{Reads, Reconcile, resources};

/// The controller of ReplicaSets.
pub(crate) struct ReplicaSets;

/// The controller of ReplicationControllers.
pub(crate) struct ReplicationControllers;

impl Reconcile for ReplicaSets {
    const NAME: &'static str = "replicaset-controller";
    type Observed = Observed;

    fn watches(&self, _: &Catalogue) -> Vec<Gvr> {
        resources(&[&replicaset::KIND, &PODS])
    }
    fn routes(&self, reads: Reads<'_>, delta: &Delta) -> Vec<Key> {
        routes(&replicaset::FORM, reads, delta)
    }
    fn observe(&self, reads: Reads<'_>, key: &Key) -> Result<Option<Observed>, Failure> {
        observe(&replicaset::FORM, reads, key)
    }
    fn decide(&self, now: Timestamp, observed: &Observed) -> Result<Plan, serde_json::Error> {
        reconcile(&replicaset::FORM, now, observed)
    }
    fn failed(&self, now: Timestamp, observed: &Observed, why: &Failed) -> Result<Plan, serde_json::Error> {
        failed(&replicaset::FORM, now, observed, why)
    }
}

impl Reconcile for ReplicationControllers {
    const NAME: &'static str = "replication-controller";
    type Observed = Observed;

    fn watches(&self, _: &Catalogue) -> Vec<Gvr> {
        resources(&[&replicationcontroller::KIND, &PODS])
    }
    fn routes(&self, reads: Reads<'_>, delta: &Delta) -> Vec<Key> {
        routes(&replicationcontroller::FORM, reads, delta)
    }
    fn observe(&self, reads: Reads<'_>, key: &Key) -> Result<Option<Observed>, Failure> {
        observe(&replicationcontroller::FORM, reads, key)
    }
    fn decide(&self, now: Timestamp, observed: &Observed) -> Result<Plan, serde_json::Error> {
        reconcile(&replicationcontroller::FORM, now, observed)
    }
    fn failed(&self, now: Timestamp, observed: &Observed, why: &Failed) -> Result<Plan, serde_json::Error> {
        failed(&replicationcontroller::FORM, now, observed, why)
    }
}

fn routes(form: &Form, reads: Reads<'_>, delta: &Delta) -> Vec<Key> {
    let is_set = delta.gvr.resource == form.kind.plural;
    if is_set { vec![Key::of(delta)] } else { reads.claimants(form.kind, delta) }
}

fn observe(form: &Form, reads: Reads<'_>, key: &Key) -> Result<Option<Observed>, Failure> {
    let set: Option<Value> = reads.one(form.kind, &key.namespace, &key.name)?;
    let Some(set) = set else { return Ok(None) };
    let view = (form.view)(&set)?;
    let selector = view.selector().map_err(serde::de::Error::custom).map_err(Failure::Stored)?;
    let pods: Vec<PodView> = reads.selected(&PODS, &key.namespace, &view.metadata.uid, &selector)?;
    let mine = pods.iter().filter(|p| p.metadata.controller().is_some() && p.active()).count();
    let too_many = mine > usize::try_from(view.spec.replicas).unwrap_or(0);
    let related = if too_many { related(form, reads, key, &view)? } else { Vec::new() };
    Ok(Some(Observed { set, pods, related }))
}

/// The Pods of all sets with the same owner; without an owner the set's own.
fn related(form: &Form, reads: Reads<'_>, key: &Key, set: &ReplicaSetView) -> Result<Vec<PodView>, Failure> {
    let Some(owner) = set.metadata.controller() else {
        return reads.owned(&PODS, &key.namespace, &set.metadata.uid);
    };
    let sets: Vec<Any> = reads.owned(form.kind, &key.namespace, &owner.uid)?;
    let mut pods = Vec::new();
    for set in sets {
        pods.extend(reads.owned::<PodView>(&PODS, &key.namespace, &set.metadata.uid)?);
    }
    Ok(pods)
}
