//! One Pod against one snapshot: which nodes fit, which of them is best, or why none is.
//!
//! Invariants: nodes are looked at from where the last search ended, and no more than are needed (upstream's
//! `percentageOfNodesToScore`: 50 % less one per 125 nodes, at least 5 % and at least 100 nodes); a node where room is kept
//! for a Pod of the same or a higher priority must fit with and without that Pod; equal scores are decided by the dice.

use std::collections::BTreeSet;

use crate::dice::Dice;
use crate::node::NodeInfo;
use crate::plugin::{Attempt, Filter, IGNORED, Nomination, PostFilter, PreFilter, Verdict};
use crate::pod::PodInfo;
use crate::profile::Profile;
use crate::refusal::{Diagnosis, Refusal};
use crate::snapshot::Snapshot;

const LEAST_NODES: usize = 100;
const LEAST_PERCENT: usize = 5;

/// One plugin's filter and its place in the profile.
pub type Prepared<'a> = (usize, Box<dyn Filter<'a> + 'a>);

/// A Pod with everything that its filters have prepared.
pub struct Cycle<'a> {
    /// The Pod.
    pub pod: &'a PodInfo,
    /// The world.
    pub world: &'a Snapshot,
    filters: Vec<Prepared<'a>>,
    /// Which nodes are to be looked at, and who said so; `None` is all.
    only: Option<(usize, BTreeSet<&'a str>)>,
}

/// What was decided.
#[derive(Debug)]
pub enum Outcome {
    /// The position of the node.
    Place(usize),
    /// No node fits now.
    Refuse {
        /// Why.
        diagnosis: Diagnosis,
        /// What the post-filters say.
        post: String,
        /// What becomes of its room.
        room: Room,
    },
}

/// What becomes of the room that is kept for a refused Pod.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Room {
    /// It stays as it is.
    #[default]
    AsItWas,
    /// None is kept any more.
    GivenUp,
    /// It is made there.
    At(Nomination),
}

/// What decisions remember of each other.
#[derive(Debug, Clone)]
pub struct Memory {
    /// For what is equal.
    pub dice: Dice,
    /// Where the next search begins.
    pub next: usize,
}

/// Decides.
pub fn decide(
    profile: &Profile,
    pod: &PodInfo,
    nominated: Option<&str>,
    world: &Snapshot,
    memory: &mut Memory,
) -> Outcome {
    let mut diagnosis = Diagnosis { total: world.nodes().len(), ..Diagnosis::default() };
    if world.nodes().is_empty() {
        return Outcome::Refuse { diagnosis, post: String::new(), room: Room::AsItWas };
    }
    let cycle = match Cycle::prepare(profile, pod, world) {
        Ok(cycle) => cycle,
        Err((plugin, refusal)) => {
            diagnosis.plugins.insert(plugin);
            diagnosis.whole = Some(refusal);
            let nothing = Cycle { pod, world, filters: Vec::new(), only: None };
            return after_refusal(profile, &nothing, diagnosis, nominated, memory);
        }
    };
    let fitting = cycle.find(nominated, &mut diagnosis, memory);
    match fitting[..] {
        [] => after_refusal(profile, &cycle, diagnosis, nominated, memory),
        [only] => Outcome::Place(only),
        _ => Outcome::Place(best(profile, &cycle, &fitting, memory)),
    }
}

/// How many fitting nodes are enough (upstream: `numFeasibleNodesToFind`).
#[must_use]
pub fn enough(nodes: usize) -> usize {
    if nodes < LEAST_NODES {
        return nodes;
    }
    let percent = 50_usize.saturating_sub(nodes / 125).max(LEAST_PERCENT);
    (nodes * percent / 100).max(LEAST_NODES)
}

impl<'a> Cycle<'a> {
    fn prepare(
        profile: &'a Profile,
        pod: &'a PodInfo,
        world: &'a Snapshot,
    ) -> Result<Self, (usize, Refusal)> {
        let mut filters = Vec::new();
        let mut only: Option<(usize, BTreeSet<&'a str>)> = None;
        for (index, plugin) in profile.plugins().enumerate() {
            match plugin.pre_filter(pod, world) {
                PreFilter::Skip => {}
                PreFilter::Filter(filter) => filters.push((index, filter)),
                PreFilter::Only(names, filter) => {
                    filters.push((index, filter));
                    only = Some(match only {
                        None => (index, names),
                        Some((first, known)) => (first, known.intersection(&names).copied().collect()),
                    });
                }
                PreFilter::Refuse(refusal) => return Err((index, refusal)),
            }
        }
        Ok(Self { pod, world, filters, only })
    }

    /// Positions of nodes that fit, enough of them.
    fn find(&self, nominated: Option<&str>, diagnosis: &mut Diagnosis, memory: &mut Memory) -> Vec<usize> {
        // Where room was made for it, it goes if it can.
        if let Some((position, node)) = nominated.and_then(|name| self.world.node(name))
            && self.may_look_at(node)
            && self.check(node).is_ok()
        {
            return vec![position];
        }
        match &self.only {
            None => self.search(diagnosis, memory),
            Some((plugin, names)) => self.search_among(*plugin, names, diagnosis),
        }
    }

    fn may_look_at(&self, node: &NodeInfo) -> bool {
        self.only.as_ref().is_none_or(|(_, names)| names.contains(&*node.name))
    }

    fn search(&self, diagnosis: &mut Diagnosis, memory: &mut Memory) -> Vec<usize> {
        let nodes = self.world.nodes();
        let enough = enough(nodes.len());
        let mut fitting = Vec::new();
        let start = memory.next % nodes.len();
        let mut looked_at = 0;
        while looked_at < nodes.len() && fitting.len() < enough {
            let position = (start + looked_at) % nodes.len();
            looked_at += 1;
            match self.check(&nodes[position]) {
                Ok(()) => fitting.push(position),
                Err((plugin, refusal)) => diagnosis.refuse(plugin, position, refusal),
            }
        }
        memory.next = (start + looked_at) % nodes.len();
        fitting
    }

    /// The others are refused by the plugin that named these.
    fn search_among(&self, plugin: usize, names: &BTreeSet<&str>, diagnosis: &mut Diagnosis) -> Vec<usize> {
        let mut fitting = Vec::new();
        for (position, node) in names.iter().filter_map(|name| self.world.node(name)) {
            match self.check(node) {
                Ok(()) => fitting.push(position),
                Err((plugin, refusal)) => diagnosis.refuse(plugin, position, refusal),
            }
        }
        if fitting.is_empty() {
            for (position, node) in self.world.nodes().iter().enumerate() {
                if !names.contains(&*node.name) {
                    let text = "node(s) didn't satisfy plugin(s) [NodeAffinity]";
                    diagnosis.refuse(plugin, position, Refusal::final_(text));
                }
            }
        }
        fitting
    }

    /// Whether a node fits, also with the Pods for which room is kept there.
    ///
    /// # Errors
    /// Who refuses it, and why.
    pub fn check(&self, node: &NodeInfo) -> Result<(), (usize, Refusal)> {
        self.check_with(&self.filters, node)
    }

    /// The same with filters on which something was tried.
    ///
    /// # Errors
    /// Who refuses it, and why.
    pub fn check_with(&self, filters: &[Prepared<'a>], node: &NodeInfo) -> Result<(), (usize, Refusal)> {
        let goes_first =
            |p: &&std::sync::Arc<PodInfo>| p.priority >= self.pod.priority && p.uid != self.pod.uid;
        if node.nominated.iter().any(|p| goes_first(&p)) {
            let mut fuller = node.clone();
            let mut tried = copies(filters);
            for pod in node.nominated.iter().filter(goes_first) {
                fuller.add_pod(pod.clone());
                for (_, filter) in &mut tried {
                    filter.add_pod(pod, &fuller);
                }
            }
            run(&tried, &fuller)?;
        }
        run(filters, node)
    }

    /// Copies of the filters, to try things on.
    #[must_use]
    pub fn filters(&self) -> Vec<Prepared<'a>> {
        copies(&self.filters)
    }
}

fn copies<'a>(filters: &[Prepared<'a>]) -> Vec<Prepared<'a>> {
    filters.iter().map(|(index, filter)| (*index, filter.boxed())).collect()
}

fn run(filters: &[Prepared<'_>], node: &NodeInfo) -> Result<(), (usize, Refusal)> {
    for (index, filter) in filters {
        let verdict: Verdict = filter.check(node);
        verdict.map_err(|refusal| (*index, refusal))?;
    }
    Ok(())
}

fn after_refusal(
    profile: &Profile,
    cycle: &Cycle<'_>,
    diagnosis: Diagnosis,
    nominated: Option<&str>,
    memory: &mut Memory,
) -> Outcome {
    let (mut said, mut room) = (Vec::new(), Room::AsItWas);
    for plugin in profile.plugins() {
        let attempt = Attempt { cycle, diagnosis: &diagnosis, nominated };
        match plugin.post_filter(&attempt, &mut memory.dice) {
            PostFilter::Silent => {}
            PostFilter::Said(text) => said.push(text),
            PostFilter::GaveUp(text) => {
                said.push(text);
                room = Room::GivenUp;
            }
            PostFilter::Nominate(nomination) => {
                return Outcome::Refuse { diagnosis, post: String::new(), room: Room::At(nomination) };
            }
        }
    }
    Outcome::Refuse { diagnosis, post: said.join(", "), room }
}

/// The fitting node with the greatest weighted score.
fn best(profile: &Profile, cycle: &Cycle<'_>, fitting: &[usize], memory: &mut Memory) -> usize {
    let nodes: Vec<&NodeInfo> = fitting.iter().map(|i| &*cycle.world.nodes()[*i]).collect();
    let mut totals = vec![0_i64; nodes.len()];
    for (plugin, weight) in profile.weighted() {
        let Some(scorer) = plugin.pre_score(cycle.pod, cycle.world, &nodes) else { continue };
        let mut scores: Vec<i64> = nodes.iter().map(|n| scorer.score(n)).collect();
        scorer.normalise(&mut scores);
        for (total, score) in totals.iter_mut().zip(scores) {
            *total += weight * if score == IGNORED { 0 } else { score };
        }
    }
    let greatest = totals.iter().copied().max().unwrap_or_default();
    let first: Vec<usize> =
        totals.iter().enumerate().filter(|(_, t)| **t == greatest).map(|(i, _)| i).collect();
    fitting[first[memory.dice.below(first.len())]]
}
