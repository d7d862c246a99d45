//! The Job controller's turn; what it decides is `kinds::job::reconcile`.
//!
//! Invariant: Pods whose Job is gone lose their tracking finalizer, so that they can go too.

use std::sync::Arc;

use async_trait::async_trait;
use client::{Gvr, Object, Wake};
use kinds::job::reconcile::{FINALIZER, Observed, reconcile, unfinalize};
use kinds::plan::Plan;
use kinds::view::{Any, PodView};
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

    fn watches(&self) -> Vec<Gvr> {
        vec![gvr(&kinds::job::KIND), gvr(&kinds::pod::KIND)]
    }

    fn keys(&self, _context: &Context, wake: &Wake) -> Vec<Key> {
        if wake.gvr.resource == kinds::job::KIND.plural {
            return vec![Key::of(wake)];
        }
        let owner = wake.owners.iter().find(|o| o.controller);
        match owner {
            Some(owner) if owner.kind == "Job" => {
                vec![Key { bucket: "", namespace: wake.namespace.clone(), name: Arc::from(&*owner.name) }]
            }
            Some(_) => Vec::new(),
            None => vec![Key { bucket: PODS, ..Key::of(wake) }],
        }
    }

    async fn sync(&self, context: &Context, key: &Key) -> Turn {
        let plan = if key.bucket == PODS { ownerless(context, key)? } else { job(context, key)? };
        context.execute(plan).await
    }
}

/// A Pod that lost its Job by orphaning keeps the finalizer no longer.
fn ownerless(context: &Context, key: &Key) -> Result<Plan, Failure> {
    let mut plan = Plan::default();
    let Some(object) = context.get(&kinds::pod::KIND, &key.namespace, &key.name) else { return Ok(plan) };
    if mentions(&object, FINALIZER) {
        let pod: PodView = object.parse()?;
        if pod.metadata.controller().is_none() && pod.metadata.has_finalizer(FINALIZER) {
            plan.stage(vec![unfinalize(&pod)]);
        }
    }
    Ok(plan)
}

fn job(context: &Context, key: &Key) -> Result<Plan, Failure> {
    let wants = [&kinds::job::KIND, &kinds::pod::KIND]
        .map(|kind| client::Want { gvr: gvr(kind), namespace: key.namespace.to_string() });
    let snapshot = context.snapshots.snapshot(&wants);
    let [jobs, pods] = &snapshot.sets[..] else { return Ok(Plan::default()) };
    let job = jobs.iter().find(|o| *o.name == *key.name);
    let uid = job.map(Object::parse::<Any>).transpose()?.map(|j| j.metadata.uid);
    let quoted = format!("\"{}\"", key.name);
    let mut mine = Vec::new();
    let mut orphans = Vec::new();
    for object in pods {
        // Most Pods of a namespace belong to others; the name of the Job rules them out without parsing.
        if !mentions(object, &quoted) {
            continue;
        }
        let pod: PodView = object.parse()?;
        let Some(owner) = pod.metadata.controller() else { continue };
        if owner.kind != "Job" || *owner.name != *key.name {
            continue;
        }
        if Some(&owner.uid) == uid.as_ref() {
            mine.push(pod);
        } else if pod.metadata.has_finalizer(FINALIZER) {
            orphans.push(unfinalize(&pod));
        }
    }
    let mut plan = match job {
        Some(job) => reconcile(context.now(), &Observed { job: job.parse::<Value>()?, pods: mine })?,
        None => Plan::default(),
    };
    plan.stage(orphans);
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
