//! Who a container is and what it may do (`pkg/securitycontext/util.go`, `pkg/kubelet/kuberuntime/security_context*.go`).

use k8s_openapi::api::core::v1::{Container, Pod, PodSecurityContext, SeccompProfile, SecurityContext};
use runtime::{Seccomp, User};

use super::ConfigError;

/// Paths that a container must not read.
const MASKED: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// Paths that a container must not write.
const READ_ONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

fn of_pod(pod: &Pod) -> Option<&PodSecurityContext> {
    pod.spec.as_ref()?.security_context.as_ref()
}

fn of_container(container: &Container) -> Option<&SecurityContext> {
    container.security_context.as_ref()
}

/// Whether the container is privileged.
#[must_use]
pub fn privileged(container: &Container) -> bool {
    of_container(container).and_then(|s| s.privileged) == Some(true)
}

/// Whether the container's root, with the files that the runtime mounts into it, is read-only.
#[must_use]
pub fn read_only_root(container: &Container) -> bool {
    of_container(container).and_then(|s| s.read_only_root_filesystem) == Some(true)
}

/// Masked and read-only paths; `cpus` is how many `/sys/devices/system/cpu/cpuN` there are.
#[must_use]
pub fn paths(container: &Container, cpus: usize) -> (Vec<String>, Vec<String>) {
    let unmasked = of_container(container).and_then(|s| s.proc_mount.as_deref()) == Some("Unmasked");
    if unmasked || privileged(container) {
        return (Vec::new(), Vec::new());
    }
    let throttle = (0..cpus).map(|n| format!("/sys/devices/system/cpu/cpu{n}/thermal_throttle"));
    let masked = MASKED.iter().map(|&p| p.to_owned()).chain(throttle).collect();
    (masked, READ_ONLY.iter().map(|&p| p.to_owned()).collect())
}

/// Added and dropped capabilities.
#[must_use]
pub fn capabilities(container: &Container) -> (Vec<String>, Vec<String>) {
    let capabilities = of_container(container).and_then(|s| s.capabilities.clone()).unwrap_or_default();
    (capabilities.add.unwrap_or_default(), capabilities.drop.unwrap_or_default())
}

/// no_new_privs: only if escalation is explicitly forbidden.
#[must_use]
pub fn no_new_privs(container: &Container) -> bool {
    of_container(container).and_then(|s| s.allow_privilege_escalation) == Some(false)
}

/// The seccomp profile; `default` makes RuntimeDefault of none. Localhost profiles lie under `profiles`.
#[must_use]
pub fn seccomp(pod: &Pod, container: &Container, default: bool, profiles: &std::path::Path) -> Seccomp {
    if privileged(container) {
        return Seccomp::Unconfined;
    }
    let own = of_container(container).and_then(|s| s.seccomp_profile.as_ref());
    let profile: Option<&SeccompProfile> = own.or_else(|| of_pod(pod)?.seccomp_profile.as_ref());
    match profile.map(|p| (p.type_.as_str(), p.localhost_profile.as_deref())) {
        Some(("RuntimeDefault", _)) => Seccomp::RuntimeDefault,
        Some(("Localhost", Some(file))) => Seccomp::Localhost(profiles.join(file)),
        None if default => Seccomp::RuntimeDefault,
        _ => Seccomp::Unconfined,
    }
}

/// Who runs; `image_user` is the image's `USER`.
///
/// # Errors
/// If `runAsNonRoot` cannot be kept, in upstream's words.
pub fn user(pod: &Pod, container: &Container, image_user: &str) -> Result<User, ConfigError> {
    let (own, whole) = (of_container(container), of_pod(pod));
    let uid = own.and_then(|s| s.run_as_user).or_else(|| whole?.run_as_user);
    let gid = own.and_then(|s| s.run_as_group).or_else(|| whole?.run_as_group);
    let non_root = own.and_then(|s| s.run_as_non_root).or_else(|| whole?.run_as_non_root) == Some(true);
    if non_root {
        check_non_root(pod, container, uid, image_user)?;
    }
    let mut groups: Vec<u32> = Vec::new();
    let numbers = whole
        .and_then(|w| w.fs_group)
        .into_iter()
        .chain(whole.into_iter().flat_map(|w| w.supplemental_groups.clone().unwrap_or_default()));
    for gid in numbers.filter_map(|n| u32::try_from(n).ok()) {
        if !groups.contains(&gid) {
            groups.push(gid);
        }
    }
    let spec = match uid {
        Some(uid) => uid.to_string(),
        None if image_user.is_empty() => "0".to_owned(),
        None => image_user.to_owned(),
    };
    Ok(User {
        spec,
        gid: gid.and_then(|g| u32::try_from(g).ok()),
        supplemental_groups: groups,
        strict_groups: whole.and_then(|w| w.supplemental_groups_policy.as_deref()) == Some("Strict"),
    })
}

fn check_non_root(
    pod: &Pod,
    container: &Container,
    uid: Option<i64>,
    image_user: &str,
) -> Result<(), ConfigError> {
    let name = &pod.metadata;
    let label = format!(
        "(pod: \"{}_{}({})\", container: {})",
        name.name.as_deref().unwrap_or_default(),
        name.namespace.as_deref().unwrap_or_default(),
        name.uid.as_deref().unwrap_or_default(),
        container.name
    );
    let image_uid = image_user.split(':').next().unwrap_or_default();
    match (uid, image_uid) {
        (Some(0), _) => {
            Err(ConfigError::config(format!("container's runAsUser breaks non-root policy {label}")))
        }
        (Some(_), _) => Ok(()),
        (None, "" | "0") => {
            Err(ConfigError::config(format!("container has runAsNonRoot and image will run as root {label}")))
        }
        (None, user) if user.parse::<u32>().is_err() => Err(ConfigError::config(format!(
            "container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root {label}"
        ))),
        (None, _) => Ok(()),
    }
}
