//! PodDisruptionBudget: how many of some Pods must stay well while others are evicted.

pub mod evict;
pub mod reconcile;
mod stale;
mod status;
mod validate;
mod view;

pub use view::BudgetView;

use serde_json::{Value, json};

use crate::columns::age;
use crate::field::ErrorList;
use crate::kind::{Column, Endpoint, Kind, ReadSelector, Row, Strategy};
use crate::value::{int, is_set, text};
use crate::workload::index;

/// The row.
pub static KIND: Row = Row::new(|| {
    Kind::new(["policy", "v1"], ["PodDisruptionBudget", "poddisruptionbudgets"], PodDisruptionBudget)
        .short(&["pdb"])
        .conditional()
        .with_status()
        .with_generation()
        .build()
});

/// Its behaviour.
#[derive(Debug)]
pub struct PodDisruptionBudget;

impl Strategy for PodDisruptionBudget {
    fn checks_metadata(&self) -> bool {
        false
    }
    fn validate(&self, obj: &Value) -> ErrorList {
        validate::create(obj)
    }
    fn validate_update(&self, new: &Value, _: &Value, endpoint: Endpoint<'_>) -> ErrorList {
        validate::update(new, endpoint)
    }
    fn selector(&self) -> Option<ReadSelector> {
        Some(index::label_selector)
    }
    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::NAME,
                Column::string("Min Available"),
                Column::string("Max Unavailable"),
                Column::integer("Allowed Disruptions"),
                Column::AGE,
            ]
        }
    }
    fn cells(&self, obj: &Value, now: i64) -> Vec<Value> {
        vec![
            json!(text(&obj["metadata"]["name"])),
            json!(amount(&obj["spec"]["minAvailable"])),
            json!(amount(&obj["spec"]["maxUnavailable"])),
            json!(int(&obj["status"]["disruptionsAllowed"])),
            json!(age(&obj["metadata"]["creationTimestamp"], now)),
        ]
    }
}

/// A number or a percentage as people read it.
fn amount(value: &Value) -> String {
    if !is_set(value) {
        return "N/A".to_owned();
    }
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row() {
        let budget = json!({"metadata": {"name": "p", "creationTimestamp": "1970-01-01T00:00:00Z"},
            "spec": {"maxUnavailable": "30%"}, "status": {"disruptionsAllowed": 2}});
        assert_eq!(json!(PodDisruptionBudget.cells(&budget, 60)), json!(["p", "N/A", "30%", 2, "60s"]));
        assert_eq!(amount(&json!(1)), "1");
    }
}
