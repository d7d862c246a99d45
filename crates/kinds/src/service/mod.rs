//! Service: an address and ports for Pods that come and go.
//!
//! Invariants: what follows from the type (who has addresses, node ports, a health check's port) is read by [`Needs`] alone;
//! families and policies are settled before an object is validated ([`families::settle`]), addresses and ports are given out
//! after it; what stands behind a Service is read off Pods in [`backends`] alone. Absent: giving addresses out, which the API
//! server does, and what forwards the traffic.

pub mod allocation;
pub mod backends;
pub mod balancer;
mod change;
mod columns;
mod default;
pub mod endpoints;
pub mod families;
pub mod mirror;
mod needs;
pub mod slices;
#[cfg(test)]
mod tests;
mod validate;
mod warnings;

use serde_json::Value;

pub use needs::{Needs, is_headless};

use crate::field::ErrorList;
use crate::kind::{Column, Endpoint, IndexKeys, Kind, NameRule, ReadSelector, Row, Strategy, Subresource};
use crate::value::text;
use crate::workload::index::label_map;

/// The row.
pub static KIND: Row = Row::new(|| {
    Kind::new(["", "v1"], ["Service", "services"], Service)
        .short(&["svc"])
        .in_all()
        .with(Subresource::proxy("ServiceProxyOptions"))
        .with_status()
        .create_on_update()
        .returns_deleted()
        .build()
});

/// A Service without an address of its own has this one.
pub const NO_ADDRESS: &str = "None";

/// Its behaviour.
#[derive(Debug)]
pub struct Service;

impl Strategy for Service {
    fn default(&self, obj: &mut Value) {
        default::set(obj);
    }
    fn prepare_update(&self, new: &mut Value, old: &Value, endpoint: Endpoint<'_>) {
        if endpoint == Endpoint::Main {
            change::drop_what_the_type_has_no_use_for(new, old);
        }
    }
    fn name_rule(&self) -> NameRule {
        NameRule::Label
    }
    fn validate(&self, obj: &Value) -> ErrorList {
        validate::spec(obj)
    }
    fn validate_update(&self, new: &Value, old: &Value, endpoint: Endpoint<'_>) -> ErrorList {
        match endpoint {
            Endpoint::Main => validate::update(new, old),
            Endpoint::Sub(_) => validate::status(new),
        }
    }
    fn warnings(&self, obj: &Value, _old: Option<&Value>) -> Vec<String> {
        warnings::of(obj)
    }
    fn selectable_fields(&self) -> &'static [&'static str] {
        &["spec.clusterIP", "spec.type"]
    }
    fn field(&self, obj: &Value, field: &str) -> String {
        let name = field.strip_prefix("spec.").unwrap_or(field);
        text(&obj["spec"][name]).to_owned()
    }
    fn selector(&self) -> Option<ReadSelector> {
        Some(label_map)
    }
    fn index_keys(&self) -> Option<IndexKeys> {
        Some(|_, _, obj| allocation::node_ports(&obj["spec"]).into_iter().map(allocation::port_key).collect())
    }
    fn columns(&self) -> &'static [Column] {
        columns::COLUMNS
    }
    fn cells(&self, obj: &Value, now: i64) -> Vec<Value> {
        columns::cells(obj, now)
    }
}
