//! A Job's Pods: making, deleting and releasing them, and which of them are furthest along.
//!
//! Invariant: a Pod is made with the tracking finalizer and with the Job as its controller.

use base::labels::Selector;
use serde_json::{Value, json};

use super::view::JobView;
use super::{indexes, per_index};
use crate::plan::{Action, Write};
use crate::pod::KIND as POD;
use crate::view::PodView;
use crate::workload::claim::Claimant;
use crate::workload::pods;

/// Keeps a Pod until its end is counted.
pub const FINALIZER: &str = "batch.kubernetes.io/job-tracking";

/// Unscheduled before scheduled, Pending before Running, unready before ready, younger before older.
pub(super) fn progress(pod: &PodView) -> (bool, bool, bool, std::cmp::Reverse<Option<&str>>) {
    let created = pod.metadata.creation_timestamp.as_deref();
    (!pod.spec.node_name.is_empty(), pod.status.phase == "Running", pod.ready(), std::cmp::Reverse(created))
}

/// Takes the tracking finalizer off a Pod, whatever else has changed in it.
#[must_use]
pub fn unfinalize(pod: &PodView) -> Write {
    let meta = &pod.metadata;
    let patch = json!({"metadata": {"uid": meta.uid, "$deleteFromPrimitiveList/finalizers": [FINALIZER]}});
    Write::new(&POD, &meta.namespace, &meta.name, Action::Strategic(patch))
}

/// The Job as one that adopts and releases Pods by its selector.
#[must_use]
pub fn claimant<'a>(job: &'a JobView, selector: &'a Selector) -> Claimant<'a> {
    Claimant { kind: &super::KIND, meta: &job.metadata, selector, finalizers: &[FINALIZER] }
}

/// A new Pod; of an Indexed Job with its index and, where failures are counted by index, the Pod that it replaces.
pub(super) fn create(stored: &Value, job: &JobView, index: Option<u32>, before: Option<&PodView>) -> Write {
    let meta = &job.metadata;
    let mut pod = pods::from_template(&stored["spec"]["template"], &super::KIND, meta);
    let mut finalizers = pod["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
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
    pods::create(pod, &meta.namespace)
}
