//! What makes a quota valid (`ValidateResourceQuota`).

use serde_json::Value;

use super::scopes::{EVERY, is_for};
use crate::field::{ErrorList, Path};
use crate::pod::resources::quantity;
use crate::pod::validate::limits;
use crate::value::{entries, is_set, items, size, text};

/// Of which an amount is a number of things.
const COUNTED: &[&str] = &[
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];
const PAIRS: [[&str; 2]; 2] = [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]];
const ONLY_EXISTS: &str = "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating, \
                           ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, \
                           ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";

pub(super) fn spec(spec: &Value) -> ErrorList {
    let mut errors = ErrorList::default();
    let path = Path::new("spec");
    amounts(&mut errors, &path.child("hard"), &spec["hard"]);
    scopes(&mut errors, &path.child("scopes"), spec);
    if is_set(&spec["scopeSelector"]) {
        selector(&mut errors, &path.child("scopeSelector"), spec);
    }
    errors
}

pub(super) fn status(status: &Value) -> ErrorList {
    let mut errors = ErrorList::default();
    let path = Path::new("status");
    for field in ["hard", "used"] {
        amounts(&mut errors, &path.child(field), &status[field]);
    }
    errors
}

/// Whether the name without a domain is one that quotas count.
fn is_standard(name: &str) -> bool {
    let of_pages = |name: &str| limits::is_huge_page(name);
    (limits::STANDARD.contains(&name) && name != "storage")
        || of_pages(name)
        || name.strip_prefix("requests.").is_some_and(of_pages)
}

fn amounts(errors: &mut ErrorList, path: &Path<'_>, list: &Value) {
    for (name, amount) in entries(list) {
        let path = path.key(name);
        let complaints = base::labels::qualified_name_errors(name);
        let bad = !complaints.is_empty();
        crate::names::check(errors, &path, name, complaints);
        if !name.contains('/') && !is_standard(name) {
            if !bad {
                errors.invalid(&path, name, "must be a standard resource type or fully qualified");
            }
            errors.invalid(&path, name, "must be a standard resource for quota");
        }
        let Some(amount) = quantity(amount) else { continue };
        if amount.sign() < 0 {
            errors.invalid(&path, amount.to_string(), "must be greater than or equal to 0");
        }
        let whole = COUNTED.contains(&name) || crate::rules::resources::is_extended(name);
        if whole && amount.milli_value() % 1000 != 0 {
            errors.invalid(&path, amount.to_string(), "must be an integer");
        }
    }
}

/// A resource of the quota that the scope has nothing to do with.
fn misapplied(spec: &Value, scope: &str) -> usize {
    entries(&spec["hard"]).filter(|(name, _)| is_standard(name) && !is_for(scope, name)).count()
}

fn scopes(errors: &mut ErrorList, path: &Path<'_>, spec: &Value) {
    let scopes = &spec["scopes"];
    let refuse = |errors: &mut ErrorList, why: &str| errors.invalid(path, scopes.clone(), why);
    for scope in items(scopes).iter().map(text) {
        if !EVERY.contains(&scope) {
            refuse(errors, "unsupported scope");
        }
        (0..misapplied(spec, scope)).for_each(|_| refuse(errors, "unsupported scope applied to resource"));
    }
    let has = |scope: &str| items(scopes).iter().any(|s| s == scope);
    for _ in PAIRS.iter().filter(|pair| pair.iter().all(|scope| has(scope))) {
        refuse(errors, "conflicting scopes");
    }
}

fn selector(errors: &mut ErrorList, path: &Path<'_>, spec: &Value) {
    let path = path.child("matchExpressions");
    let terms = items(&spec["scopeSelector"]["matchExpressions"]);
    for term in terms {
        let (scope, operator, values) = (text(&term["scopeName"]), text(&term["operator"]), &term["values"]);
        if !EVERY.contains(&scope) {
            errors.invalid(&path.child("scopeName"), scope, "unsupported scope");
        }
        for _ in 0..misapplied(spec, scope) {
            errors.invalid(&path, spec["scopeSelector"].clone(), "unsupported scope applied to resource");
        }
        let takes_values =
            matches!(scope, "PriorityClass" | "VolumeAttributesClass") || !EVERY.contains(&scope);
        if !takes_values && operator != "Exists" {
            errors.invalid(&path.child("operator"), operator, ONLY_EXISTS);
        }
        match operator {
            "In" | "NotIn" if size(values) == 0 => {
                let why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.required(&path.child("values"), why);
            }
            "Exists" | "DoesNotExist" if size(values) > 0 => {
                let why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                errors.invalid(&path.child("values"), values.clone(), why);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => errors.invalid(&path.child("operator"), operator, "not a valid selector operator"),
        }
    }
    let has = |scope: &str| terms.iter().any(|term| term["scopeName"] == scope);
    for _ in PAIRS.iter().filter(|pair| pair.iter().all(|scope| has(scope))) {
        errors.invalid(&path, spec["scopes"].clone(), "conflicting scopes");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn specs() {
        for (given, want) in [
            (
                json!({"hard": {"pods": "1", "requests.example.com/gpu": "1", "count/foos.example.com": "2"}}),
                "[]",
            ),
            (
                json!({"hard": {"pods": "-1"}}),
                "spec.hard[pods]: Invalid value: \"-1\": must be greater than or equal to 0",
            ),
            (
                json!({"hard": {"pods": "1.5"}}),
                "spec.hard[pods]: Invalid value: \"1500m\": must be an integer",
            ),
            (
                json!({"hard": {"foo": "1"}}),
                "[spec.hard[foo]: Invalid value: \"foo\": must be a standard resource type or fully qualified, \
                 spec.hard[foo]: Invalid value: \"foo\": must be a standard resource for quota]",
            ),
            (
                json!({"hard": {"pods": "1"}, "scopes": ["Bad"]}),
                "spec.scopes: Invalid value: [\"Bad\"]: unsupported scope",
            ),
            (
                json!({"hard": {"requests.cpu": "1"}, "scopes": ["BestEffort"]}),
                "spec.scopes: Invalid value: [\"BestEffort\"]: unsupported scope applied to resource",
            ),
            (
                json!({"hard": {"pods": "1"}, "scopes": ["BestEffort", "NotBestEffort"]}),
                "spec.scopes: Invalid value: [\"BestEffort\",\"NotBestEffort\"]: conflicting scopes",
            ),
            (
                json!({"hard": {"pods": "1"}, "scopeSelector": {"matchExpressions": [
                    {"scopeName": "PriorityClass", "operator": "In"}, {"scopeName": "X", "operator": "Y"}]}}),
                "[spec.scopeSelector.matchExpressions.values: Required value: must be at least one value when `operator` \
                 is 'In' or 'NotIn' for scope selector, spec.scopeSelector.matchExpressions.scopeName: Invalid value: \
                 \"X\": unsupported scope, spec.scopeSelector.matchExpressions.operator: Invalid value: \"Y\": not a valid \
                 selector operator]",
            ),
        ] {
            assert_eq!(spec(&given).to_string(), want, "{given}");
        }
    }
}
