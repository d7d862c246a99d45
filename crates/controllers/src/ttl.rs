//! Deletes finished Jobs `ttlSecondsAfterFinished` after their end (`pkg/controller/ttlafterfinished`).

use base::Timestamp;
use client::{Delta, Gvr};
use kinds::Catalogue;
use kinds::job::KIND as JOBS;
use kinds::job::reconcile::{JobView, expires_at};
use kinds::plan::{Action, Plan, Write};
use kinds::rules::deletion::{Deletion, Propagation};

use crate::driver::{Failure, Key};
use crate::reconcile::{Reads, Reconcile, resources};

/// The controller.
pub(crate) struct TimeToLive;

impl Reconcile for TimeToLive {
    const NAME: &'static str = "ttl-after-finished-controller";
    type Observed = JobView;

    fn watches(&self, _: &Catalogue) -> Vec<Gvr> {
        resources(&[&JOBS])
    }

    fn routes(&self, _: Reads<'_>, delta: &Delta) -> Vec<Key> {
        vec![Key::of(delta)]
    }

    fn observe(&self, reads: Reads<'_>, key: &Key) -> Result<Option<JobView>, Failure> {
        reads.one(&JOBS, &key.namespace, &key.name)
    }

    fn decide(&self, now: Timestamp, job: &JobView) -> Result<Plan, serde_json::Error> {
        let mut plan = Plan::default();
        let meta = &job.metadata;
        match expires_at(job).filter(|_| !meta.deleting()) {
            None => {}
            Some(at) if at > now => plan.wake(at),
            Some(_) => {
                let options = Deletion::of(&meta.uid).then(Propagation::Foreground).body();
                plan.stage(vec![Write::new(&JOBS, &meta.namespace, &meta.name, Action::Delete(options))]);
            }
        }
        Ok(plan)
    }
}
