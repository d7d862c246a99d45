//! Namespace: where names are unique, and what is deleted together.

use crate::kind::{Kind, STATUS_VERBS, Strategy, Subresource};

/// The row.
pub static KIND: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Namespace",
    plural: "namespaces",
    singular: "namespace",
    short_names: &["ns"],
    categories: &[],
    namespaced: false,
    subresources: &[
        Subresource::new("finalize", "Namespace", &["update"]),
        Subresource::new("status", "Namespace", STATUS_VERBS),
    ],
    verbs: &["create", "delete", "get", "list", "patch", "update", "watch"],
    bucket: "namespaces",
    storage_version_hash: "Q3oi5N2YM8M=",
    create_on_update: false,
    unconditional_update: true,
    delete_returns_object: true,
    strategy: &Namespace,
};

/// Its behaviour.
#[derive(Debug)]
pub struct Namespace;

impl Strategy for Namespace {}
