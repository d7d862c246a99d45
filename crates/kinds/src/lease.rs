//! Lease: who holds a role, and until when.

use crate::kind::{ALL_VERBS, Kind, Strategy};

/// The row.
pub static KIND: Kind = Kind {
    group: "coordination.k8s.io",
    version: "v1",
    kind: "Lease",
    plural: "leases",
    singular: "lease",
    short_names: &[],
    categories: &[],
    namespaced: true,
    subresources: &[],
    verbs: ALL_VERBS,
    bucket: "leases.coordination.k8s.io",
    storage_version_hash: "gqkMMb/YqFM=",
    create_on_update: true,
    unconditional_update: false,
    delete_returns_object: false,
    strategy: &Lease,
};

/// Its behaviour.
#[derive(Debug)]
pub struct Lease;

impl Strategy for Lease {}
