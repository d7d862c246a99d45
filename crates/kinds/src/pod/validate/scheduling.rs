//! Where a Pod may run: affinity, tolerations, spreading, gates.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::field::{ErrorList, Path};
use crate::names;
use crate::value::{int, is_set, items, size, text};

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// `spec.affinity`.
pub(super) fn affinity(errors: &mut ErrorList, path: &Path<'_>, affinity: &Value) {
    let (node, node_path) = (&affinity["nodeAffinity"], path.child("nodeAffinity"));
    if is_set(&node[REQUIRED]) {
        node_selector(errors, &node_path.child(REQUIRED), &node[REQUIRED]);
    }
    for (i, term) in items(&node[PREFERRED]).iter().enumerate() {
        let path = node_path.item(PREFERRED, i);
        weight(errors, &path, term);
        node_term(errors, &path.child("preference"), &term["preference"], false);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let (rules, path) = (&affinity[kind], path.child(kind));
        for (i, term) in items(&rules[REQUIRED]).iter().enumerate() {
            pod_term(errors, &path.item(REQUIRED, i), term);
        }
        for (i, weighted) in items(&rules[PREFERRED]).iter().enumerate() {
            let path = path.item(PREFERRED, i);
            weight(errors, &path, weighted);
            pod_term(errors, &path.child("podAffinityTerm"), &weighted["podAffinityTerm"]);
        }
    }
}

fn weight(errors: &mut ErrorList, path: &Path<'_>, term: &Value) {
    let weight = int(&term["weight"]);
    if !(1..=100).contains(&weight) {
        errors.invalid(&path.child("weight"), weight, "must be in the range 1-100");
    }
}

fn node_selector(errors: &mut ErrorList, path: &Path<'_>, selector: &Value) {
    let path = path.child("nodeSelectorTerms");
    let terms = items(&selector["nodeSelectorTerms"]);
    if terms.is_empty() {
        return errors.required(&path, "must have at least one node selector term");
    }
    for (i, term) in terms.iter().enumerate() {
        node_term(errors, &path.index(i), term, true);
    }
}

/// Wrong label values pass where a node is only preferred.
pub(super) fn node_term(errors: &mut ErrorList, path: &Path<'_>, term: &Value, strict: bool) {
    for (i, requirement) in items(&term["matchExpressions"]).iter().enumerate() {
        node_requirement(errors, &path.item("matchExpressions", i), requirement, strict);
    }
    for (i, requirement) in items(&term["matchFields"]).iter().enumerate() {
        let path = path.item("matchFields", i);
        let operator = text(&requirement["operator"]);
        if !matches!(operator, "In" | "NotIn") {
            errors.invalid(&path.child("operator"), operator, "not a valid selector operator");
        } else if size(&requirement["values"]) != 1 {
            let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
            errors.required(&path.child("values"), detail);
        }
        let key = text(&requirement["key"]);
        if key != "metadata.name" {
            errors.invalid(&path.child("key"), key, "not a valid field selector key");
            continue;
        }
        for (j, value) in items(&requirement["values"]).iter().enumerate() {
            names::check_subdomain(errors, &path.item("values", j), text(value));
        }
    }
}

fn node_requirement(errors: &mut ErrorList, path: &Path<'_>, requirement: &Value, strict: bool) {
    let values = path.child("values");
    let count = size(&requirement["values"]);
    match text(&requirement["operator"]) {
        "In" | "NotIn" if count == 0 => {
            errors.required(&values, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if count > 0 => {
            errors.forbidden(&values, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
        "Gt" | "Lt" if count != 1 => {
            errors.required(&values, "must be specified single value when `operator` is 'Lt' or 'Gt'");
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => errors.invalid(&path.child("operator"), other, "not a valid selector operator"),
    }
    names::check_label_key(errors, &path.child("key"), text(&requirement["key"]));
    if strict {
        for (i, value) in items(&requirement["values"]).iter().enumerate() {
            let complaints = base::labels::value_errors(text(value));
            names::check(errors, &values.index(i), text(value), complaints);
        }
    }
}

fn pod_term(errors: &mut ErrorList, path: &Path<'_>, term: &Value) {
    names::check_label_selector(errors, &path.child("labelSelector"), &term["labelSelector"]);
    names::check_label_selector(errors, &path.child("namespaceSelector"), &term["namespaceSelector"]);
    for name in items(&term["namespaces"]) {
        names::check_label(errors, &path.child("namespace"), text(name));
    }
    for list in ["matchLabelKeys", "mismatchLabelKeys"] {
        label_keys(errors, &path.child(list), term, list);
    }
    for (i, key) in items(&term["matchLabelKeys"]).iter().enumerate() {
        if items(&term["mismatchLabelKeys"]).contains(key) {
            let path = path.item("matchLabelKeys", i);
            errors.invalid(&path, text(key), "exists in both matchLabelKeys and mismatchLabelKeys");
        }
    }
    let key = text(&term["topologyKey"]);
    if key.is_empty() {
        errors.required(&path.child("topologyKey"), "can not be empty");
    }
    names::check_label_key(errors, &path.child("topologyKey"), key);
}

fn label_keys(errors: &mut ErrorList, path: &Path<'_>, term: &Value, list: &str) {
    let keys = items(&term[list]);
    if !keys.is_empty() && !is_set(&term["labelSelector"]) {
        return errors.forbidden(path, "must not be specified when labelSelector is not set");
    }
    for (i, key) in keys.iter().enumerate() {
        names::check_label_key(errors, &path.index(i), text(key));
    }
}

/// `spec.tolerations`.
pub(crate) fn tolerations(errors: &mut ErrorList, path: &Path<'_>, tolerations: &Value) {
    for (i, toleration) in items(tolerations).iter().enumerate() {
        let path = path.index(i);
        let [key, operator, value, effect] =
            ["key", "operator", "value", "effect"].map(|f| text(&toleration[f]));
        if !key.is_empty() {
            names::check_label_key(errors, &path.child("key"), key);
        }
        if key.is_empty() && operator != "Exists" {
            let detail =
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.invalid(&path.child("operator"), operator, detail);
        }
        if is_set(&toleration["tolerationSeconds"]) && effect != "NoExecute" {
            let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.invalid(&path.child("effect"), effect, detail);
        }
        match operator {
            "" | "Equal" => {
                let complaints = base::labels::value_errors(value);
                if !complaints.is_empty() {
                    errors.invalid(&path.child("operator"), value, complaints.join(";"));
                }
            }
            "Exists" if !value.is_empty() => {
                let detail = "value must be empty when `operator` is 'Exists'";
                errors.invalid(&path.child("operator"), value, detail);
            }
            "Exists" => {}
            other => errors.not_supported(&path.child("operator"), other, &["Equal", "Exists"]),
        }
        if !effect.is_empty() && !EFFECTS.contains(&effect) {
            errors.not_supported(&path.child("effect"), effect, EFFECTS);
        }
    }
}

/// `spec.topologySpreadConstraints`.
pub(super) fn spreading(errors: &mut ErrorList, path: &Path<'_>, constraints: &Value) {
    let all = items(constraints);
    for (i, constraint) in all.iter().enumerate() {
        let path = path.index(i);
        let (key, action) = (text(&constraint["topologyKey"]), text(&constraint["whenUnsatisfiable"]));
        let skew = int(&constraint["maxSkew"]);
        if skew <= 0 {
            errors.invalid(&path.child("maxSkew"), skew, "must be greater than zero");
        }
        if key.is_empty() {
            errors.required(&path.child("topologyKey"), "can not be empty");
        }
        if !matches!(action, "DoNotSchedule" | "ScheduleAnyway") {
            errors.not_supported(
                &path.child("whenUnsatisfiable"),
                action,
                &["DoNotSchedule", "ScheduleAnyway"],
            );
        }
        let again = |c: &Value| text(&c["topologyKey"]) == key && text(&c["whenUnsatisfiable"]) == action;
        if all[i + 1..].iter().any(again) {
            errors.duplicate(&path.child("{topologyKey, whenUnsatisfiable}"), format!("{{{key}, {action}}}"));
        }
        if let Some(domains) = constraint["minDomains"].as_i64() {
            if domains <= 0 {
                errors.invalid(&path.child("minDomains"), domains, "must be greater than zero");
            }
            if action != "DoNotSchedule" {
                let detail =
                    format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
                errors.invalid(&path.child("minDomains"), domains, detail);
            }
        }
        for field in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            let policy = text(&constraint[field]);
            if is_set(&constraint[field]) && !matches!(policy, "Honor" | "Ignore") {
                errors.not_supported(&path.child(field), policy, &["Honor", "Ignore"]);
            }
        }
        label_keys(errors, &path.child("matchLabelKeys"), constraint, "matchLabelKeys");
        names::check_label_selector(errors, &path.child("labelSelector"), &constraint["labelSelector"]);
    }
}

/// `spec.schedulingGates`.
pub(super) fn gates(errors: &mut ErrorList, path: &Path<'_>, gates: &Value) {
    let mut seen = BTreeSet::new();
    for (i, gate) in items(gates).iter().enumerate() {
        let name = text(&gate["name"]);
        names::check_qualified(errors, &path.index(i), name);
        if !seen.insert(name) {
            errors.duplicate(&path.index(i), name);
        }
    }
}
