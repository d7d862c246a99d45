//! Inter-Pod affinity: terms with compiled selectors.
//!
//! Invariant: a term whose selector does not parse (the API refuses it) selects nothing. `matchLabelKeys` and
//! `mismatchLabelKeys` are part of the selector, whether or not the API server has put them there already.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base::labels::{Operator, Requirement, Selector};
use k8s_openapi::api::core::v1::{Affinity, PodAffinityTerm, WeightedPodAffinityTerm};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::pod::PodInfo;

type Labels = BTreeMap<String, String>;

/// All inter-Pod terms of a Pod; at least one list is not empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PodAffinity {
    /// Required: Pods like these must be near.
    pub with: Vec<PodTerm>,
    /// Required: Pods like these must not be near.
    pub anti: Vec<PodTerm>,
    /// Preferred nearness; anti-affinity counts with a negative weight.
    pub preferred: Vec<Weighted>,
}

/// A preferred term.
#[derive(Debug, Clone, PartialEq)]
pub struct Weighted {
    /// From -100 to 100.
    pub weight: i64,
    /// Which Pods, how near.
    pub term: PodTerm,
}

/// Which Pods, and what nearness means.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PodTerm {
    /// Two nodes with the same value of this label are near.
    pub topology_key: Arc<str>,
    namespaces: BTreeSet<String>,
    namespace_selector: Selector,
    selector: Selector,
}

impl PodAffinity {
    /// `None` if the Pod asks for nothing of the kind.
    #[must_use]
    pub fn new(affinity: Option<&Affinity>, namespace: &str, labels: &Labels) -> Option<Self> {
        let affinity = affinity?;
        let term = |t: &PodAffinityTerm| PodTerm::new(t, namespace, labels);
        let weighted = |t: &WeightedPodAffinityTerm, sign: i64| Weighted {
            weight: sign * i64::from(t.weight),
            term: term(&t.pod_affinity_term),
        };
        let mut all = Self::default();
        if let Some(with) = &affinity.pod_affinity {
            let required = with.required_during_scheduling_ignored_during_execution.iter().flatten();
            all.with.extend(required.map(term));
            let preferred = with.preferred_during_scheduling_ignored_during_execution.iter().flatten();
            all.preferred.extend(preferred.map(|t| weighted(t, 1)));
        }
        if let Some(anti) = &affinity.pod_anti_affinity {
            let required = anti.required_during_scheduling_ignored_during_execution.iter().flatten();
            all.anti.extend(required.map(term));
            let preferred = anti.preferred_during_scheduling_ignored_during_execution.iter().flatten();
            all.preferred.extend(preferred.map(|t| weighted(t, -1)));
        }
        (all != Self::default()).then_some(all)
    }
}

impl PodTerm {
    fn new(term: &PodAffinityTerm, namespace: &str, labels: &Labels) -> Self {
        let mut selector = compile(term.label_selector.as_ref());
        if term.label_selector.is_some() {
            merge_keys(&mut selector, term.match_label_keys.as_deref(), labels, |v| Operator::In([v].into()));
            merge_keys(&mut selector, term.mismatch_label_keys.as_deref(), labels, |v| {
                Operator::NotIn([v].into())
            });
        }
        let mut namespaces: BTreeSet<String> = term.namespaces.iter().flatten().cloned().collect();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.insert(namespace.to_owned());
        }
        Self {
            topology_key: term.topology_key.as_str().into(),
            namespaces,
            namespace_selector: compile(term.namespace_selector.as_ref()),
            selector,
        }
    }

    /// Whether the term means this Pod; `namespace_labels` are those of the Pod's namespace.
    #[must_use]
    pub fn matches(&self, pod: &PodInfo, namespace_labels: Option<&Labels>) -> bool {
        let here = self.namespaces.contains(&*pod.namespace) || self.selects_namespace(namespace_labels);
        here && self.selector.matches(&pod.labels)
    }

    fn selects_namespace(&self, labels: Option<&Labels>) -> bool {
        let none = Labels::new();
        self.namespace_selector.matches(labels.unwrap_or(&none))
    }

    /// Whether the labels of namespaces matter to it.
    #[must_use]
    pub fn asks_namespaces(&self) -> bool {
        !self.namespace_selector.nothing
    }
}

/// A selector of the API; absent it selects nothing, and so it does if it cannot be read.
pub(crate) fn compile(selector: Option<&LabelSelector>) -> Selector {
    let json = selector.and_then(|s| serde_json::to_value(s).ok()).unwrap_or_default();
    Selector::from_label_selector(&json).unwrap_or_else(|_| Selector::nothing())
}

/// Adds what the Pod's own labels say for these keys; a key that it lacks says nothing.
pub(super) fn merge_keys(
    selector: &mut Selector,
    keys: Option<&[String]>,
    labels: &Labels,
    operator: impl Fn(String) -> Operator,
) {
    for key in keys.unwrap_or_default() {
        let Some(value) = labels.get(key) else { continue };
        let requirement = Requirement { key: key.clone(), operator: operator(value.clone()) };
        if !selector.requirements.contains(&requirement) {
            selector.requirements.push(requirement);
        }
    }
}
