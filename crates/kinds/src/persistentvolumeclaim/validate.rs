//! What makes a claim valid, and what of one may change.

use schema::difference::difference;
use schema::validation::{At, Run, field};
use serde_json::Value;

use super::KIND;
use crate::field::{ErrorList, GoField, Path, go_form};
use crate::meta;
use crate::pod::resources::quantity;
use crate::pod::validate::CLAIM;
use crate::rules::storage::{BETA_CLASS, requested};
use crate::value::{entries, is_set, items, same, size, text};

const FIXED: &str = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
const RESIZES: &[&str] = &[
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
];

schema::rules! {
    /// A claim.
    pub(super) RULES: "io.k8s.api.core.v1.PersistentVolumeClaim" = [
        field("spec").inner(&CLAIM),
    ];
    STATUS: "io.k8s.api.core.v1.PersistentVolumeClaim" = [
        field("status.allocatedResourceStatuses").with(resize_states),
        field("status.allocatedResources").with(resize_keys),
    ];
}

fn resize_states<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    for (key, state) in entries(at.value()) {
        key_of_resource(at, key, run);
        if !RESIZES.contains(&text(state)) {
            run.not_supported(at, key, RESIZES);
        }
    }
}

fn resize_keys<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    for (key, _) in entries(at.value()) {
        key_of_resource(at, key, run);
    }
}

fn key_of_resource<'v>(at: &At<'v, '_>, key: &str, run: &mut Run<'v>) {
    let complaints = base::labels::qualified_name_errors(key);
    let is_native = !key.contains('/') || key.starts_with("kubernetes.io/");
    if complaints.is_empty() && is_native && key != "storage" {
        run.not_supported(at, key, &["storage"]);
    }
    complaints.into_iter().for_each(|complaint| run.invalid(at, key, complaint));
}

/// A change of the claim itself.
pub(super) fn update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = meta::whole(new, &KIND);
    errors.extend(RULES.validate(new, None));
    let is_bound = text(&new["status"]["phase"]) == "Bound";
    let upgraded = moves_class(new, old);
    let annotation = |obj: &Value| text(&obj["metadata"]["annotations"][BETA_CLASS]).to_owned();
    if !upgraded && annotation(new) != annotation(old) {
        let path = Path::new("metadata.annotations");
        errors.invalid(&path.key(BETA_CLASS), annotation(new), "field is immutable");
    }
    let (now, was) = (&new["spec"], &old["spec"]);
    let compared = as_compared(new, old, is_bound, upgraded);
    if !same(&compared, &with_volume(was, now)) {
        let diff = difference(&go_form(&with_volume(was, now), FORM), &go_form(&compared, FORM));
        errors.forbidden(&Path::new("spec"), format!("{FIXED}\n{diff}"));
    }
    let held = quantity(&old["status"]["capacity"]["storage"]).unwrap_or_default();
    if requested(new) < requested(old) && requested(new) <= held {
        let path = Path::new("spec.resources.requests.storage");
        errors.forbidden(&path, "field can not be less than status.capacity");
    }
    if now["volumeMode"] != was["volumeMode"] {
        errors.invalid(&Path::new("volumeMode"), now["volumeMode"].clone(), "field is immutable");
    }
    let path = Path::new("spec.volumeAttributesClassName");
    match (&was["volumeAttributesClassName"], &now["volumeAttributesClassName"]) {
        (before, Value::Null) if is_set(before) => {
            errors.forbidden(&path, "update from non-nil value to nil is forbidden");
        }
        (before, Value::String(class)) if is_set(before) && class.is_empty() => {
            errors.forbidden(&path, "update from non-nil value to an empty string is forbidden");
        }
        _ => {}
    }
    errors
}

/// Whether the class moves from its annotation to its field.
fn moves_class(new: &Value, old: &Value) -> bool {
    let of = |obj: &Value| obj["metadata"]["annotations"][BETA_CLASS].clone();
    let (before, after, class) = (of(old), of(new), &new["spec"]["storageClassName"]);
    before.is_string()
        && !is_set(&old["spec"]["storageClassName"])
        && *class == before
        && (after.is_null() || after == before)
}

/// What it was, with the volume that it gets once.
fn with_volume(was: &Value, now: &Value) -> Value {
    let mut was = was.clone();
    if text(&was["volumeName"]).is_empty() {
        was["volumeName"] = now["volumeName"].clone();
    }
    was
}

/// What it is to be, as it is compared: without what may change.
fn as_compared(new: &Value, old: &Value, is_bound: bool, upgraded: bool) -> Value {
    let (mut now, was) = (new["spec"].clone(), &old["spec"]);
    let class = text(&now["storageClassName"]).to_owned();
    let annotation = &old["metadata"]["annotations"][BETA_CLASS];
    let from_nothing = is_set(&now["storageClassName"])
        && !is_set(&was["storageClassName"])
        && (annotation.is_null() || text(annotation) == class);
    if upgraded || from_nothing {
        now["storageClassName"] = was["storageClassName"].clone();
    }
    if is_bound && size(&now["resources"]["requests"]) > 0 {
        now["resources"]["requests"]["storage"] = was["resources"]["requests"]["storage"].clone();
    }
    if is_bound && is_set(&now["volumeAttributesClassName"]) {
        now["volumeAttributesClassName"] = was["volumeAttributesClassName"].clone();
    }
    now
}

/// A change of the status.
pub(super) fn status(new: &Value, old: &Value) -> ErrorList {
    let mut errors = meta::change(new, old);
    if items(&new["spec"]["accessModes"]).is_empty() {
        errors.required(&Path::new("Spec.accessModes"), "");
    }
    errors.extend(STATUS.validate(new, None));
    errors
}

/// A claim's spec inside upstream.
const FORM: &[GoField] = &[
    GoField::pointer("accessModes", "AccessModes"),
    GoField::plain("selector", "Selector", &["matchLabels", "matchExpressions", "key", "operator", "values"]),
    GoField::always("resources", "Resources", RESOURCES_FORM, "{\"Limits\":null,\"Requests\":null}"),
    GoField::text("volumeName", "VolumeName"),
    GoField::pointer("storageClassName", "StorageClassName"),
    GoField::pointer("volumeMode", "VolumeMode"),
    GoField::inner("dataSource", "DataSource", SOURCE_FORM),
    GoField::inner("dataSourceRef", "DataSourceRef", REFERENCE_FORM),
    GoField::pointer("volumeAttributesClassName", "VolumeAttributesClassName"),
];
const RESOURCES_FORM: &[GoField] =
    &[GoField::pointer("limits", "Limits"), GoField::pointer("requests", "Requests")];
const SOURCE_FORM: &[GoField] =
    &[GoField::pointer("apiGroup", "APIGroup"), GoField::text("kind", "Kind"), GoField::text("name", "Name")];
const REFERENCE_FORM: &[GoField] = &[
    GoField::pointer("apiGroup", "APIGroup"),
    GoField::text("kind", "Kind"),
    GoField::text("name", "Name"),
    GoField::pointer("namespace", "Namespace"),
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claim() -> Value {
        json!({"metadata": {"name": "c", "namespace": "n", "resourceVersion": "1"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": "x", "volumeMode": "Filesystem"},
            "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}})
    }

    fn said(errors: &ErrorList) -> String {
        errors.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    fn changed(pointer: &str, value: Value) -> String {
        let old = claim();
        let mut new = old.clone();
        match new.pointer_mut(pointer) {
            Some(at) => *at = value,
            None => {
                let (parent, key) = pointer.rsplit_once('/').unwrap();
                new.pointer_mut(parent).unwrap()[key] = value;
            }
        }
        said(&update(&new, &old))
    }

    #[test]
    fn what_may_change() {
        ALL.iter().for_each(|rules| assert_eq!(rules.unknown_fields(), Vec::<String>::new()));
        assert_eq!(changed("/spec/volumeName", json!("v")), "");
        assert_eq!(changed("/spec/resources/requests/storage", json!("2Gi")), "");
        assert_eq!(changed("/spec/volumeAttributesClassName", json!("fast")), "");
        assert_eq!(
            changed("/spec/resources/requests/storage", json!("500Mi")),
            "spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"
        );
        assert_eq!(
            changed("/spec/accessModes", json!(["ReadWriteMany"])),
            format!(
                "spec: Forbidden: {FIXED}\n@@ -1,6 +1,6 @@\n {{\n  \"AccessModes\": [\n-  \"ReadWriteOnce\"\n+  \
                 \"ReadWriteMany\"\n  ],\n  \"Selector\": null,\n  \"Resources\": {{\n"
            )
        );
        assert!(
            changed("/spec/volumeMode", json!("Block"))
                .ends_with("volumeMode: Invalid value: \"Block\": field is immutable")
        );
    }

    #[test]
    fn a_class_that_comes_late() {
        let mut old = claim();
        old["spec"].as_object_mut().unwrap().remove("storageClassName");
        assert_eq!(said(&update(&claim(), &old)), "");
        old["metadata"]["annotations"] = json!({BETA_CLASS: "x"});
        assert_eq!(said(&update(&claim(), &old)), "", "from the annotation");
        old["metadata"]["annotations"] = json!({BETA_CLASS: "y"});
        assert!(said(&update(&claim(), &old)).starts_with("metadata.annotations[volume.beta"));
    }

    #[test]
    fn states_of_growing() {
        let old = claim();
        let mut new = old.clone();
        new["status"]["allocatedResourceStatuses"] = json!({"storage": "Bad"});
        new["status"]["allocatedResources"] = json!({"cpu": "1"});
        assert_eq!(
            said(&status(&new, &old)),
            "status.allocatedResourceStatuses: Unsupported value: \"storage\": supported values: \
             \"ControllerResizeInProgress\", \"ControllerResizeInfeasible\", \"NodeResizeInProgress\", \
             \"NodeResizeInfeasible\", \"NodeResizePending\"; status.allocatedResources: Unsupported value: \"cpu\": \
             supported values: \"storage\""
        );
    }
}
