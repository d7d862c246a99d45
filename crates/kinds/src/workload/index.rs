//! Under which keys the store finds objects by labels: all, for who selects them; those that nobody controls, for a claimant
//! that looks for its own; and claimants, for an object that looks for whom it belongs to.
//!
//! Invariant: whoever a selector selects shares a key with it, and one more label looks at no more strangers. A selector
//! that asks for no label's very value is looked for in the whole namespace. Absent: whether it really selects.

use base::facts::Facts;
use base::labels::{Operator, Selector};
use serde_json::Value;

/// The keys of an object; it has none once it is controlled.
#[must_use]
pub fn orphan_keys(namespace: &str, facts: &Facts) -> Vec<String> {
    if facts.controller().is_some() {
        return Vec::new();
    }
    let labels = facts.labels.iter().map(|(key, value)| key_of("orphan", namespace, Some((key, value))));
    labels.chain([key_of("orphan", namespace, None)]).collect()
}

/// The key of the orphans that a selector may select.
#[must_use]
pub fn orphan_key(namespace: &str, selector: &Selector) -> String {
    key_of("orphan", namespace, label_of(selector))
}

/// The keys of an object by its labels, whoever controls it.
#[must_use]
pub fn label_keys(namespace: &str, facts: &Facts) -> Vec<String> {
    facts.labels.iter().map(|(key, value)| key_of("label", namespace, Some((key, value)))).collect()
}

/// The key of the objects that a selector may select; none if it asks for no label's very value.
#[must_use]
pub fn label_key(namespace: &str, selector: &Selector) -> Option<String> {
    label_of(selector).map(|label| key_of("label", namespace, Some(label)))
}

/// The key of an object that selects others.
#[must_use]
pub fn claimant_key(namespace: &str, selector: &Selector) -> String {
    key_of("selects", namespace, label_of(selector))
}

/// The keys of those that may select an object with such labels.
#[must_use]
pub fn claimant_keys(namespace: &str, facts: &Facts) -> Vec<String> {
    let labels = facts.labels.iter().map(|(key, value)| key_of("selects", namespace, Some((key, value))));
    labels.chain([key_of("selects", namespace, None)]).collect()
}

/// Whether it selects an object.
#[must_use]
pub fn selects(selector: &Selector, facts: &Facts) -> bool {
    selector.matches_with(|key| facts.label(key))
}

/// A selector of labels in `spec.selector`.
#[must_use]
pub fn label_selector(obj: &Value) -> Selector {
    Selector::from_label_selector(&obj["spec"]["selector"]).unwrap_or_else(|_| Selector::nothing())
}

/// A map of labels in `spec.selector`.
#[must_use]
pub fn label_map(obj: &Value) -> Selector {
    let pairs = obj["spec"]["selector"].as_object();
    pairs.map_or_else(Selector::nothing, |map| {
        Selector::from_map(map.iter().map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default())))
    })
}

fn key_of(index: &str, namespace: &str, label: Option<(&str, &str)>) -> String {
    match label {
        Some((key, value)) => format!("{index}={namespace}/{key}={value}"),
        None => format!("{index}={namespace}"),
    }
}

/// A label that whatever is selected must have.
fn label_of(selector: &Selector) -> Option<(&str, &str)> {
    selector.requirements.iter().find_map(|requirement| match &requirement.operator {
        Operator::In(values) if values.len() == 1 => {
            values.first().map(|value| (requirement.key.as_str(), value.as_str()))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn facts(labels: &Value, owners: &Value) -> Facts {
        let object = json!({"metadata": {"labels": labels, "ownerReferences": owners}});
        Facts::of_metadata(object.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn who_is_selected_shares_a_key() {
        let labels = json!({"a": "1", "b": "2"});
        let orphan = facts(&labels, &json!([{"kind": "Job", "uid": "u"}]));
        for (selector, label) in [
            (json!({"matchLabels": {"b": "2"}}), "/b=2"),
            (json!({"matchLabels": {"a": "1", "b": "2"}}), "/a=1"),
            (json!({"matchExpressions": [{"key": "b", "operator": "In", "values": ["2"]}]}), "/b=2"),
            (json!({"matchExpressions": [{"key": "b", "operator": "In", "values": ["2", "3"]}]}), ""),
            (json!({"matchExpressions": [{"key": "c", "operator": "DoesNotExist"}]}), ""),
            (json!({}), ""),
        ] {
            let selector = label_selector(&json!({"spec": {"selector": selector}}));
            assert!(selects(&selector, &orphan));
            assert_eq!(orphan_key("n", &selector), format!("orphan=n{label}"));
            assert!(orphan_keys("n", &orphan).contains(&orphan_key("n", &selector)));
            let by_label = label_key("n", &selector);
            assert_eq!(by_label, (!label.is_empty()).then(|| format!("label=n{label}")));
            assert!(by_label.is_none_or(|key| label_keys("n", &orphan).contains(&key)));
            assert!(claimant_keys("n", &orphan).contains(&claimant_key("n", &selector)));
            assert!(!orphan_keys("m", &orphan).contains(&orphan_key("n", &selector)));
        }
        let owned = facts(&labels, &json!([{"kind": "Job", "uid": "u", "controller": true}]));
        assert_eq!(orphan_keys("n", &owned), [""; 0]);
        assert_eq!(orphan_keys("n", &facts(&json!(null), &json!(null))), ["orphan=n"]);
    }

    #[test]
    fn selectors_of_either_form() {
        let labels = facts(&json!({"a": "1"}), &json!(null));
        for (map, label_map_selects, selector_selects) in
            [(json!({"a": "1"}), true, true), (json!({"a": "2"}), false, true), (json!(null), false, false)]
        {
            assert_eq!(selects(&label_map(&json!({"spec": {"selector": map}})), &labels), label_map_selects);
            assert_eq!(
                selects(&label_selector(&json!({"spec": {"selector": map}})), &labels),
                selector_selects
            );
        }
    }
}
