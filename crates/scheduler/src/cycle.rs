//! One Pod against one snapshot: which nodes fit, which of them is best, or why none is.
//!
//! Invariants: nodes are looked at from where the last search ended, and no more than are needed (upstream's
//! `percentageOfNodesToScore`: 50 % less one per 125 nodes, at least 5 % and at least 100 nodes); a node where room is kept
//! for a Pod of the same or a higher priority must fit with and without that Pod; equal scores are decided by the dice.

use std::collections::BTreeSet;

use crate::dice::Dice;
use crate::node::NodeInfo;
use crate::plugin::{Attempt, Filter, IGNORED, Nomination, PluginSet, PostFilter, PreFilter, Verdict};
use crate::plugins;
use crate::pod::PodInfo;
use crate::profile::Profile;
use crate::refusal::{Diagnosis, Reason, Refusal};
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
    /// Which nodes are to be looked at, and which plugins said so; `None` is all.
    only: Option<(PluginSet, BTreeSet<&'a str>)>,
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

/// What a search found.
#[derive(Debug)]
pub struct Found {
    /// Positions of nodes that fit, enough of them.
    pub fitting: Vec<usize>,
    /// Why others do not.
    pub diagnosis: Diagnosis,
    /// Only the node was looked at where room is kept for the Pod.
    pub nominated: bool,
}

/// Decides.
pub fn decide(
    profile: &Profile,
    pod: &PodInfo,
    nominated: Option<&str>,
    world: &Snapshot,
    memory: &mut Memory,
) -> Outcome {
    let (found, cycle) = search(profile, pod, nominated, world, memory, false);
    match found.fitting[..] {
        [] => {
            let (post, candidates) = after_refusal(profile, &cycle, &found.diagnosis, nominated, memory);
            refused(found.diagnosis, post, plugins::least_harm(candidates))
        }
        [only] => Outcome::Place(only),
        _ => {
            let totals = totals(profile, pod, world, &found.fitting);
            Outcome::Place(best(&found.fitting, &totals, memory))
        }
    }
}

/// A refusal, with the room that will be made if any can be.
pub(crate) fn refused(diagnosis: Diagnosis, post: Post, best: Option<Nomination>) -> Outcome {
    match best {
        Some(nomination) => Outcome::Refuse { diagnosis, post: String::new(), room: Room::At(nomination) },
        None => Outcome::Refuse { diagnosis, post: post.said, room: post.room },
    }
}

/// Looks for nodes that fit. With `thorough` not one alone, even if the profile does not score.
pub fn search<'a>(
    profile: &'a Profile,
    pod: &'a PodInfo,
    nominated: Option<&str>,
    world: &'a Snapshot,
    memory: &mut Memory,
    thorough: bool,
) -> (Found, Cycle<'a>) {
    let diagnosis = Diagnosis { total: world.nodes().len(), ..Diagnosis::default() };
    let mut found = Found { fitting: Vec::new(), diagnosis, nominated: false };
    let nothing = Cycle { pod, world, filters: Vec::new(), only: None };
    if world.nodes().is_empty() {
        return (found, nothing);
    }
    let cycle = match Cycle::prepare(profile, pod, world) {
        Ok(cycle) => cycle,
        Err((plugin, refusal)) => {
            found.diagnosis.plugins.insert(plugin);
            found.diagnosis.whole = Some(refusal);
            return (found, nothing);
        }
    };
    let one_is_enough = profile.seats.score.is_empty() && !thorough;
    let enough = if one_is_enough { 1 } else { enough(world.nodes().len(), profile.percentage) };
    cycle.find(profile, nominated, enough, &mut found, memory);
    (found, cycle)
}

/// How many fitting nodes are enough, in percent if that is given (upstream: `numFeasibleNodesToFind`).
#[must_use]
pub fn enough(nodes: usize, percentage: Option<usize>) -> usize {
    if nodes < LEAST_NODES {
        return nodes;
    }
    let by_size = || 50_usize.saturating_sub(nodes / 125).max(LEAST_PERCENT);
    let percent = percentage.filter(|p| *p > 0).unwrap_or_else(by_size);
    (nodes * percent / 100).max(LEAST_NODES)
}

impl<'a> Cycle<'a> {
    /// A Pod with what its filters prepare, or without filters if one refuses it outright.
    pub(crate) fn of(profile: &'a Profile, pod: &'a PodInfo, world: &'a Snapshot) -> Self {
        let nothing = |_| Cycle { pod, world, filters: Vec::new(), only: None };
        Self::prepare(profile, pod, world).unwrap_or_else(nothing)
    }

    fn prepare(
        profile: &'a Profile,
        pod: &'a PodInfo,
        world: &'a Snapshot,
    ) -> Result<Self, (usize, Refusal)> {
        let mut filters = Vec::new();
        let mut only: Option<(PluginSet, BTreeSet<&'a str>)> = None;
        for (index, plugin) in profile.filters() {
            match plugin.pre_filter(pod, world) {
                PreFilter::Skip => {}
                PreFilter::Filter(filter) => filters.push((index, filter)),
                PreFilter::Only(names, filter) => {
                    filters.push((index, filter));
                    let (mut who, names) = match only {
                        None => (PluginSet::default(), names),
                        Some((who, known)) => (who, known.intersection(&names).copied().collect()),
                    };
                    who.insert(index);
                    only = Some((who, names));
                }
                PreFilter::Refuse(refusal) => return Err((index, refusal)),
            }
        }
        Ok(Self { pod, world, filters, only })
    }

    fn find(
        &self,
        profile: &Profile,
        nominated: Option<&str>,
        enough: usize,
        found: &mut Found,
        memory: &mut Memory,
    ) {
        // Where room was made for it, it goes if it can.
        if let Some((position, node)) = nominated.and_then(|name| self.world.node(name))
            && self.only.as_ref().is_none_or(|(_, names)| names.contains(&*node.name))
            && self.check(node).is_ok()
        {
            found.nominated = true;
            found.fitting.push(position);
            return;
        }
        match &self.only {
            None => self.look_around(enough, found, memory),
            Some((who, names)) => {
                self.look_at(names, found);
                if found.fitting.is_empty() {
                    self.refuse_others(profile, *who, names, &mut found.diagnosis);
                }
            }
        }
        found.diagnosis.resolvable.sort_unstable();
    }

    fn look_around(&self, enough: usize, found: &mut Found, memory: &mut Memory) {
        let nodes = self.world.nodes();
        found.fitting.reserve(enough.min(nodes.len()));
        let start = memory.next % nodes.len();
        let mut looked_at = 0;
        while looked_at < nodes.len() && found.fitting.len() < enough {
            let position = (start + looked_at) % nodes.len();
            looked_at += 1;
            match self.check(&nodes[position]) {
                Ok(()) => found.fitting.push(position),
                Err((plugin, refusal)) => found.diagnosis.refuse(plugin, position, &refusal),
            }
        }
        memory.next = (start + looked_at) % nodes.len();
    }

    fn look_at(&self, names: &BTreeSet<&str>, found: &mut Found) {
        for (position, node) in names.iter().filter_map(|name| self.world.node(name)) {
            match self.check(node) {
                Ok(()) => found.fitting.push(position),
                Err((plugin, refusal)) => found.diagnosis.refuse(plugin, position, &refusal),
            }
        }
    }

    /// All other nodes are refused by the plugins that named these.
    fn refuse_others(
        &self,
        profile: &Profile,
        who: PluginSet,
        names: &BTreeSet<&str>,
        diagnosis: &mut Diagnosis,
    ) {
        diagnosis.plugins.extend(who);
        let all = (0..profile.plugins.len()).filter(|i| who.contains(*i));
        let mut all: Vec<&str> = all.map(|i| profile.plugin_name(i)).collect();
        all.sort_unstable();
        let reason = Reason::of("node(s) didn't satisfy plugin(s) ", &format!("[{}]", all.join(" ")));
        let known = names.iter().filter(|name| self.world.node(name).is_some()).count();
        diagnosis.reasons.add_many(&reason, self.world.nodes().len() - known);
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

/// What the post-filters say, and what becomes of the room that is kept.
#[derive(Debug, Default)]
pub(crate) struct Post {
    pub(crate) said: String,
    pub(crate) room: Room,
}

/// Asks the post-filters; the second are the nodes where room could be made.
pub(crate) fn after_refusal(
    profile: &Profile,
    cycle: &Cycle<'_>,
    diagnosis: &Diagnosis,
    nominated: Option<&str>,
    memory: &mut Memory,
) -> (Post, Vec<Nomination>) {
    if diagnosis.total == 0 {
        return (Post::default(), Vec::new());
    }
    let (mut said, mut room) = (Vec::new(), Room::AsItWas);
    for plugin in profile.post_filters() {
        let attempt = Attempt { cycle, diagnosis, nominated };
        match plugin.post_filter(&attempt, &mut memory.dice) {
            PostFilter::Said(text) => said.push(text),
            PostFilter::GaveUp(text) => {
                said.push(text);
                room = Room::GivenUp;
            }
            PostFilter::Nominate(candidates) => return (Post { said: said.join(", "), room }, candidates),
        }
    }
    (Post { said: said.join(", "), room }, Vec::new())
}

/// The weighted scores of the fitting nodes.
pub(crate) fn totals(profile: &Profile, pod: &PodInfo, world: &Snapshot, fitting: &[usize]) -> Vec<i64> {
    let nodes: Vec<&NodeInfo> = fitting.iter().map(|i| &*world.nodes()[*i]).collect();
    let mut totals = vec![0_i64; nodes.len()];
    let mut scores = Vec::with_capacity(nodes.len());
    for (plugin, weight) in profile.scores() {
        let Some(scorer) = plugin.pre_score(pod, world, &nodes) else { continue };
        scores.clear();
        scores.extend(nodes.iter().map(|n| scorer.score(n)));
        scorer.normalise(&mut scores);
        for (total, score) in totals.iter_mut().zip(&scores) {
            *total += weight * if *score == IGNORED { 0 } else { *score };
        }
    }
    totals
}

/// The fitting node with the greatest score.
pub(crate) fn best(fitting: &[usize], totals: &[i64], memory: &mut Memory) -> usize {
    let greatest = totals.iter().copied().max().unwrap_or_default();
    let first: Vec<usize> =
        totals.iter().enumerate().filter(|(_, t)| **t == greatest).map(|(i, _)| i).collect();
    fitting[first[memory.dice.below(first.len())]]
}
