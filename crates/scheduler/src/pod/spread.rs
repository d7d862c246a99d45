//! Topology spread constraints with compiled selectors.
//!
//! Invariant: `matchLabelKeys` are part of the selector, whether or not the API server has put them there already.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::labels::{Operator, Selector};
use k8s_openapi::api::core::v1::{PodSpec, TopologySpreadConstraint};

use super::affinity::{compile, merge_keys};

/// One constraint.
#[derive(Debug, Clone, PartialEq)]
pub struct Constraint {
    /// Most Pods that one domain may have more than the emptiest.
    pub max_skew: i64,
    /// Nodes with the same value of this label are one domain.
    pub topology_key: Arc<str>,
    /// `DoNotSchedule`; else it is a preference.
    pub required: bool,
    /// Which Pods of the namespace count.
    pub selector: Selector,
    /// With fewer domains than this the emptiest counts as empty.
    pub min_domains: i64,
    /// Which nodes count.
    pub inclusion: Inclusion,
}

/// Which nodes count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inclusion {
    /// Only nodes that the Pod's selector and affinity allow (`nodeAffinityPolicy: Honor`).
    pub by_affinity: bool,
    /// Only nodes whose taints the Pod tolerates (`nodeTaintsPolicy: Honor`).
    pub by_taints: bool,
}

impl Default for Inclusion {
    fn default() -> Self {
        Self { by_affinity: true, by_taints: false }
    }
}

impl Constraint {
    /// One that a profile gives; whom it selects depends on the Pod.
    pub(crate) fn of_profile(api: &TopologySpreadConstraint) -> Self {
        constraint(api, &BTreeMap::new())
    }
}

/// The constraints of a Pod.
pub(super) fn constraints(spec: &PodSpec, labels: &BTreeMap<String, String>) -> Vec<Constraint> {
    spec.topology_spread_constraints.iter().flatten().map(|c| constraint(c, labels)).collect()
}

fn constraint(api: &TopologySpreadConstraint, labels: &BTreeMap<String, String>) -> Constraint {
    let mut selector = compile(api.label_selector.as_ref());
    if api.label_selector.is_some() {
        merge_keys(&mut selector, api.match_label_keys.as_deref(), labels, |v| Operator::In([v].into()));
    }
    Constraint {
        max_skew: api.max_skew.into(),
        topology_key: api.topology_key.as_str().into(),
        required: api.when_unsatisfiable != "ScheduleAnyway",
        selector,
        min_domains: api.min_domains.unwrap_or(1).into(),
        inclusion: Inclusion {
            by_affinity: api.node_affinity_policy.as_deref() != Some("Ignore"),
            by_taints: api.node_taints_policy.as_deref() == Some("Honor"),
        },
    }
}
