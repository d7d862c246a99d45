//! What the controller reads of a CronJob and of its Jobs.
//!
//! Invariant: read-only, parsed from the stored objects; never written back.

use base::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::view::{Condition, Meta, time};

/// A CronJob.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct CronJobView {
    /// Its metadata.
    pub metadata: Meta,
    /// Its spec.
    pub spec: SpecView,
    /// Its status.
    pub status: StatusView,
}

/// A CronJob's spec.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SpecView {
    /// When.
    pub schedule: String,
    /// By which clock; UTC if none is named.
    pub time_zone: Option<String>,
    /// How late a run may begin, in seconds.
    pub starting_deadline_seconds: Option<i64>,
    /// What becomes of runs that overlap.
    pub concurrency_policy: String,
    /// Whether nothing is begun.
    pub suspend: bool,
    /// Of what Jobs are made.
    pub job_template: Value,
    /// How many that succeeded are kept.
    pub successful_jobs_history_limit: Option<usize>,
    /// How many that failed are kept.
    pub failed_jobs_history_limit: Option<usize>,
}

/// A CronJob's status.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct StatusView {
    /// References to Jobs under way.
    pub active: Vec<Value>,
    /// The last run that was begun.
    pub last_schedule_time: Option<String>,
    /// The end of the last Job that succeeded.
    pub last_successful_time: Option<String>,
}

/// A Job of a CronJob.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ChildView {
    /// Its metadata.
    pub metadata: Meta,
    /// Its status.
    pub status: ChildStatus,
}

/// A Job's status.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ChildStatus {
    /// When it began.
    pub start_time: Option<String>,
    /// When it succeeded.
    pub completion_time: Option<String>,
    /// Conditions.
    pub conditions: Vec<Condition>,
}

impl ChildView {
    /// `Complete` or `Failed`, once it is one of them.
    #[must_use]
    pub fn end(&self) -> Option<&str> {
        let ends = |c: &&Condition| matches!(c.kind.as_str(), "Complete" | "Failed") && c.status == "True";
        self.status.conditions.iter().find(ends).map(|c| c.kind.as_str())
    }

    /// Oldest first; one that has not begun is the youngest.
    #[must_use]
    pub fn age(&self) -> (bool, Option<Timestamp>, &str) {
        let start = time(self.status.start_time.as_deref());
        (start.is_none(), start, &self.metadata.name)
    }
}
