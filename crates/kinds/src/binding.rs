//! Binding: a request to bind a Pod to a node; never stored.

use crate::kind::{CREATE_ONLY, Kind, Strategy};

/// The row.
pub static KIND: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Binding",
    plural: "bindings",
    singular: "binding",
    short_names: &[],
    categories: &[],
    namespaced: true,
    subresources: &[],
    verbs: CREATE_ONLY,
    bucket: "",
    storage_version_hash: "",
    create_on_update: false,
    unconditional_update: false,
    delete_returns_object: false,
    strategy: &Binding,
};

/// Its behaviour.
#[derive(Debug)]
pub struct Binding;

impl Strategy for Binding {}
