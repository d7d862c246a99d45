//! Job: Pods run until so many of them have succeeded.

pub mod claim;
mod columns;
mod default;
mod indexes;
mod per_index;
mod pods;
mod policy;
pub mod reconcile;
mod strategy;
pub(crate) mod validate;
mod view;

pub use strategy::{CONTROLLER_UID, JOB_NAME, LEGACY_CONTROLLER_UID, LEGACY_JOB_NAME};

use serde_json::Value;

use crate::field::ErrorList;
use crate::kind::{Column, Endpoint, Kind, ReadSelector, Row, Strategy};
use crate::value::int;
use crate::workload::index;

/// The row.
pub static KIND: Row = Row::new(|| {
    Kind::new(["batch", "v1"], ["Job", "jobs"], Job).in_all().with_status().with_generation().build()
});

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
    fn has_template(&self) -> bool {
        true
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
    fn selectable_fields(&self) -> &'static [&'static str] {
        &["status.successful"]
    }
    fn field(&self, obj: &Value, _field: &str) -> String {
        int(&obj["status"]["succeeded"]).to_string()
    }
    fn selector(&self) -> Option<ReadSelector> {
        Some(index::label_selector)
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
