//! Mounts and block devices of a container (`ValidateVolumeMounts`, `ValidateVolumeDevices`).

use schema::validation::{At, Run, Seen};

use super::references::{has_backsteps, local_path};
use super::spec::SPEC_TYPE;
use crate::value::{is_set, is_true};

/// The volume of that name, if nothing is wrong with it.
fn volume<'v>(at: &At<'v, '_>, run: &mut Run<'v>, name: &str) -> Option<&'v serde_json::Value> {
    run.find(at.enclosing(SPEC_TYPE)?.get("volumes"), "name", name)
}

/// Mounts of one container; paths of some errors lack the index, as upstream's do.
pub(super) fn mounts<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let Some(container) = at.up() else { return };
    let devices = container.get("volumeDevices");
    let mut taken = Seen::default();
    for mount in at.items() {
        let (name, place) = (mount.child("name"), mount.child("mountPath"));
        if name.text().is_empty() {
            run.required(&name, "");
        }
        if volume(at, run, name.text()).is_none() {
            run.not_found(&name, name.text());
        }
        if place.text().is_empty() {
            run.required(&place, "");
        }
        if !taken.insert(place.text()) {
            run.invalid(&place, place.text(), "must be unique");
        }
        if run.find(devices, "name", name.text()).is_some() {
            run.invalid(&name, name.text(), "must not already exist in volumeDevices");
        }
        if run.find(devices, "devicePath", place.text()).is_some() {
            run.invalid(&place, place.text(), "must not already exist as a path in volumeDevices");
        }
        let (sub, expr) = (mount.text_of("subPath"), mount.child("subPathExpr"));
        if !sub.is_empty() {
            local_path(run, &at.child_path("subPath"), sub);
        }
        if !expr.text().is_empty() {
            if !sub.is_empty() {
                run.invalid(&expr, expr.text(), "subPathExpr and subPath are mutually exclusive");
            }
            local_path(run, &at.child_path("subPathExpr"), expr.text());
        }
        propagation(at, &mount, is_true(&container.get("securityContext")["privileged"]), run);
        recursive(at, &mount, run);
    }
}

fn propagation<'v>(list: &At<'v, '_>, mount: &At<'v, '_>, privileged: bool, run: &mut Run<'v>) {
    let path = list.child_path("mountPropagation");
    match mount.text_of("mountPropagation") {
        "" | "None" | "HostToContainer" => {}
        "Bidirectional" if privileged => {}
        "Bidirectional" => {
            run.forbidden(&path, "Bidirectional mount propagation is available only to privileged containers")
        }
        other => run.not_supported(&path, other, &["Bidirectional", "HostToContainer", "None"]),
    }
}

fn recursive<'v>(list: &At<'v, '_>, mount: &At<'v, '_>, run: &mut Run<'v>) {
    let path = list.child_path("recursiveReadOnly");
    match mount.text_of("recursiveReadOnly") {
        "" | "Disabled" => {}
        "Enabled" | "IfPossible" => {
            if !mount.is("readOnly") {
                run.forbidden(&path, "may only be specified when readOnly is true");
            }
            if !matches!(mount.text_of("mountPropagation"), "" | "None") {
                let detail = "may only be specified when mountPropagation is None or not specified";
                run.forbidden(&path, detail);
            }
        }
        other => run.not_supported(&path, other, &["Disabled", "Enabled", "IfPossible"]),
    }
}

/// Block devices of one container.
pub(super) fn devices<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    const BLOCK: &str =
        "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
    let Some(container) = at.up() else { return };
    let mounts = container.get("volumeMounts");
    let (mut names, mut paths) = (Seen::default(), Seen::default());
    for device in at.items() {
        let (name, place) = (device.child("name"), device.child("devicePath"));
        if name.text().is_empty() {
            run.required(&name, "");
        } else if !names.insert(name.text()) {
            run.invalid(&name, name.text(), "must be unique");
        }
        match volume(at, run, name.text()) {
            None => run.not_found(&name, name.text()),
            Some(v) if !is_set(&v["persistentVolumeClaim"]) && !is_set(&v["ephemeral"]) => {
                run.invalid(&name, name.text(), BLOCK);
            }
            Some(_) => {}
        }
        device_path(&place, &mut paths, run);
        if run.find(mounts, "name", name.text()).is_some() {
            run.invalid(&name, name.text(), "must not already exist in volumeMounts");
        }
        if run.find(mounts, "mountPath", place.text()).is_some() {
            run.invalid(&place, place.text(), "must not already exist as a path in volumeMounts");
        }
    }
}

fn device_path<'v>(place: &At<'v, '_>, paths: &mut Seen<'v>, run: &mut Run<'v>) {
    if place.text().is_empty() {
        run.required(place, "");
    }
    if has_backsteps(place.text()) {
        run.invalid(place, place.text(), "can not contain backsteps ('..')");
    } else if !paths.insert(place.text()) {
        run.invalid(place, place.text(), "must be unique");
    }
}
