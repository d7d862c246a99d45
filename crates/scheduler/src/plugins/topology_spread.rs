//! `PodTopologySpread`: Pods of a sort are spread over the domains of a node label, required and preferred.
//!
//! Invariants: only nodes that have all labels, and that the constraint's policies include, make domains; Pods that are
//! ending do not count. A Pod without constraints gets the profile's, for what its Services and its controller select;
//! the system's (hostname 3, zone 5) are preferences. `matchLabelKeys` stand in the selectors ([`crate::Constraint`]).

use base::labels::Selector;
use k8s_openapi::api::core::v1::TopologySpreadConstraint;
use kinds::names::check_label_key;

use crate::change::{Change, Kinds};
use crate::config::Fields;
use crate::node::{HOSTNAME, NodeFacts, NodeInfo, ZONE};
use crate::plugin::{Plugin, Points, PreFilter, Score};
use crate::pod::{Constraint, Inclusion, PodInfo};
use crate::snapshot::Snapshot;
use crate::tally::{Among, Question, Who};

mod filter;
mod score;

/// See the module.
#[derive(Debug)]
pub(crate) struct PodTopologySpread {
    /// For Pods that have none; their selectors are made for each Pod.
    defaults: Vec<Constraint>,
    /// The defaults are the system's: then a node that lacks a label is no reason to leave it out.
    by_system: bool,
}

/// What the system asks of Pods that ask for nothing.
fn of_the_system() -> Vec<Constraint> {
    let soft = |topology_key: &str, max_skew| Constraint {
        max_skew,
        topology_key: topology_key.into(),
        required: false,
        selector: Selector::nothing(),
        min_domains: 1,
        inclusion: Inclusion::default(),
    };
    vec![soft(HOSTNAME, 3), soft(ZONE, 5)]
}

impl PodTopologySpread {
    /// With the plugin's arguments.
    pub(crate) fn new(mut args: Fields<'_>) -> Self {
        let given: Vec<TopologySpreadConstraint> = args.decoded("defaultConstraints").unwrap_or_default();
        let sort = args.text("defaultingType").unwrap_or_else(|| "System".to_owned());
        match sort.as_str() {
            "List" => {}
            "System" if given.is_empty() => {}
            "System" => args.wrong("defaultingType", "System", "when .defaultConstraints are not empty"),
            other => args.tell("defaultingType", |errors, path| {
                errors.not_supported(path, other, &["System", "List"]);
            }),
        }
        for (i, constraint) in given.iter().enumerate() {
            check_default(&args, i, constraint, &given[..i]);
        }
        let by_system = sort != "List";
        let defaults =
            if by_system { of_the_system() } else { given.iter().map(Constraint::of_profile).collect() };
        Self { defaults, by_system }
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

/// What is wrong with a constraint that a profile gives.
fn check_default(
    args: &Fields<'_>,
    i: usize,
    constraint: &TopologySpreadConstraint,
    before: &[TopologySpreadConstraint],
) {
    let at = |name: &str| format!("defaultConstraints[{i}].{name}");
    let (key, when) = (&constraint.topology_key, &constraint.when_unsatisfiable);
    if constraint.max_skew <= 0 {
        args.wrong(&at("maxSkew"), constraint.max_skew, "not in valid range (0, inf)");
    }
    args.tell(&at("topologyKey"), |errors, path| match key.is_empty() {
        true => errors.required(path, "can not be empty"),
        false => check_label_key(errors, path, key),
    });
    args.tell(&at("whenUnsatisfiable"), |errors, path| match when.as_str() {
        "DoNotSchedule" | "ScheduleAnyway" => {}
        "" => errors.required(path, "can not be empty"),
        other => errors.not_supported(path, other, &["DoNotSchedule", "ScheduleAnyway"]),
    });
    if constraint.label_selector.is_some() {
        let why = "constraint must not define a selector, as they deduced for each pod";
        args.tell(&at("labelSelector"), |errors, path| errors.forbidden(path, why));
    }
    if before.iter().any(|c| c.topology_key == *key && c.when_unsatisfiable == *when) {
        args.tell(&format!("defaultConstraints[{i}]"), |errors, path| {
            errors.duplicate(path, format!("{{{key}, {when}}}"));
        });
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

/// What a constraint asks: which Pods each domain has, among nodes that have the labels of all these constraints.
fn question(constraint: &Constraint, demanded: &[Constraint], pod: &PodInfo) -> Question {
    let Inclusion { by_affinity, by_taints } = constraint.inclusion;
    Question {
        who: Who::Selected { namespace: pod.namespace.clone(), selector: constraint.selector.clone() },
        topology_key: constraint.topology_key.clone(),
        among: Among {
            labelled: demanded.iter().map(|c| c.topology_key.clone()).collect(),
            required: (by_affinity && !pod.required.is_empty()).then(|| pod.required.clone()),
            tolerations: by_taints.then(|| pod.tolerations.clone()),
        },
    }
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

    fn points(&self) -> Points {
        Points::FILTER | Points::SCORE
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
