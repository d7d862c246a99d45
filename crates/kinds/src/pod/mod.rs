//! Pod: containers that live and die together.

mod annotations;
pub mod collect;
mod columns;
pub mod default;
mod disabled;
pub mod ephemeral;
pub mod index;
pub mod references;
pub mod resources;
mod strategy;
pub(crate) mod validate;
pub(crate) mod warnings;

pub(crate) use disabled::{drop_disabled, drop_disabled_of_template};

pub use self::validate::node_affinity as node_affinity_errors;
pub use crate::rules::qos::Qos;
use serde_json::Value;

use crate::field::ErrorList;
use crate::kind::{Act, Column, Endpoint, IndexKeys, Kind, Row, Strategy, Subresource};

/// The row.
pub static KIND: Row = Row::new(|| {
    Kind::new(["", "v1"], ["Pod", "pods"], Pod)
        .short(&["po"])
        .in_all()
        .with(Subresource::connect("attach", "PodAttachOptions"))
        .with(Subresource::act("binding", "Binding", Act::Bind))
        .with(Subresource::part("ephemeralcontainers", "Pod", &[]))
        .with(Subresource::act("eviction", "Eviction", Act::Evict).of("policy", "v1"))
        .with(Subresource::connect("exec", "PodExecOptions"))
        .with(Subresource::text("log", "Pod"))
        .with(Subresource::connect("portforward", "PodPortForwardOptions"))
        .with(Subresource::proxy("PodProxyOptions"))
        .with(Subresource::part("resize", "Pod", &[]))
        .with_status()
        .with_generation()
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
    fn grace(&self, obj: &Value, asked: Option<i64>) -> Option<i64> {
        Some(strategy::grace(obj, asked))
    }
    fn selectable_fields(&self) -> &'static [&'static str] {
        strategy::FIELDS
    }
    fn field(&self, obj: &Value, field: &str) -> String {
        strategy::field(obj, field)
    }
    fn indexed_fields(&self) -> &'static [&'static str] {
        &["spec.nodeName"]
    }
    fn is_claimed(&self) -> bool {
        true
    }
    fn is_selected(&self) -> bool {
        true
    }
    fn index_keys(&self) -> Option<IndexKeys> {
        Some(index::keys)
    }
    fn columns(&self) -> &'static [Column] {
        columns::COLUMNS
    }
    fn cells(&self, obj: &Value, now: i64) -> Vec<Value> {
        columns::cells(obj, now)
    }
}
