//! The Job controller; what it decides is `kinds::job::claim` and `kinds::job::reconcile`.
//!
//! Invariant: a Pod with the tracking finalizer wakes itself where no Job is to be woken for it.

use base::Timestamp;
use client::{Delta, Gvr, Object};
use kinds::Catalogue;
use kinds::job::KIND as JOBS;
use kinds::job::claim::{Observed, Stray, reconcile};
use kinds::job::reconcile::{FINALIZER, JobView};
use kinds::plan::Plan;
use kinds::pod::KIND as PODS;
use kinds::workload::index::label_selector;
use serde_json::Value;

use crate::driver::{Failure, Key};
use crate::reconcile::{Reads, Reconcile, resources};

/// The controller.
pub(crate) struct Jobs;

impl Reconcile for Jobs {
    const NAME: &'static str = "job-controller";
    type Observed = Observed;

    fn watches(&self, _: &Catalogue) -> Vec<Gvr> {
        resources(&[&JOBS, &PODS])
    }

    fn routes(&self, reads: Reads<'_>, delta: &Delta) -> Vec<Key> {
        if delta.gvr.resource == PODS.plural {
            let mut keys = reads.claimants(&JOBS, delta);
            keys.extend(delta.after.as_ref().filter(|pod| is_stray(reads, pod)).map(stray_key));
            return keys;
        }
        let uid = |object: &Object| object.facts.uid.clone();
        let gone = delta
            .before
            .as_ref()
            .map(uid)
            .filter(|before| delta.after.as_ref().map(uid) != Some(before.clone()));
        let pods = gone.into_iter().flat_map(|uid| reads.held_by(&PODS, &delta.namespace, &uid));
        let mut keys: Vec<Key> = pods.filter(is_tracked).map(|pod| stray_key(&pod)).collect();
        keys.push(Key::of(delta));
        keys
    }

    fn observe(&self, reads: Reads<'_>, key: &Key) -> Result<Option<Observed>, Failure> {
        if *key.bucket == *PODS.bucket {
            let Some(object) = reads.object(&PODS, &key.namespace, &key.name) else { return Ok(None) };
            let owner = object.facts.controller().filter(|o| o.is_a(&JOBS.group, &JOBS.kind));
            let job: Option<JobView> = match owner {
                Some(owner) => reads.one(&JOBS, &key.namespace, &owner.name)?,
                None => None,
            };
            let job = job.filter(|job| owner.is_some_and(|owner| owner.uid == job.metadata.uid));
            let adopters = match object.facts.controller() {
                Some(_) => Vec::new(),
                None => reads.selecting(&JOBS, &object),
            };
            let adopters = adopters.iter().map(|job| reads.one(&JOBS, &job.namespace, &job.name));
            let adopters = adopters.filter_map(Result::transpose).collect::<Result<_, _>>()?;
            return Ok(Some(Observed::Stray(Box::new(Stray { pod: object.parse()?, job, adopters }))));
        }
        let job: Option<Value> = reads.one(&JOBS, &key.namespace, &key.name)?;
        let Some(job) = job else { return Ok(None) };
        let uid = job["metadata"]["uid"].as_str().unwrap_or_default();
        let pods = reads.selected(&PODS, &key.namespace, uid, &label_selector(&job))?;
        Ok(Some(Observed::Job { job, pods }))
    }

    fn decide(&self, now: Timestamp, observed: &Observed) -> Result<Plan, serde_json::Error> {
        reconcile(now, observed)
    }
}

fn stray_key(pod: &Object) -> Key {
    Key { bucket: PODS.bucket.clone(), namespace: pod.namespace.clone(), name: pod.name.clone() }
}

fn is_tracked(pod: &Object) -> bool {
    pod.facts.finalizers.iter().any(|f| **f == *FINALIZER)
}

/// Whether a Pod waits to be counted and its Job is not there, or it has none.
fn is_stray(reads: Reads<'_>, pod: &Object) -> bool {
    is_tracked(pod)
        && pod.facts.controller().is_none_or(|owner| {
            let job = reads.object(&JOBS, &pod.namespace, &owner.name);
            owner.is_a(&JOBS.group, &JOBS.kind) && job.is_none_or(|job| *job.facts.uid != owner.uid)
        })
}
