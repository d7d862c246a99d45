//! What a StatefulSet needs next (`pkg/controller/statefulset`): Pods made, removed and replaced in their order, revisions
//! kept, its status told.
//!
//! Invariants: whose Pods and revisions are whose is settled first; a Pod's name is never given twice, since the API knows
//! it once; where Pods wait for each other (`OrderedReady`) a turn does one thing, and only while all before it are
//! available. Absent: claims of volumes (see the kind).

use std::collections::BTreeSet;
use std::time::Duration;

use base::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::identity::{self, ordinal, revision};
use super::view::StatefulSetView;
use super::{claims, update};
use crate::controllerrevision::KIND as REVISIONS;
use crate::plan::{Failed, Plan, Reference, Write};
use crate::pod::KIND as PODS;
use crate::view::PodView;
use crate::workload::claim::{Claimant, Tie};
use crate::workload::history::{self, oldest_idle};
use crate::workload::revisions::{self, Revision, Revisions};
use crate::workload::status::Status;
use crate::workload::{BURST, ready};

/// After this time a name that somebody else has is asked for again.
const TAKEN: Duration = Duration::from_secs(10);

/// A StatefulSet and what may be its.
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
    /// The claims of its Pods, as far as they are there ([`claim_names`]).
    pub claims: Vec<Value>,
}

/// The names of the claims that a set's Pods have or will have; `pods` are the names of those that may be its.
///
/// # Errors
/// If the stored object does not fit its type.
pub fn claim_names<'a>(
    set: &Value,
    pods: impl Iterator<Item = &'a str>,
) -> Result<Vec<String>, serde_json::Error> {
    let set = StatefulSetView::deserialize(set)?;
    if set.spec.volume_claim_templates.is_empty() {
        return Ok(Vec::new());
    }
    let mut all: BTreeSet<i64> = pods.filter_map(|pod| ordinal(&set.metadata.name, pod)).collect();
    all.extend(set.ordinals());
    Ok(claims::names(&set, all.into_iter()))
}

/// Decides.
///
/// # Errors
/// If the stored object does not fit its type.
pub fn reconcile(now: Timestamp, observed: &Observed) -> Result<Plan, serde_json::Error> {
    let set = StatefulSetView::deserialize(&observed.set)?;
    let mut plan = Plan::about(Reference::new(&super::KIND, &set.metadata));
    let turn = Turn::new(now, observed, &set, &mut plan)?;
    turn.run(&mut plan);
    Ok(plan)
}

/// What is told after a write was refused: how far it is.
///
/// # Errors
/// If the stored object does not fit its type.
pub fn failed(now: Timestamp, observed: &Observed, failed: &Failed) -> Result<Plan, serde_json::Error> {
    let set = StatefulSetView::deserialize(&observed.set)?;
    let mut plan = Plan::about(Reference::new(&super::KIND, &set.metadata));
    let turn = Turn::new(now, observed, &set, &mut plan)?;
    plan.stages.clear();
    if failed.kind.is(&PODS) {
        plan.stage(turn.status(0).into_iter().collect());
    }
    Ok(plan)
}

/// A place in the order.
pub(super) struct Slot<'a> {
    pub(super) ordinal: i64,
    pub(super) pod: Option<&'a PodView>,
}

/// A revision as Pods name it.
pub(super) struct Known {
    pub(super) name: String,
    template: Value,
}

pub(super) struct Turn<'a> {
    now: Timestamp,
    observed: &'a Observed,
    pub(super) set: &'a StatefulSetView,
    /// Every ordinal that is to have a Pod, in order.
    pub(super) slots: Vec<Slot<'a>>,
    /// Pods of other ordinals, the highest first.
    condemned: Vec<Slot<'a>>,
    /// What the Pods were of before the rollout.
    current: Known,
    /// What they are to be of.
    pub(super) update: Known,
    revisions: Revisions,
}

impl<'a> Turn<'a> {
    /// Settles whose is whose; what is not named as a Pod of the set is let go.
    fn new(
        now: Timestamp,
        observed: &'a Observed,
        set: &'a StatefulSetView,
        plan: &mut Plan,
    ) -> Result<Self, serde_json::Error> {
        let (meta, spec) = (&set.metadata, &set.spec);
        let selector = set.selector().map_err(serde::de::Error::custom)?;
        let claimant = Claimant { kind: &super::KIND, meta, selector: &selector, finalizers: &[] };
        let kept = claimant.claim(&REVISIONS, observed.revisions.clone(), |r| &r.metadata);
        let is_named = |p: &&PodView| ordinal(&meta.name, &p.metadata.name).is_some();
        let (named, others): (Vec<_>, Vec<_>) = observed.pods.iter().partition(is_named);
        let claimed = claimant.claim(&PODS, named, |p| &p.metadata);
        let mine = |p: &&&PodView| !meta.deleting() && claimant.tie(&p.metadata) == Tie::Mine;
        let released = others.iter().filter(mine).map(|p| claimant.release(&PODS, &p.metadata));
        plan.stage(kept.writes.into_iter().chain(claimed.writes).chain(released).collect());

        let mut revisions = Revisions::of(kept.mine, &spec.template);
        let namesake = observed.namesake.as_ref().filter(|n| n.is_of(&spec.template));
        revisions.present = revisions.present.or(namesake.cloned());
        let update = revisions.present.as_ref().map_or_else(
            || Known { name: revisions::next_name(&observed.set), template: spec.template.clone() },
            known,
        );
        let mut all = revisions.old.iter().chain(&revisions.doubles);
        let current = all.find(|r| r.metadata.name == set.status.current_revision);
        let same = || Known { name: update.name.clone(), template: update.template.clone() };
        let current = current.map_or_else(same, known);
        let (slots, condemned) = places(set, &claimed.mine);
        Ok(Self { now, observed, set, slots, condemned, current, update, revisions })
    }

    fn run(&self, plan: &mut Plan) {
        if self.set.metadata.deleting() {
            return plan.stage(self.status(0).into_iter().collect());
        }
        match &self.revisions.present {
            None if self.observed.namesake.is_some() => {
                return plan.stage(self.collided().into_iter().collect());
            }
            None => {
                let (meta, next) = (&self.set.metadata, self.revisions.next());
                plan.stage(vec![revisions::new(&super::KIND, &self.observed.set, meta, next)]);
            }
            Some(present) if present.revision < self.revisions.next() => {
                plan.stage(vec![present.numbered(self.revisions.next())]);
            }
            Some(_) => {}
        }
        let (mut claims, mut writes) = (Vec::new(), Vec::new());
        let goes_on = self.fill(plan, &mut claims, &mut writes) && self.shrink(&mut claims, &mut writes);
        let replaced = if goes_on { update::step(self) } else { Vec::new() };
        writes.extend(replaced.iter().map(|pod| identity::delete(&self.set.metadata, pod)));
        writes.truncate(BURST);
        plan.stage(claims);
        plan.stage(writes);
        plan.stage(self.status(replaced.len()).into_iter().collect());
        plan.stage(self.forget_old());
        if let Some(at) = self.next_available() {
            plan.wake(at);
        }
    }

    /// Every place has a Pod that works. Whether what comes after may begin.
    fn fill(&self, plan: &mut Plan, claims: &mut Vec<Write>, writes: &mut Vec<Write>) -> bool {
        let (meta, ordered) = (&self.set.metadata, self.set.is_ordered());
        let known = &self.observed.claims;
        for slot in &self.slots {
            claims.extend(claims::missing(self.set, known, slot.ordinal));
            let Some(pod) = slot.pod else {
                let of = self.revision_for(slot.ordinal);
                let made = identity::pod(self.set, slot.ordinal, &of.name, &of.template);
                match claims::going(self.set, known, slot.ordinal) {
                    Some(claim) => plan.events.push(identity::waits(meta, slot.ordinal, claim)),
                    None => writes.push(identity::create(meta, made)),
                }
                plan.wake(self.now + TAKEN);
                if ordered {
                    return false;
                }
                continue;
            };
            claims.extend(claims::retention(self.set, known, slot.ordinal, pod, false));
            if pod.finished() {
                if !pod.metadata.deleting() {
                    writes.push(identity::delete(meta, pod));
                }
                if ordered {
                    return false;
                }
                continue;
            }
            if ordered && self.is_unavailable(pod) {
                return false;
            }
            writes.extend(identity::named(meta, pod, slot.ordinal));
        }
        true
    }

    /// No Pods of other ordinals: the highest goes first. Whether what comes after may begin.
    fn shrink(&self, claims: &mut Vec<Write>, writes: &mut Vec<Write>) -> bool {
        let (meta, ordered) = (&self.set.metadata, self.set.is_ordered());
        let unwell = |p: &&PodView| !is_running_and_ready(p) || p.metadata.deleting();
        let all = self.slots.iter().chain(self.condemned.iter().rev());
        let first_unwell = all.filter_map(|s| s.pod).find(unwell);
        for (ordinal, pod) in self.condemned.iter().filter_map(|s| Some((s.ordinal, s.pod?))) {
            claims.extend(claims::retention(self.set, &self.observed.claims, ordinal, pod, true));
            if pod.metadata.deleting() {
                if ordered {
                    return false;
                }
                continue;
            }
            let is_first = first_unwell.is_some_and(|first| std::ptr::eq(first, pod));
            if ordered && !is_first && !self.is_available(pod) {
                return false;
            }
            writes.push(identity::delete(meta, pod));
            if ordered {
                return false;
            }
        }
        true
    }

    /// What a Pod of an ordinal is made of: below the partition of what was before.
    fn revision_for(&self, ordinal: i64) -> &Known {
        let kept = match &self.set.spec.update_strategy.rolling_update {
            Some(_) => self.set.partition(),
            None if self.set.rolls() => self.set.start() + i64::from(self.set.status.current_replicas),
            None => self.set.start(),
        };
        if ordinal < kept { &self.current } else { &self.update }
    }

    fn is_available(&self, pod: &PodView) -> bool {
        let at = ready::available_at(pod, self.set.spec.min_ready_seconds);
        is_running_and_ready(pod) && at.is_some_and(|at| at <= self.now)
    }

    pub(super) fn is_unavailable(&self, pod: &PodView) -> bool {
        !self.is_available(pod) || pod.metadata.deleting()
    }

    fn pods(&self) -> impl Iterator<Item = &'a PodView> {
        self.slots.iter().chain(&self.condemned).filter_map(|s| s.pod)
    }

    /// The name of the next revision is taken: there will be another.
    fn collided(&self) -> Option<Write> {
        let mut stored = self.observed.set["status"].as_object().cloned().unwrap_or_default();
        stored.insert("collisionCount".to_owned(), json!(self.set.status.collision_count + 1));
        let mut status = Status::default();
        stored.into_iter().for_each(|(field, value)| status.set(&field, value));
        status.write(&super::KIND, &self.observed.set)
    }

    /// `replaced` Pods are not any more of what was before.
    fn status(&self, replaced: usize) -> Option<Write> {
        let count = |what: &dyn Fn(&PodView) -> bool| as_number(self.pods().filter(|p| what(p)).count());
        let of = |known: &Known| count(&|p| !p.metadata.deleting() && revision(p) == known.name);
        let (all, ready) = (count(&|_| true), count(&is_running_and_ready));
        let updated = of(&self.update);
        let wanted = i64::from(self.set.spec.replicas);
        let complete = self.set.rolls() && [updated, ready, all].iter().all(|n| *n == wanted);
        let (current, of_it) = if complete {
            (&self.update, updated)
        } else {
            (&self.current, (of(&self.current) - as_number(replaced)).max(0))
        };
        let mut status = Status::default();
        status.number("observedGeneration", self.set.metadata.generation);
        status.set("replicas", json!(all));
        status.number("readyReplicas", ready);
        status.number("currentReplicas", of_it);
        status.number("updatedReplicas", updated);
        status.set("currentRevision", json!(current.name));
        status.set("updateRevision", json!(self.update.name));
        status.set("collisionCount", json!(self.set.status.collision_count));
        status.set("conditions", self.observed.set["status"]["conditions"].clone());
        status.set("availableReplicas", json!(count(&|p| self.is_available(p))));
        status.write(&super::KIND, &self.observed.set)
    }

    /// Old revisions beyond the limit that nothing is of; a negative limit keeps all.
    fn forget_old(&self) -> Vec<Write> {
        let limit = self.set.spec.revision_history_limit.unwrap_or(0);
        let Ok(limit) = usize::try_from(limit) else { return Vec::new() };
        let all = self.revisions.old.iter().chain(&self.revisions.doubles);
        let lives = |r: &Revision| {
            let name = &r.metadata.name;
            [&self.current.name, &self.update.name].contains(&name)
                || self.pods().any(|p| revision(p) == name)
        };
        let all: Vec<_> =
            all.map(|r| history::Revision { what: r, number: r.revision, in_use: lives(r) }).collect();
        let surplus = all.iter().filter(|r| !r.in_use).count().saturating_sub(limit);
        oldest_idle(all, surplus).into_iter().map(Revision::removed).collect()
    }

    /// When the next Pod becomes available by itself.
    fn next_available(&self) -> Option<Timestamp> {
        let at = |p: &PodView| ready::available_at(p, self.set.spec.min_ready_seconds);
        self.pods().filter_map(at).filter(|at| *at > self.now).min()
    }
}

fn known(revision: &Revision) -> Known {
    Known { name: revision.metadata.name.clone(), template: revision.template() }
}

/// The set's Pods in their places, and those without one.
fn places<'a>(set: &StatefulSetView, mine: &[&'a PodView]) -> (Vec<Slot<'a>>, Vec<Slot<'a>>) {
    let mut slots: Vec<Slot<'a>> = set.ordinals().map(|ordinal| Slot { ordinal, pod: None }).collect();
    let mut condemned = Vec::new();
    for pod in mine {
        let Some(ordinal) = ordinal(&set.metadata.name, &pod.metadata.name) else { continue };
        let at = usize::try_from(ordinal - set.start()).ok();
        match at.and_then(|at| slots.get_mut(at)) {
            Some(slot) => slot.pod = Some(pod),
            None => condemned.push(Slot { ordinal, pod: Some(pod) }),
        }
    }
    condemned.sort_by_key(|slot| std::cmp::Reverse(slot.ordinal));
    (slots, condemned)
}

fn is_running_and_ready(pod: &PodView) -> bool {
    pod.status.phase == "Running" && pod.ready()
}

fn as_number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;
