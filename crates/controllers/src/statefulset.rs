//! The StatefulSet controller; what it decides is `kinds::statefulset::reconcile`.

use base::Timestamp;
use client::{Delta, Gvr};
use kinds::Catalogue;
use kinds::controllerrevision::KIND as REVISIONS;
use kinds::plan::{Failed, Plan};
use kinds::pod::KIND as PODS;
use kinds::statefulset::KIND as SETS;
use kinds::statefulset::reconcile::{Observed, failed, reconcile};
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
        resources(&[&SETS, &REVISIONS, &PODS])
    }

    fn routes(&self, reads: Reads<'_>, delta: &Delta) -> Vec<Key> {
        if delta.gvr.resource == SETS.plural { vec![Key::of(delta)] } else { reads.claimants(&SETS, delta) }
    }

    fn observe(&self, reads: Reads<'_>, key: &Key) -> Result<Option<Observed>, Failure> {
        let set: Option<Value> = reads.one(&SETS, &key.namespace, &key.name)?;
        let Some(set) = set else { return Ok(None) };
        let (selector, uid) = (label_selector(&set), set["metadata"]["uid"].as_str().unwrap_or_default());
        Ok(Some(Observed {
            pods: reads.selected(&PODS, &key.namespace, uid, &selector)?,
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
