//! The Job controller's turn; what it decides is `kinds::job::reconcile`.
//!
//! Invariant: Pods whose Job is gone lose their tracking finalizer, so that they can go too.

use std::sync::Arc;

use async_trait::async_trait;
use base::labels::Selector;
use client::{Gvr, Object, Wake};
use kinds::Catalogue;
use kinds::job::reconcile::{FINALIZER, JobView, Observed, claimant, reconcile, unfinalize};
use kinds::plan::Plan;
use kinds::view::PodView;
use serde_json::Value;

use crate::context::{Context, gvr};
use crate::driver::{Controller, Failure, Key, Turn};

/// The bucket of keys that name a Pod without an owner.
const PODS: &str = "pods";

/// The Job controller.
pub(crate) struct Jobs;

#[async_trait]
impl Controller for Jobs {
    fn name(&self) -> &'static str {
        "job-controller"
    }

    fn watches(&self, _: &Catalogue) -> Vec<Gvr> {
        vec![gvr(&kinds::job::KIND), gvr(&kinds::pod::KIND)]
    }

    fn keys(&self, _context: &Context, wake: &Wake) -> Vec<Key> {
        if wake.gvr.resource == kinds::job::KIND.plural {
            return vec![Key::of(wake)];
        }
        let owner = wake.owners.iter().find(|o| o.controller);
        match owner {
            Some(owner) if owner.is_a("batch", "Job") => {
                vec![Key {
                    bucket: Arc::default(),
                    namespace: wake.namespace.clone(),
                    name: Arc::from(&*owner.name),
                }]
            }
            Some(_) => Vec::new(),
            None => vec![Key { bucket: PODS.into(), ..Key::of(wake) }],
        }
    }

    async fn sync(&self, context: &Context, key: &Key) -> Turn {
        let plan = if *key.bucket == *PODS { ownerless(context, key)? } else { job(context, key)? };
        context.execute(plan).await
    }
}

/// A Pod without a controller is adopted by the Job that selects it. Otherwise it is one that lost its Job by orphaning,
/// and keeps the finalizer no longer.
fn ownerless(context: &Context, key: &Key) -> Result<Plan, Failure> {
    let mut plan = Plan::default();
    let pod: Option<PodView> = context.read(&kinds::pod::KIND, &key.namespace, &key.name)?;
    let Some(pod) = pod.filter(|p| p.metadata.controller().is_none()) else { return Ok(plan) };
    let adopter = if pod.metadata.deleting() { None } else { adopter(context, &pod)? };
    if let Some(job) = adopter {
        plan.stage(vec![claimant(&job, &Selector::nothing()).adopt(&kinds::pod::KIND, &pod.metadata)]);
    } else if pod.metadata.has_finalizer(FINALIZER) {
        plan.stage(vec![unfinalize(&pod)]);
    }
    Ok(plan)
}

fn adopter(context: &Context, pod: &PodView) -> Result<Option<JobView>, Failure> {
    if pod.metadata.labels.is_empty() {
        return Ok(None);
    }
    for object in context.list(&kinds::job::KIND, &pod.metadata.namespace) {
        let job: JobView = object.parse()?;
        if !job.metadata.deleting() && job.end().is_none() && selects(&job, pod)? == Some(true) {
            return Ok(Some(job));
        }
    }
    Ok(None)
}

/// Whether the Job's selector matches the Pod; `None` if it has no selector yet.
fn selects(job: &JobView, pod: &PodView) -> Result<Option<bool>, Failure> {
    let selector = job.selector().map_err(serde::de::Error::custom).map_err(Failure::Stored)?;
    Ok(selector.map(|s| s.matches(&pod.metadata.labels)))
}

fn job(context: &Context, key: &Key) -> Result<Plan, Failure> {
    let wants = [&kinds::job::KIND, &kinds::pod::KIND]
        .map(|kind| client::Want { gvr: gvr(kind), namespace: key.namespace.to_string() });
    let snapshot = context.snapshots.snapshot(&wants);
    let [jobs, pods] = &snapshot.sets[..] else { return Ok(Plan::default()) };
    let stored = jobs.iter().find(|o| *o.name == *key.name);
    let job: Option<JobView> = stored.map(Object::parse).transpose()?;
    let nothing = Selector::nothing();
    let quoted = format!("\"{}\"", key.name);
    let (mut mine, mut strays) = (Vec::new(), Vec::new());
    // Most Pods of a namespace belong to others; the name of the Job rules them out without parsing.
    for object in pods.iter().filter(|o| mentions(o, &quoted)) {
        let pod: PodView = object.parse()?;
        let owner = pod.metadata.controller();
        let Some(owner) = owner.filter(|o| o.is_a(&kinds::job::KIND) && *o.name == *key.name) else {
            continue;
        };
        match job.as_ref().filter(|j| j.metadata.uid == owner.uid) {
            Some(job) if !job.metadata.deleting() && selects(job, &pod)? == Some(false) => {
                let claimant = claimant(job, &nothing);
                strays.push(claimant.release(&kinds::pod::KIND, &pod.metadata));
            }
            Some(_) => mine.push(pod),
            None if pod.metadata.has_finalizer(FINALIZER) => strays.push(unfinalize(&pod)),
            None => {}
        }
    }
    let mut plan = match stored {
        Some(stored) => reconcile(context.now(), &Observed { job: stored.parse::<Value>()?, pods: mine })?,
        None => Plan::default(),
    };
    plan.stage(strays);
    Ok(plan)
}

/// Whether the text occurs anywhere in the object.
pub(crate) fn mentions(object: &Object, text: &str) -> bool {
    let (Some(first), json) = (text.as_bytes().first(), &object.json[..]) else { return true };
    let mut rest = json;
    while let Some(at) = rest.iter().position(|b| b == first) {
        rest = &rest[at..];
        if rest.starts_with(text.as_bytes()) {
            return true;
        }
        rest = &rest[1..];
    }
    false
}
