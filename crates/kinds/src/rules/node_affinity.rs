//! Which nodes a Pod's node selector and node affinity let it run on (`component-helpers/scheduling/corev1/nodeaffinity`).
//!
//! Invariant: a term without expressions and fields matches no node, and so does one that does not parse (the API refuses
//! it). Terms are parsed once and then matched against many nodes.

use std::collections::{BTreeMap, BTreeSet};

use base::labels::{Operator, Requirement};
use k8s_openapi::api::core::v1::{
    NodeAffinity as Api, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec,
};
use serde::Deserialize as _;

type Labels = BTreeMap<String, String>;

/// What must be: every label of the selector, and one of the required terms if there are any.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Required {
    selector: Labels,
    terms: Option<Vec<Option<Term>>>,
}

/// Preferred terms with their weights.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Preferred {
    terms: Vec<(i64, Option<Term>)>,
}

#[derive(Debug, Clone, PartialEq)]
struct Term {
    labels: Vec<Requirement>,
    /// `matchFields`, which knows `metadata.name` only.
    names: Vec<Requirement>,
}

fn api(spec: &PodSpec) -> Option<&Api> {
    spec.affinity.as_ref()?.node_affinity.as_ref()
}

impl Required {
    /// What a Pod requires.
    #[must_use]
    pub fn of(spec: &PodSpec) -> Self {
        let selector = spec.node_selector.clone().unwrap_or_default();
        Self { selector, ..api(spec).map(Self::of_affinity).unwrap_or_default() }
    }

    /// What a node affinity alone requires.
    #[must_use]
    pub fn of_affinity(affinity: &Api) -> Self {
        let terms = affinity.required_during_scheduling_ignored_during_execution.as_ref();
        let terms = terms.map(|s| s.node_selector_terms.iter().map(Term::new).collect());
        Self { selector: Labels::new(), terms }
    }

    /// What a node selector requires, as it is stored; one that cannot be read allows no node.
    #[must_use]
    pub fn of_selector(selector: &serde_json::Value) -> Self {
        let read = NodeSelector::deserialize(selector).unwrap_or_default();
        let terms = Some(read.node_selector_terms.iter().map(Term::new).collect());
        Self { selector: Labels::new(), terms }
    }

    /// Whether a node with these labels and this name will do.
    #[must_use]
    pub fn matches(&self, labels: &Labels, name: &str) -> bool {
        self.selector.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.terms.as_ref().is_none_or(|any| any.iter().flatten().any(|t| t.matches(labels, name)))
    }

    /// Whether any node will do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.selector.is_empty() && self.terms.is_none()
    }

    /// The only node names that can match, if every term names some (a DaemonSet's Pods).
    #[must_use]
    pub fn only_names(&self) -> Option<BTreeSet<&str>> {
        let mut names = BTreeSet::new();
        for term in self.terms.as_ref()? {
            let listed = term.as_ref()?.names.iter().find_map(|r| match &r.operator {
                Operator::In(values) => Some(values),
                _ => None,
            })?;
            names.extend(listed.iter().map(String::as_str));
        }
        (!names.is_empty()).then_some(names)
    }
}

impl Preferred {
    /// What a Pod prefers.
    #[must_use]
    pub fn of(spec: &PodSpec) -> Self {
        api(spec).map(Self::of_affinity).unwrap_or_default()
    }

    /// What a node affinity alone prefers.
    #[must_use]
    pub fn of_affinity(affinity: &Api) -> Self {
        let terms = affinity.preferred_during_scheduling_ignored_during_execution.iter().flatten();
        Self { terms: terms.map(|t| (i64::from(t.weight), Term::new(&t.preference))).collect() }
    }

    /// The sum of the weights of the terms that match a node with these labels and this name.
    #[must_use]
    pub fn weight(&self, labels: &Labels, name: &str) -> i64 {
        let fits = |term: &Option<Term>| term.as_ref().is_some_and(|t| t.matches(labels, name));
        self.terms.iter().filter(|(_, term)| fits(term)).map(|(weight, _)| weight).sum()
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

    fn matches(&self, labels: &Labels, name: &str) -> bool {
        self.labels.iter().all(|r| r.accepts(labels.get(&r.key).map(String::as_str)))
            && self.names.iter().all(|r| r.accepts(Some(name)))
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::pod_spec;
    use super::*;

    fn required(terms: Value, selector: Value) -> Required {
        Required::of(&pod_spec(
            &json!({"containers": [], "nodeSelector": selector, "affinity": {"nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}}),
        ))
    }

    fn term(key: &str, operator: &str, values: &[&str]) -> Value {
        json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]})
    }

    fn named(name: &str) -> Value {
        json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]})
    }

    #[test]
    fn terms() {
        let labels =
            Labels::from([("zone".to_owned(), "a".to_owned()), ("cores".to_owned(), "8".to_owned())]);
        for (terms, want) in [
            (json!([term("zone", "In", &["a", "b"])]), true),
            (json!([term("zone", "In", &["b"])]), false),
            (json!([term("zone", "In", &["b"]), term("zone", "Exists", &[])]), true),
            (json!([term("zone", "NotIn", &["b"])]), true),
            (json!([term("rack", "NotIn", &["b"])]), true),
            (json!([term("rack", "DoesNotExist", &[])]), true),
            (json!([term("cores", "Gt", &["7"])]), true),
            (json!([term("cores", "Lt", &["8"])]), false),
            (json!([term("cores", "Gt", &["many"])]), false),
            (json!([term("zone", "Like", &["a"])]), false),
            (json!([named("n1")]), true),
            (json!([named("n2")]), false),
            (json!([{"matchFields": [{"key": "metadata.uid", "operator": "Exists"}]}]), false),
            (json!([{}]), false),
            (json!([]), false),
        ] {
            assert_eq!(required(terms.clone(), json!({})).matches(&labels, "n1"), want, "{terms}");
        }
        let all = json!([term("zone", "Exists", &[])]);
        assert!(required(all.clone(), json!({"zone": "a"})).matches(&labels, "n1"));
        assert!(!required(all, json!({"zone": "b"})).matches(&labels, "n1"));
        assert!(Required::default().matches(&labels, "n1") && Required::default().is_empty());
    }

    #[test]
    fn names_and_weights() {
        let both = required(json!([named("n1"), named("n2")]), json!({}));
        assert_eq!(both.only_names(), Some(BTreeSet::from(["n1", "n2"])));
        assert_eq!(required(json!([named("n1"), term("zone", "Exists", &[])]), json!({})).only_names(), None);
        assert_eq!(Required::default().only_names(), None);
        let preferred = Preferred::of(&pod_spec(&json!({"containers": [], "affinity": {"nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 3, "preference": term("zone", "Exists", &[])}, {"weight": 4, "preference": named("n1")},
                {"weight": 9, "preference": {}}]}}})));
        assert_eq!(preferred.weight(&Labels::new(), "n1"), 4);
        assert_eq!(preferred.weight(&Labels::from([("zone".to_owned(), String::new())]), "n1"), 7);
    }
}
