//! How many Pods of a sort each domain of a node label has: counted once, then kept as Pods come and go.
//!
//! Invariants: a tally is what counting everything again would give, at any time; what a moved Pod costs depends on the
//! tallies that are kept, of which there are at most [`KEPT`], never on the Pods. A question that was not asked for long
//! is forgotten and counted again when it comes back.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::labels::Selector;
use k8s_openapi::api::core::v1::Toleration;
use kinds::rules::node_affinity::Required;
use kinds::rules::taints::untolerated;

use crate::Map;
use crate::node::{NodeFacts, NodeInfo};
use crate::pod::{PodInfo, PodTerm};
use crate::snapshot::Surroundings;

/// How many questions are remembered.
const KEPT: usize = 64;

/// Which Pods are counted, by which label of their node, and on which nodes.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Which Pods.
    pub who: Who,
    /// The label whose values are the domains.
    pub topology_key: Arc<str>,
    /// Which nodes.
    pub among: Among,
}

/// Which Pods are counted.
#[derive(Debug, Clone, PartialEq)]
pub enum Who {
    /// Those that each of the terms means.
    Meant(Vec<PodTerm>),
    /// Those of one namespace that are selected and are not ending.
    Selected {
        /// The namespace.
        namespace: Arc<str>,
        /// Which of its Pods.
        selector: Selector,
    },
}

/// Which nodes count; by default all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Among {
    /// Those that have all of these labels.
    pub labelled: Vec<Arc<str>>,
    /// Those that a Pod's node affinity allows.
    pub required: Option<Required>,
    /// Those whose taints are tolerated.
    pub tolerations: Option<Vec<Toleration>>,
}

/// The answer to one question.
#[derive(Debug, Clone)]
pub struct Tally {
    question: Question,
    domains: Map<Arc<str>, Domain>,
    /// How many domains have so many Pods.
    spread: BTreeMap<i64, usize>,
    pods: i64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Domain {
    nodes: usize,
    pods: i64,
}

impl Who {
    fn counts(&self, pod: &PodInfo, around: &Surroundings) -> bool {
        match self {
            Self::Meant(terms) => terms.iter().all(|term| around.means(term, pod)),
            Self::Selected { namespace, selector } => {
                pod.namespace == *namespace && !pod.deleting && selector.matches(&pod.labels)
            }
        }
    }
}

impl Among {
    fn has(&self, node: &NodeFacts) -> bool {
        self.labelled.iter().all(|key| node.label(key).is_some())
            && self.required.as_ref().is_none_or(|r| r.matches(&node.labels, &node.name))
            && self.tolerations.as_ref().is_none_or(|t| untolerated(&node.taints, t).is_none())
    }
}

impl Tally {
    fn new(question: Question) -> Self {
        Self { question, domains: Map::default(), spread: BTreeMap::new(), pods: 0 }
    }

    /// Pods in a domain.
    #[must_use]
    pub fn at(&self, domain: &str) -> i64 {
        self.domains.get(domain).map_or(0, |d| d.pods)
    }

    /// Pods in all domains.
    #[must_use]
    pub fn pods(&self) -> i64 {
        self.pods
    }

    /// How many domains there are, empty ones too.
    #[must_use]
    pub fn domains(&self) -> usize {
        self.domains.len()
    }

    /// The fewest Pods that a domain has if some had so many more or fewer than they have.
    #[must_use]
    pub fn least(&self, tried: &[(Arc<str>, i64)]) -> i64 {
        let there = || tried.iter().filter_map(|(name, by)| Some((self.domains.get(name)?.pods, by)));
        let changed = |count: i64| there().filter(|(pods, _)| *pods == count).count();
        let other = self.spread.iter().find(|(count, domains)| **domains > changed(**count));
        let tried = there().map(|(pods, by)| pods + by).min();
        other.map(|(count, _)| *count).into_iter().chain(tried).min().unwrap_or_default()
    }

    /// Whether a node counts.
    #[must_use]
    pub fn has(&self, node: &NodeFacts) -> bool {
        node.label(&self.question.topology_key).is_some() && self.question.among.has(node)
    }

    /// A node comes with its Pods, or goes with them.
    fn count_node(&mut self, node: &NodeInfo, comes: bool, around: &Surroundings) {
        let Some(name) = node.label(&self.question.topology_key) else { return };
        if !self.question.among.has(node) {
            return;
        }
        let counted = node.pods.iter().filter(|p| self.question.who.counts(p, around)).count();
        let counted = i64::try_from(counted).unwrap_or(i64::MAX);
        self.change(name, |domain| {
            domain.nodes = domain.nodes.saturating_add_signed(if comes { 1 } else { -1 });
            domain.pods += if comes { counted } else { -counted };
        });
    }

    /// A Pod comes to a node that is counted, or goes.
    fn count_pod(&mut self, node: &NodeInfo, pod: &PodInfo, by: i64, around: &Surroundings) {
        let Some(name) = node.label(&self.question.topology_key) else { return };
        if self.question.who.counts(pod, around) && self.question.among.has(node) {
            self.change(name, |domain| domain.pods += by);
        }
    }

    fn change(&mut self, name: &str, how: impl FnOnce(&mut Domain)) {
        let before = self.domains.get(name).copied();
        let mut after = before.unwrap_or_default();
        how(&mut after);
        self.pods += after.pods - before.map_or(0, |d| d.pods);
        if let Some(Domain { pods, .. }) = before
            && let Some(domains) = self.spread.get_mut(&pods)
        {
            *domains -= 1;
            if *domains == 0 {
                self.spread.remove(&pods);
            }
        }
        if after.nodes == 0 {
            self.domains.remove(name);
            return;
        }
        *self.spread.entry(after.pods).or_default() += 1;
        match self.domains.get_mut(name) {
            Some(domain) => *domain = after,
            None => drop(self.domains.insert(name.into(), after)),
        }
    }
}

/// The answers that are kept, the one that was asked for last at the end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tallies(Vec<Arc<Tally>>);

impl Tallies {
    /// The answer to a question, counted if it is new.
    pub(crate) fn ask(
        &mut self,
        question: Question,
        nodes: &[Arc<NodeInfo>],
        around: &Surroundings,
    ) -> Arc<Tally> {
        if let Some(known) = self.0.iter().position(|t| t.question == question) {
            self.0[known..].rotate_left(1);
        } else {
            let mut tally = Tally::new(question);
            for node in nodes {
                tally.count_node(node, true, around);
            }
            if self.0.len() >= KEPT {
                self.0.remove(0);
            }
            self.0.push(Arc::new(tally));
        }
        self.0[self.0.len() - 1].clone()
    }

    /// Nothing is known any more: whom a term means may have changed.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }

    /// A node came, changed or went.
    pub(crate) fn moved(&mut self, old: Option<&NodeInfo>, new: Option<&NodeInfo>, around: &Surroundings) {
        for tally in &mut self.0 {
            let tally = Arc::make_mut(tally);
            match (old, new) {
                (Some(old), Some(new)) if Arc::ptr_eq(&old.facts, &new.facts) => {
                    for (pod, by) in new.pods.since(&old.pods) {
                        tally.count_pod(new, pod, by, around);
                    }
                }
                _ => {
                    // The new first, so that a domain of one node stays.
                    new.into_iter().for_each(|node| tally.count_node(node, true, around));
                    old.into_iter().for_each(|node| tally.count_node(node, false, around));
                }
            }
        }
    }
}
