//! The CronJob controller; what it decides is `kinds::cronjob::reconcile`.

use std::sync::Arc;

use base::Timestamp;
use client::{Delta, Gvr};
use kinds::Catalogue;
use kinds::cronjob::reconcile::{Observed, reconcile};
use kinds::cronjob::{ChildView, KIND as CRONJOBS};
use kinds::job::KIND as JOBS;
use kinds::plan::Plan;
use serde_json::Value;

use crate::driver::{Failure, Key};
use crate::reconcile::{Reads, Reconcile, resources};

/// The controller.
pub(crate) struct CronJobs;

impl Reconcile for CronJobs {
    const NAME: &'static str = "cronjob-controller";
    type Observed = Observed;

    fn watches(&self, _: &Catalogue) -> Vec<Gvr> {
        resources(&[&CRONJOBS, &JOBS])
    }

    fn routes(&self, _: Reads<'_>, delta: &Delta) -> Vec<Key> {
        if delta.gvr.resource == CRONJOBS.plural {
            return vec![Key::of(delta)];
        }
        let owner = delta.object().and_then(|job| job.facts.controller());
        let owner = owner.filter(|owner| owner.is_a(&CRONJOBS.group, &CRONJOBS.kind));
        owner.map(|owner| Key { name: Arc::from(&*owner.name), ..Key::of(delta) }).into_iter().collect()
    }

    fn observe(&self, reads: Reads<'_>, key: &Key) -> Result<Option<Observed>, Failure> {
        let cronjob: Option<Value> = reads.one(&CRONJOBS, &key.namespace, &key.name)?;
        let Some(cronjob) = cronjob else { return Ok(None) };
        let uid = cronjob["metadata"]["uid"].as_str().unwrap_or_default();
        let jobs: Vec<ChildView> = reads.owned(&JOBS, &key.namespace, uid)?;
        Ok(Some(Observed { cronjob, jobs }))
    }

    fn decide(&self, now: Timestamp, observed: &Observed) -> Result<Plan, serde_json::Error> {
        reconcile(now, observed)
    }
}
