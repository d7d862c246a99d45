//! What the fields of the API mean, read once: the rules that more than one component acts by.
//!
//! A rule belongs here when the API server, the scheduler, a controller or the node would otherwise each read the same
//! fields for themselves: two readings that differ make a Pod that one of them admits and another refuses. It is written
//! on the API's own types (`k8s-openapi`), which every component has; what holds JSON reads it with [`pod_spec`] first.
//!
//! Invariants: pure and read-only; a rule says what is, never what to do about it. Deliberately absent: defaults and what
//! may be written at all (a kind's `default` and `validate`), and rules that one component alone knows.

pub mod bootstrap_token;
pub mod conditions;
pub mod containers;
pub mod deletion;
pub mod node_affinity;
pub mod phase;
pub mod ports;
pub mod qos;
pub mod resources;
pub mod storage;
pub mod sysctls;
pub mod taints;

use k8s_openapi::api::core::v1::PodSpec;
use serde_json::Value;

use crate::view::typed;

/// A Pod's spec as the rules read it. What does not fit its type reads as empty: decoding has refused that before.
#[must_use]
pub fn pod_spec(spec: &Value) -> PodSpec {
    typed(spec).unwrap_or_default()
}
