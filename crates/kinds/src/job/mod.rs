//! Job: Pods run until so many of them have succeeded.

mod columns;
mod default;
mod indexes;
mod per_index;
mod pods;
mod policy;
pub mod reconcile;
mod strategy;
mod validate;
mod view;

pub use strategy::{CONTROLLER_UID, JOB_NAME, LEGACY_CONTROLLER_UID, LEGACY_JOB_NAME};

use serde_json::Value;

use crate::field::ErrorList;
use crate::kind::{ALL_VERBS, Column, Endpoint, Kind, STATUS_VERBS, Strategy, Subresource};
use crate::value::{int, same};

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

impl Strategy for Job {
    fn default(&self, obj: &mut Value) {
        default::job(obj);
    }
    fn prepare_create(&self, obj: &mut Value) {
        strategy::prepare_create(obj);
    }
    fn prepare_update(&self, new: &mut Value, old: &Value, endpoint: Endpoint<'_>) {
        strategy::prepare_update(new, old, endpoint);
    }
    fn validate(&self, obj: &Value) -> ErrorList {
        validate::create(obj)
    }
    fn checks_metadata(&self) -> bool {
        false
    }
    fn validate_update(&self, new: &Value, old: &Value, endpoint: Endpoint<'_>) -> ErrorList {
        validate::update(new, old, endpoint)
    }
    fn warnings(&self, obj: &Value, old: Option<&Value>) -> Vec<String> {
        validate::warnings(obj, old)
    }
    fn bumps_generation(&self, new: &Value, old: &Value) -> Option<bool> {
        Some(!same(&new["spec"], &old["spec"]))
    }
    fn selectable_fields(&self) -> &'static [&'static str] {
        &["status.successful"]
    }
    fn field(&self, obj: &Value, _field: &str) -> String {
        int(&obj["status"]["succeeded"]).to_string()
    }
    fn columns(&self) -> &'static [Column] {
        columns::COLUMNS
    }
    fn cells(&self, obj: &Value, now: i64) -> Vec<Value> {
        columns::cells(obj, now)
    }
    fn orphans_by_default(&self) -> bool {
        true
    }
    fn delete_warning(&self) -> Option<&'static str> {
        Some(
            "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove \
             them or set propagationPolicy=Orphan to suppress this warning",
        )
    }
}
