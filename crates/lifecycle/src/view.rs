//! The Pod's containers as one list, and the observation sorted by them.

use std::borrow::Cow;

use k8s_openapi::api::core::v1::{Container as Spec, EphemeralContainer, Pod, PodSpec};
use kinds::rules::containers::is_sidecar;

use crate::types::{Container, ContainerState, Observed, Role, Sandbox};

/// A container of the spec.
#[derive(Debug, Clone)]
pub struct Ctr<'a> {
    /// What kind.
    pub role: Role,
    /// Its definition (an ephemeral container's is converted).
    pub spec: Cow<'a, Spec>,
    /// `targetContainerName` of an ephemeral container.
    pub target: Option<&'a str>,
}

impl Ctr<'_> {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// The image field.
    #[must_use]
    pub fn image(&self) -> &str {
        self.spec.image.as_deref().unwrap_or_default()
    }

    /// `spec.containers{n}`, as Events name it.
    #[must_use]
    pub fn field_path(&self) -> String {
        let list = match self.role {
            Role::Init | Role::Sidecar => "initContainers",
            Role::Regular => "containers",
            Role::Ephemeral => "ephemeralContainers",
        };
        format!("spec.{list}{{{}}}", self.name())
    }
}

/// All containers: init in order, regular, ephemeral.
#[must_use]
pub fn containers(pod: &Pod) -> Vec<Ctr<'_>> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let init = spec.init_containers.iter().flatten().map(|c| Ctr {
        role: if is_sidecar(c) { Role::Sidecar } else { Role::Init },
        spec: Cow::Borrowed(c),
        target: None,
    });
    let regular =
        spec.containers.iter().map(|c| Ctr { role: Role::Regular, spec: Cow::Borrowed(c), target: None });
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(|c| Ctr {
        role: Role::Ephemeral,
        spec: Cow::Owned(plain(c)),
        target: c.target_container_name.as_deref().filter(|t| !t.is_empty()),
    });
    init.chain(regular).chain(ephemeral).collect()
}

/// An ephemeral container has a container's fields and one more.
fn plain(c: &EphemeralContainer) -> Spec {
    let c = c.clone();
    Spec {
        args: c.args,
        command: c.command,
        env: c.env,
        env_from: c.env_from,
        image: c.image,
        image_pull_policy: c.image_pull_policy,
        lifecycle: c.lifecycle,
        liveness_probe: c.liveness_probe,
        name: c.name,
        ports: c.ports,
        readiness_probe: c.readiness_probe,
        resize_policy: c.resize_policy,
        resources: c.resources,
        restart_policy: c.restart_policy,
        restart_policy_rules: c.restart_policy_rules,
        security_context: c.security_context,
        startup_probe: c.startup_probe,
        stdin: c.stdin,
        stdin_once: c.stdin_once,
        termination_message_path: c.termination_message_path,
        termination_message_policy: c.termination_message_policy,
        tty: c.tty,
        volume_devices: c.volume_devices,
        volume_mounts: c.volume_mounts,
        working_dir: c.working_dir,
    }
}

/// `name_namespace(uid)`, as messages name a Pod.
#[must_use]
pub fn pod_label(pod: &Pod) -> String {
    let m = &pod.metadata;
    let of = |f: &Option<String>| f.clone().unwrap_or_default();
    format!("{}_{}({})", of(&m.name), of(&m.namespace), of(&m.uid))
}

/// The spec, or an empty one: a Pod without spec has no containers.
pub(crate) fn pod_spec(pod: &Pod) -> Cow<'_, PodSpec> {
    pod.spec.as_ref().map_or_else(|| Cow::Owned(PodSpec::default()), Cow::Borrowed)
}

/// Sandboxes newest first.
pub(crate) fn sandboxes(o: &Observed) -> Vec<&Sandbox> {
    let mut all: Vec<&Sandbox> = o.sandboxes.iter().collect();
    all.sort_by_key(|s| std::cmp::Reverse((s.attempt, s.created_at)));
    all
}

/// Instances of a container, newest first.
pub(crate) fn instances<'a>(o: &'a Observed, name: &str) -> Vec<&'a Container> {
    let mut all: Vec<&Container> = o.containers.iter().filter(|c| c.name == name).collect();
    all.sort_by_key(|c| std::cmp::Reverse((c.created_at, c.attempt)));
    all
}

/// The newest instance of a container.
pub(crate) fn newest<'a>(o: &'a Observed, name: &str) -> Option<&'a Container> {
    o.containers.iter().filter(|c| c.name == name).max_by_key(|c| (c.created_at, c.attempt))
}

/// Whether a process may still live in it.
pub(crate) fn alive(c: &Container) -> bool {
    c.state == ContainerState::Running
}
