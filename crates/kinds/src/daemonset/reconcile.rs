//! What a DaemonSet needs next (`pkg/controller/daemon`): Pods made for nodes and removed from them, revisions kept, its
//! status told.
//!
//! Invariants: whose Pods and revisions are whose is settled first; the present template has its revision before a Pod is
//! made of it; a rollout goes on only in turns in which every node has the Pods it is to have; a DaemonSet that is being
//! deleted is left alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::nodes::{Belongs, NodeView, pod};
use super::rolling;
use super::view::{DaemonSetView, target};
use crate::controllerrevision::KIND as REVISIONS;
use crate::plan::{Action, Failed, Notice, Plan, Reference, Write};
use crate::pod::KIND as PODS;
use crate::view::PodView;
use crate::workload::claim::Claimant;
use crate::workload::history::{self, oldest_idle};
use crate::workload::revisions::{self, REVISION_HASH, Revision, Revisions};
use crate::workload::status::Status;
use crate::workload::surge::scaled;
use crate::workload::{pods, ready};

/// At most so many Pods are made and so many removed in one turn (upstream's `BurstReplicas` of DaemonSets).
const BURST: usize = 250;

/// A DaemonSet, what may be its, and where its Pods may run.
#[derive(Debug, Default)]
pub struct Observed {
    /// The stored object.
    pub set: Value,
    /// Its Pods, and those without a controller.
    pub pods: Vec<PodView>,
    /// Its revisions, and those without a controller.
    pub revisions: Vec<Revision>,
    /// The revision that has the name the next one would have ([`revisions::next_name`]), if there is one.
    pub namesake: Option<Revision>,
    /// All nodes, read once for each of their versions.
    pub nodes: Vec<Arc<NodeView>>,
    /// Until when failed Pods are left on a node, so that it is not asked for more at once.
    pub waits: BTreeMap<String, Timestamp>,
}

/// Decides.
///
/// # Errors
/// If a stored object does not fit its type.
pub fn reconcile(now: Timestamp, observed: &Observed) -> Result<Plan, serde_json::Error> {
    let set = DaemonSetView::deserialize(&observed.set)?;
    let mut plan = Plan::about(Reference::new(&super::KIND, &set.metadata));
    if set.metadata.deleting() {
        return Ok(plan);
    }
    let turn = Turn::new(now, observed, &set, &mut plan)?;
    turn.run(&mut plan);
    Ok(plan)
}

/// What is told after a write was refused: how far it is.
///
/// # Errors
/// If a stored object does not fit its type.
pub fn failed(now: Timestamp, observed: &Observed, failed: &Failed) -> Result<Plan, serde_json::Error> {
    let set = DaemonSetView::deserialize(&observed.set)?;
    let mut plan = Plan::about(Reference::new(&super::KIND, &set.metadata));
    let turn = Turn::new(now, observed, &set, &mut plan)?;
    plan.stages.clear();
    if failed.kind.is(&PODS) {
        plan.stage(turn.status(None).into_iter().collect());
    }
    Ok(plan)
}

/// The nodes whose failed Pods are removed now.
#[must_use]
pub fn replaced(now: Timestamp, observed: &Observed) -> Vec<String> {
    let failed = |p: &&PodView| p.status.phase == "Failed" && !p.metadata.deleting();
    let nodes = observed.pods.iter().filter(failed).filter_map(target);
    let due = |node: &&str| observed.waits.get(*node).is_none_or(|until| *until <= now);
    nodes.filter(due).map(str::to_owned).collect()
}

pub(super) struct Turn<'a> {
    now: Timestamp,
    observed: &'a Observed,
    pub(super) set: &'a DaemonSetView,
    /// All that are its.
    pods: Vec<&'a PodView>,
    /// Those that count, by the node they are for.
    pub(super) on: BTreeMap<&'a str, Vec<&'a PodView>>,
    pub(super) belongs: BTreeMap<&'a str, Belongs>,
    revisions: Revisions,
    /// That of the present template.
    pub(super) hash: String,
}

impl<'a> Turn<'a> {
    /// Settles whose is whose.
    fn new(
        now: Timestamp,
        observed: &'a Observed,
        set: &'a DaemonSetView,
        plan: &mut Plan,
    ) -> Result<Self, serde_json::Error> {
        let selector = set.selector().map_err(serde::de::Error::custom)?;
        let claimant =
            Claimant { kind: &super::KIND, meta: &set.metadata, selector: &selector, finalizers: &[] };
        let kept = claimant.claim(&REVISIONS, observed.revisions.clone(), |r| &r.metadata);
        let claimed = claimant.claim(&PODS, observed.pods.iter().collect(), |p| &p.metadata);
        plan.stage([kept.writes, claimed.writes].concat());
        let mut revisions = Revisions::of(kept.mine, &set.spec.template);
        let namesake = observed.namesake.as_ref().filter(|n| n.is_of(&set.spec.template));
        revisions.present = revisions.present.or(namesake.cloned());
        let next = || revisions::next_hash(&observed.set);
        let hash = revisions.present.as_ref().map_or_else(next, |r| r.hash().to_owned());
        let mut on: BTreeMap<&str, Vec<&PodView>> = BTreeMap::new();
        let counts = |p: &&&PodView| !(p.finished() && p.metadata.deleting());
        for pod in claimed.mine.iter().filter(counts) {
            if let Some(node) = target(pod) {
                on.entry(node).or_default().push(pod);
            }
        }
        for there in on.values_mut() {
            there.sort_by_key(|p| order(p));
        }
        let placement = set.placement();
        let belongs = observed.nodes.iter().map(|n| (n.metadata.name.as_str(), placement.belongs(n)));
        Ok(Self { now, observed, set, pods: claimed.mine, on, belongs: belongs.collect(), revisions, hash })
    }

    fn run(&self, plan: &mut Plan) {
        let meta = &self.set.metadata;
        let Some(present) = &self.revisions.present else {
            if self.observed.namesake.is_some() {
                let count = self.observed.set["status"]["collisionCount"].as_i64().unwrap_or(0) + 1;
                return plan.stage(self.status(Some(count)).into_iter().collect());
            }
            let made = revisions::new(&super::KIND, &self.observed.set, meta, self.revisions.next());
            plan.stage(vec![made]);
            return self.work(plan);
        };
        let next = self.revisions.next();
        if present.revision < next {
            plan.stage(vec![present.numbered(next)]);
        }
        if self.revisions.doubles.is_empty() {
            self.work(plan);
        } else {
            self.merge_doubles(plan);
        }
    }

    fn work(&self, plan: &mut Plan) {
        let mut work = Work::default();
        self.manage(plan, &mut work);
        if work.is_empty() && self.set.rolls() {
            rolling::step(self, &mut work);
        }
        let make = work.make.into_iter().take(BURST);
        let made = make.map(|node| {
            let made = pod(&self.observed.set, &self.set.metadata, &self.hash, node);
            pods::create(made, &self.set.metadata.namespace)
        });
        let removed = work.remove.into_iter().take(BURST).map(pods::delete);
        plan.stage(made.chain(removed).collect());
        plan.stage(self.status(None).into_iter().collect());
        plan.stage(self.forget_old());
        if let Some(at) = self.next_available() {
            plan.wake(at);
        }
    }

    /// Every node has its Pod, and no other.
    fn manage(&self, plan: &mut Plan, work: &mut Work<'a>) {
        for node in &self.observed.nodes {
            let name = node.metadata.name.as_str();
            match (self.belongs[name], self.on.get(name)) {
                (Belongs::Yes, None) => work.make.push(name),
                (Belongs::Yes | Belongs::IfThere, Some(there)) => self.tend(plan, work, name, there),
                (Belongs::No, Some(there)) => work.remove(there.iter().copied()),
                (Belongs::No | Belongs::IfThere, None) => {}
            }
        }
        // Nobody else removes what waits for a node that is gone.
        for (_, there) in self.on.iter().filter(|(node, _)| !self.belongs.contains_key(*node)) {
            work.remove(there.iter().copied().filter(|p| p.spec.node_name.is_empty()));
        }
    }

    /// The Pods of a node that may have one.
    fn tend(&self, plan: &mut Plan, work: &mut Work<'a>, node: &'a str, there: &[&'a PodView]) {
        let mut running = Vec::new();
        for pod in there.iter().copied().filter(|p| !p.metadata.deleting()) {
            let meta = &pod.metadata;
            let found = |how: &str, what: &str| {
                format!(
                    "Found {how} daemon pod {}/{} on node {node}, will try to {what} it",
                    meta.namespace, meta.name
                )
            };
            match (pod.status.phase.as_str(), self.observed.waits.get(node)) {
                ("Failed", Some(until)) if *until > self.now => plan.wake(*until),
                ("Failed", _) => {
                    plan.events.push(Notice::warning("FailedDaemonPod", found("failed", "kill")));
                    work.remove.push(pod);
                }
                ("Succeeded", _) => {
                    plan.events.push(Notice::normal("SucceededDaemonPod", found("succeeded", "delete")));
                    work.remove.push(pod);
                }
                _ => running.push(pod),
            }
        }
        if self.bound("maxSurge", 1) == 0 {
            work.remove(running.into_iter().skip(1));
        } else if running.is_empty() && self.belongs[node] == Belongs::Yes {
            work.make.push(node);
        } else if running.len() > 1 {
            self.thin(work, running);
        }
    }

    /// Where more Pods than wanted are allowed: one of the present template and one of another, until the first is
    /// available or the second is not ready.
    fn thin(&self, work: &mut Work<'a>, running: Vec<&'a PodView>) {
        let (new, old): (Vec<_>, Vec<_>) = running.into_iter().partition(|p| self.is_new(p));
        work.remove(new.iter().chain(&old).copied().filter(|p| {
            ![new.first(), old.first()].into_iter().flatten().any(|first| std::ptr::eq(*first, *p))
        }));
        if let (Some(new), Some(old)) = (new.first(), old.first())
            && (!old.ready() || self.is_available(new))
        {
            work.remove.push(old);
        }
    }

    /// Whether a Pod is of the present template.
    pub(super) fn is_new(&self, pod: &PodView) -> bool {
        pod.metadata.labels.get(REVISION_HASH) == Some(&self.hash)
    }

    pub(super) fn is_available(&self, pod: &PodView) -> bool {
        ready::available_at(pod, self.set.spec.min_ready_seconds).is_some_and(|at| at <= self.now)
    }

    /// How many Pods a bound of the rollout allows of so many; none where it does not roll.
    pub(super) fn bound(&self, field: &str, of: usize) -> usize {
        let value = &self.set.spec.update_strategy.rolling_update[field];
        let of = i32::try_from(of).unwrap_or(i32::MAX);
        if self.set.rolls() { usize::try_from(scaled(value, of, true)).unwrap_or(0) } else { 0 }
    }

    /// Nodes that are to have a Pod.
    pub(super) fn wanted(&self) -> impl Iterator<Item = &'a str> {
        self.belongs.iter().filter(|(_, belongs)| **belongs == Belongs::Yes).map(|(name, _)| *name)
    }

    /// Several revisions of one template: Pods are named after the newest, then the others go.
    fn merge_doubles(&self, plan: &mut Plan) {
        let renamed = self.pods.iter().filter(|p| {
            let hash = p.metadata.labels.get(REVISION_HASH).map(String::as_str);
            self.revisions.doubles.iter().any(|double| Some(double.hash()) == hash)
        });
        let renamed = renamed.map(|p| {
            let patch = json!({"metadata": {"uid": p.metadata.uid, "labels": {REVISION_HASH: self.hash}}});
            Write::new(&PODS, &p.metadata.namespace, &p.metadata.name, Action::Merge(patch))
        });
        plan.stage(renamed.collect());
        plan.stage(self.revisions.doubles.iter().map(Revision::removed).collect());
    }

    /// Old revisions beyond the limit of which nothing runs.
    fn forget_old(&self) -> Vec<Write> {
        let limit = usize::try_from(self.set.spec.revision_history_limit).unwrap_or(0);
        let surplus = self.revisions.old.len().saturating_sub(limit);
        let runs = |r: &Revision| {
            self.pods.iter().any(|p| p.metadata.labels.get(REVISION_HASH).is_some_and(|h| h == r.hash()))
        };
        let old = self.revisions.old.iter();
        let old =
            old.map(|r| history::Revision { what: r, number: r.revision, in_use: surplus > 0 && runs(r) });
        oldest_idle(old.collect(), surplus).into_iter().map(Revision::removed).collect()
    }

    fn status(&self, collisions: Option<i64>) -> Option<Write> {
        let wanted = self.wanted().count();
        // The oldest of a node stands for it.
        let first: Vec<&PodView> =
            self.wanted().filter_map(|node| self.on.get(node)?.first().copied()).collect();
        let count = |what: &dyn Fn(&PodView) -> bool| first.iter().filter(|p| what(p)).count();
        let misplaced =
            self.belongs.iter().filter(|(node, b)| **b != Belongs::Yes && self.on.contains_key(*node));
        let available = count(&|p| self.is_available(p));
        let stored = &self.observed.set["status"];
        let mut status = Status::default();
        status.set("currentNumberScheduled", json!(first.len()));
        status.set("numberMisscheduled", json!(misplaced.count()));
        status.set("desiredNumberScheduled", json!(wanted));
        status.set("numberReady", json!(count(&PodView::ready)));
        status.number("observedGeneration", self.set.metadata.generation);
        status.number("updatedNumberScheduled", as_number(count(&|p| self.is_new(p))));
        status.number("numberAvailable", as_number(available));
        status.number("numberUnavailable", as_number(wanted - available));
        status
            .set("collisionCount", collisions.map_or_else(|| stored["collisionCount"].clone(), |n| json!(n)));
        status.set("conditions", stored["conditions"].clone());
        status.write(&super::KIND, &self.observed.set)
    }

    /// When the next Pod becomes available by itself.
    fn next_available(&self) -> Option<Timestamp> {
        let at = |p: &&PodView| ready::available_at(p, self.set.spec.min_ready_seconds);
        self.pods.iter().filter_map(at).filter(|at| *at > self.now).min()
    }
}

/// What is to be done to Pods.
#[derive(Debug, Default)]
pub(super) struct Work<'a> {
    /// Nodes that a Pod is made for.
    pub(super) make: Vec<&'a str>,
    pub(super) remove: Vec<&'a PodView>,
}

impl<'a> Work<'a> {
    fn is_empty(&self) -> bool {
        self.make.is_empty() && self.remove.is_empty()
    }

    /// Those that are not going already.
    fn remove(&mut self, pods: impl Iterator<Item = &'a PodView>) {
        self.remove.extend(pods.filter(|p| !p.metadata.deleting()));
    }
}

/// Bound Pods first, the oldest of them first.
fn order(pod: &PodView) -> (bool, Option<String>, String) {
    let meta = &pod.metadata;
    (pod.spec.node_name.is_empty(), meta.creation_timestamp.clone(), meta.name.clone())
}

fn as_number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;
