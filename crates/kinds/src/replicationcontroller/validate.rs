//! What makes a ReplicationController valid (`ValidateReplicationController…` of `pkg/apis/core/validation`).
//!
//! Invariant: works on defaulted objects; errors in upstream's order and words. All of it may change, the selector too.

use schema::validation::{At, Run, field};
use serde_json::Value;

use crate::field::ErrorList;
use crate::kind::Endpoint;
use crate::meta;
use crate::pod::validate::TEMPLATE;
use crate::replicaset::status_errors;
use crate::value::entries;
use crate::workload::validate::runs_for_ever;

schema::rules! {
    SPEC: "io.k8s.api.core.v1.ReplicationControllerSpec" = [
        field("minReadySeconds").at_least(0),
        field("selector").required(),
        field("replicas").required().at_least(0),
        field("template").required().with(selected).inner(&TEMPLATE).with(restarts),
    ];
    RULES: "io.k8s.api.core.v1.ReplicationController" = [field("spec").inner(&SPEC)];
}

/// A new one, with its metadata: a name is not looked at before it is generated.
pub(super) fn create(controller: &Value) -> ErrorList {
    let mut errors = meta::whole(controller, &super::KIND);
    errors.0.retain(|e| e.field != "metadata.generateName");
    // The name's length is counted by another rule than that of most kinds, which says so.
    for error in errors.0.iter_mut().filter(|e| e.field == "metadata.name") {
        error.detail = error.detail.replace("253 characters", "253 bytes");
    }
    errors.extend(RULES.validate(controller, None));
    errors
}

pub(super) fn update(new: &Value, endpoint: Endpoint<'_>) -> ErrorList {
    match endpoint {
        Endpoint::Sub("status") => status_errors(new),
        _ => RULES.validate(new, None),
    }
}

fn restarts<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    runs_for_ever(run, at, at.value(), "ReplicationController");
}

/// The template has every label of the selector.
fn selected<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let selector = at.up().map_or(&Value::Null, |spec| spec.get("selector"));
    let (metadata, labels) = (at.child("metadata"), &at.get("metadata")["labels"]);
    if !entries(selector).all(|(key, value)| labels[key] == *value) {
        run.invalid(&metadata.child("labels"), labels.clone(), "`selector` does not match template `labels`");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kind::Strategy as _;

    #[test]
    fn rules_name_fields_of_the_table() {
        for rules in ALL {
            assert_eq!(rules.unknown_fields(), Vec::<String>::new(), "{}", rules.of());
        }
    }

    /// A valid one, but for `change`; with its defaults.
    fn controller(change: &Value) -> Value {
        let base = json!({"metadata": {"name": "r", "namespace": "n"}, "spec": {"selector": {"app": "x"},
            "template": {"metadata": {"labels": {"app": "x"}},
                "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
        let patch = json!({"spec": change}).to_string();
        let mut made = schema::patch::merge_patch(&base, patch.as_bytes()).unwrap().value;
        super::super::ReplicationController.default(&mut made);
        made
    }

    #[test]
    fn specs() {
        for (change, want) in [
            (json!({}), "[]"),
            (json!({"selector": null}), "[]"),
            (
                json!({"replicas": -1, "minReadySeconds": -2}),
                "[spec.minReadySeconds: Invalid value: -2: must be greater than or equal to 0, \
                 spec.replicas: Invalid value: -1: must be greater than or equal to 0]",
            ),
            (
                json!({"selector": null, "template": null}),
                "[spec.selector: Required value, spec.template: Required value]",
            ),
            (
                json!({"template": {"metadata": null, "spec": null}}),
                "[spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`, \
                 spec.template.spec.containers: Required value]",
            ),
            (
                json!({"template": {"spec": {"restartPolicy": "Never", "activeDeadlineSeconds": 1}}}),
                "[spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\", \
                 spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in \
                 ReplicationController is not Supported]",
            ),
        ] {
            assert_eq!(create(&controller(&change)).to_string(), want, "{change}");
        }
        let mut generated = controller(&json!({}));
        generated["metadata"] = json!({"name": "G_x", "generateName": "G_", "namespace": "n"});
        let fields: Vec<String> = create(&generated).0.iter().map(|e| e.field.clone()).collect();
        assert_eq!(fields, ["metadata.name"]);
    }

    #[test]
    fn a_status_adds_up() {
        let told = json!({"status": {"replicas": 1, "readyReplicas": 2}});
        let want = "status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas";
        assert_eq!(update(&told, Endpoint::Sub("status")).to_string(), want);
    }
}
