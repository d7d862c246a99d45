//! What controllers read of a ReplicaSet.
//!
//! Invariant: read-only, parsed from the stored object; never written back.

use base::labels::{ParseError, Selector};
use serde::Deserialize;
use serde_json::Value;

use crate::view::{Condition, Meta};

/// The fields looked at.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ReplicaSetView {
    /// Its metadata.
    pub metadata: Meta,
    /// Its spec.
    pub spec: SpecView,
    /// Its status.
    pub status: StatusView,
}

/// A ReplicaSet's spec.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SpecView {
    /// How many Pods there are to be; the server always stores it.
    pub replicas: i32,
    /// How long a Pod must be ready until it counts as available.
    pub min_ready_seconds: i32,
    /// Which Pods are its.
    pub selector: Value,
    /// Of what its Pods are made.
    pub template: Value,
}

/// A ReplicaSet's status.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct StatusView {
    /// Pods that are neither finished nor going.
    pub replicas: i32,
    /// Those that are ready.
    pub ready_replicas: i32,
    /// Those that have been for long enough.
    pub available_replicas: i32,
    /// Those that are going.
    pub terminating_replicas: Option<i32>,
    /// The generation that all this is about.
    pub observed_generation: i64,
    /// Conditions.
    pub conditions: Vec<Condition>,
}

impl ReplicaSetView {
    /// Which Pods are its.
    ///
    /// # Errors
    /// If the selector does not parse; the API never stores such a one.
    pub fn selector(&self) -> Result<Selector, ParseError> {
        Selector::from_label_selector(&self.spec.selector)
    }
}
