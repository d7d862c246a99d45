//! ReplicaSet: so many Pods of one template.

mod columns;
pub mod reconcile;
mod validate;
mod view;

use serde::Deserialize as _;
use serde_json::Value;

pub(crate) use columns::{COLUMNS, cells};
use reconcile::Form;
pub(crate) use validate::status as status_errors;
pub use view::ReplicaSetView;

use crate::field::ErrorList;
use crate::kind::{Column, Endpoint, Kind, ReadSelector, Row, Strategy};
use crate::pod;
use crate::value::{child, default_to, get_mut, int};
use crate::workload::validate::warnings;
use crate::workload::{SCALE, index};

/// The row.
pub static KIND: Row = Row::new(|| {
    Kind::new(["apps", "v1"], ["ReplicaSet", "replicasets"], ReplicaSet)
        .short(&["rs"])
        .in_all()
        .with_status()
        .with_scale(SCALE)
        .with_generation()
        .build()
});

/// How its Pods are kept.
pub static FORM: Form =
    Form { kind: &KIND, view: |set| ReplicaSetView::deserialize(set), tells_terminating: true };

/// Its behaviour.
#[derive(Debug)]
pub struct ReplicaSet;

impl Strategy for ReplicaSet {
    fn default(&self, obj: &mut Value) {
        let spec = child(obj, "spec");
        default_to(spec, "replicas", 1);
        if let Some(template) = get_mut(spec, "template") {
            pod::default::template(template);
        }
    }
    fn has_template(&self) -> bool {
        true
    }
    fn validate(&self, obj: &Value) -> ErrorList {
        validate::create(obj)
    }
    fn validate_update(&self, new: &Value, old: &Value, endpoint: Endpoint<'_>) -> ErrorList {
        validate::update(new, old, endpoint)
    }
    fn warnings(&self, obj: &Value, old: Option<&Value>) -> Vec<String> {
        warnings(obj, old)
    }
    fn selectable_fields(&self) -> &'static [&'static str] {
        &["status.replicas"]
    }
    fn field(&self, obj: &Value, _field: &str) -> String {
        int(&obj["status"]["replicas"]).to_string()
    }
    fn is_claimed(&self) -> bool {
        true
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
}
