//! What controllers and evictions read of a budget.
//!
//! Invariant: read-only, parsed from the stored object; never written back.

use std::collections::BTreeMap;

use base::labels::{ParseError, Selector};
use serde::Deserialize;
use serde_json::Value;

use crate::view::{Condition, Meta};

/// The fields looked at.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct BudgetView {
    /// Its metadata.
    pub metadata: Meta,
    /// Its spec.
    pub spec: SpecView,
    /// Its status.
    pub status: StatusView,
}

/// A budget's spec.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SpecView {
    /// How many must be well: a number or a percentage.
    pub min_available: Value,
    /// How many need not be: a number or a percentage.
    pub max_unavailable: Value,
    /// Of which Pods.
    pub selector: Value,
    /// `AlwaysAllow`, or `IfHealthyBudget` if empty.
    pub unhealthy_pod_eviction_policy: String,
}

/// A budget's status.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct StatusView {
    /// The generation that all this is about.
    pub observed_generation: i64,
    /// Pods that were allowed to be evicted and are still there, and since when.
    pub disrupted_pods: BTreeMap<String, String>,
    /// How many Pods may be evicted now.
    pub disruptions_allowed: i32,
    /// How many are well.
    pub current_healthy: i32,
    /// How many must be.
    pub desired_healthy: i32,
    /// Conditions.
    pub conditions: Vec<Condition>,
}

impl BudgetView {
    /// Of which Pods it is: without a selector of none, with an empty one of all in its namespace.
    ///
    /// # Errors
    /// If the selector does not parse; the API never stores such a one.
    pub fn selector(&self) -> Result<Selector, ParseError> {
        Selector::from_label_selector(&self.spec.selector)
    }

    /// One of its conditions.
    #[must_use]
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|c| c.kind == kind)
    }
}
