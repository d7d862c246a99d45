//! `InterPodAffinity`: Pods near each other or apart, required and preferred, also as the Pods that are there already
//! ask it of the new one.
//!
//! Invariants: a first Pod that asks for its like is let in where it matches itself; without terms of its own only the
//! nodes whose Pods have terms are looked at. `matchLabelKeys` stand in the selectors ([`crate::PodTerm`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::Map;
use crate::change::{Change, Kinds};
use crate::node::{NodeFacts, NodeInfo};
use crate::plugin::{Filter, MAX_SCORE, Plugin, PreFilter, Score, Verdict};
use crate::pod::{PodInfo, PodTerm};
use crate::refusal::Refusal;
use crate::snapshot::Snapshot;

const AFFINITY: Refusal = Refusal::final_("node(s) didn't match pod affinity rules");
const ANTI_AFFINITY: Refusal = Refusal::resolvable("node(s) didn't match pod anti-affinity rules");
const EXISTING: Refusal = Refusal::resolvable("node(s) didn't satisfy existing pods anti-affinity rules");
const HARD_POD_AFFINITY_WEIGHT: i64 = 1;

/// See the module.
#[derive(Debug)]
pub struct InterPodAffinity {
    /// How much the required affinity of the Pods that are there counts as a preference.
    hard_weight: i64,
    /// Preferences of the Pods that are there do not count unless the new Pod has some.
    ignore_preferred_of_existing: bool,
}

impl Default for InterPodAffinity {
    fn default() -> Self {
        Self { hard_weight: HARD_POD_AFFINITY_WEIGHT, ignore_preferred_of_existing: false }
    }
}

impl InterPodAffinity {
    /// With the plugin's arguments `hardPodAffinityWeight` and `ignorePreferredTermsOfExistingPods`.
    #[must_use]
    pub fn new(hard_weight: i64, ignore_preferred_of_existing: bool) -> Self {
        Self { hard_weight, ignore_preferred_of_existing }
    }
}

/// A count for each label and value of nodes.
#[derive(Debug, Clone, Default)]
struct Counts(BTreeMap<Arc<str>, Map<Arc<str>, i64>>);

impl Counts {
    fn add(&mut self, key: &Arc<str>, node: &NodeFacts, by: i64) {
        let Some(value) = node.label(key) else { return };
        let domains = self.0.entry(key.clone()).or_default();
        match domains.get_mut(value) {
            Some(count) => *count += by,
            None => {
                domains.insert(value.into(), by);
            }
        }
        if domains.get(value) == Some(&0) {
            domains.remove(value);
        }
        if domains.is_empty() {
            self.0.remove(key);
        }
    }

    fn at(&self, key: &str, value: &str) -> i64 {
        self.0.get(key).and_then(|domains| domains.get(value)).copied().unwrap_or_default()
    }

    /// Sum over the labels of a node that are counted by.
    fn on(&self, node: &NodeFacts) -> i64 {
        let here = self.0.iter().map(|(key, domains)| {
            node.label(key).and_then(|value| domains.get(value)).copied().unwrap_or_default()
        });
        here.sum()
    }

    fn hits(&self, node: &NodeFacts) -> bool {
        self.0
            .iter()
            .any(|(key, domains)| node.label(key).is_some_and(|v| domains.get(v).is_some_and(|c| *c > 0)))
    }
}

fn terms(pod: &PodInfo) -> (&[PodTerm], &[PodTerm]) {
    pod.pod_affinity.as_ref().map_or((&[], &[]), |a| (&a.with, &a.anti))
}

fn matches(term: &PodTerm, pod: &PodInfo, world: &Snapshot) -> bool {
    let labels = if term.asks_namespaces() { world.namespace(&pod.namespace) } else { None };
    term.matches(pod, labels)
}

fn matches_all(terms: &[PodTerm], pod: &PodInfo, world: &Snapshot) -> bool {
    !terms.is_empty() && terms.iter().all(|t| matches(t, pod, world))
}

#[derive(Clone)]
struct Rules<'a> {
    pod: &'a PodInfo,
    world: &'a Snapshot,
    /// Where Pods are that refuse the new one.
    existing: Counts,
    /// Where Pods are that match all of its affinity terms.
    affinity: Counts,
    /// Where Pods are that match one of its anti-affinity terms.
    anti: Counts,
}

impl Rules<'_> {
    fn count(&mut self, other: &PodInfo, node: &NodeFacts, by: i64) {
        for term in terms(other).1 {
            if matches(term, self.pod, self.world) {
                self.existing.add(&term.topology_key, node, by);
            }
        }
        self.count_own(other, node, by);
    }

    fn count_own(&mut self, other: &PodInfo, node: &NodeFacts, by: i64) {
        let (with, anti) = terms(self.pod);
        if matches_all(with, other, self.world) {
            for term in with {
                self.affinity.add(&term.topology_key, node, by);
            }
        }
        for term in anti {
            if matches(term, other, self.world) {
                self.anti.add(&term.topology_key, node, by);
            }
        }
    }

    fn affinity_satisfied(&self, node: &NodeFacts) -> bool {
        let with = terms(self.pod).0;
        let mut all_there = true;
        for term in with {
            let Some(value) = node.label(&term.topology_key) else { return false };
            all_there &= self.affinity.at(&term.topology_key, value) > 0;
        }
        all_there || (self.affinity.0.is_empty() && matches_all(with, self.pod, self.world))
    }

    fn anti_affinity_satisfied(&self, node: &NodeFacts) -> bool {
        let taken = |term: &PodTerm| {
            let value = node.label(&term.topology_key);
            value.is_some_and(|value| self.anti.at(&term.topology_key, value) > 0)
        };
        !terms(self.pod).1.iter().any(taken)
    }
}

impl<'a> Filter<'a> for Rules<'a> {
    fn check(&self, node: &NodeInfo) -> Verdict {
        if !self.affinity_satisfied(node) {
            return Err(AFFINITY);
        }
        if !self.anti_affinity_satisfied(node) {
            return Err(ANTI_AFFINITY);
        }
        if self.existing.hits(node) {
            return Err(EXISTING);
        }
        Ok(())
    }

    fn add_pod(&mut self, pod: &PodInfo, node: &NodeInfo) {
        self.count(pod, node, 1);
    }

    fn remove_pod(&mut self, pod: &PodInfo, node: &NodeInfo) {
        self.count(pod, node, -1);
    }

    fn boxed(&self) -> Box<dyn Filter<'a> + 'a> {
        Box::new(self.clone())
    }
}

struct Preferences(Counts);

impl Score for Preferences {
    fn score(&self, node: &NodeInfo) -> i64 {
        self.0.on(node)
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
    /// What a Pod that is there and the new one think of each other's nearness.
    fn count_preferences(
        &self,
        counts: &mut Counts,
        pod: &PodInfo,
        other: &PodInfo,
        node: &NodeFacts,
        world: &Snapshot,
    ) {
        for weighted in pod.pod_affinity.iter().flat_map(|a| &a.preferred) {
            if matches(&weighted.term, other, world) {
                counts.add(&weighted.term.topology_key, node, weighted.weight);
            }
        }
        let Some(theirs) = &other.pod_affinity else { return };
        if self.hard_weight > 0 {
            for term in theirs.with.iter().filter(|t| matches(t, pod, world)) {
                counts.add(&term.topology_key, node, self.hard_weight);
            }
        }
        for weighted in theirs.preferred.iter().filter(|w| matches(&w.term, pod, world)) {
            counts.add(&weighted.term.topology_key, node, weighted.weight);
        }
    }
}

impl Plugin for InterPodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
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
        let empty = || Counts::default();
        let mut rules = Rules { pod, world, existing: empty(), affinity: empty(), anti: empty() };
        for node in world.with_anti_affinity() {
            for other in node.pods.iter().filter(|p| p.has_required_anti_affinity()) {
                for term in terms(other).1.iter().filter(|t| matches(t, pod, world)) {
                    rules.existing.add(&term.topology_key, node, 1);
                }
            }
        }
        let (with, anti) = terms(pod);
        if !with.is_empty() || !anti.is_empty() {
            for node in world.nodes() {
                for other in &node.pods {
                    rules.count_own(other, node, 1);
                }
            }
        } else if rules.existing.0.is_empty() {
            return PreFilter::Skip;
        }
        PreFilter::Filter(Box::new(rules))
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
        let mut counts = Counts::default();
        if prefers {
            for node in world.nodes() {
                for other in &node.pods {
                    self.count_preferences(&mut counts, pod, other, node, world);
                }
            }
        } else {
            for node in world.with_affinity() {
                for other in node.pods.iter().filter(|p| p.has_affinity()) {
                    self.count_preferences(&mut counts, pod, other, node, world);
                }
            }
        }
        (!counts.0.is_empty()).then(|| Box::new(Preferences(counts)) as Box<dyn Score>)
    }
}
