//! What controllers read of a StatefulSet.
//!
//! Invariant: read-only, parsed from the stored object; never written back.

use base::labels::{ParseError, Selector};
use serde::Deserialize;
use serde_json::Value;

use crate::view::Meta;
use crate::workload::surge::scaled;

/// The fields looked at.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct StatefulSetView {
    /// Its metadata.
    pub metadata: Meta,
    pub(super) spec: SpecView,
    pub(super) status: StatusView,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct SpecView {
    pub(super) replicas: i32,
    pub(super) service_name: String,
    pub(super) selector: Value,
    pub(super) template: Value,
    pub(super) volume_claim_templates: Vec<Value>,
    pub(super) persistent_volume_claim_retention_policy: Value,
    pub(super) pod_management_policy: String,
    pub(super) update_strategy: StrategyView,
    pub(super) revision_history_limit: Option<i32>,
    pub(super) min_ready_seconds: i32,
    ordinals: Option<OrdinalsView>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct OrdinalsView {
    start: i32,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct StrategyView {
    #[serde(rename = "type")]
    kind: String,
    pub(super) rolling_update: Option<RollingView>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct RollingView {
    partition: i32,
    max_unavailable: Value,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct StatusView {
    pub(super) current_revision: String,
    pub(super) current_replicas: i32,
    pub(super) collision_count: i32,
}

impl StatefulSetView {
    /// Which Pods are its.
    ///
    /// # Errors
    /// If the selector does not parse; the API never stores such a one.
    pub fn selector(&self) -> Result<Selector, ParseError> {
        Selector::from_label_selector(&self.spec.selector)
    }

    /// The ordinal of the first Pod.
    pub(super) fn start(&self) -> i64 {
        self.spec.ordinals.as_ref().map_or(0, |o| o.start.into())
    }

    /// The ordinals of all Pods.
    pub(super) fn ordinals(&self) -> std::ops::Range<i64> {
        self.start()..self.start() + i64::from(self.spec.replicas)
    }

    /// Whether one Pod waits for the other.
    pub(super) fn is_ordered(&self) -> bool {
        self.spec.pod_management_policy != "Parallel"
    }

    pub(super) fn rolls(&self) -> bool {
        self.spec.update_strategy.kind != "OnDelete"
    }

    /// From which ordinal on Pods are to be of the present template.
    pub(super) fn partition(&self) -> i64 {
        let rolling = &self.spec.update_strategy.rolling_update;
        self.start() + rolling.as_ref().map_or(0, |r| r.partition.into())
    }

    /// How many Pods may be unavailable at once, if that is said; at least one.
    pub(super) fn max_unavailable(&self) -> Option<usize> {
        let said = &self.spec.update_strategy.rolling_update.as_ref()?.max_unavailable;
        let count = scaled(said, self.spec.replicas, false).max(1);
        if said.is_null() { None } else { usize::try_from(count).ok() }
    }
}
