//! What reconciling reads of a Job, and plain questions about it.
//!
//! Invariant: read-only, parsed from the stored object; never written back.

use std::time::Duration;

use base::Timestamp;
use base::labels::{ParseError, Selector};
use serde::Deserialize;
use serde_json::Value;

use super::indexes;
use super::pods::FINALIZER;
use super::policy::{FailurePolicy, Outcome, SuccessPolicy};
use crate::view::{Condition, Meta, PodView, time};

/// The fields looked at.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct JobView {
    /// Its metadata.
    pub metadata: Meta,
    /// Its spec.
    pub spec: SpecView,
    /// Its status.
    pub status: StatusView,
}

/// A Job's spec.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SpecView {
    pub(super) parallelism: Option<i32>,
    pub(super) completions: Option<i32>,
    pub(super) completion_mode: String,
    pub(super) backoff_limit: Option<i32>,
    pub(super) active_deadline_seconds: Option<i64>,
    pub(super) suspend: bool,
    pub(super) pod_replacement_policy: String,
    pub(super) pod_failure_policy: Option<FailurePolicy>,
    pub(super) success_policy: Option<SuccessPolicy>,
    pub(super) backoff_limit_per_index: Option<i32>,
    pub(super) max_failed_indexes: Option<i32>,
    pub(super) managed_by: Option<String>,
    /// Seconds after the end.
    pub ttl_seconds_after_finished: Option<i64>,
    selector: Value,
    pub(super) template: TemplateView,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TemplateView {
    pub(super) spec: TemplateSpecView,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct TemplateSpecView {
    pub(super) restart_policy: String,
}

/// A Job's status.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct StatusView {
    pub(super) conditions: Vec<Condition>,
    pub(super) start_time: Option<String>,
    pub(super) succeeded: i32,
    pub(super) failed: i32,
    pub(super) completed_indexes: String,
    pub(super) failed_indexes: Option<String>,
    pub(super) uncounted_terminated_pods: Uncounted,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(default)]
pub(super) struct Uncounted {
    pub(super) succeeded: Vec<String>,
    pub(super) failed: Vec<String>,
}

impl JobView {
    /// The condition that ended it, `Complete` or `Failed`.
    #[must_use]
    pub fn end(&self) -> Option<&Condition> {
        ["Complete", "Failed"].iter().find_map(|kind| condition(&self.status.conditions, kind))
    }

    /// Whether this controller and no other manages it.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.spec.managed_by.as_deref().is_none_or(|by| by == "kubernetes.io/job-controller")
    }

    /// Its selector; `None` before the server has set one.
    ///
    /// # Errors
    /// If the selector does not parse; the API never stores such a one.
    pub fn selector(&self) -> Result<Option<Selector>, ParseError> {
        let selector = &self.spec.selector;
        (!selector.is_null()).then(|| Selector::from_label_selector(selector)).transpose()
    }

    pub(super) fn indexed(&self) -> bool {
        self.spec.completion_mode == "Indexed"
    }

    /// How many indexes an Indexed Job has.
    pub(super) fn completions(&self) -> u32 {
        self.spec.completions.and_then(|n| u32::try_from(n).ok()).unwrap_or(0)
    }

    pub(super) fn parallelism(&self) -> i32 {
        self.spec.parallelism.unwrap_or(1)
    }

    pub(super) fn failed(&self, pod: &PodView) -> bool {
        let replaces_terminating = self.spec.pod_replacement_policy != "Failed";
        pod.status.phase == "Failed"
            || (replaces_terminating && pod.metadata.deleting() && pod.status.phase != "Succeeded")
    }

    /// What the failure policy makes of a failed Pod.
    pub(super) fn judge(&self, pod: &PodView) -> Outcome {
        self.spec.pod_failure_policy.as_ref().map_or(Outcome::Count, |policy| policy.judge(pod))
    }

    /// Whether a failed Pod counts as a failure.
    pub(super) fn counts(&self, pod: &PodView) -> bool {
        self.judge(pod) != Outcome::Ignore
    }

    /// Whether each index has a back-off limit of its own.
    pub(super) fn per_index(&self) -> bool {
        self.indexed() && self.spec.backoff_limit_per_index.is_some()
    }

    /// The Pod's completion index, if it is one of this Job's.
    pub(super) fn index(&self, pod: &PodView) -> Option<u32> {
        indexes::of(&pod.metadata).filter(|i| *i < self.completions())
    }

    pub(super) fn countable(&self, pod: &PodView) -> bool {
        pod.metadata.has_finalizer(FINALIZER) && (!self.indexed() || self.index(pod).is_some())
    }
}

pub(super) fn condition<'a>(all: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    all.iter().find(|c| c.kind == kind && c.status == "True")
}

/// When a finished Job is to be deleted, if ever.
#[must_use]
pub fn expires_at(job: &JobView) -> Option<Timestamp> {
    let after = u64::try_from(job.spec.ttl_seconds_after_finished?).ok()?;
    Some(time(job.end()?.last_transition_time.as_deref())? + Duration::from_secs(after))
}
