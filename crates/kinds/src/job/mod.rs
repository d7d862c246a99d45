//! Job: Pods run until so many of them have succeeded.

mod indexes;
pub mod reconcile;

use crate::kind::{ALL_VERBS, Kind, STATUS_VERBS, Strategy, Subresource};

/// The row.
pub static KIND: Kind = Kind {
    group: "batch",
    version: "v1",
    kind: "Job",
    plural: "jobs",
    singular: "job",
    short_names: &[],
    categories: &["all"],
    namespaced: true,
    subresources: &[Subresource::new("status", "Job", STATUS_VERBS)],
    verbs: ALL_VERBS,
    bucket: "jobs.batch",
    storage_version_hash: "mudhfqk/qZY=",
    create_on_update: false,
    unconditional_update: true,
    delete_returns_object: false,
    strategy: &Job,
};

/// Its behaviour.
#[derive(Debug)]
pub struct Job;

impl Strategy for Job {}
