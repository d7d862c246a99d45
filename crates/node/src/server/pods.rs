//! What the node knows of its Pods.

use runtime::ContainerState;
use serde_json::{Value, json};

use crate::handle::{NodeHandle, PodEntry};

/// A PodList of all Pods, or of those with a running container, reduced to these containers.
pub(super) fn list(node: &NodeHandle, running: bool) -> Value {
    let mut items = Vec::new();
    for entry in node.pods() {
        if running {
            items.extend(running_pod(&entry));
            continue;
        }
        let mut item = serde_json::to_value(&*entry.pod).unwrap_or_default();
        item["apiVersion"] = json!("v1");
        item["kind"] = json!("Pod");
        items.push(item);
    }
    json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})
}

fn running_pod(entry: &PodEntry) -> Option<Value> {
    let alive: Vec<Value> = entry
        .containers
        .values()
        .flatten()
        .filter(|c| c.state == ContainerState::Running)
        .map(|c| json!({"name": c.name, "image": c.image, "resources": {}}))
        .collect();
    let meta = &entry.pod.metadata;
    (!alive.is_empty()).then(|| {
        json!({
            "metadata": {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid},
            "spec": {"containers": alive},
            "status": {},
        })
    })
}
