//! Laws: what must hold of one kind at every revision and at the end, one file for each kind.
//!
//! Invariant: a law reads versions in order and no clock. A new kind's law is a file here and a line in [`all`].

mod daemonset;
mod deployment;
mod pod;
mod poddisruptionbudget;
mod reason;
mod replicaset;
mod statefulset;

use serde_json::Value;

/// One version of an object as the store has it.
#[derive(Debug)]
pub struct Version<'a> {
    /// `pods`, `replicasets.apps`.
    pub bucket: &'a str,
    /// When.
    pub revision: u64,
    /// The object, or its last state.
    pub object: &'a Value,
    /// Whether it is gone with this revision.
    pub gone: bool,
}

/// What must hold of one kind.
pub trait Law {
    /// Takes in the next version of any object; what it breaks is added to `found`, in words.
    fn see(&mut self, version: &Version<'_>, found: &mut Vec<String>);
    /// What is broken if nothing happens any more.
    fn rest(&self, found: &mut Vec<String>);
}

/// Every law.
#[must_use]
pub fn all() -> Vec<Box<dyn Law>> {
    vec![
        Box::new(daemonset::DaemonSets::default()),
        Box::new(deployment::Deployments::default()),
        Box::new(pod::Pods::default()),
        Box::new(poddisruptionbudget::Budgets::default()),
        Box::new(reason::Reasons::default()),
        Box::new(replicaset::ReplicaSets::default()),
        Box::new(statefulset::StatefulSets::default()),
    ]
}

/// The buckets whose objects laws want to see.
pub const BUCKETS: [&str; 9] = [
    "pods",
    "daemonsets.apps",
    "deployments.apps",
    "jobs.batch",
    "nodes",
    "poddisruptionbudgets.policy",
    "replicasets.apps",
    "replicationcontrollers",
    "statefulsets.apps",
];

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

/// The UID of the object's controller, empty if it has none.
fn controller(object: &Value) -> &str {
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    let owner = owners.into_iter().flatten().find(|o| o["controller"] == true);
    owner.map_or("", |o| text(o, "/uid"))
}

/// Whether it is asked to go.
fn is_deleting(object: &Value) -> bool {
    !text(object, "/metadata/deletionTimestamp").is_empty()
}
