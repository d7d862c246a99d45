//! The Deployment controller; what it decides is `kinds::deployment::reconcile`.
//!
//! Invariant: it acts on ReplicaSets alone. A Pod that is gone wakes it only where Pods must be gone before others come.

use std::sync::Arc;

use base::Timestamp;
use client::{Delta, Gvr};
use kinds::Catalogue;
use kinds::deployment::KIND as DEPLOYMENTS;
use kinds::deployment::reconcile::{Observed, failed, next_name, reconcile};
use kinds::plan::{Failed, Plan};
use kinds::pod::KIND as PODS;
use kinds::replicaset::KIND as SETS;
use kinds::workload::index::label_selector;
use serde_json::Value;

use crate::driver::{Failure, Key};
use crate::reconcile::{Reads, Reconcile, resources};

/// The controller.
pub(crate) struct Deployments;

impl Reconcile for Deployments {
    const NAME: &'static str = "deployment-controller";
    type Observed = Observed;

    fn watches(&self, _: &Catalogue) -> Vec<Gvr> {
        resources(&[&DEPLOYMENTS, &SETS, &PODS])
    }

    fn routes(&self, reads: Reads<'_>, delta: &Delta) -> Vec<Key> {
        match delta.gvr.resource.as_str() {
            resource if resource == DEPLOYMENTS.plural => vec![Key::of(delta)],
            resource if resource == SETS.plural => reads.claimants(&DEPLOYMENTS, delta),
            _ if delta.after.is_none() => of_pod(reads, delta).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    fn observe(&self, reads: Reads<'_>, key: &Key) -> Result<Option<Observed>, Failure> {
        let deployment: Option<Value> = reads.one(&DEPLOYMENTS, &key.namespace, &key.name)?;
        let Some(deployment) = deployment else { return Ok(None) };
        let uid = deployment["metadata"]["uid"].as_str().unwrap_or_default();
        let selector = label_selector(&deployment);
        let sets: Vec<Value> = reads.selected(&SETS, &key.namespace, uid, &selector)?;
        let mut pods = Vec::new();
        if deployment["spec"]["strategy"]["type"] == "Recreate" {
            for set in &sets {
                let set = set["metadata"]["uid"].as_str().unwrap_or_default();
                pods.extend(reads.owned(&PODS, &key.namespace, set)?);
            }
        }
        let namesake = reads.one(&SETS, &key.namespace, &next_name(&deployment))?;
        Ok(Some(Observed { deployment, sets, namesake, pods }))
    }

    fn decide(&self, now: Timestamp, observed: &Observed) -> Result<Plan, serde_json::Error> {
        reconcile(now, observed)
    }

    fn failed(&self, now: Timestamp, observed: &Observed, why: &Failed) -> Result<Plan, serde_json::Error> {
        failed(now, observed, why)
    }
}

/// The Deployment of a Pod that is gone.
fn of_pod(reads: Reads<'_>, pod: &Delta) -> Option<Key> {
    let set = pod.owners.iter().find(|o| o.controller && o.is_a(&SETS.group, &SETS.kind))?;
    let set = reads.object(&SETS, &pod.namespace, &set.name)?;
    let owner = set.facts.controller().filter(|o| o.is_a(&DEPLOYMENTS.group, &DEPLOYMENTS.kind))?;
    Some(Key { name: Arc::from(&*owner.name), ..Key::of(pod) })
}
