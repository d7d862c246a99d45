//! What the scheduler is told of a changed object.
//!
//! Invariant: an object is parsed once for each of its versions. Kinds that are not served yet have no objects.

use std::sync::Arc;

use base::Instant;
use base::labels::Selector;
use client::{Delta, Gvr, Object};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use scheduler::{Budget, Key, NodeFacts, PodInfo, PodState, Scheduler};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What selects Pods, for the constraints that Pods get which have none: resource, kind, group.
const GROUPS: &[(&str, &str, &str)] = &[
    ("services", "Service", ""),
    ("replicationcontrollers", "ReplicationController", ""),
    ("replicasets", "ReplicaSet", "apps"),
    ("statefulsets", "StatefulSet", "apps"),
];

/// Everything that it is told of.
pub(super) fn watched() -> Vec<Gvr> {
    let own = [("pods", ""), ("nodes", ""), ("namespaces", ""), ("poddisruptionbudgets", "policy")];
    let groups = GROUPS.iter().map(|(resource, _, group)| (*resource, *group));
    let storage = scheduler::STORAGE.iter().copied();
    own.into_iter()
        .chain(groups)
        .chain(storage)
        .map(|(resource, group)| Gvr::new(group, "v1", resource))
        .collect()
}

/// Tells it what an object is now.
pub(super) fn tell(scheduler: &mut Scheduler, now: Instant, delta: Delta) {
    let Delta { gvr, namespace, name, after, .. } = delta;
    let (key, after): (Key, _) = ((namespace, name), after.as_ref());
    match gvr.resource.as_str() {
        "pods" => {
            let Some(pod) = parsed::<Pod>(after) else { return };
            scheduler.set_pod(now, &key, pod.map(|p| (PodInfo::new(&p), PodState::new(&p))));
        }
        "nodes" => {
            let Some(node) = parsed::<Node>(after) else { return };
            scheduler.set_node(now, &key.1, node.map(|n| NodeFacts::new(&n)));
        }
        "namespaces" => {
            let Some(namespace) = parsed::<Namespace>(after) else { return };
            scheduler.set_namespace(now, &key.1, namespace.map(|n| n.metadata.labels.unwrap_or_default()));
        }
        "poddisruptionbudgets" => {
            let Some(budget) = parsed::<PodDisruptionBudget>(after) else { return };
            scheduler.set_budget(now, &key, budget.map(|b| Budget::new(&key, &b)));
        }
        storage if scheduler::STORAGE.iter().any(|(resource, _)| *resource == storage) => {
            let Some(object) = parsed::<Value>(after) else { return };
            scheduler.set_storage(now, storage, &key, object);
        }
        other => {
            let Some((_, kind, _)) = GROUPS.iter().find(|(resource, ..)| *resource == other) else { return };
            let Some(object) = parsed::<Value>(after) else { return };
            let selector = object.and_then(|object| selector(&object["spec"]["selector"]));
            scheduler.set_group(now, &key, &Arc::from(*kind), selector);
        }
    }
}

/// Services and ReplicationControllers have a map, the others a label selector; none selects nothing.
fn selector(of: &Value) -> Option<Selector> {
    let map = of.as_object()?;
    if map.values().all(Value::is_string) {
        let pairs = map.iter().map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()));
        return Some(Selector::from_map(pairs)).filter(|s| !s.requirements.is_empty());
    }
    Selector::from_label_selector(of).ok()
}

/// `None` if the stored object does not fit its type; the API never stores such a one.
fn parsed<T: DeserializeOwned>(after: Option<&Object>) -> Option<Option<T>> {
    let Some(object) = after else { return Some(None) };
    let parsed = object.parse();
    parsed.inspect_err(|error| tracing::warn!(name = %object.name, "stored object: {error}")).ok().map(Some)
}
