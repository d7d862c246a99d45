//! Pod: containers that live and die together.

mod annotations;
mod columns;
pub mod default;
mod disabled;
pub mod references;
pub mod resources;
mod strategy;
pub(crate) mod validate;
pub(crate) mod warnings;

pub(crate) use disabled::drop_disabled;
pub use resources::{Qos, qos};

use serde_json::Value;

use crate::field::ErrorList;
use crate::kind::{
    CREATE_ONLY, Column, Endpoint, Kind, Row, STATUS_VERBS, STREAM_VERBS, Strategy, Subresource,
};
use crate::value::same;

/// The row.
pub static KIND: Row = Row::new(|| {
    Kind::new(["", "v1"], ["Pod", "pods"], Pod)
        .short(&["po"])
        .in_all()
        .with(Subresource::new("attach", "PodAttachOptions", STREAM_VERBS))
        .with(Subresource::new("binding", "Binding", CREATE_ONLY))
        .with(Subresource::new("ephemeralcontainers", "Pod", STATUS_VERBS))
        .with(Subresource::new("eviction", "Eviction", CREATE_ONLY).of("policy", "v1"))
        .with(Subresource::new("exec", "PodExecOptions", STREAM_VERBS))
        .with(Subresource::new("log", "Pod", &["get"]))
        .with(Subresource::new("portforward", "PodPortForwardOptions", STREAM_VERBS))
        .with(Subresource::new("resize", "Pod", STATUS_VERBS))
        .with_status()
        .returns_deleted()
        .build()
});

/// Its behaviour.
#[derive(Debug)]
pub struct Pod;

impl Strategy for Pod {
    fn default(&self, obj: &mut Value) {
        default::pod(obj);
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
    fn validate_update(&self, new: &Value, old: &Value, endpoint: Endpoint<'_>) -> ErrorList {
        validate::update(new, old, endpoint)
    }
    fn warnings(&self, obj: &Value, old: Option<&Value>) -> Vec<String> {
        warnings::pod(obj, old)
    }
    fn notices(&self, obj: &Value) -> Vec<String> {
        annotations::notices(obj)
    }
    fn bumps_generation(&self, new: &Value, old: &Value) -> Option<bool> {
        Some(!same(&new["spec"], &old["spec"]))
    }
    fn grace(&self, obj: &Value, asked: Option<i64>) -> Option<i64> {
        Some(strategy::grace(obj, asked))
    }
    fn selectable_fields(&self) -> &'static [&'static str] {
        strategy::FIELDS
    }
    fn field(&self, obj: &Value, field: &str) -> String {
        strategy::field(obj, field)
    }
    fn columns(&self) -> &'static [Column] {
        columns::COLUMNS
    }
    fn cells(&self, obj: &Value, now: i64) -> Vec<Value> {
        columns::cells(obj, now)
    }
}
