//! Security contexts (`ValidateSecurityContext`, `validatePodSpecSecurityContext`).

use std::collections::BTreeSet;

use serde_json::Value;

use super::local_path;
use crate::field::{ErrorList, GoField, Path, go_form};
use crate::names::range_error;
use crate::value::{is_set, is_true, items, size, text};

/// The largest user or group id.
const MAX_ID: i64 = 0x7fff_ffff;
/// A seccomp profile inside upstream.
const SECCOMP_FORM: &[GoField] =
    &[GoField::text("type", "Type"), GoField::pointer("localhostProfile", "LocalhostProfile")];
const PROFILES: &[&str] = &["Localhost", "RuntimeDefault", "Unconfined"];

fn id(errors: &mut ErrorList, path: &Path<'_>, id: &Value) {
    if id.as_i64().is_some_and(|id| !(0..=MAX_ID).contains(&id)) {
        errors.invalid(path, id.clone(), range_error(0, MAX_ID));
    }
}

/// One container's context.
pub(super) fn container(errors: &mut ErrorList, path: &Path<'_>, sc: &Value, host_users: bool) {
    if !is_set(sc) {
        return;
    }
    id(errors, &path.child("runAsUser"), &sc["runAsUser"]);
    id(errors, &path.child("runAsGroup"), &sc["runAsGroup"]);
    match text(&sc["procMount"]) {
        "" | "Default" => {}
        "Unmasked" if host_users => {
            let detail = "`hostUsers` must be false to use `Unmasked`";
            errors.invalid(&path.child("procMount"), "Unmasked", detail);
        }
        "Unmasked" => {}
        other => errors.not_supported(&path.child("procMount"), other, &["Default", "Unmasked"]),
    }
    seccomp(errors, &path.child("seccompProfile"), &sc["seccompProfile"]);
    if sc["allowPrivilegeEscalation"].as_bool() == Some(false) {
        if is_true(&sc["privileged"]) {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.invalid(path, sc.clone(), detail);
        }
        if items(&sc["capabilities"]["add"]).iter().any(|c| text(c) == "CAP_SYS_ADMIN") {
            let detail =
                "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.invalid(path, sc.clone(), detail);
        }
    }
    app_armor(errors, &path.child("appArmorProfile"), &sc["appArmorProfile"]);
}

/// The Pod's context.
pub(super) fn pod(errors: &mut ErrorList, path: &Path<'_>, spec: &Value) {
    let sc = &spec["securityContext"];
    for field in ["fsGroup", "runAsUser", "runAsGroup"] {
        id(errors, &path.child(field), &sc[field]);
    }
    for (i, group) in items(&sc["supplementalGroups"]).iter().enumerate() {
        id(errors, &path.item("supplementalGroups", i), group);
    }
    if is_true(&spec["shareProcessNamespace"]) && is_true(&spec["hostPID"]) {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.invalid(&path.child("shareProcessNamespace"), true, detail);
    }
    sysctls(errors, &path.child("sysctls"), spec);
    one_of(errors, path, sc, "fsGroupChangePolicy", &["Always", "OnRootMismatch"]);
    seccomp(errors, &path.child("seccompProfile"), &sc["seccompProfile"]);
    app_armor(errors, &path.child("appArmorProfile"), &sc["appArmorProfile"]);
    one_of(errors, path, sc, "supplementalGroupsPolicy", &["Merge", "Strict"]);
    one_of(errors, path, sc, "seLinuxChangePolicy", &["MountOption", "Recursive"]);
}

fn one_of(errors: &mut ErrorList, path: &Path<'_>, sc: &Value, field: &str, values: &[&str]) {
    if is_set(&sc[field]) && !values.contains(&text(&sc[field])) {
        errors.not_supported(&path.child(field), text(&sc[field]), values);
    }
}

fn seccomp(errors: &mut ErrorList, path: &Path<'_>, profile: &Value) {
    if !is_set(profile) {
        return;
    }
    let (kind, file) = (text(&profile["type"]), &profile["localhostProfile"]);
    let file_path = path.child("localhostProfile");
    match kind {
        "" => errors.required(&path.child("type"), "type is required when seccompProfile is set"),
        other if !PROFILES.contains(&other) => {
            errors.not_supported(&path.child("type"), other, PROFILES);
        }
        _ => {}
    }
    match (kind == "Localhost", file.as_str()) {
        (true, None) => errors.required(&file_path, "must be set when seccomp type is Localhost"),
        (true, Some(file)) => local_path(errors, &file_path, file),
        (false, Some(_)) => {
            let shown = go_form(profile, SECCOMP_FORM);
            errors.invalid_as(&file_path, shown, "can only be set when seccomp type is Localhost");
        }
        (false, None) => {}
    }
}

fn app_armor(errors: &mut ErrorList, path: &Path<'_>, profile: &Value) {
    const NEEDED: &str = "must be set when AppArmor type is Localhost";
    if !is_set(profile) {
        return;
    }
    let file = profile["localhostProfile"].as_str();
    let file_path = path.child("localhostProfile");
    match (text(&profile["type"]), file) {
        ("", _) => errors.required(&path.child("type"), "type is required when appArmorProfile is set"),
        ("Localhost", None | Some("")) => errors.required(&file_path, NEEDED),
        ("Localhost", Some(file)) => {
            if file.trim() != file {
                errors.invalid(&file_path, file, "must not be padded with whitespace");
            }
            if file.len() > 4095 {
                errors.too_long(&file_path, 4095);
            }
        }
        ("RuntimeDefault" | "Unconfined", Some(file)) => {
            errors.invalid(&file_path, file, "can only be set when AppArmor type is Localhost");
        }
        ("RuntimeDefault" | "Unconfined", None) => {}
        (other, _) => errors.not_supported(&path.child("type"), other, PROFILES),
    }
}

fn is_sysctl(name: &str) -> bool {
    let part = |p: &str| {
        let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        edge(p.as_bytes().first())
            && edge(p.as_bytes().last())
            && p.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
    };
    name.len() <= 253 && name.split(['.', '/']).all(part)
}

fn sysctls(errors: &mut ErrorList, path: &Path<'_>, spec: &Value) {
    let mut seen = BTreeSet::new();
    for (i, sysctl) in items(&spec["securityContext"]["sysctls"]).iter().enumerate() {
        let outer = path.index(i);
        let path = outer.child("name");
        let name = text(&sysctl["name"]);
        if name.is_empty() {
            errors.required(&path, "");
        } else if !is_sysctl(name) {
            errors.invalid(
                &path,
                name,
                "must have at most 253 characters and match regex \
                 ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$",
            );
        } else if !seen.insert(name) {
            errors.duplicate(&path, name);
        }
        let dotted = name.replace('/', ".");
        let ipc = ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|p| dotted.starts_with(p))
            || dotted == "kernel.sem";
        if is_true(&spec["hostNetwork"]) && dotted.starts_with("net.") {
            errors.invalid(&path, name, "may not be specified when 'hostNetwork' is true");
        } else if is_true(&spec["hostIPC"]) && ipc {
            errors.invalid(&path, name, "may not be specified when 'hostIPC' is true");
        }
    }
}

/// A Pod in its own user namespace shares none of the host's others.
pub(super) fn host_users(errors: &mut ErrorList, path: &Path<'_>, spec: &Value) {
    if spec["hostUsers"].as_bool() != Some(false) {
        return;
    }
    for (field, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if is_true(&spec[field]) {
            errors.forbidden(&path.child(shown), "when `hostUsers` is false");
        }
    }
}

/// `spec.os`: what the named system does not know may not be set.
pub(super) fn os(errors: &mut ErrorList, path: &Path<'_>, spec: &Value) {
    const WINDOWS: &str = "cannot be set for a windows pod";
    const LINUX: &str = "windows options cannot be set for a linux pod";
    if !is_set(&spec["os"]) {
        return;
    }
    let name = text(&spec["os"]["name"]);
    let (of_pod, of_container, detail): (&[&str], &[&str], &str) = match name {
        "" => return errors.required(&path.child("os.name"), ""),
        "linux" => (&["windowsOptions"], &["windowsOptions"], LINUX),
        "windows" => (
            &[
                "appArmorProfile",
                "seLinuxOptions",
                "seccompProfile",
                "fsGroup",
                "fsGroupChangePolicy",
                "sysctls",
                "runAsUser",
                "runAsGroup",
                "supplementalGroups",
                "supplementalGroupsPolicy",
                "seLinuxChangePolicy",
            ],
            &[
                "appArmorProfile",
                "seLinuxOptions",
                "seccompProfile",
                "capabilities",
                "readOnlyRootFilesystem",
                "privileged",
                "allowPrivilegeEscalation",
                "procMount",
                "runAsUser",
                "runAsGroup",
            ],
            WINDOWS,
        ),
        other => return errors.not_supported(&path.child("os"), other, &["linux", "windows"]),
    };
    if name == "windows" {
        for field in ["hostUsers", "shareProcessNamespace"] {
            if is_set(&spec[field]) {
                errors.forbidden(&path.child(field), detail);
            }
        }
        for field in ["hostPID", "hostIPC"] {
            if is_true(&spec[field]) {
                errors.forbidden(&path.child(field), detail);
            }
        }
    }
    let set = |v: &Value| is_set(v) && !(v.is_array() && size(v) == 0);
    for field in of_pod {
        if set(&spec["securityContext"][*field]) {
            errors.forbidden(&path.child("securityContext").child(field), detail);
        }
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for (i, container) in items(&spec[list]).iter().enumerate() {
            let outer = path.item(list, i);
            let path = outer.child("securityContext");
            for field in of_container.iter().filter(|f| set(&container["securityContext"][**f])) {
                errors.forbidden(&path.child(field), detail);
            }
        }
    }
}
