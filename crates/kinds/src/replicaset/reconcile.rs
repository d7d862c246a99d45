//! What a ReplicaSet needs next (`pkg/controller/replicaset`), and a ReplicationController, which is the same in another
//! [`Form`]: Pods made or removed, and its status told.
//!
//! Invariants: whose Pods are whose is settled before any is made or removed; at most [`BURST`] Pods in one turn; the
//! status tells of the Pods seen, not of those about to be made.

use base::Timestamp;
use serde_json::{Value, json};

use super::view::ReplicaSetView;
use crate::kind::Row;
use crate::plan::{Deed, Failed, Plan, Reference, Write};
use crate::view::PodView;
use crate::workload::claim::Claimant;
use crate::workload::conditions::{Conditions, Says};
use crate::workload::status::Status;
use crate::workload::{BURST, pods, rank, ready};

const FAILURE: &str = "ReplicaFailure";

/// A kind that keeps a number of Pods.
#[derive(Debug)]
pub struct Form {
    /// Its row.
    pub kind: &'static Row,
    /// Reads one.
    pub view: fn(&Value) -> Result<ReplicaSetView, serde_json::Error>,
    /// Whether its status counts the Pods that are going.
    pub tells_terminating: bool,
}

/// A ReplicaSet and what may be its.
#[derive(Debug, Default)]
pub struct Observed {
    /// The stored object.
    pub set: Value,
    /// Its Pods, and those without a controller.
    pub pods: Vec<PodView>,
    /// The Pods of all ReplicaSets with the same owner, its own included.
    pub related: Vec<PodView>,
}

/// Decides.
///
/// # Errors
/// If the stored object does not fit its type.
pub fn reconcile(form: &Form, now: Timestamp, observed: &Observed) -> Result<Plan, serde_json::Error> {
    let turn = Turn::new(form, now, observed)?;
    let mut plan = turn.plan();
    plan.stage(turn.claims.clone());
    if !turn.set.metadata.deleting() {
        plan.stage(turn.adjust());
    }
    plan.stage(turn.status(None).into_iter().collect());
    if let Some(at) = turn.next_available() {
        plan.wake(at);
    }
    Ok(plan)
}

/// What is told after Pods could not be made or removed.
///
/// # Errors
/// If the stored object does not fit its type.
pub fn failed(
    form: &Form,
    now: Timestamp,
    observed: &Observed,
    failed: &Failed,
) -> Result<Plan, serde_json::Error> {
    let turn = Turn::new(form, now, observed)?;
    let mut plan = turn.plan();
    if failed.kind.is(&crate::pod::KIND) {
        plan.stage(turn.status(Some(failed)).into_iter().collect());
    }
    Ok(plan)
}

struct Turn<'a> {
    form: &'a Form,
    now: Timestamp,
    stored: &'a Value,
    set: ReplicaSetView,
    claims: Vec<Write>,
    active: Vec<&'a PodView>,
    terminating: usize,
    related: &'a [PodView],
}

impl<'a> Turn<'a> {
    fn new(form: &'a Form, now: Timestamp, observed: &'a Observed) -> Result<Self, serde_json::Error> {
        let set = (form.view)(&observed.set)?;
        let selector = set.selector().map_err(serde::de::Error::custom)?;
        let claimant =
            Claimant { kind: form.kind, meta: &set.metadata, selector: &selector, finalizers: &[] };
        let living: Vec<&PodView> = observed.pods.iter().filter(|p| !p.finished()).collect();
        let claimed = claimant.claim(&crate::pod::KIND, living, |p| &p.metadata);
        let (going, active): (Vec<_>, Vec<_>) = claimed.mine.into_iter().partition(|p| p.metadata.deleting());
        let (stored, related) = (&observed.set, &observed.related[..]);
        Ok(Self { form, now, stored, set, claims: claimed.writes, active, terminating: going.len(), related })
    }

    fn plan(&self) -> Plan {
        Plan::about(Reference::new(self.form.kind, &self.set.metadata))
    }

    fn wanted(&self) -> usize {
        usize::try_from(self.set.spec.replicas).unwrap_or(0)
    }

    /// Pods to make or to remove.
    fn adjust(&self) -> Vec<Write> {
        let meta = &self.set.metadata;
        let missing = self.wanted().saturating_sub(self.active.len()).min(BURST);
        if missing > 0 {
            let pod = pods::from_template(&self.set.spec.template, self.form.kind, meta);
            return (0..missing).map(|_| pods::create(pod.clone(), &meta.namespace)).collect();
        }
        let surplus = self.active.len().saturating_sub(self.wanted()).min(BURST);
        let mut doomed = self.active.clone();
        if surplus < doomed.len() {
            rank::sort(&mut doomed, self.related, self.now);
        }
        doomed.into_iter().take(surplus).map(pods::delete).collect()
    }

    fn status(&self, failed: Option<&Failed>) -> Option<Write> {
        let min = self.set.spec.min_ready_seconds;
        let template = self.set.spec.template["metadata"]["labels"].as_object();
        let labeled = |p: &&&PodView| {
            let has = |(key, value): (&String, &Value)| {
                p.metadata.labels.get(key).map(String::as_str) == value.as_str()
            };
            template.into_iter().flatten().all(has)
        };
        let available = |p: &&&PodView| ready::available_at(p, min).is_some_and(|at| at <= self.now);
        let mut status = Status::default();
        status.set("replicas", json!(self.active.len()));
        status.number("fullyLabeledReplicas", count(self.active.iter().filter(labeled)));
        status.number("readyReplicas", count(self.active.iter().filter(|p| p.ready())));
        status.number("availableReplicas", count(self.active.iter().filter(available)));
        if self.form.tells_terminating {
            status.set("terminatingReplicas", json!(self.terminating));
        }
        status.number("observedGeneration", self.set.metadata.generation);
        status.set("conditions", json!(self.conditions(failed).into_list()));
        status.write(self.form.kind, self.stored)
    }

    /// The first failure stays told until a turn goes well.
    fn conditions(&self, failed: Option<&Failed>) -> Conditions {
        let mut conditions = Conditions::of(&self.stored["status"]);
        match failed {
            None => conditions.remove(FAILURE),
            Some(failed) if conditions.get(FAILURE).is_none() => {
                let reason = if failed.deed == Deed::Create { "FailedCreate" } else { "FailedDelete" };
                conditions.set(FAILURE, Says { status: "True", reason, message: &failed.message }, self.now);
            }
            Some(_) => {}
        }
        conditions
    }

    /// When the next Pod becomes available by itself.
    fn next_available(&self) -> Option<Timestamp> {
        let at = |p: &&PodView| ready::available_at(p, self.set.spec.min_ready_seconds);
        self.active.iter().filter_map(at).filter(|at| *at > self.now).min()
    }
}

fn count<'a>(pods: impl Iterator<Item = &'a &'a PodView>) -> i64 {
    i64::try_from(pods.count()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;
