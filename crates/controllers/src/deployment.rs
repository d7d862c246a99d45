//! The Deployment controller; what it decides is `kinds::deployment::reconcile`.
//!
//! Invariant: it acts on ReplicaSets alone. A Pod that is gone wakes it only where Pods must be gone before others come.

use std::sync::Arc;

use base::Timestamp;
use client::{Gvr, Owner, Wake};
use kinds::deployment::reconcile::{Observed, failed, next_name, reconcile};
use kinds::deployment::{DeploymentView, KIND as DEPLOYMENTS};
use kinds::plan::{Failed, Plan};
use kinds::pod::KIND as PODS;
use kinds::replicaset::KIND as SETS;
use kinds::view::Any;
use kinds::{Catalogue, Kind};
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

    fn routes(&self, reads: Reads<'_>, wake: &Wake) -> Vec<Key> {
        if wake.gvr.resource == DEPLOYMENTS.plural {
            return vec![Key::of(wake)];
        }
        let owner = wake.owners.iter().find(|o| o.controller);
        let keys = if wake.gvr.resource == PODS.plural {
            of_pod(reads, wake, owner)
        } else if let Some(owner) = owner {
            Ok(named(wake, &DEPLOYMENTS, owner).into_iter().collect())
        } else {
            selecting(reads, wake)
        };
        keys.unwrap_or_else(|failure| {
            tracing::warn!(name = %wake.name, resource = wake.gvr.resource, "a change wakes nobody: {failure}");
            Vec::new()
        })
    }

    fn observe(&self, reads: Reads<'_>, key: &Key) -> Result<Option<Observed>, Failure> {
        let deployment: Option<Value> = reads.one(&DEPLOYMENTS, &key.namespace, &key.name)?;
        let Some(deployment) = deployment else { return Ok(None) };
        let uid = deployment["metadata"]["uid"].as_str().unwrap_or_default();
        let sets: Vec<Value> = reads.claimable(&SETS, &key.namespace, uid)?;
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

fn named(wake: &Wake, kind: &Kind, owner: &Owner) -> Option<Key> {
    owner.is_a(&kind.group, &kind.kind).then(|| Key { name: Arc::from(&*owner.name), ..Key::of(wake) })
}

/// The Deployment of a Pod that is gone.
fn of_pod(reads: Reads<'_>, wake: &Wake, owner: Option<&Owner>) -> Result<Vec<Key>, Failure> {
    let Some(set) = owner.and_then(|o| named(wake, &SETS, o)) else { return Ok(Vec::new()) };
    if reads.has(&PODS, &wake.namespace, &wake.name) {
        return Ok(Vec::new());
    }
    let set: Option<Any> = reads.one(&SETS, &set.namespace, &set.name)?;
    let owner = set.as_ref().and_then(|s| s.metadata.controller()).filter(|o| o.is_a(&DEPLOYMENTS));
    Ok(owner.map(|o| Key { name: Arc::from(&*o.name), ..Key::of(wake) }).into_iter().collect())
}

/// The Deployments that select a ReplicaSet without a controller.
fn selecting(reads: Reads<'_>, wake: &Wake) -> Result<Vec<Key>, Failure> {
    let set: Option<Any> = reads.one(&SETS, &wake.namespace, &wake.name)?;
    let labels = set.map(|s| s.metadata.labels).unwrap_or_default();
    let all: Vec<DeploymentView> = reads.all(&DEPLOYMENTS, &wake.namespace)?;
    let selects = |d: &&DeploymentView| d.selector().is_ok_and(|s| s.matches(&labels));
    let key = |d: &DeploymentView| Key { name: Arc::from(&*d.metadata.name), ..Key::of(wake) };
    Ok(all.iter().filter(selects).map(key).collect())
}
