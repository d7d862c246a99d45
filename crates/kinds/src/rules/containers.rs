//! Which containers of a Pod run when.
//!
//! Invariant: what restarts for ever among the init containers is a sidecar; nothing else is. Absent: ephemeral containers,
//! which have neither resources nor ports.

use k8s_openapi::api::core::v1::{Container, PodSpec};

/// Whether an init container runs for the Pod's whole life (`restartPolicy: Always`).
#[must_use]
pub fn is_sidecar(init_container: &Container) -> bool {
    init_container.restart_policy.as_deref() == Some("Always")
}

/// Init containers in the order in which they start, sidecars among them.
pub fn init(spec: &PodSpec) -> impl DoubleEndedIterator<Item = &Container> {
    spec.init_containers.iter().flatten()
}

/// Sidecars in the order in which they start.
pub fn sidecars(spec: &PodSpec) -> impl DoubleEndedIterator<Item = &Container> {
    init(spec).filter(|c| is_sidecar(c))
}

/// What runs once the Pod is initialised: app containers, then sidecars.
pub fn lasting(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.containers.iter().chain(sidecars(spec))
}

/// App containers, then init containers.
pub fn all(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.containers.iter().chain(init(spec))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::pod_spec;
    use super::*;

    #[test]
    fn who_runs_when() {
        let spec = pod_spec(&json!({
            "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"},
                               {"name": "o", "restartPolicy": "OnFailure"}, {"name": "t", "restartPolicy": "Always"}],
            "containers": [{"name": "a", "restartPolicy": "Always"}],
        }));
        let names = |list: Vec<&Container>| list.iter().map(|c| c.name.clone()).collect::<Vec<_>>().join(" ");
        assert_eq!(names(sidecars(&spec).collect()), "s t");
        assert_eq!(names(sidecars(&spec).rev().collect()), "t s");
        assert_eq!(names(lasting(&spec).collect()), "a s t");
        assert_eq!(names(all(&spec).collect()), "a i s o t");
    }
}
