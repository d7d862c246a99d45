//! Rules of a Job's podFailurePolicy and successPolicy.
//!
//! Absent: what the policies do; `super::super::policy` and the reconciler decide that.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::field::{ErrorList, GoField, Path, go_form, in_order};
use crate::job::indexes;
use crate::names;
use crate::value::{int, is_set, items, text};

/// Both policies inside upstream.
const FAILURE_FORM: &[GoField] = &[GoField::inner(
    "rules",
    "Rules",
    &[
        GoField::text("action", "Action"),
        GoField::inner(
            "onExitCodes",
            "OnExitCodes",
            &[
                GoField::pointer("containerName", "ContainerName"),
                GoField::text("operator", "Operator"),
                GoField::pointer("values", "Values"),
            ],
        ),
        GoField::inner(
            "onPodConditions",
            "OnPodConditions",
            &[GoField::text("type", "Type"), GoField::text("status", "Status")],
        ),
    ],
)];
const SUCCESS_FORM: &[GoField] = &[GoField::inner(
    "rules",
    "Rules",
    &[
        GoField::pointer("succeededIndexes", "SucceededIndexes"),
        GoField::pointer("succeededCount", "SucceededCount"),
    ],
)];

/// A field of a Job's spec as errors show it.
pub(super) fn shown(field: &str, value: &Value) -> String {
    match field {
        "podFailurePolicy" => go_form(value, FAILURE_FORM),
        "successPolicy" => go_form(value, SUCCESS_FORM),
        _ => in_order(value, &["matchLabels", "matchExpressions"]),
    }
}

/// Most bytes of `succeededIndexes`.
const MAX_SUCCEEDED_INDEXES: usize = 64 * 1024;

/// `spec.podFailurePolicy`.
pub(super) fn failure_policy(errors: &mut ErrorList, path: &Path<'_>, spec: &Value) {
    let rules = items(&spec["podFailurePolicy"]["rules"]);
    let path = path.child("rules");
    if rules.len() > 20 {
        errors.too_many(&path, rules.len(), 20);
    }
    let template = &spec["template"]["spec"];
    let names: BTreeSet<&str> = ["containers", "initContainers"]
        .iter()
        .flat_map(|l| items(&template[*l]))
        .map(|c| text(&c["name"]))
        .collect();
    for (i, rule) in rules.iter().enumerate() {
        let path = path.index(i);
        match text(&rule["action"]) {
            "" => errors.required(
                &path.child("action"),
                "valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]",
            ),
            "FailIndex" if !is_set(&spec["backoffLimitPerIndex"]) => {
                let detail = "requires the backoffLimitPerIndex to be set";
                errors.invalid(&path.child("action"), "FailIndex", detail);
            }
            "Count" | "FailIndex" | "FailJob" | "Ignore" => {}
            other => errors.not_supported(
                &path.child("action"),
                other,
                &["Count", "FailIndex", "FailJob", "Ignore"],
            ),
        }
        let (codes, conditions) = (&rule["onExitCodes"], items(&rule["onPodConditions"]));
        if is_set(codes) {
            exit_codes(errors, &path.child("onExitCodes"), codes, &names);
        }
        if conditions.len() > 20 {
            errors.too_many(&path.child("onPodConditions"), conditions.len(), 20);
        }
        for (j, condition) in conditions.iter().enumerate() {
            let path = path.item("onPodConditions", j);
            names::check_qualified(errors, &path.child("type"), text(&condition["type"]));
            match text(&condition["status"]) {
                "True" | "False" | "Unknown" => {}
                "" => {
                    errors.required(&path.child("status"), "valid values: [\"False\" \"True\" \"Unknown\"]");
                }
                other => {
                    errors.not_supported(&path.child("status"), other, &["False", "True", "Unknown"]);
                }
            }
        }
        let problem = match (is_set(codes), conditions.is_empty()) {
            (true, false) => "specifying both OnExitCodes and OnPodConditions is not supported",
            (false, true) => "specifying one of OnExitCodes and OnPodConditions is required",
            _ => continue,
        };
        errors.contradiction(&path, problem);
    }
}

fn exit_codes(errors: &mut ErrorList, path: &Path<'_>, codes: &Value, containers: &BTreeSet<&str>) {
    let operator = text(&codes["operator"]);
    match operator {
        "In" | "NotIn" => {}
        "" => errors.required(&path.child("operator"), "valid values: [\"In\" \"NotIn\"]"),
        other => errors.not_supported(&path.child("operator"), other, &["In", "NotIn"]),
    }
    if let Some(name) = codes["containerName"].as_str()
        && !containers.contains(name)
    {
        errors.invalid(
            &path.child("containerName"),
            name,
            "must be one of the container or initContainer names in the pod template",
        );
    }
    let values = items(&codes["values"]);
    let values_path = path.child("values");
    if values.is_empty() {
        errors.invalid(&values_path, codes["values"].clone(), "at least one value is required");
    } else if values.len() > 255 {
        errors.too_many(&values_path, values.len(), 255);
    }
    let mut ordered = true;
    for (i, value) in values.iter().enumerate() {
        if operator == "In" && int(value) == 0 {
            let detail = "must not be 0 for the In operator";
            errors.invalid(&values_path.index(i), value.clone(), detail);
        }
        if values[..i].contains(value) {
            errors.duplicate(&values_path.index(i), value.clone());
        }
        ordered &= i == 0 || int(&values[i - 1]) <= int(value);
    }
    if !ordered {
        errors.invalid(&values_path, codes["values"].clone(), "must be ordered");
    }
}

/// `spec.successPolicy`.
pub(super) fn success_policy(errors: &mut ErrorList, path: &Path<'_>, spec: &Value) {
    let policy = &spec["successPolicy"];
    if !is_set(policy) {
        return;
    }
    if text(&spec["completionMode"]) != "Indexed" {
        errors.invalid_as(path, shown("successPolicy", policy), "requires indexed completion mode");
        return;
    }
    let rules = items(&policy["rules"]);
    let path = path.child("rules");
    if rules.is_empty() {
        errors.required(&path, "at least one rules must be specified when the successPolicy is specified");
    }
    if rules.len() > 20 {
        errors.too_many(&path, rules.len(), 20);
    }
    for (i, rule) in rules.iter().enumerate() {
        let path = path.index(i);
        if !is_set(&rule["succeededCount"]) && !is_set(&rule["succeededIndexes"]) {
            let detail = "at least one of succeededCount or succeededIndexes must be specified";
            errors.required(&path, detail);
        }
        let completions = int(&spec["completions"]);
        let mut named = None;
        if let Some(text) = rule["succeededIndexes"].as_str() {
            let path = path.child("succeededIndexes");
            if text.len() > MAX_SUCCEEDED_INDEXES {
                errors.too_long(&path, MAX_SUCCEEDED_INDEXES);
            }
            match indexes::check(text, completions) {
                Ok(total) => named = Some(total),
                Err(why) => {
                    named = Some(0);
                    errors.invalid(&path, text, format!("error parsing succeededIndexes: {why}"));
                }
            }
        }
        if let Some(count) = rule["succeededCount"].as_i64() {
            let path = path.child("succeededCount");
            if count < 1 {
                errors.invalid(&path, count, "must be greater than zero");
            }
            if let Some(total) = named.filter(|total| count > *total) {
                let detail = format!(
                    "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes \
                     field)"
                );
                errors.invalid(&path, count, detail);
            }
            if count > completions {
                let detail = format!(
                    "must be less than or equal to {completions} (the number of specified completions)"
                );
                errors.invalid(&path, count, detail);
            }
        }
    }
}
