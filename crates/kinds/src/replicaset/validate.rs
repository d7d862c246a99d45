//! What makes a ReplicaSet valid, and what may change in it (`ValidateReplicaSet…` of `pkg/apis/apps/validation`).
//!
//! Invariant: works on defaulted objects; errors in upstream's order and words (an empty selector is called invalid for
//! a deployment there too).

use serde_json::Value;

use crate::field::{ErrorList, Path};
use crate::kind::Endpoint;
use crate::workload::validate::{counts, not_negative, selector_and_template, selector_is_kept};

pub(super) fn create(set: &Value) -> ErrorList {
    let mut errors = ErrorList::default();
    let (path, spec) = (Path::new("spec"), &set["spec"]);
    for field in ["replicas", "minReadySeconds"] {
        not_negative(&mut errors, &path.child(field), &spec[field]);
    }
    selector_and_template(&mut errors, &path, spec, "deployment");
    errors
}

pub(super) fn update(new: &Value, old: &Value, endpoint: Endpoint<'_>) -> ErrorList {
    if endpoint == Endpoint::Sub("status") {
        return status(new);
    }
    let mut errors = create(new);
    selector_is_kept(&mut errors, new, old);
    errors
}

/// What is wrong with a status.
pub(crate) fn status(set: &Value) -> ErrorList {
    let mut errors = ErrorList::default();
    let parts = ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"];
    let numbers = [&["replicas"], &parts[..], &["observedGeneration", "terminatingReplicas"]].concat();
    counts(&mut errors, &set["status"], &numbers, &parts);
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::workload::cases::valid_but;

    fn set(change: &Value) -> Value {
        valid_but(&super::super::ReplicaSet, change)
    }

    fn texts(errors: &ErrorList) -> Vec<String> {
        errors.0.iter().map(|e| format!("{}: {}", e.field, e.body())).collect()
    }

    #[test]
    fn specs() {
        for (change, want) in [
            (json!({}), &[][..]),
            (
                json!({"replicas": -1, "minReadySeconds": -2}),
                &[
                    "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
                    "spec.minReadySeconds: Invalid value: -2: must be greater than or equal to 0",
                ],
            ),
            (
                json!({"selector": {"matchLabels": null}}),
                &["spec.selector: Invalid value: {}: empty selector is invalid for deployment"],
            ),
            (
                json!({"selector": null}),
                &[
                    "spec.selector: Required value",
                    "spec.template.metadata.labels: Invalid value: {\"app\":\"x\"}: `selector` does not match \
                     template `labels`",
                ],
            ),
            (
                json!({"template": {"spec": {"restartPolicy": "Never", "activeDeadlineSeconds": 1}}}),
                &[
                    "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
                    "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicaSet is \
                     not Supported",
                ],
            ),
        ] {
            assert_eq!(texts(&create(&set(&change))), want, "{change}");
        }
    }

    #[test]
    fn changes() {
        let other = set(&json!({"selector": {"matchLabels": {"app": null},
            "matchExpressions": [{"key": "app", "operator": "Exists"}]}}));
        let errors = update(&other, &set(&json!({})), Endpoint::Main);
        let want = "spec.selector: Invalid value: {\"matchExpressions\":[{\"key\":\"app\",\"operator\":\"Exists\"}]}: \
                    field is immutable";
        // An empty map is one that is not given once it is decoded.
        let texts_of: Vec<String> =
            texts(&errors).into_iter().map(|t| t.replace("\"matchLabels\":{},", "")).collect();
        assert_eq!(texts_of, [want]);
        let mut told = set(&json!({}));
        told["status"] =
            json!({"replicas": 1, "readyReplicas": 1, "availableReplicas": 2, "observedGeneration": -1});
        assert_eq!(
            texts(&update(&told, &set(&json!({})), Endpoint::Sub("status"))),
            [
                "status.observedGeneration: Invalid value: -1: must be greater than or equal to 0",
                "status.availableReplicas: Invalid value: 2: cannot be greater than status.replicas",
                "status.availableReplicas: Invalid value: 2: cannot be greater than readyReplicas",
            ]
        );
    }
}
