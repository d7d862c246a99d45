//! What controllers read of a Deployment.
//!
//! Invariant: read-only, parsed from the stored object; never written back.

use base::labels::{ParseError, Selector};
use serde::Deserialize;
use serde_json::Value;

use crate::view::Meta;
use crate::workload::surge::{Bounds, resolve};

/// No deadline: what a Deployment without one has (`HasProgressDeadline`).
const FOR_EVER: i32 = i32::MAX;

/// The fields looked at.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct DeploymentView {
    /// Its metadata.
    pub metadata: Meta,
    /// Its spec.
    pub spec: SpecView,
    pub(super) status: StatusView,
}

/// A Deployment's spec.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SpecView {
    /// How many Pods there are to be; the server always stores it.
    pub replicas: i32,
    pub(super) selector: Value,
    pub(super) template: Value,
    pub(super) strategy: StrategyView,
    pub(super) min_ready_seconds: i32,
    pub(super) revision_history_limit: Option<i32>,
    pub(super) paused: bool,
    progress_deadline_seconds: Option<i32>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct StrategyView {
    #[serde(rename = "type")]
    pub(super) kind: String,
    rolling_update: Value,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct StatusView {
    pub(super) replicas: i32,
    pub(super) updated_replicas: i32,
    pub(super) ready_replicas: i32,
    pub(super) available_replicas: i32,
    pub(super) collision_count: Option<i32>,
}

impl DeploymentView {
    /// Which Pods are its.
    ///
    /// # Errors
    /// If the selector does not parse; the API never stores such a one.
    pub fn selector(&self) -> Result<Selector, ParseError> {
        Selector::from_label_selector(&self.spec.selector)
    }

    pub(super) fn rolls(&self) -> bool {
        self.spec.strategy.kind == "RollingUpdate"
    }

    /// How far a rollout may go; nothing of both where it does not roll.
    pub(super) fn bounds(&self) -> Bounds {
        if !self.rolls() || self.spec.replicas == 0 {
            return Bounds { surge: 0, unavailable: 0 };
        }
        let rolling = &self.spec.strategy.rolling_update;
        let bounds = resolve(&rolling["maxSurge"], &rolling["maxUnavailable"], self.spec.replicas);
        Bounds { unavailable: bounds.unavailable.min(self.spec.replicas), ..bounds }
    }

    /// Seconds without progress after which it counts as stuck, if it ever does.
    pub(super) fn deadline(&self) -> Option<u64> {
        let seconds = self.spec.progress_deadline_seconds.filter(|s| *s != FOR_EVER)?;
        u64::try_from(seconds).ok()
    }
}
