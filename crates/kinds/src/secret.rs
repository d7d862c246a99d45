//! Secret: what Pods must keep to themselves.

use crate::kind::{ALL_VERBS, Kind, Strategy};

/// The row.
pub static KIND: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Secret",
    plural: "secrets",
    singular: "secret",
    short_names: &[],
    categories: &[],
    namespaced: true,
    subresources: &[],
    verbs: ALL_VERBS,
    bucket: "secrets",
    storage_version_hash: "S6u1pOWzb84=",
    create_on_update: false,
    unconditional_update: true,
    delete_returns_object: false,
    strategy: &Secret,
};

/// Its behaviour.
#[derive(Debug)]
pub struct Secret;

impl Strategy for Secret {}
