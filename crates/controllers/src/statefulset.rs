//! The StatefulSet controller; what it decides is `kinds::statefulset::reconcile`.

use base::Timestamp;
use client::{Delta, Gvr};
use kinds::Catalogue;
use kinds::controllerrevision::KIND as REVISIONS;
use kinds::persistentvolumeclaim::KIND as CLAIMS;
use kinds::plan::{Failed, Plan};
use kinds::pod::KIND as PODS;
use kinds::statefulset::KIND as SETS;
use kinds::statefulset::reconcile::{Observed, claim_names, failed, reconcile};
use kinds::view::PodView;
use kinds::workload::index::label_selector;
use kinds::workload::revisions::next_name;
use serde_json::Value;

use crate::driver::{Failure, Key};
use crate::reconcile::{Reads, Reconcile, resources};

/// The controller.
pub(crate) struct StatefulSets;

impl Reconcile for StatefulSets {
    const NAME: &'static str = "statefulset-controller";
    type Observed = Observed;

    fn watches(&self, _: &Catalogue) -> Vec<Gvr> {
        resources(&[&SETS, &REVISIONS, &PODS, &CLAIMS])
    }

    fn routes(&self, reads: Reads<'_>, delta: &Delta) -> Vec<Key> {
        match delta.gvr.resource.as_str() {
            "statefulsets" => vec![Key::of(delta)],
            // A claim that is gone; who has its labels may want another.
            "persistentvolumeclaims" => match (&delta.before, &delta.after) {
                (Some(claim), None) => reads.selecting(&SETS, claim),
                _ => Vec::new(),
            },
            _ => reads.claimants(&SETS, delta),
        }
    }

    fn observe(&self, reads: Reads<'_>, key: &Key) -> Result<Option<Observed>, Failure> {
        let set: Option<Value> = reads.one(&SETS, &key.namespace, &key.name)?;
        let Some(set) = set else { return Ok(None) };
        let (selector, uid) = (label_selector(&set), set["metadata"]["uid"].as_str().unwrap_or_default());
        let pods: Vec<PodView> = reads.selected(&PODS, &key.namespace, uid, &selector)?;
        let mut claims = Vec::new();
        for name in claim_names(&set, pods.iter().map(|pod| &*pod.metadata.name)).map_err(Failure::Stored)? {
            claims.extend(reads.one::<Value>(&CLAIMS, &key.namespace, &name)?);
        }
        Ok(Some(Observed {
            pods,
            claims,
            revisions: reads.selected(&REVISIONS, &key.namespace, uid, &selector)?,
            namesake: reads.one(&REVISIONS, &key.namespace, &next_name(&set))?,
            set,
        }))
    }

    fn decide(&self, now: Timestamp, observed: &Observed) -> Result<Plan, serde_json::Error> {
        reconcile(now, observed)
    }

    fn failed(&self, now: Timestamp, observed: &Observed, why: &Failed) -> Result<Plan, serde_json::Error> {
        failed(now, observed, why)
    }
}
