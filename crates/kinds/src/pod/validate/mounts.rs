//! Mounts and block devices of a container (`ValidateVolumeMounts`, `ValidateVolumeDevices`).

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Context, local_path, no_backsteps};
use crate::field::{ErrorList, Path};
use crate::value::{is_set, is_true, items, text};

/// Mounts of one container; paths of some errors lack the index, as upstream's do.
pub(super) fn mounts(errors: &mut ErrorList, path: &Path<'_>, container: &Value, cx: &Context<'_>) {
    let devices = items(&container["volumeDevices"]);
    let mut taken = BTreeSet::new();
    for (i, mount) in items(&container["volumeMounts"]).iter().enumerate() {
        let here = path.index(i);
        let (name, at) = (text(&mount["name"]), text(&mount["mountPath"]));
        if name.is_empty() {
            errors.required(&here.child("name"), "");
        }
        if !cx.volumes.contains_key(name) {
            errors.not_found(&here.child("name"), name);
        }
        if at.is_empty() {
            errors.required(&here.child("mountPath"), "");
        }
        if !taken.insert(at) {
            errors.invalid(&here.child("mountPath"), at, "must be unique");
        }
        if devices.iter().any(|d| text(&d["name"]) == name) {
            errors.invalid(&here.child("name"), name, "must not already exist in volumeDevices");
        }
        if devices.iter().any(|d| text(&d["devicePath"]) == at) {
            let detail = "must not already exist as a path in volumeDevices";
            errors.invalid(&here.child("mountPath"), at, detail);
        }
        let (sub, expr) = (text(&mount["subPath"]), text(&mount["subPathExpr"]));
        if !sub.is_empty() {
            local_path(errors, &path.child("subPath"), sub);
        }
        if !expr.is_empty() {
            if !sub.is_empty() {
                let detail = "subPathExpr and subPath are mutually exclusive";
                errors.invalid(&here.child("subPathExpr"), expr, detail);
            }
            local_path(errors, &path.child("subPathExpr"), expr);
        }
        propagation(errors, &path.child("mountPropagation"), mount, container);
        recursive(errors, &path.child("recursiveReadOnly"), mount);
    }
}

fn propagation(errors: &mut ErrorList, path: &Path<'_>, mount: &Value, container: &Value) {
    match text(&mount["mountPropagation"]) {
        "" | "None" | "HostToContainer" => {}
        "Bidirectional" if is_true(&container["securityContext"]["privileged"]) => {}
        "Bidirectional" => errors
            .forbidden(path, "Bidirectional mount propagation is available only to privileged containers"),
        other => errors.not_supported(path, other, &["Bidirectional", "HostToContainer", "None"]),
    }
}

fn recursive(errors: &mut ErrorList, path: &Path<'_>, mount: &Value) {
    match text(&mount["recursiveReadOnly"]) {
        "" | "Disabled" => {}
        "Enabled" | "IfPossible" => {
            if !is_true(&mount["readOnly"]) {
                errors.forbidden(path, "may only be specified when readOnly is true");
            }
            if !matches!(text(&mount["mountPropagation"]), "" | "None") {
                let detail = "may only be specified when mountPropagation is None or not specified";
                errors.forbidden(path, detail);
            }
        }
        other => errors.not_supported(path, other, &["Disabled", "Enabled", "IfPossible"]),
    }
}

/// Block devices of one container.
pub(super) fn devices(errors: &mut ErrorList, path: &Path<'_>, container: &Value, cx: &Context<'_>) {
    let mounts = items(&container["volumeMounts"]);
    let (mut names, mut paths) = (BTreeSet::new(), BTreeSet::new());
    for (i, device) in items(&container["volumeDevices"]).iter().enumerate() {
        let here = path.index(i);
        let (name, at) = (text(&device["name"]), text(&device["devicePath"]));
        let (name_path, at_path) = (here.child("name"), here.child("devicePath"));
        if name.is_empty() {
            errors.required(&name_path, "");
        } else if !names.insert(name) {
            errors.invalid(&name_path, name, "must be unique");
        }
        match cx.volumes.get(name) {
            None => errors.not_found(&name_path, name),
            Some(v) if !is_set(&v["persistentVolumeClaim"]) && !is_set(&v["ephemeral"]) => {
                let detail =
                    "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.invalid(&name_path, name, detail);
            }
            Some(_) => {}
        }
        if at.is_empty() {
            errors.required(&at_path, "");
        }
        let mut steps = ErrorList::default();
        no_backsteps(&mut steps, &at_path, at);
        if !steps.is_empty() {
            errors.invalid(&at_path, at, "can not contain backsteps ('..')");
        } else if !paths.insert(at) {
            errors.invalid(&at_path, at, "must be unique");
        }
        if mounts.iter().any(|m| text(&m["name"]) == name) {
            errors.invalid(&name_path, name, "must not already exist in volumeMounts");
        }
        if mounts.iter().any(|m| text(&m["mountPath"]) == at) {
            errors.invalid(&at_path, at, "must not already exist as a path in volumeMounts");
        }
    }
}
