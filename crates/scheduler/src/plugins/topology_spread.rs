//! `PodTopologySpread`: Pods of a sort are spread over the domains of a node label, required and preferred.
//!
//! Invariants: only nodes that have all labels, and that the constraint's policies include, make domains; Pods that are
//! ending do not count. A Pod without constraints gets the profile's, for what its Services and its controller select;
//! the system's (hostname 3, zone 5) are preferences. `matchLabelKeys` stand in the selectors ([`crate::Constraint`]).

use base::labels::Selector;
use kinds::rules::taints::untolerated;

use crate::change::{Change, Kinds};
use crate::node::{HOSTNAME, NodeFacts, NodeInfo, ZONE};
use crate::plugin::{Plugin, PreFilter, Score};
use crate::pod::{Constraint, Inclusion, PodInfo};
use crate::snapshot::Snapshot;

use super::node_affinity::allowed;

mod filter;
mod score;

/// See the module.
#[derive(Debug)]
pub struct PodTopologySpread {
    /// For Pods that have none; their selectors are made for each Pod.
    defaults: Vec<Constraint>,
    /// The defaults are the system's: then a node that lacks a label is no reason to leave it out.
    by_system: bool,
}

impl Default for PodTopologySpread {
    fn default() -> Self {
        let soft = |topology_key: &str, max_skew| Constraint {
            max_skew,
            topology_key: topology_key.into(),
            required: false,
            selector: Selector::nothing(),
            min_domains: 1,
            inclusion: Inclusion::default(),
        };
        Self { defaults: vec![soft(HOSTNAME, 3), soft(ZONE, 5)], by_system: true }
    }
}

impl PodTopologySpread {
    /// With `defaultConstraints` of the plugin's arguments (`defaultingType: List`).
    #[must_use]
    pub fn with_defaults(defaults: Vec<Constraint>) -> Self {
        Self { defaults, by_system: false }
    }

    /// The Pod's constraints of one sort, or the profile's.
    fn constraints(&self, pod: &PodInfo, world: &Snapshot, required: bool) -> Vec<Constraint> {
        if !pod.spread.is_empty() {
            return pod.spread.iter().filter(|c| c.required == required).cloned().collect();
        }
        let selector = default_selector(pod, world);
        if selector.requirements.is_empty() {
            return Vec::new();
        }
        let with = |c: &Constraint| Constraint { selector: selector.clone(), ..c.clone() };
        self.defaults.iter().filter(|c| c.required == required).map(with).collect()
    }
}

/// What the Services that select the Pod and its controller select together (upstream: `helper.DefaultSelector`).
fn default_selector(pod: &PodInfo, world: &Snapshot) -> Selector {
    let mut all = Selector::default();
    let Some(groups) = world.groups(&pod.namespace) else { return all };
    let owner =
        |kind: &str, name: &str| pod.controller.as_ref().is_some_and(|(k, n)| **k == *kind && **n == *name);
    for ((kind, name), selector) in groups {
        let is_service = **kind == *"Service" && selector.matches(&pod.labels);
        if is_service || owner(kind, name) {
            for requirement in &selector.requirements {
                if !all.requirements.contains(requirement) {
                    all.requirements.push(requirement.clone());
                }
            }
        }
    }
    all
}

fn has_all(node: &NodeFacts, constraints: &[Constraint]) -> bool {
    constraints.iter().all(|c| node.label(&c.topology_key).is_some())
}

fn included(constraint: &Constraint, pod: &PodInfo, node: &NodeFacts) -> bool {
    let Inclusion { by_affinity, by_taints } = constraint.inclusion;
    (!by_affinity || allowed(pod, node))
        && (!by_taints || untolerated(&node.taints, &pod.tolerations).is_none())
}

/// Pods on a node that a constraint of a Pod of this namespace counts.
fn matching(node: &NodeInfo, constraint: &Constraint, namespace: &str) -> i64 {
    let counts =
        |p: &PodInfo| *p.namespace == *namespace && !p.deleting && constraint.selector.matches(&p.labels);
    i64::try_from(node.pods.iter().filter(|p| counts(p)).count()).unwrap_or(i64::MAX)
}

impl Plugin for PodTopologySpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    fn wakes(&self) -> Kinds {
        Kinds::NODE_ADDED
            | Kinds::NODE_GONE
            | Kinds::NODE_LABELS
            | Kinds::NODE_TAINTS
            | Kinds::POD_ADDED
            | Kinds::POD_LABELS
            | Kinds::POD_GONE
            | Kinds::GROUPS
    }

    fn lifts(&self, pod: &PodInfo, change: &Change) -> bool {
        let required: Vec<&Constraint> = pod.spread.iter().filter(|c| c.required).collect();
        match change {
            // The profile's constraints are not known here; then anything may.
            _ if pod.spread.is_empty() => true,
            Change::Pod { .. } => {
                let (before, after) = change.pod();
                let counts = |other: &PodInfo| {
                    other.namespace == pod.namespace
                        && required.iter().any(|c| c.selector.matches(&other.labels))
                };
                before.into_iter().chain(after).any(counts)
            }
            Change::Node { before, after } => {
                let has = |n: &NodeFacts| required.iter().all(|c| n.label(&c.topology_key).is_some());
                before.iter().chain(after).any(|n| has(n))
            }
            _ => false,
        }
    }

    fn pre_filter<'a>(&'a self, pod: &'a PodInfo, world: &'a Snapshot) -> PreFilter<'a> {
        let constraints = self.constraints(pod, world, true);
        if constraints.is_empty() {
            return PreFilter::Skip;
        }
        PreFilter::Filter(Box::new(filter::Spread::new(pod, world, constraints)))
    }

    fn pre_score<'a>(
        &'a self,
        pod: &'a PodInfo,
        world: &'a Snapshot,
        fitting: &[&'a NodeInfo],
    ) -> Option<Box<dyn Score + 'a>> {
        let constraints = self.constraints(pod, world, false);
        let demand_all = !pod.spread.is_empty() || !self.by_system;
        (!constraints.is_empty()).then(|| {
            Box::new(score::Spread::new(pod, world, fitting, constraints, demand_all)) as Box<dyn Score>
        })
    }
}
