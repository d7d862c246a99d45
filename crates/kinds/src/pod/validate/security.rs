//! Security contexts (`ValidateSecurityContext`, `validatePodSpecSecurityContext`).

use schema::validation::{At, Run, Seen, any, field, here, set};

use super::references::local_path;
use super::spec::SPEC_TYPE;
use crate::field::{GoField, go_form};
use crate::value::{is_set, items, size, text};

/// The largest user or group id.
const MAX_ID: i64 = 0x7fff_ffff;
/// A seccomp profile inside upstream.
const SECCOMP_FORM: &[GoField] =
    &[GoField::text("type", "Type"), GoField::pointer("localhostProfile", "LocalhostProfile")];
const PROFILES: &[&str] = &["Localhost", "RuntimeDefault", "Unconfined"];

schema::rules! {
    /// One container's context.
    pub(super) CONTAINER: "io.k8s.api.core.v1.SecurityContext" = [
        set("runAsUser").within(0, MAX_ID),
        set("runAsGroup").within(0, MAX_ID),
        any("procMount").with(proc_mount),
        set("seccompProfile").inner(&SECCOMP),
        here().with(escalation),
        set("appArmorProfile").with(app_armor),
    ];
    /// The Pod's context.
    pub(super) POD: "io.k8s.api.core.v1.PodSecurityContext" = [
        set("fsGroup").within(0, MAX_ID),
        set("runAsUser").within(0, MAX_ID),
        set("runAsGroup").within(0, MAX_ID),
        field("supplementalGroups").with(groups),
        here().with(processes),
        field("sysctls").with(sysctls),
        set("fsGroupChangePolicy").one_of(&["Always", "OnRootMismatch"]),
        set("seccompProfile").inner(&SECCOMP),
        set("appArmorProfile").with(app_armor),
        set("supplementalGroupsPolicy").one_of(&["Merge", "Strict"]),
        set("seLinuxChangePolicy").one_of(&["MountOption", "Recursive"]),
    ];
    SECCOMP: "io.k8s.api.core.v1.SeccompProfile" = [
        field("type").required_as("type is required when seccompProfile is set").one_of(PROFILES),
        here().with(seccomp_file),
    ];
}

fn proc_mount<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let own_users =
        at.enclosing(SPEC_TYPE).is_some_and(|spec| spec.get("hostUsers").as_bool() == Some(false));
    match at.text() {
        "Default" => {}
        "Unmasked" if own_users => {}
        "Unmasked" => run.invalid(at, "Unmasked", "`hostUsers` must be false to use `Unmasked`"),
        other => run.not_supported(at, other, &["Default", "Unmasked"]),
    }
}

fn escalation<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if at.get("allowPrivilegeEscalation").as_bool() != Some(false) {
        return;
    }
    if at.is("privileged") {
        let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
        run.invalid(at, at.value().clone(), detail);
    }
    if items(&at.get("capabilities")["add"]).iter().any(|c| text(c) == "CAP_SYS_ADMIN") {
        let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
        run.invalid(at, at.value().clone(), detail);
    }
}

fn groups<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    for group in at.items().filter(|group| !(0..=MAX_ID).contains(&group.int())) {
        run.invalid(&group, group.value().clone(), crate::names::range_error(0, MAX_ID));
    }
}

fn processes<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if at.up().is_some_and(|spec| spec.is("shareProcessNamespace") && spec.is("hostPID")) {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        run.invalid(&at.child_path("shareProcessNamespace"), true, detail);
    }
}

fn seccomp_file<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let file = at.child("localhostProfile");
    match (at.text_of("type") == "Localhost", file.value().as_str()) {
        (true, None) => run.required(&file, "must be set when seccomp type is Localhost"),
        (true, Some(name)) => local_path(run, &file, name),
        (false, Some(_)) => {
            let shown = go_form(at.value(), SECCOMP_FORM);
            run.invalid_as(&file, shown, "can only be set when seccomp type is Localhost");
        }
        (false, None) => {}
    }
}

fn app_armor<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    const NEEDED: &str = "must be set when AppArmor type is Localhost";
    let (kind, file) = (at.child("type"), at.child("localhostProfile"));
    match (kind.text(), file.value().as_str()) {
        ("", _) => run.required(&kind, "type is required when appArmorProfile is set"),
        ("Localhost", None | Some("")) => run.required(&file, NEEDED),
        ("Localhost", Some(name)) => {
            if name.trim() != name {
                run.invalid(&file, name, "must not be padded with whitespace");
            }
            if name.len() > 4095 {
                run.too_long(&file, 4095);
            }
        }
        ("RuntimeDefault" | "Unconfined", Some(name)) => {
            run.invalid(&file, name, "can only be set when AppArmor type is Localhost");
        }
        ("RuntimeDefault" | "Unconfined", None) => {}
        (other, _) => run.not_supported(&kind, other, PROFILES),
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

fn sysctls<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let Some(spec) = at.enclosing(SPEC_TYPE) else { return };
    let mut seen = Seen::default();
    for sysctl in at.items() {
        let at = sysctl.child("name");
        let name = at.text();
        if name.is_empty() {
            run.required(&at, "");
        } else if !is_sysctl(name) {
            run.invalid(
                &at,
                name,
                "must have at most 253 characters and match regex \
                 ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$",
            );
        } else if !seen.insert(name) {
            run.duplicate(&at, name);
        }
        let dotted = name.replace('/', ".");
        let ipc = ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|p| dotted.starts_with(p))
            || dotted == "kernel.sem";
        if spec.is("hostNetwork") && dotted.starts_with("net.") {
            run.invalid(&at, name, "may not be specified when 'hostNetwork' is true");
        } else if spec.is("hostIPC") && ipc {
            run.invalid(&at, name, "may not be specified when 'hostIPC' is true");
        }
    }
}

/// A Pod in its own user namespace shares none of the host's others.
pub(super) fn host_users<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if at.get("hostUsers").as_bool() != Some(false) {
        return;
    }
    for (field, shown) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if at.is(field) {
            run.forbidden(&at.child_path(shown), "when `hostUsers` is false");
        }
    }
}

/// What a system does not know, of the Pod's context and of a container's.
struct Unknown {
    of_pod: &'static [&'static str],
    of_container: &'static [&'static str],
    detail: &'static str,
}

const LINUX: Unknown = Unknown {
    of_pod: &["windowsOptions"],
    of_container: &["windowsOptions"],
    detail: "windows options cannot be set for a linux pod",
};
const WINDOWS: Unknown = Unknown {
    of_pod: &[
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
    of_container: &[
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
    detail: "cannot be set for a windows pod",
};

/// `spec.os`: what the named system does not know may not be set.
pub(super) fn os<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let (Some(spec), name) = (at.up(), at.child("name")) else { return };
    let unknown = match name.text() {
        "" => return run.required(&name, ""),
        "linux" => LINUX,
        "windows" => WINDOWS,
        other => return run.not_supported(at, other, &["linux", "windows"]),
    };
    if name.text() == "windows" {
        for field in ["hostUsers", "shareProcessNamespace"] {
            if spec.has(field) {
                run.forbidden(&spec.child(field), unknown.detail);
            }
        }
        for field in ["hostPID", "hostIPC"] {
            if spec.is(field) {
                run.forbidden(&spec.child(field), unknown.detail);
            }
        }
    }
    no_fields(&spec.child("securityContext"), unknown.of_pod, unknown.detail, run);
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in spec.child(list).items() {
            no_fields(&container.child("securityContext"), unknown.of_container, unknown.detail, run);
        }
    }
}

fn no_fields<'v>(at: &At<'v, '_>, fields: &[&str], detail: &str, run: &mut Run<'v>) {
    for field in fields.iter().map(|field| at.child(field)) {
        if is_set(field.value()) && !(field.value().is_array() && size(field.value()) == 0) {
            run.forbidden(&field, detail);
        }
    }
}
