//! The claim that an ephemeral volume makes (`ValidatePersistentVolumeClaimTemplate`).
//!
//! Absent: data sources, which need kinds that are not served.

use serde_json::Value;

use crate::field::{ErrorList, Path};
use crate::pod::resources::quantity;
use crate::value::{is_empty, is_set, items, text};
use crate::{meta, names};

const MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

/// An ephemeral volume.
pub(super) fn ephemeral(errors: &mut ErrorList, path: &Path<'_>, source: &Value) {
    let (template, path) = (&source["volumeClaimTemplate"], path.child("volumeClaimTemplate"));
    if !is_set(template) {
        return errors.required(&path, "");
    }
    metadata(errors, &path.child("metadata"), &template["metadata"]);
    let (spec, path) = (&template["spec"], path.child("spec"));
    access_modes(errors, &path.child("accessModes"), &spec["accessModes"]);
    if is_set(&spec["selector"]) {
        names::check_label_selector(errors, &path.child("selector"), &spec["selector"]);
    }
    let storage = path.entry("resources", "storage");
    match quantity(&spec["resources"]["requests"]["storage"]) {
        None => errors.required(&storage, ""),
        Some(amount) if amount.sign() <= 0 => {
            errors.invalid(&storage, amount.to_string(), "must be greater than zero");
        }
        Some(_) => {}
    }
    for field in ["storageClassName", "volumeAttributesClassName"] {
        let name = text(&spec[field]);
        if !name.is_empty() {
            names::check_subdomain(errors, &path.child(field), name);
        }
    }
    let mode = text(&spec["volumeMode"]);
    if is_set(&spec["volumeMode"]) && !matches!(mode, "Block" | "Filesystem") {
        errors.not_supported(&path.child("volumeMode"), mode, &["Block", "Filesystem"]);
    }
}

fn metadata(errors: &mut ErrorList, path: &Path<'_>, metadata: &Value) {
    meta::annotations(errors, &metadata["annotations"], &path.child("annotations"));
    names::check_labels(errors, &path.child("labels"), &metadata["labels"]);
    // A template has labels and annotations only.
    for field in meta::FIELDS.iter().filter(|field| !matches!(**field, "labels" | "annotations")) {
        if !is_empty(&metadata[*field]) {
            errors.forbidden(&path.child(field), "cannot be set");
        }
    }
}

fn access_modes(errors: &mut ErrorList, path: &Path<'_>, modes: &Value) {
    let modes: Vec<&str> = items(modes).iter().map(text).collect();
    if modes.is_empty() {
        errors.required(path, "at least 1 access mode is required");
    }
    for mode in &modes {
        if !MODES.contains(mode) {
            errors.not_supported(path, *mode, MODES);
        }
    }
    let alone = |mode: &&str| *mode == "ReadWriteOncePod";
    if modes.iter().any(alone) && !modes.iter().all(alone) {
        errors.forbidden(path, "may not use ReadWriteOncePod with other access modes");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules() {
        let check = |spec: Value, metadata: Value| {
            let mut errors = ErrorList::default();
            let source = json!({"volumeClaimTemplate": {"metadata": metadata, "spec": spec}});
            ephemeral(&mut errors, &Path::new("e"), &source);
            errors.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        };
        let amount = json!({"requests": {"storage": "1Gi"}});
        for (spec, metadata, want) in [
            (
                json!({"accessModes": ["ReadWriteOnce"], "resources": amount}),
                json!({"labels": {"a": "b"}}),
                "",
            ),
            (
                json!({}),
                json!({"name": "x"}),
                "e.volumeClaimTemplate.metadata.name: Forbidden: cannot be set; e.volumeClaimTemplate.spec.accessModes: \
                 Required value: at least 1 access mode is required; \
                 e.volumeClaimTemplate.spec.resources[storage]: Required value",
            ),
            (
                json!({"accessModes": ["", "ReadWriteOncePod"], "resources": {"requests": {"storage": "0"}},
                    "volumeMode": "X"}),
                json!({}),
                "e.volumeClaimTemplate.spec.accessModes: Unsupported value: \"\": supported values: \"ReadOnlyMany\", \
                 \"ReadWriteMany\", \"ReadWriteOnce\", \"ReadWriteOncePod\"; \
                 e.volumeClaimTemplate.spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access \
                 modes; e.volumeClaimTemplate.spec.resources[storage]: Invalid value: \"0\": must be greater than zero; \
                 e.volumeClaimTemplate.spec.volumeMode: Unsupported value: \"X\": supported values: \"Block\", \
                 \"Filesystem\"",
            ),
        ] {
            assert_eq!(check(spec, metadata), want);
        }
    }
}
