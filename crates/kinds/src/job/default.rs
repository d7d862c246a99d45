//! Defaults of a Job (`pkg/apis/batch/v1/defaults.go`).

use serde_json::{Value, json};

use crate::pod;
use crate::value::{child, default_missing, default_to, get_mut, is_set, items_mut, size};

/// Failed Pods tolerated when nothing is said.
const BACKOFF_LIMIT: i64 = 6;

pub(super) fn job(obj: &mut Value) {
    let spec = child(obj, "spec");
    if !is_set(&spec["completions"]) && !is_set(&spec["parallelism"]) {
        spec["completions"] = json!(1);
    }
    default_to(spec, "parallelism", 1);
    let per_index = is_set(&spec["backoffLimitPerIndex"]);
    default_to(spec, "backoffLimit", if per_index { i64::from(i32::MAX) } else { BACKOFF_LIMIT });
    default_missing(spec, "completionMode", "NonIndexed");
    default_to(spec, "suspend", false);
    default_to(spec, "manualSelector", false);
    let policy = is_set(&spec["podFailurePolicy"]);
    default_missing(spec, "podReplacementPolicy", if policy { "Failed" } else { "TerminatingOrFailed" });
    if let Some(policy) = get_mut(spec, "podFailurePolicy") {
        for rule in items_mut(policy, "rules") {
            for condition in items_mut(rule, "onPodConditions") {
                default_to(condition, "status", "True");
            }
        }
    }
    if let Some(template) = get_mut(spec, "template") {
        pod::default::template(template);
    }
    // Nulls that looking for absent keys may have left.
    if let Some(spec) = spec.as_object_mut() {
        spec.retain(|_, v| !v.is_null());
    }
    inherit_labels(obj);
}

/// A Job without labels of its own has its template's.
pub(super) fn inherit_labels(obj: &mut Value) {
    let labels = obj["spec"]["template"]["metadata"]["labels"].clone();
    if size(&labels) > 0 && size(&obj["metadata"]["labels"]) == 0 {
        child(obj, "metadata")["labels"] = labels;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        for (given, completions, parallelism, backoff) in [
            (json!({}), json!(1), 1, 6),
            (json!({"completions": 5}), json!(5), 1, 6),
            (json!({"parallelism": 3}), Value::Null, 3, 6),
            (json!({"backoffLimitPerIndex": 1, "completions": 2}), json!(2), 1, i64::from(i32::MAX)),
        ] {
            let mut obj = json!({ "spec": given });
            job(&mut obj);
            let spec = &obj["spec"];
            assert_eq!(spec["completions"], completions);
            assert_eq!((&spec["parallelism"], &spec["backoffLimit"]), (&json!(parallelism), &json!(backoff)));
            assert!(spec.as_object().is_some_and(|s| !s.values().any(Value::is_null)), "{spec}");
        }
    }

    #[test]
    fn the_template_is_a_template() {
        let mut obj = json!({"spec": {"template": {"metadata": {"labels": {"a": "b"}},
            "spec": {"restartPolicy": "Never", "containers": [{"image": "busybox"}]}}}});
        job(&mut obj);
        let spec = &obj["spec"]["template"]["spec"];
        assert_eq!((&spec["restartPolicy"], &spec["dnsPolicy"]), (&json!("Never"), &json!("ClusterFirst")));
        assert_eq!(obj["metadata"]["labels"], json!({"a": "b"}));
        assert_eq!(obj["spec"]["podReplacementPolicy"], "TerminatingOrFailed");
    }
}
