//! The runtime's `ContainerSpec` of a container.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use images::Image;
use k8s_openapi::api::core::v1::{Container, Pod};
use runtime::{ContainerSpec, Mount, NamespaceMode};

use super::{ConfigError, env, resources, security};

/// Everything that a container's spec is made from.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// The Pod.
    pub pod: &'a Pod,
    /// The container (an ephemeral one converted).
    pub container: &'a Container,
    /// Its image, unpacked.
    pub image: &'a Image,
    /// The reference reported as imageID.
    pub image_ref: &'a str,
    /// restartCount.
    pub attempt: u32,
    /// Its environment, from [`env::environment`].
    pub env: &'a BTreeMap<String, String>,
    /// Volumes, then the managed files, in mount order.
    pub mounts: Vec<Mount>,
    /// Container id whose PID namespace is joined.
    pub target: Option<String>,
    /// Whether no profile means RuntimeDefault.
    pub seccomp_default: bool,
    /// Directory of Localhost seccomp profiles.
    pub seccomp_dir: &'a Path,
    /// The node's memory in bytes.
    pub memory_capacity: i64,
    /// The node's CPUs.
    pub cpus: usize,
    /// Carried through by the runtime.
    pub labels: BTreeMap<String, String>,
}

/// Makes the spec.
///
/// # Errors
/// If the container cannot be configured, e.g. would run as root against its will.
pub fn build(inputs: Inputs<'_>) -> Result<ContainerSpec, ConfigError> {
    let Inputs { pod, container, image, .. } = inputs;
    let args = arguments(container, image, inputs.env)?;
    let (masked_paths, readonly_paths) = security::paths(container, inputs.cpus);
    let (add_capabilities, drop_capabilities) = security::capabilities(container);
    let pod_spec = pod.spec.as_ref();
    let pid = match () {
        () if inputs.target.is_some() => NamespaceMode::Target,
        () if pod_spec.and_then(|s| s.host_pid) == Some(true) => NamespaceMode::Node,
        () if pod_spec.and_then(|s| s.share_process_namespace) == Some(true) => NamespaceMode::Pod,
        () => NamespaceMode::Container,
    };
    let working_dir =
        container.working_dir.clone().filter(|d| !d.is_empty()).unwrap_or_else(|| image.working_dir.clone());
    Ok(ContainerSpec {
        name: container.name.clone(),
        attempt: inputs.attempt,
        image: image.tags.first().cloned().or_else(|| container.image.clone()).unwrap_or_default(),
        image_ref: inputs.image_ref.to_owned(),
        layers: image.layers.clone(),
        args,
        env: variables(image, inputs.env, container, pod),
        working_dir: if working_dir.is_empty() { "/".to_owned() } else { working_dir },
        mounts: inputs.mounts,
        volumes: image.volumes.clone(),
        devices: Vec::new(),
        log_path: PathBuf::from(&container.name).join(format!("{}.log", inputs.attempt)),
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        tty: container.tty == Some(true),
        privileged: security::privileged(container),
        add_capabilities,
        drop_capabilities,
        no_new_privs: security::no_new_privs(container),
        read_only_rootfs: security::read_only_root(container),
        masked_paths,
        readonly_paths,
        user: security::user(pod, container, &image.user)?,
        seccomp: security::seccomp(pod, container, inputs.seccomp_default, inputs.seccomp_dir),
        resources: resources::of_container(pod, container),
        oom_score_adj: resources::oom_score_adj(pod, container, inputs.memory_capacity),
        pid,
        target: inputs.target,
        stop_signal: stop_signal(container, image),
        labels: inputs.labels,
    })
}

/// The Pod's word for the stop signal, else the image's.
fn stop_signal(container: &Container, image: &Image) -> Option<String> {
    let own = container.lifecycle.as_ref().and_then(|l| l.stop_signal.clone());
    own.or_else(|| Some(image.stop_signal.clone()).filter(|s| !s.is_empty()))
}

/// argv: command replaces the entrypoint and drops the image's arguments; args replace those.
fn arguments(
    container: &Container,
    image: &Image,
    env: &BTreeMap<String, String>,
) -> Result<Vec<String>, ConfigError> {
    let expanded = |list: &Option<Vec<String>>| -> Vec<String> {
        list.iter().flatten().map(|text| env::expand(text, |name| env.get(name).cloned())).collect()
    };
    let (command, args) = (expanded(&container.command), expanded(&container.args));
    let mut argv = if command.is_empty() { image.entrypoint.clone() } else { command.clone() };
    if !args.is_empty() {
        argv.extend(args);
    } else if command.is_empty() {
        argv.extend(image.cmd.clone());
    }
    if argv.is_empty() {
        return Err(ConfigError {
            reason: "CreateContainerError",
            message: "no command specified".to_owned(),
        });
    }
    Ok(argv)
}

/// `NAME=VALUE`: the image's, overridden by the Pod's; HOSTNAME and HOME as runtimes set them.
fn variables(image: &Image, env: &BTreeMap<String, String>, container: &Container, pod: &Pod) -> Vec<String> {
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    all.insert("PATH".to_owned(), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
    if pod.spec.as_ref().and_then(|s| s.host_network) != Some(true) {
        all.insert("HOSTNAME".to_owned(), super::hosts::hostname(pod, "").0);
    }
    if container.tty == Some(true) {
        all.insert("TERM".to_owned(), "xterm".to_owned());
    }
    all.extend(
        image.env.iter().filter_map(|line| line.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())),
    );
    all.extend(env.iter().map(|(k, v)| (k.clone(), v.clone())));
    all.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}
