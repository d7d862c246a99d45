//! `InterPodAffinity`: Pods near each other or apart, required and preferred, also as the Pods that are there already
//! ask it of the new one.
//!
//! Invariants: a first Pod that asks for its like is let in where it matches itself; no Pod is looked at for a decision,
//! only what is counted of them (`tally`) and what they ask (`standing`). `matchLabelKeys` stand in the selectors
//! ([`crate::PodTerm`]).

use std::sync::Arc;

use crate::change::{Change, Kinds};
use crate::config::Fields;
use crate::node::{NodeFacts, NodeInfo};
use crate::plugin::{Filter, MAX_SCORE, Plugin, Points, PreFilter, Score, Verdict};
use crate::pod::{PodInfo, PodTerm, Weighted};
use crate::refusal::Refusal;
use crate::snapshot::Snapshot;
use crate::standing::Domains;
use crate::tally::{Among, Question, Tally, Who};

const AFFINITY: Refusal = Refusal::final_("node(s) didn't match pod affinity rules");
const ANTI_AFFINITY: Refusal = Refusal::resolvable("node(s) didn't match pod anti-affinity rules");
const EXISTING: Refusal = Refusal::resolvable("node(s) didn't satisfy existing pods anti-affinity rules");
const HARD_POD_AFFINITY_WEIGHT: i64 = 1;

/// See the module.
#[derive(Debug)]
pub(crate) struct InterPodAffinity {
    /// How much the required affinity of the Pods that are there counts as a preference.
    hard_weight: i64,
    /// Preferences of the Pods that are there do not count unless the new Pod has some.
    ignore_preferred_of_existing: bool,
}

impl InterPodAffinity {
    /// With the plugin's arguments.
    pub(crate) fn new(mut args: Fields<'_>) -> Self {
        Self {
            hard_weight: args.within("hardPodAffinityWeight", HARD_POD_AFFINITY_WEIGHT, 0..=100, "[0, 100]"),
            ignore_preferred_of_existing: args.flag("ignorePreferredTermsOfExistingPods"),
        }
    }
}

/// Where Pods are that a term means, by the values of one label.
#[derive(Clone)]
struct Near<'a> {
    topology_key: Arc<str>,
    there: Vec<There<'a>>,
    /// What is tried beside it: Pods more or fewer in a domain.
    tried: Vec<(Arc<str>, i64)>,
}

#[derive(Clone)]
enum There<'a> {
    Counted(Arc<Tally>),
    Standing(&'a Domains),
}

impl There<'_> {
    fn at(&self, domain: &str) -> i64 {
        match self {
            Self::Counted(tally) => tally.at(domain),
            Self::Standing(domains) => domains.get(domain).copied().unwrap_or_default(),
        }
    }

    fn knows_any(&self) -> bool {
        match self {
            Self::Counted(tally) => tally.pods() > 0,
            Self::Standing(domains) => !domains.is_empty(),
        }
    }

    fn all(&self) -> i64 {
        match self {
            Self::Counted(tally) => tally.pods(),
            Self::Standing(domains) => domains.values().sum(),
        }
    }
}

impl<'a> Near<'a> {
    fn new(topology_key: &Arc<str>, there: Option<There<'a>>) -> Self {
        Self { topology_key: topology_key.clone(), there: there.into_iter().collect(), tried: Vec::new() }
    }

    /// How many are in the node's domain; `None` if it is in none.
    fn on(&self, node: &NodeFacts) -> Option<i64> {
        let domain = node.label(&self.topology_key)?;
        let tried = self.tried.iter().find(|(name, _)| **name == *domain).map_or(0, |(_, by)| *by);
        Some(self.there.iter().map(|t| t.at(domain)).sum::<i64>() + tried)
    }

    fn is_empty(&self) -> bool {
        self.there.iter().map(There::all).sum::<i64>() + self.tried.iter().map(|(_, by)| by).sum::<i64>() == 0
    }

    fn try_more(&mut self, node: &NodeFacts, by: i64) {
        let Some(domain) = node.label(&self.topology_key) else { return };
        match self.tried.iter_mut().find(|(name, _)| **name == *domain) {
            Some((_, sum)) => *sum += by,
            None => self.tried.push((domain.into(), by)),
        }
    }
}

/// The one of a label, made if there is none.
fn by_label<'n, 'a>(near: &'n mut Vec<Near<'a>>, topology_key: &Arc<str>) -> &'n mut Near<'a> {
    let place = near.iter().position(|n| n.topology_key == *topology_key).unwrap_or_else(|| {
        near.push(Near::new(topology_key, None));
        near.len() - 1
    });
    &mut near[place]
}

fn terms(pod: &PodInfo) -> (&[PodTerm], &[PodTerm]) {
    pod.pod_affinity.as_ref().map_or((&[], &[]), |a| (&a.with, &a.anti))
}

fn means_all(terms: &[PodTerm], pod: &PodInfo, world: &Snapshot) -> bool {
    !terms.is_empty() && terms.iter().all(|t| world.means(t, pod))
}

/// Where Pods are that all of the terms mean.
fn counted<'a>(terms: &[PodTerm], topology_key: &Arc<str>, world: &Snapshot) -> Near<'a> {
    let question = Question {
        who: Who::Meant(terms.to_vec()),
        topology_key: topology_key.clone(),
        among: Among::default(),
    };
    Near::new(topology_key, Some(There::Counted(world.tally(question))))
}

#[derive(Clone)]
struct Rules<'a> {
    pod: &'a PodInfo,
    world: &'a Snapshot,
    /// Where Pods are that refuse the new one.
    existing: Vec<Near<'a>>,
    /// Where Pods are that match all of its affinity terms, by the label of each.
    with: Vec<Near<'a>>,
    /// Where Pods are that match each of its anti-affinity terms.
    anti: Vec<Near<'a>>,
    /// It is like the Pods that it wants to be near.
    likes_itself: bool,
}

impl<'a> Rules<'a> {
    fn new(pod: &'a PodInfo, world: &'a Snapshot) -> Self {
        let (with, anti) = terms(pod);
        let mut existing = Vec::new();
        for (term, domains) in world.standing().anti.iter().filter(|(term, _)| world.means(term, pod)) {
            by_label(&mut existing, &term.topology_key).there.push(There::Standing(domains));
        }
        Self {
            pod,
            world,
            existing,
            with: with.iter().map(|term| counted(with, &term.topology_key, world)).collect(),
            anti: anti
                .iter()
                .map(|term| counted(std::slice::from_ref(term), &term.topology_key, world))
                .collect(),
            likes_itself: means_all(with, pod, world),
        }
    }

    fn is_empty(&self) -> bool {
        self.existing.is_empty() && self.with.is_empty() && self.anti.is_empty()
    }

    /// As if another Pod were on the node, or were not.
    fn change(&mut self, other: &PodInfo, node: &NodeFacts, by: i64) {
        let (with, anti) = terms(self.pod);
        if means_all(with, other, self.world) {
            self.with.iter_mut().for_each(|near| near.try_more(node, by));
        }
        for (term, near) in anti.iter().zip(&mut self.anti) {
            if self.world.means(term, other) {
                near.try_more(node, by);
            }
        }
        for term in terms(other).1.iter().filter(|t| self.world.means(t, self.pod)) {
            by_label(&mut self.existing, &term.topology_key).try_more(node, by);
        }
    }

    fn affinity_satisfied(&self, node: &NodeFacts) -> bool {
        let mut all_there = true;
        for near in &self.with {
            let Some(pods) = near.on(node) else { return false };
            all_there &= pods > 0;
        }
        all_there || (self.likes_itself && self.with.iter().all(Near::is_empty))
    }

    fn hits(near: &[Near<'_>], node: &NodeFacts) -> bool {
        near.iter().any(|n| n.on(node).is_some_and(|pods| pods > 0))
    }
}

impl<'a> Filter<'a> for Rules<'a> {
    fn check(&self, node: &NodeInfo) -> Verdict {
        if !self.affinity_satisfied(node) {
            return Err(AFFINITY);
        }
        if Self::hits(&self.anti, node) {
            return Err(ANTI_AFFINITY);
        }
        if Self::hits(&self.existing, node) {
            return Err(EXISTING);
        }
        Ok(())
    }

    fn add_pod(&mut self, pod: &PodInfo, node: &NodeInfo) {
        self.change(pod, node, 1);
    }

    fn remove_pod(&mut self, pod: &PodInfo, node: &NodeInfo) {
        self.change(pod, node, -1);
    }

    fn boxed(&self) -> Box<dyn Filter<'a> + 'a> {
        Box::new(self.clone())
    }
}

/// What each Pod in a domain counts.
struct Preferences<'a>(Vec<(i64, Near<'a>)>);

impl Score for Preferences<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        self.0.iter().map(|(weight, near)| weight * near.on(node).unwrap_or_default()).sum()
    }

    fn normalise(&self, scores: &mut [i64]) {
        let (least, greatest) =
            (scores.iter().min().copied().unwrap_or(0), scores.iter().max().copied().unwrap_or(0));
        for score in scores {
            *score = if greatest == least { 0 } else { MAX_SCORE * (*score - least) / (greatest - least) };
        }
    }
}

impl InterPodAffinity {
    /// What the Pod and those that are there think of each other's nearness.
    fn preferences<'a>(&self, pod: &PodInfo, world: &'a Snapshot) -> Preferences<'a> {
        let mut all = Vec::new();
        for Weighted { weight, term } in pod.pod_affinity.iter().flat_map(|a| &a.preferred) {
            all.push((*weight, counted(std::slice::from_ref(term), &term.topology_key, world)));
        }
        let standing = world.standing();
        for (weight, terms) in [(self.hard_weight, &standing.with), (1, &standing.preferred)] {
            let mut near = Vec::new();
            for (term, domains) in terms.iter().filter(|(term, _)| weight > 0 && world.means(term, pod)) {
                by_label(&mut near, &term.topology_key).there.push(There::Standing(domains));
            }
            all.extend(near.into_iter().map(|near| (weight, near)));
        }
        all.retain(|(_, near)| near.there.iter().any(There::knows_any));
        Preferences(all)
    }
}

impl Plugin for InterPodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }

    fn points(&self) -> Points {
        Points::FILTER | Points::SCORE
    }

    fn wakes(&self) -> Kinds {
        Kinds::NODE_ADDED
            | Kinds::NODE_LABELS
            | Kinds::POD_ADDED
            | Kinds::POD_LABELS
            | Kinds::POD_GONE
            | Kinds::NAMESPACE_LABELS
    }

    fn lifts(&self, pod: &PodInfo, change: &Change) -> bool {
        let (with, anti) = terms(pod);
        match change {
            // Whether the labels of its namespace select a Pod is not known here; then it may.
            Change::Pod { .. } => {
                let (before, after) = change.pod();
                let means = |terms: &[PodTerm], other: Option<&PodInfo>| {
                    other.is_some_and(|o| terms.iter().any(|t| t.asks_namespaces() || t.matches(o, None)))
                };
                let was_in_the_way = before
                    .is_some_and(|b| terms(b).1.iter().any(|t| t.asks_namespaces() || t.matches(pod, None)));
                means(with, after) || means(anti, before) || was_in_the_way
            }
            Change::Node { .. } => {
                change.node().is_some_and(|node| with.iter().all(|t| node.label(&t.topology_key).is_some()))
            }
            _ => true,
        }
    }

    fn pre_filter<'a>(&'a self, pod: &'a PodInfo, world: &'a Snapshot) -> PreFilter<'a> {
        let rules = Rules::new(pod, world);
        if rules.is_empty() { PreFilter::Skip } else { PreFilter::Filter(Box::new(rules)) }
    }

    fn pre_score<'a>(
        &'a self,
        pod: &'a PodInfo,
        world: &'a Snapshot,
        _: &[&'a NodeInfo],
    ) -> Option<Box<dyn Score + 'a>> {
        let prefers = pod.pod_affinity.as_ref().is_some_and(|a| !a.preferred.is_empty());
        if !prefers && self.ignore_preferred_of_existing {
            return None;
        }
        let preferences = self.preferences(pod, world);
        (!preferences.0.is_empty()).then(|| Box::new(preferences) as Box<dyn Score>)
    }
}
