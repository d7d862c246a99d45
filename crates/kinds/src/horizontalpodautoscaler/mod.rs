//! HorizontalPodAutoscaler: how many replicas there should be, by what is measured. Stored as autoscaling/v2; v1 is the
//! same with one CPU target, the rest in annotations.
//!
//! Invariant: both versions are validated, defaulted and shown as v2. What scales is [`scaling`].

mod columns;
mod convert;
mod default;
pub mod scaling;
mod validate;

use serde_json::Value;

use crate::field::ErrorList;
use crate::kind::{Column, Endpoint, Kind, Row, Strategy};

/// The row of the stored version.
pub static KIND: Row = Row::new(|| row("v2", V2).build());

/// The row of the older version.
pub static V1_KIND: Row = Row::new(|| row("v1", V1).stored_as("autoscaling", "v2").build());

fn row(version: &str, strategy: impl Strategy + 'static) -> Kind {
    let names = ["HorizontalPodAutoscaler", "horizontalpodautoscalers"];
    Kind::new(["autoscaling", version], names, strategy).short(&["hpa"]).in_all().with_status()
}

/// Behaviour of autoscaling/v2.
#[derive(Debug)]
pub struct V2;

impl Strategy for V2 {
    fn default(&self, obj: &mut Value) {
        default::set(obj);
    }
    fn validate(&self, obj: &Value) -> ErrorList {
        validate::new(obj)
    }
    fn validate_update(&self, new: &Value, old: &Value, endpoint: Endpoint<'_>) -> ErrorList {
        validate::update(new, old, endpoint)
    }
    fn columns(&self) -> &'static [Column] {
        columns::COLUMNS
    }
    fn cells(&self, obj: &Value, now: i64) -> Vec<Value> {
        columns::cells(obj, now)
    }
}

/// Behaviour of autoscaling/v1: that of v2 on the converted object.
#[derive(Debug)]
pub struct V1;

impl Strategy for V1 {
    fn default(&self, obj: &mut Value) {
        default::minimum(obj);
        // What the stored form adds to an object that names no metric is shown at once.
        let stored = stored(obj);
        *obj = stored;
        convert::to_v1(obj);
    }
    fn validate(&self, obj: &Value) -> ErrorList {
        validate::new(&stored(obj))
    }
    fn validate_update(&self, new: &Value, old: &Value, endpoint: Endpoint<'_>) -> ErrorList {
        validate::update(&stored(new), &stored(old), endpoint)
    }
    fn columns(&self) -> &'static [Column] {
        columns::COLUMNS
    }
    fn cells(&self, obj: &Value, now: i64) -> Vec<Value> {
        columns::cells(&stored(obj), now)
    }
    fn from_stored(&self, obj: &mut Value) {
        convert::to_v1(obj);
    }
    fn to_stored(&self, obj: &mut Value) {
        convert::to_v2(obj);
    }
}

fn stored(obj: &Value) -> Value {
    let mut obj = obj.clone();
    convert::to_v2(&mut obj);
    obj
}
