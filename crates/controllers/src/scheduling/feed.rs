//! What the scheduler is told of a changed object.
//!
//! Invariant: an object is parsed once for each of its versions.

use base::Instant;
use client::{Delta, Object};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use scheduler::{Key, NodeFacts, PodInfo, PodState, Scheduler};
use serde::de::DeserializeOwned;

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
        _ => {
            let Some(namespace) = parsed::<Namespace>(after) else { return };
            scheduler.set_namespace(now, &key.1, namespace.map(|n| n.metadata.labels.unwrap_or_default()));
        }
    }
}

/// `None` if the stored object does not fit its type; the API never stores such a one.
fn parsed<T: DeserializeOwned>(after: Option<&Object>) -> Option<Option<T>> {
    let Some(object) = after else { return Some(None) };
    let parsed = object.parse();
    parsed.inspect_err(|error| tracing::warn!(name = %object.name, "stored object: {error}")).ok().map(Some)
}
