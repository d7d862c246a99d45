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
    ALL_VERBS, CREATE_ONLY, Column, Endpoint, Kind, STATUS_VERBS, STREAM_VERBS, Strategy, Subresource,
};
use crate::value::same;

/// The row.
pub static KIND: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Pod",
    plural: "pods",
    singular: "pod",
    short_names: &["po"],
    categories: &["all"],
    namespaced: true,
    subresources: &[
        Subresource::new("attach", "PodAttachOptions", STREAM_VERBS),
        Subresource::new("binding", "Binding", CREATE_ONLY),
        Subresource::new("ephemeralcontainers", "Pod", STATUS_VERBS),
        Subresource {
            group_version: Some(("policy", "v1")),
            ..Subresource::new("eviction", "Eviction", CREATE_ONLY)
        },
        Subresource::new("exec", "PodExecOptions", STREAM_VERBS),
        Subresource::new("log", "Pod", &["get"]),
        Subresource::new("portforward", "PodPortForwardOptions", STREAM_VERBS),
        Subresource::new("resize", "Pod", STATUS_VERBS),
        Subresource::new("status", "Pod", STATUS_VERBS),
    ],
    verbs: ALL_VERBS,
    bucket: "pods",
    storage_version_hash: "xPOwRZ+Yhw8=",
    create_on_update: false,
    unconditional_update: true,
    delete_returns_object: true,
    strategy: &Pod,
};

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
