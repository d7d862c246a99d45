//! The claim that an ephemeral volume makes (`ValidatePersistentVolumeClaimTemplate`), and what any claim asks for.
//!
//! Absent: where a claim's data come from is only checked for its form.

use schema::validation::{At, Run, any, field, here, set};

use super::spec::{label_selector, labels};
use crate::pod::resources::quantity;
use crate::value::{is_set, items, text};
use crate::{meta, names};

/// How a volume is used.
pub(crate) const VOLUME_MODES: &[&str] = &["Block", "Filesystem"];
const MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

schema::rules! {
    /// An ephemeral volume.
    pub(super) EPHEMERAL: "io.k8s.api.core.v1.EphemeralVolumeSource" = [
        field("volumeClaimTemplate").required().inner(&TEMPLATE),
    ];
    TEMPLATE: "io.k8s.api.core.v1.PersistentVolumeClaimTemplate" = [
        field("metadata.annotations").with(|at, run| meta::annotations(run, at.value(), at)),
        field("metadata.labels").with(labels),
        field("metadata").with(only_labels),
        field("spec").inner(&SPEC),
    ];
    /// What a claim asks for.
    pub(crate) SPEC: "io.k8s.api.core.v1.PersistentVolumeClaimSpec" = [
        field("accessModes").required_as("at least 1 access mode is required"),
        field("accessModes").with(access_modes),
        set("selector").with(label_selector),
        here().with(storage),
        any("storageClassName").format(base::names::dns1123_subdomain),
        set("volumeMode").one_of(VOLUME_MODES),
        set("dataSource").inner(&SOURCE),
        set("dataSourceRef").inner(&SOURCE_REF),
        here().with(one_source),
        any("volumeAttributesClassName").format(base::names::dns1123_subdomain),
    ];
    SOURCE: "io.k8s.api.core.v1.TypedLocalObjectReference" = [
        field("name").required(),
        field("kind").required(),
        here().with(group_of_source),
    ];
    SOURCE_REF: "io.k8s.api.core.v1.TypedObjectReference" = [
        field("name").required(),
        field("kind").required(),
        here().with(group_of_source),
        any("namespace").format(base::names::dns1123_label),
    ];
}

/// Objects without a group are claims.
fn group_of_source<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let (group, kind) = (at.child("apiGroup"), at.text_of("kind"));
    if group.text().is_empty() {
        if kind != "PersistentVolumeClaim" {
            let detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
            run.invalid(at, kind, detail);
        }
        return;
    }
    names::check_subdomain(run, &group, group.text());
}

/// The two fields for where the data come from say the same.
fn one_source<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let (source, reference) = (at.get("dataSource"), at.get("dataSourceRef"));
    if !is_set(source) || !is_set(reference) {
        return;
    }
    let shown = at.child_path("dataSource").to_string();
    let same = ["apiGroup", "kind", "name"].iter().all(|field| source[*field] == reference[*field]);
    if !text(&reference["namespace"]).is_empty() {
        run.invalid(at, shown, "may not be specified when dataSourceRef.namespace is specified");
    } else if !same {
        run.invalid(at, shown, "must match dataSourceRef");
    }
}

/// A template has labels and annotations only.
fn only_labels<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    for name in meta::FIELDS.iter().filter(|name| !matches!(**name, "labels" | "annotations")) {
        if !crate::value::is_empty(at.get(name)) {
            run.forbidden(&at.child(name), "cannot be set");
        }
    }
}

/// Known ones, and the one that suffers no other.
pub(crate) fn access_modes<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let modes = || items(at.value()).iter().map(text);
    for mode in modes().filter(|mode| !MODES.contains(mode)) {
        run.not_supported(at, mode, MODES);
    }
    let alone = |mode: &str| mode == "ReadWriteOncePod";
    let other = |mode: &str| !alone(mode) && MODES.contains(&mode);
    if modes().any(alone) && modes().any(other) {
        run.forbidden(at, "may not use ReadWriteOncePod with other access modes");
    }
}

fn storage<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let resources = at.child("resources");
    let path = resources.path().key("storage");
    match quantity(&resources.get("requests")["storage"]) {
        None => run.required(&path, ""),
        Some(amount) if amount.sign() <= 0 => {
            run.invalid(&path, amount.to_string(), "must be greater than zero");
        }
        Some(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::field::Path;

    #[test]
    fn rules() {
        let check = |spec: Value, metadata: Value| {
            let source = json!({"volumeClaimTemplate": {"metadata": metadata, "spec": spec}});
            let errors = EPHEMERAL.validate_at(Path::new("e"), &source, None);
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
                json!({"accessModes": ["", "ReadWriteOnce", "ReadWriteOncePod"], "resources": {"requests": {"storage": "0"}},
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
