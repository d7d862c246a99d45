//! `DefaultPreemption`: if no node fits, which Pods of lower priority would have to go, and where that does least harm.
//!
//! Invariants: nothing is decided about a node that removing Pods cannot help; as many victims as possible are spared, the
//! more important first, and those that a disruption budget protects before the others. The choice among nodes is
//! upstream's: fewest violated budgets, then the lowest of the highest victims' priorities, the least sum of priorities,
//! the fewest victims, the youngest of the highest.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::config::Fields;
use crate::cycle::{Cycle, Prepared};
use crate::dice::Dice;
use crate::node::NodeInfo;
use crate::plugin::{Attempt, Nomination, Plugin, Points, PostFilter};
use crate::pod::PodInfo;
use crate::refusal::{Diagnosis, Reason, Reasons, Refusal};
use crate::snapshot::Snapshot;

const NOT_HELPFUL: Reason = Reason::new("Preemption is not helpful for scheduling");
const NO_VICTIMS: Refusal = Refusal::final_("No preemption victims found for incoming pod");

/// See the module.
#[derive(Debug)]
pub(crate) struct DefaultPreemption {
    /// How many candidates are enough: so many of a hundred nodes that may be, and at least so many.
    percentage: usize,
    least: usize,
}

impl DefaultPreemption {
    /// With the plugin's arguments.
    pub(crate) fn new(mut args: Fields<'_>) -> Self {
        let percentage = args.within("minCandidateNodesPercentage", 10, 0..=100, "[0, 100]");
        let least = args.within("minCandidateNodesAbsolute", 100, 0..=i64::MAX, "[0, inf)");
        if percentage == 0 && least == 0 {
            for (this, other) in [
                ("minCandidateNodesPercentage", "minCandidateNodesAbsolute"),
                ("minCandidateNodesAbsolute", "minCandidateNodesPercentage"),
            ] {
                args.wrong(this, 0, &format!("cannot be zero at the same time as {other}"));
            }
        }
        let count = |n: i64| usize::try_from(n).unwrap_or_default();
        Self { percentage: count(percentage), least: count(least) }
    }
}

impl Plugin for DefaultPreemption {
    fn name(&self) -> &'static str {
        "DefaultPreemption"
    }

    fn points(&self) -> Points {
        Points::POST_FILTER
    }

    fn post_filter(&self, attempt: &Attempt<'_, '_>, dice: &mut Dice) -> PostFilter {
        if let Some(why) = not_eligible(attempt) {
            return PostFilter::Said(format!("preemption: {why}"));
        }
        let Attempt { cycle, diagnosis, .. } = attempt;
        let mut refused = Reasons::default();
        let candidates = self.candidates(cycle, diagnosis, dice, &mut refused);
        if candidates.is_empty() {
            refused.add_many(&NOT_HELPFUL, diagnosis.total - diagnosis.resolvable.len());
            return PostFilter::GaveUp(format!("preemption: {}", refused.sentence(diagnosis.total)));
        }
        PostFilter::Nominate(candidates)
    }
}

/// Why the Pod may not make others go (upstream: `PodEligibleToPreemptOthers`).
fn not_eligible(attempt: &Attempt<'_, '_>) -> Option<&'static str> {
    let Cycle { pod, world, .. } = attempt.cycle;
    if pod.never_preempts {
        return Some("not eligible due to preemptionPolicy=Never.");
    }
    let (position, node) = world.node(attempt.nominated?)?;
    // Where room was made and it does not fit all the same, it may look elsewhere.
    if !attempt.diagnosis.resolvable.contains(&position) {
        return None;
    }
    let making_room = |p: &Arc<PodInfo>| p.priority < pod.priority && p.deleting && p.preempted;
    let waits = node.pods.iter().any(making_room);
    waits.then_some("not eligible due to a terminating pod on the nominated node.")
}

impl DefaultPreemption {
    /// Nodes that would fit without some of their Pods, enough of them.
    fn candidates(
        &self,
        cycle: &Cycle<'_>,
        diagnosis: &Diagnosis,
        dice: &mut Dice,
        refused: &mut Reasons,
    ) -> Vec<Nomination> {
        let possible = &diagnosis.resolvable;
        let enough = (possible.len() * self.percentage / 100).max(self.least);
        let start = dice.below(possible.len());
        let mut found: Vec<Nomination> = Vec::new();
        let mut none_violates = false;
        for node in possible.iter().cycle().skip(start).take(possible.len()).copied() {
            match victims_on(cycle, node) {
                Ok(candidate) => {
                    none_violates |= candidate.violations == 0;
                    found.push(candidate);
                }
                Err(refusal) => refusal.reasons().for_each(|reason| refused.add(reason)),
            }
            if found.len() >= enough && none_violates {
                break;
            }
        }
        found
    }
}

/// Where it does least harm.
pub(crate) fn best(candidates: Vec<Nomination>) -> Option<Nomination> {
    candidates.into_iter().min_by_key(harm)
}

/// Who would have to go from one node (upstream: `SelectVictimsOnNode`).
fn victims_on(cycle: &Cycle<'_>, position: usize) -> Result<Nomination, Refusal> {
    let node = &cycle.world.nodes()[position];
    // Of most nodes nothing more is asked.
    if !node.pods.iter().any(|p| p.priority < cycle.pod.priority) {
        return Err(NO_VICTIMS);
    }
    let mut lower: Vec<Arc<PodInfo>> =
        node.pods.iter().filter(|p| p.priority < cycle.pod.priority).cloned().collect();
    lower.sort_by_key(importance);
    let mut trial = Trial { cycle, filters: cycle.filters(), node: NodeInfo::clone(node) };
    for pod in &lower {
        trial.remove(pod);
    }
    trial.fits()?;
    let (protected, free) = by_budget(&lower, cycle.world);
    let mut candidate = Nomination { node: node.name.clone(), victims: Vec::new(), violations: 0 };
    for pod in protected {
        if !trial.spare(&pod) {
            candidate.violations += 1;
            candidate.victims.push(pod);
        }
    }
    candidate.victims.extend(free.into_iter().filter(|pod| !trial.spare(pod)));
    candidate.victims.sort_by_key(importance);
    if candidate.victims.is_empty() { Err(NO_VICTIMS) } else { Ok(candidate) }
}

/// A node as it would be.
struct Trial<'c, 'a> {
    cycle: &'c Cycle<'a>,
    filters: Vec<Prepared<'a>>,
    node: NodeInfo,
}

impl Trial<'_, '_> {
    fn remove(&mut self, pod: &Arc<PodInfo>) {
        self.node.remove_pod(&pod.uid);
        for (_, filter) in &mut self.filters {
            filter.remove_pod(pod, &self.node);
        }
    }

    fn fits(&self) -> Result<(), Refusal> {
        self.cycle.check_with(&self.filters, &self.node).map_err(|(_, refusal)| refusal)
    }

    /// Puts a Pod back if the new one still fits then.
    fn spare(&mut self, pod: &Arc<PodInfo>) -> bool {
        self.node.add_pod(pod.clone());
        for (_, filter) in &mut self.filters {
            filter.add_pod(pod, &self.node);
        }
        let fits = self.fits().is_ok();
        if !fits {
            self.remove(pod);
        }
        fits
    }
}

/// The most important first: by priority, then the longest running.
fn importance(pod: &Arc<PodInfo>) -> (Reverse<i32>, i128) {
    (Reverse(pod.priority), pod.started.unwrap_or(i128::MAX))
}

/// Those whose going would violate a budget, and the others.
fn by_budget(pods: &[Arc<PodInfo>], world: &Snapshot) -> (Vec<Arc<PodInfo>>, Vec<Arc<PodInfo>>) {
    let mut left = std::collections::BTreeMap::new();
    pods.iter().cloned().partition(|pod| {
        let mut violates = false;
        for budget in world.budgets(pod).filter(|b| !b.disrupted.contains(&*pod.name)) {
            let id = (budget.namespace.clone(), budget.name.clone());
            let allowed = left.entry(id).or_insert(budget.allowed);
            *allowed -= 1;
            violates |= *allowed < 0;
        }
        violates
    })
}

/// How much harm a candidate's end would do.
fn harm(candidate: &Nomination) -> (usize, i32, i64, usize, Reverse<i128>) {
    let highest = candidate.victims.first().map_or(i32::MIN, |v| v.priority);
    // Moved up so that many of negative priority are no better than few (upstream).
    let sum = candidate.victims.iter().map(|v| i64::from(v.priority) + i64::from(i32::MAX) + 1).sum();
    let eldest = candidate
        .victims
        .iter()
        .filter(|v| v.priority == highest)
        .map(|v| v.started.unwrap_or(i128::MAX))
        .min()
        .unwrap_or(i128::MAX);
    (candidate.violations, highest, sum, candidate.victims.len(), Reverse(eldest))
}
