//! To which objects a quota speaks.

use base::labels::Selector;
use serde_json::{Value, json};

use crate::pod::resources::qos;
use crate::rules::qos::Qos;
use crate::value::{is_set, items, text};

/// Every scope.
pub const EVERY: &[&str] = &[
    "BestEffort",
    "CrossNamespacePodAffinity",
    "NotBestEffort",
    "NotTerminating",
    "PriorityClass",
    "Terminating",
    "VolumeAttributesClass",
];
/// Resources of Pods that scopes may narrow.
const OF_PODS: &[&str] =
    &["cpu", "limits.cpu", "limits.memory", "memory", "pods", "requests.cpu", "requests.memory"];
const OF_CLAIMS: &[&str] = &["persistentvolumeclaims", "requests.storage"];

/// Whether a scope may narrow the quota of a standard resource.
#[must_use]
pub fn is_for(scope: &str, resource: &str) -> bool {
    match scope {
        "BestEffort" => resource == "pods",
        "VolumeAttributesClass" => OF_CLAIMS.contains(&resource),
        _ => !EVERY.contains(&scope) || OF_PODS.contains(&resource),
    }
}

/// Whether the object is within all scopes of the quota; only Pods are in any.
#[must_use]
pub fn within(quota: &Value, resource: &str, object: &Value) -> bool {
    let plain = items(&quota["spec"]["scopes"]).iter().map(|scope| (text(scope), "Exists", &Value::Null));
    let terms = items(&quota["spec"]["scopeSelector"]["matchExpressions"]).iter();
    let terms = terms.map(|term| (text(&term["scopeName"]), text(&term["operator"]), &term["values"]));
    plain.chain(terms).all(|(scope, operator, values)| {
        resource == "pods" && is_in(&object["spec"], scope, operator, values)
    })
}

fn is_in(spec: &Value, scope: &str, operator: &str, values: &Value) -> bool {
    let terminating = spec["activeDeadlineSeconds"].as_i64().is_some_and(|seconds| seconds >= 0);
    match scope {
        "Terminating" => terminating,
        "NotTerminating" => !terminating,
        "BestEffort" => qos(spec) == Qos::BestEffort,
        "NotBestEffort" => qos(spec) != Qos::BestEffort,
        "PriorityClass" => is_of_class(text(&spec["priorityClassName"]), operator, values),
        "CrossNamespacePodAffinity" => looks_elsewhere(&spec["affinity"]),
        _ => false,
    }
}

fn is_of_class(class: &str, operator: &str, values: &Value) -> bool {
    let term = json!({"key": "class", "operator": operator, "values": values});
    let selector = Selector::from_label_selector(&json!({"matchExpressions": [term]}));
    selector.is_ok_and(|selector| selector.matches_with(|_| Some(class).filter(|class| !class.is_empty())))
}

/// Whether a Pod's affinity names other namespaces.
fn looks_elsewhere(affinity: &Value) -> bool {
    let names = |term: &Value| !items(&term["namespaces"]).is_empty() || is_set(&term["namespaceSelector"]);
    ["podAffinity", "podAntiAffinity"].iter().any(|side| {
        let (must, may) = (
            items(&affinity[*side]["requiredDuringSchedulingIgnoredDuringExecution"]),
            items(&affinity[*side]["preferredDuringSchedulingIgnoredDuringExecution"]),
        );
        must.iter().any(names) || may.iter().any(|term| names(&term["podAffinityTerm"]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_within() {
        let quota = |scopes: Value| json!({"spec": scopes});
        let pod = |spec: Value| json!({"spec": spec});
        let none = json!({"containers": [{"name": "c"}]});
        let some = json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}],
            "activeDeadlineSeconds": 5, "priorityClassName": "high",
            "affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"namespaces": ["a"]}]}}});
        let class = |operator: &str, values: Value| {
            json!({"scopeSelector": {"matchExpressions": [
                {"scopeName": "PriorityClass", "operator": operator, "values": values}]}})
        };
        for (scopes, bare, rich) in [
            (json!({}), true, true),
            (json!({"scopes": ["BestEffort"]}), true, false),
            (json!({"scopes": ["NotBestEffort", "Terminating"]}), false, true),
            (json!({"scopes": ["NotTerminating"]}), true, false),
            (json!({"scopes": ["CrossNamespacePodAffinity"]}), false, true),
            (class("In", json!(["high", "low"])), false, true),
            (class("NotIn", json!(["high"])), true, false),
            (class("Exists", json!(null)), false, true),
            (class("DoesNotExist", json!(null)), true, false),
        ] {
            let quota = quota(scopes.clone());
            assert_eq!(within(&quota, "pods", &pod(none.clone())), bare, "{scopes}");
            assert_eq!(within(&quota, "pods", &pod(some.clone())), rich, "{scopes}");
            assert_eq!(within(&quota, "secrets", &json!({})), scopes == json!({}), "{scopes}");
        }
    }
}
