//! A Job's Pods: making, deleting and releasing them, and which of them are furthest along.
//!
//! Invariant: a Pod is made with the tracking finalizer and with the Job as its controller.

use serde_json::{Value, json};

use super::view::JobView;
use super::{indexes, per_index};
use crate::plan::{Action, Notice, Write};
use crate::pod::KIND as POD;
use crate::view::PodView;

/// Keeps a Pod until its end is counted.
pub const FINALIZER: &str = "batch.kubernetes.io/job-tracking";

/// Unscheduled before scheduled, Pending before Running, unready before ready, younger before older.
pub(super) fn progress(pod: &PodView) -> (bool, bool, bool, std::cmp::Reverse<Option<&str>>) {
    let created = pod.metadata.creation_timestamp.as_deref();
    (!pod.spec.node_name.is_empty(), pod.status.phase == "Running", pod.ready(), std::cmp::Reverse(created))
}

pub(super) fn delete(pod: &PodView) -> Write {
    let meta = &pod.metadata;
    let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": meta.uid}});
    Write::new(&POD, &meta.namespace, &meta.name, Action::Delete(options)).telling(
        Notice::normal("SuccessfulDelete", "Deleted pod: "),
        Notice::warning("FailedDelete", "Error deleting: "),
    )
}

/// Takes the tracking finalizer off a Pod, whatever else has changed in it.
#[must_use]
pub fn unfinalize(pod: &PodView) -> Write {
    let meta = &pod.metadata;
    let patch = json!({"metadata": {"uid": meta.uid, "$deleteFromPrimitiveList/finalizers": [FINALIZER]}});
    Write::new(&POD, &meta.namespace, &meta.name, Action::Strategic(patch))
}

/// Makes the Job the controller of a Pod that has none.
#[must_use]
pub fn adopt(job: &JobView, pod: &PodView) -> Write {
    let meta = &pod.metadata;
    let patch =
        json!({"metadata": {"uid": meta.uid, "ownerReferences": [owner(job)], "finalizers": [FINALIZER]}});
    Write::new(&POD, &meta.namespace, &meta.name, Action::Strategic(patch))
}

/// Lets a Pod go whose labels the Job no longer selects; it lives on.
#[must_use]
pub fn release(job: &JobView, pod: &PodView) -> Write {
    let meta = &pod.metadata;
    let owners = json!([{"$patch": "delete", "uid": job.metadata.uid}]);
    let patch = json!({"metadata": {"uid": meta.uid, "ownerReferences": owners,
        "$deleteFromPrimitiveList/finalizers": [FINALIZER]}});
    Write::new(&POD, &meta.namespace, &meta.name, Action::Strategic(patch))
}

fn owner(job: &JobView) -> Value {
    json!({"apiVersion": super::KIND.api_version(), "kind": super::KIND.kind, "name": job.metadata.name,
        "uid": job.metadata.uid, "controller": true, "blockOwnerDeletion": true})
}

/// A new Pod; of an Indexed Job with its index and, where failures are counted by index, the Pod that it replaces.
pub(super) fn create(stored: &Value, job: &JobView, index: Option<u32>, before: Option<&PodView>) -> Write {
    let meta = &job.metadata;
    let template = &stored["spec"]["template"];
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": format!("{}-", meta.name),
            "namespace": meta.namespace,
            "ownerReferences": [owner(job)],
        },
        "spec": template["spec"],
    });
    for part in ["labels", "annotations"] {
        if template["metadata"][part].is_object() {
            pod["metadata"][part] = template["metadata"][part].clone();
        }
    }
    let mut finalizers = template["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    if !finalizers.iter().any(|f| f == FINALIZER) {
        finalizers.push(json!(FINALIZER));
    }
    pod["metadata"]["finalizers"] = Value::Array(finalizers);
    if let Some(index) = index {
        indexes::stamp(&mut pod, &meta.name, index);
        if job.per_index() {
            per_index::stamp(&mut pod, job, before);
        }
    }
    Write::new(&POD, &meta.namespace, "", Action::Create(pod)).telling(
        Notice::normal("SuccessfulCreate", "Created pod: "),
        Notice::warning("FailedCreate", "Error creating: "),
    )
}
