//! Node: a machine that runs Pods.

use crate::kind::{ALL_VERBS, Kind, STATUS_VERBS, Strategy, Subresource};

/// The row.
pub static KIND: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Node",
    plural: "nodes",
    singular: "node",
    short_names: &["no"],
    categories: &[],
    namespaced: false,
    subresources: &[Subresource::new("status", "Node", STATUS_VERBS)],
    verbs: ALL_VERBS,
    bucket: "nodes",
    storage_version_hash: "XwShjMxG9Fs=",
    create_on_update: false,
    unconditional_update: true,
    delete_returns_object: false,
    strategy: &Node,
};

/// Its behaviour.
#[derive(Debug)]
pub struct Node;

impl Strategy for Node {}
