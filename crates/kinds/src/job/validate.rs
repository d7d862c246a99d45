//! What makes a Job valid, and what may change in it (`pkg/apis/batch/validation`).
//!
//! Invariant: works on defaulted objects with their selector made. Absent: transitions of status beyond its counts.

use std::collections::BTreeSet;

use serde_json::Value;

use super::indexes;
use super::strategy::{CONTROLLER_UID, JOB_NAME, LEGACY_CONTROLLER_UID, LEGACY_JOB_NAME};
use crate::field::{ErrorList, Path};
use crate::kind::Endpoint;
use crate::names;
use crate::pod::validate::template as check_template;
use crate::value::{child, get_mut, int, is_set, is_true, items, keep, same, size, text};

const IMMUTABLE: &str = "field is immutable";
/// Most Pods of an Indexed Job at one time.
const MAX_INDEXED: i64 = 100_000;
/// Most bytes of `succeededIndexes`.
const MAX_SUCCEEDED_INDEXES: usize = 64 * 1024;

/// A new Job.
pub(super) fn create(job: &Value) -> ErrorList {
    let mut errors = ErrorList::default();
    generated_selector(&mut errors, job);
    let spec = &job["spec"];
    if text(&spec["completionMode"]) == "Indexed"
        && let Some(completions) = spec["completions"].as_i64().filter(|c| *c > 0)
    {
        let name = text(&job["metadata"]["name"]);
        let last = format!("{name}-{}", completions - 1);
        if !base::names::dns1123_label(&last).is_empty() {
            let detail = format!("will not able to create pod with invalid DNS label: {last}");
            errors.invalid(&Path::new("metadata.name"), name, detail);
        }
    }
    check_spec(&mut errors, &Path::new("spec"), spec);
    errors
}

/// Labels and selector as the server makes them.
fn generated_selector(errors: &mut ErrorList, job: &Value) {
    let (meta, spec) = (&job["metadata"], &job["spec"]);
    if is_true(&spec["manualSelector"]) || !is_set(&spec["selector"]) {
        return;
    }
    let (uid, name) = (text(&meta["uid"]), text(&meta["name"]));
    if uid.is_empty() {
        errors.required(&Path::new("metadata.uid"), "");
    }
    let labels = &spec["template"]["metadata"]["labels"];
    let path = Path::new("spec.template.metadata.labels");
    for (key, want) in
        [(LEGACY_CONTROLLER_UID, uid), (LEGACY_JOB_NAME, name), (CONTROLLER_UID, uid), (JOB_NAME, name)]
    {
        let detail = format!("must be '{want}'");
        match labels[key].as_str() {
            None => errors.required(&path.key(key), detail),
            Some(found) if found != want => errors.invalid(&path.key(key), labels.clone(), detail),
            Some(_) => {}
        }
    }
    let made = serde_json::json!({LEGACY_CONTROLLER_UID: uid, LEGACY_JOB_NAME: name, CONTROLLER_UID: uid,
                                  JOB_NAME: name});
    if let Ok(selector) = base::labels::Selector::from_label_selector(&spec["selector"])
        && !selector.matches_json(made.as_object())
    {
        let detail = "`selector` not auto-generated";
        errors.invalid(&Path::new("spec.selector"), spec["selector"].clone(), detail);
    }
}

fn check_spec(errors: &mut ErrorList, path: &Path, spec: &Value) {
    counts(errors, path, spec);
    modes(errors, path, spec);
    check_template(errors, &path.child("template"), &spec["template"]);
    restart_policy(errors, &path.child("template.spec.restartPolicy"), spec);
    failure_policy(errors, &path.child("podFailurePolicy"), spec);
    success_policy(errors, &path.child("successPolicy"), spec);
    if is_set(&spec["selector"]) {
        names::check_label_selector(errors, &path.child("selector"), &spec["selector"]);
    } else {
        errors.required(&path.child("selector"), "");
    }
    let labels = &spec["template"]["metadata"]["labels"];
    if let Ok(selector) = base::labels::Selector::from_label_selector(&spec["selector"])
        && !selector.matches_json(labels.as_object())
    {
        let path = path.child("template.metadata.labels");
        errors.invalid(&path, labels.clone(), "`selector` does not match template `labels`");
    }
}

fn counts(errors: &mut ErrorList, path: &Path, spec: &Value) {
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        if int(&spec[field]) < 0 {
            let value = spec[field].clone();
            errors.invalid(&path.child(field), value, "must be greater than or equal to 0");
        }
    }
    let indexed = text(&spec["completionMode"]) == "Indexed";
    let (failed, completions) = (&spec["maxFailedIndexes"], int(&spec["completions"]));
    if is_set(&spec["backoffLimitPerIndex"]) && !indexed {
        let value = spec["backoffLimitPerIndex"].clone();
        errors.invalid(&path.child("backoffLimitPerIndex"), value, "requires indexed completion mode");
    }
    if is_set(failed) && !is_set(&spec["backoffLimitPerIndex"]) {
        errors.required(&path.child("backoffLimitPerIndex"), "when maxFailedIndexes is specified");
    }
    if is_set(failed) && int(failed) > completions {
        let detail = "must be less than or equal to completions";
        errors.invalid(&path.child("maxFailedIndexes"), failed.clone(), detail);
    }
}

fn modes(errors: &mut ErrorList, path: &Path, spec: &Value) {
    match text(&spec["completionMode"]) {
        "" | "NonIndexed" => {}
        "Indexed" => {
            if !is_set(&spec["completions"]) {
                errors.required(&path.child("completions"), "when completion mode is Indexed");
            }
            if int(&spec["parallelism"]) > MAX_INDEXED {
                let detail =
                    format!("must be less than or equal to {MAX_INDEXED} when completion mode is Indexed");
                errors.invalid(&path.child("parallelism"), spec["parallelism"].clone(), detail);
            }
        }
        other => errors.not_supported(&path.child("completionMode"), other, &["NonIndexed", "Indexed"]),
    }
    let replacement = text(&spec["podReplacementPolicy"]);
    match replacement {
        "" | "Failed" => {}
        "TerminatingOrFailed" if !is_set(&spec["podFailurePolicy"]) => {}
        other => {
            let values: &[&str] = if is_set(&spec["podFailurePolicy"]) {
                &["Failed"]
            } else {
                &["Failed", "TerminatingOrFailed"]
            };
            errors.not_supported(&path.child("podReplacementPolicy"), other, values);
        }
    }
    if is_set(&spec["managedBy"]) {
        let (value, path) = (text(&spec["managedBy"]), path.child("managedBy"));
        let (domain, rest) = value.split_once('/').unwrap_or((value, ""));
        if value.is_empty() {
            errors.required(&path, "");
        } else if domain.is_empty() || rest.is_empty() {
            errors.invalid(&path, value, "must be a domain-prefixed path (such as \"acme.io/foo\")");
        } else {
            names::check_subdomain(errors, &path, domain);
        }
        if value.len() > 63 {
            errors.too_long(&path, 63);
        }
    }
}

fn restart_policy(errors: &mut ErrorList, path: &Path, spec: &Value) {
    match text(&spec["template"]["spec"]["restartPolicy"]) {
        "" | "Always" => errors.required(path, "valid values: \"OnFailure\", \"Never\""),
        "OnFailure" if is_set(&spec["podFailurePolicy"]) => {
            let detail = "only \"Never\" is supported when podFailurePolicy is specified";
            errors.invalid(path, "OnFailure", detail);
        }
        "OnFailure" | "Never" => {}
        other => errors.not_supported(path, other, &["OnFailure", "Never"]),
    }
}

/// `spec.podFailurePolicy`.
fn failure_policy(errors: &mut ErrorList, path: &Path, spec: &Value) {
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
            let path = path.child("onPodConditions").index(j);
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
        match (is_set(codes), conditions.is_empty()) {
            (true, false) => errors.invalid(
                &path,
                Value::Null,
                "specifying both OnExitCodes and OnPodConditions is not supported",
            ),
            (false, true) => {
                errors.invalid(
                    &path,
                    Value::Null,
                    "specifying one of OnExitCodes and OnPodConditions is required",
                );
            }
            _ => {}
        }
    }
}

fn exit_codes(errors: &mut ErrorList, path: &Path, codes: &Value, containers: &BTreeSet<&str>) {
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
            "must be one of the container or initContainer names",
        );
    }
    let values = items(&codes["values"]);
    let values_path = path.child("values");
    if values.is_empty() {
        errors.invalid(&values_path, codes["values"].clone(), "at least one value is required");
    } else if values.len() > 255 {
        errors.too_many(&values_path, values.len(), 255);
    }
    for (i, value) in values.iter().enumerate() {
        if operator == "In" && int(value) == 0 {
            let detail = "must not be 0 for the In operator";
            errors.invalid(&values_path.index(i), value.clone(), detail);
        }
        if values[..i].contains(value) {
            errors.duplicate(&values_path.index(i), value.clone());
        } else if i > 0 && int(&values[i - 1]) > int(value) {
            errors.invalid(&values_path, codes["values"].clone(), "must be ordered");
        }
    }
}

/// `spec.successPolicy`.
fn success_policy(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let policy = &spec["successPolicy"];
    if !is_set(policy) {
        return;
    }
    if text(&spec["completionMode"]) != "Indexed" {
        errors.invalid(path, policy.clone(), "requires indexed completion mode");
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
                Err(why) => errors.invalid(&path, text, format!("error parsing succeededIndexes: {why}")),
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

/// A change through an endpoint.
pub(super) fn update(new: &Value, old: &Value, endpoint: Endpoint<'_>) -> ErrorList {
    let mut errors = ErrorList::default();
    if endpoint == Endpoint::Sub("status") {
        for field in ["active", "succeeded", "failed", "ready", "terminating"] {
            if int(&new["status"][field]) < 0 {
                let path = Path::new("status").child(field);
                let value = new["status"][field].clone();
                errors.invalid(&path, value, "must be greater than or equal to 0");
            }
        }
        return errors;
    }
    let (spec, was, path) = (&new["spec"], &old["spec"], Path::new("spec"));
    check_spec(&mut errors, &path, spec);
    if !same(&spec["completions"], &was["completions"]) && !is_elastic(spec, was) {
        errors.invalid(&path.child("completions"), spec["completions"].clone(), IMMUTABLE);
    }
    for field in ["selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy"] {
        if !same(&spec[field], &was[field]) {
            errors.invalid(&path.child(field), spec[field].clone(), IMMUTABLE);
        }
    }
    let (mut template, was_template) = (spec["template"].clone(), &was["template"]);
    if not_yet_started(old) {
        keep_scheduling(&mut template, was_template);
    }
    if !same(&template, was_template) {
        errors.invalid(&path.child("template"), spec["template"].clone(), IMMUTABLE);
    }
    if !same(&spec["successPolicy"], &was["successPolicy"]) {
        errors.invalid(&path.child("successPolicy"), spec["successPolicy"].clone(), IMMUTABLE);
    }
    errors
}

/// An Indexed Job may change its size if completions and parallelism stay equal.
fn is_elastic(spec: &Value, was: &Value) -> bool {
    text(&was["completionMode"]) == "Indexed"
        && is_set(&spec["completions"])
        && spec["completions"] == spec["parallelism"]
        && was["completions"] == was["parallelism"]
}

/// While a Job is suspended and has never run, where its Pods go may still change.
fn not_yet_started(old: &Value) -> bool {
    is_true(&old["spec"]["suspend"]) && !is_set(&old["status"]["startTime"])
}

fn keep_scheduling(template: &mut Value, was: &Value) {
    let meta = child(template, "metadata");
    keep(meta, &was["metadata"], "annotations");
    keep(meta, &was["metadata"], "labels");
    let spec = child(template, "spec");
    for field in ["nodeSelector", "tolerations", "schedulingGates"] {
        keep(spec, &was["spec"], field);
    }
    let only_node =
        |v: &Value| v.as_object().is_none_or(|a| a.iter().all(|(k, v)| k == "nodeAffinity" || v.is_null()));
    if only_node(&spec["affinity"]) && only_node(&was["spec"]["affinity"]) {
        keep(spec, &was["spec"], "affinity");
    } else if let Some(affinity) = get_mut(spec, "affinity") {
        keep(affinity, &was["spec"]["affinity"], "nodeAffinity");
    }
    if size(&was["metadata"]) == 0 && size(&template["metadata"]) == 0 {
        crate::value::remove(template, "metadata");
    }
}

/// `Warning` headers.
pub(super) fn warnings(job: &Value, old: Option<&Value>) -> Vec<String> {
    if old.is_some() {
        return Vec::new();
    }
    let complaints = base::names::dns1123_label(text(&job["metadata"]["name"]));
    let mut found = Vec::new();
    if !complaints.is_empty() {
        found.push(format!(
            "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS \
             label is recommended: [{}]",
            complaints.join(" ")
        ));
    }
    found.extend(crate::pod::warnings::template(&job["spec"]["template"], &Path::new("spec.template")));
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kind::Strategy;

    fn job(spec: Value) -> Value {
        let mut job = json!({"metadata": {"name": "j", "namespace": "n", "uid": "u"}, "spec": {"template": {"spec": {
            "restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox"}]}}}});
        for (key, value) in crate::value::entries(&spec) {
            job["spec"][key] = value.clone();
        }
        crate::job::Job.default(&mut job);
        crate::job::Job.prepare_create(&mut job);
        job
    }

    #[test]
    fn new_jobs() {
        let containers = json!([{"name": "c", "image": "busybox"}]);
        for (spec, want) in [
            (json!({}), "[]"),
            (
                json!({"template": {"spec": {"containers": containers}}}),
                "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"",
            ),
            (
                json!({"completions": -1}),
                "spec.completions: Invalid value: -1: must be greater than or equal to 0",
            ),
            (
                json!({"completionMode": "Indexed", "parallelism": 2}),
                "spec.completions: Required value: when completion mode is Indexed",
            ),
            (
                json!({"podFailurePolicy": {"rules": []}, "template": {"spec": {
                    "restartPolicy": "OnFailure", "containers": containers}}}),
                "spec.template.spec.restartPolicy: Invalid value: \"OnFailure\": only \"Never\" is supported when \
                 podFailurePolicy is specified",
            ),
            (
                json!({"template": {"metadata": {"labels": {"job-name": "other"}}, "spec": {
                    "restartPolicy": "Never", "containers": containers}}}),
                "spec.template.metadata.labels[job-name]: Invalid value: {\"batch.kubernetes.io/controller-uid\":\"u\",\
                 \"batch.kubernetes.io/job-name\":\"j\",\"controller-uid\":\"u\",\"job-name\":\"other\"}: must be 'j'",
            ),
            (
                json!({"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c"}]}}}),
                "spec.template.spec.containers[0].image: Required value",
            ),
        ] {
            assert_eq!(create(&job(spec.clone())).to_string(), want, "{spec}");
        }
        let mut wrong = job(json!({}));
        wrong["spec"]["selector"]["matchLabels"][CONTROLLER_UID] = json!("v");
        let errors = create(&wrong).to_string();
        assert!(errors.contains("`selector` not auto-generated"), "{errors}");
        assert!(errors.contains("`selector` does not match template `labels`"), "{errors}");
    }

    #[test]
    fn changes() {
        let old = job(json!({"completions": 2}));
        let after = |edit: &dyn Fn(&mut Value)| {
            let mut new = old.clone();
            edit(&mut new);
            update(&new, &old, Endpoint::Main).to_string()
        };
        assert_eq!(after(&|j| j["spec"]["parallelism"] = json!(3)), "[]");
        assert_eq!(after(&|j| j["spec"]["suspend"] = json!(true)), "[]");
        assert_eq!(
            after(&|j| j["spec"]["completions"] = json!(3)),
            "spec.completions: Invalid value: 3: field is immutable"
        );
        let image = after(&|j| j["spec"]["template"]["spec"]["containers"][0]["image"] = json!("x"));
        assert!(image.starts_with("spec.template: Invalid value: {"), "{image}");
        assert!(image.ends_with("}: field is immutable"), "{image}");

        let held = job(json!({"suspend": true}));
        let mut moved = held.clone();
        moved["spec"]["template"]["spec"]["nodeSelector"] = json!({"a": "b"});
        assert_eq!(update(&moved, &held, Endpoint::Main).to_string(), "[]");

        let sized = job(json!({"completionMode": "Indexed", "completions": 2, "parallelism": 2}));
        let mut grown = sized.clone();
        grown["spec"]["completions"] = json!(4);
        grown["spec"]["parallelism"] = json!(4);
        assert_eq!(update(&grown, &sized, Endpoint::Main).to_string(), "[]");
    }
}
