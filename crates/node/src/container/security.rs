//! Who a container is and what it may do (`pkg/securitycontext/util.go`, `pkg/kubelet/kuberuntime/security_context*.go`).

use k8s_openapi::api::core::v1::{Container, Pod, PodSecurityContext, SeccompProfile, SecurityContext};
use runtime::{MAX_ID, Seccomp, User, numeric_id};

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
    let uid = uid.map(|n| id("runAsUser", n)).transpose()?;
    let gid = own.and_then(|s| s.run_as_group).or_else(|| whole?.run_as_group);
    let non_root = own.and_then(|s| s.run_as_non_root).or_else(|| whole?.run_as_non_root) == Some(true);
    // The image's group is not passed on: who is named without runAsGroup has the group of the image's passwd, or 0.
    let image_user = image_user.split(':').next().unwrap_or_default();
    if non_root {
        check_non_root(pod, container, uid, image_user)?;
    }
    let mut groups: Vec<u32> = Vec::new();
    let numbers = whole.into_iter().flat_map(|w| {
        let own = w.fs_group.map(|n| ("fsGroup", n));
        own.into_iter().chain(w.supplemental_groups.iter().flatten().map(|n| ("supplementalGroups", *n)))
    });
    for (field, number) in numbers {
        let gid = id(field, number)?;
        if !groups.contains(&gid) {
            groups.push(gid);
        }
    }
    let spec = match uid.or_else(|| numeric_id(image_user)) {
        Some(uid) => uid.to_string(),
        None if image_user.is_empty() => "0".to_owned(),
        None => image_user.to_owned(),
    };
    Ok(User {
        spec,
        gid: gid.map(|n| id("runAsGroup", n)).transpose()?,
        supplemental_groups: groups,
        strict_groups: whole.and_then(|w| w.supplemental_groups_policy.as_deref()) == Some("Strict"),
    })
}

/// A user or group of the Pod, which the API checked, unless it is a static one.
fn id(field: &str, number: i64) -> Result<u32, ConfigError> {
    let good = u32::try_from(number).ok().filter(|n| *n <= MAX_ID);
    good.ok_or_else(|| {
        ConfigError::config(format!("{field} {number}: must be between 0 and {MAX_ID}, inclusive"))
    })
}

fn check_non_root(
    pod: &Pod,
    container: &Container,
    uid: Option<u32>,
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
    match (uid, numeric_id(image_user)) {
        (Some(0), _) => {
            Err(ConfigError::config(format!("container's runAsUser breaks non-root policy {label}")))
        }
        (Some(_), _) => Ok(()),
        (None, Some(0)) => {
            Err(ConfigError::config(format!("container has runAsNonRoot and image will run as root {label}")))
        }
        (None, None) if image_user.is_empty() => {
            Err(ConfigError::config(format!("container has runAsNonRoot and image will run as root {label}")))
        }
        (None, None) => Err(ConfigError::config(format!(
            "container has runAsNonRoot and image has non-numeric user ({image_user}), cannot verify user is non-root {label}"
        ))),
        (None, Some(_)) => Ok(()),
    }
}
