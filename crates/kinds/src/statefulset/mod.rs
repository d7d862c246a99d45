//! StatefulSet: Pods of a template that each keep a name and a place in an order.

mod claims;
mod columns;
mod default;
mod identity;
pub mod reconcile;
mod update;
mod validate;
mod view;

use serde_json::Value;

pub use view::StatefulSetView;

use crate::field::ErrorList;
use crate::kind::{Column, Endpoint, Kind, NameRule, ReadSelector, Row, Strategy};
use crate::workload::{SCALE, index};

/// The row.
pub static KIND: Row = Row::new(|| {
    Kind::new(["apps", "v1"], ["StatefulSet", "statefulsets"], StatefulSet)
        .short(&["sts"])
        .in_all()
        .with_status()
        .with_scale(SCALE)
        .with_generation()
        .build()
});

/// Its behaviour.
#[derive(Debug)]
pub struct StatefulSet;

impl Strategy for StatefulSet {
    fn default(&self, obj: &mut Value) {
        default::set(obj);
    }
    fn has_template(&self) -> bool {
        true
    }
    fn name_rule(&self) -> NameRule {
        NameRule::Label
    }
    fn validate(&self, obj: &Value) -> ErrorList {
        validate::create(obj)
    }
    fn validate_update(&self, new: &Value, old: &Value, endpoint: Endpoint<'_>) -> ErrorList {
        validate::update(new, old, endpoint)
    }
    fn warnings(&self, obj: &Value, old: Option<&Value>) -> Vec<String> {
        validate::warnings(obj, old)
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
