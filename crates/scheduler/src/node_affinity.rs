//! Node affinity: required terms (any of them) and preferred terms (weights).
//!
//! Invariant: a term without expressions and fields matches no node, as upstream. A term that does not parse (the API
//! refuses it) matches no node either. Absent: inter-Pod affinity.

use std::collections::{BTreeMap, BTreeSet};

use base::labels::{Operator, Requirement};
use k8s_openapi::api::core::v1::{NodeAffinity as Api, NodeSelectorRequirement, NodeSelectorTerm};

use crate::node::NodeFacts;

/// Required node affinity: at least one term must match.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NodeAffinity {
    terms: Vec<Option<Term>>,
}

/// Preferred terms with their weights.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PreferredTerms {
    terms: Vec<(i64, Option<Term>)>,
}

#[derive(Debug, Clone, PartialEq)]
struct Term {
    labels: Vec<Requirement>,
    /// `matchFields`, which knows `metadata.name` only.
    names: Vec<Requirement>,
}

impl NodeAffinity {
    /// The required part, if there is one.
    #[must_use]
    pub fn required(api: &Api) -> Option<Self> {
        let selector = api.required_during_scheduling_ignored_during_execution.as_ref()?;
        Some(Self { terms: selector.node_selector_terms.iter().map(Term::new).collect() })
    }

    /// Whether any term matches.
    #[must_use]
    pub fn matches(&self, node: &NodeFacts) -> bool {
        self.terms.iter().flatten().any(|t| t.matches(node))
    }

    /// The only node names that can match, if every term names some (a DaemonSet's Pods).
    #[must_use]
    pub fn only_names(&self) -> Option<BTreeSet<&str>> {
        let mut names = BTreeSet::new();
        for term in &self.terms {
            let listed = term.as_ref()?.names.iter().find_map(|r| match &r.operator {
                Operator::In(values) => Some(values),
                _ => None,
            })?;
            names.extend(listed.iter().map(String::as_str));
        }
        (!names.is_empty()).then_some(names)
    }
}

impl PreferredTerms {
    /// From the API's form.
    #[must_use]
    pub fn new(api: &Api) -> Self {
        let terms = api.preferred_during_scheduling_ignored_during_execution.iter().flatten();
        Self { terms: terms.map(|t| (i64::from(t.weight), Term::new(&t.preference))).collect() }
    }

    /// The sum of the weights of the matching terms.
    #[must_use]
    pub fn weight(&self, node: &NodeFacts) -> i64 {
        let matching = self.terms.iter().filter(|(_, term)| term.as_ref().is_some_and(|t| t.matches(node)));
        matching.map(|(weight, _)| weight).sum()
    }

    /// Whether nothing is preferred.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }
}

impl Term {
    fn new(api: &NodeSelectorTerm) -> Option<Self> {
        let all = |list: &Option<Vec<NodeSelectorRequirement>>| -> Option<Vec<Requirement>> {
            list.iter().flatten().map(requirement).collect()
        };
        let term = Self { labels: all(&api.match_expressions)?, names: all(&api.match_fields)? };
        let known = term.names.iter().all(|r| r.key == "metadata.name");
        let says_something = !term.labels.is_empty() || !term.names.is_empty();
        (known && says_something).then_some(term)
    }

    fn matches(&self, node: &NodeFacts) -> bool {
        let label = |labels: &BTreeMap<String, String>, r: &Requirement| {
            r.accepts(labels.get(&r.key).map(String::as_str))
        };
        self.labels.iter().all(|r| label(&node.labels, r))
            && self.names.iter().all(|r| r.accepts(Some(&node.name)))
    }
}

fn requirement(api: &NodeSelectorRequirement) -> Option<Requirement> {
    let values: BTreeSet<String> = api.values.iter().flatten().cloned().collect();
    let bound = || api.values.as_ref()?.first()?.parse().ok();
    let operator = match api.operator.as_str() {
        "In" => Operator::In(values),
        "NotIn" => Operator::NotIn(values),
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::NotExists,
        "Gt" => Operator::Greater(bound()?),
        "Lt" => Operator::Less(bound()?),
        _ => return None,
    };
    Some(Requirement { key: api.key.clone(), operator })
}
