//! The ReplicaSet controller; what it decides is `kinds::replicaset::reconcile`.
//!
//! Invariant: a Pod without a controller wakes every ReplicaSet that selects it.

use base::Timestamp;
use client::{Delta, Gvr};
use kinds::Catalogue;
use kinds::plan::{Failed, Plan};
use kinds::pod::KIND as PODS;
use kinds::replicaset::reconcile::{Observed, failed, reconcile};
use kinds::replicaset::{KIND as SETS, ReplicaSetView};
use kinds::view::{Any, PodView};
use serde::Deserialize;
use serde_json::Value;

use crate::driver::{Failure, Key};
use crate::reconcile::{Reads, Reconcile, resources};

/// The controller.
pub(crate) struct ReplicaSets;

impl Reconcile for ReplicaSets {
    const NAME: &'static str = "replicaset-controller";
    type Observed = Observed;

    fn watches(&self, _: &Catalogue) -> Vec<Gvr> {
        resources(&[&SETS, &PODS])
    }

    fn routes(&self, reads: Reads<'_>, delta: &Delta) -> Vec<Key> {
        if delta.gvr.resource == SETS.plural { vec![Key::of(delta)] } else { reads.claimants(&SETS, delta) }
    }

    fn observe(&self, reads: Reads<'_>, key: &Key) -> Result<Option<Observed>, Failure> {
        let set: Option<Value> = reads.one(&SETS, &key.namespace, &key.name)?;
        let Some(set) = set else { return Ok(None) };
        let view = ReplicaSetView::deserialize(&set)?;
        let selector = view.selector().map_err(serde::de::Error::custom).map_err(Failure::Stored)?;
        let pods: Vec<PodView> = reads.selected(&PODS, &key.namespace, &view.metadata.uid, &selector)?;
        let mine = pods.iter().filter(|p| p.metadata.controller().is_some() && p.active()).count();
        let too_many = mine > usize::try_from(view.spec.replicas).unwrap_or(0);
        let related = if too_many { related(reads, key, &view)? } else { Vec::new() };
        Ok(Some(Observed { set, pods, related }))
    }

    fn decide(&self, now: Timestamp, observed: &Observed) -> Result<Plan, serde_json::Error> {
        reconcile(now, observed)
    }

    fn failed(&self, now: Timestamp, observed: &Observed, why: &Failed) -> Result<Plan, serde_json::Error> {
        failed(now, observed, why)
    }
}

/// The Pods of all sets with the same owner; without an owner the set's own.
fn related(reads: Reads<'_>, key: &Key, set: &ReplicaSetView) -> Result<Vec<PodView>, Failure> {
    let Some(owner) = set.metadata.controller() else {
        return reads.owned(&PODS, &key.namespace, &set.metadata.uid);
    };
    let sets: Vec<Any> = reads.owned(&SETS, &key.namespace, &owner.uid)?;
    let mut pods = Vec::new();
    for set in sets {
        pods.extend(reads.owned::<PodView>(&PODS, &key.namespace, &set.metadata.uid)?);
    }
    Ok(pods)
}
