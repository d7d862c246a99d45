//! Whether a Job ends now, and how.
//!
//! Invariant: a verdict reached once stands: it is read back from the interim condition.

use std::time::Duration;

use super::super::indexes::Indexes;
use super::super::policy::Outcome;
use super::super::view::condition;
use super::{Sync, size};
use crate::plan::Plan;

/// A condition about to be set.
#[derive(Debug, Clone)]
pub(super) struct Verdict {
    /// The condition set first.
    pub(super) interim: &'static str,
    /// The condition set once no Pod is left.
    pub(super) last: &'static str,
    pub(super) reason: String,
    pub(super) message: String,
}

impl Verdict {
    pub(super) fn failure(reason: &str, message: &str) -> Self {
        Self { interim: "FailureTarget", last: "Failed", reason: reason.into(), message: message.into() }
    }

    pub(super) fn success(reason: &str, message: &str) -> Self {
        Self {
            interim: "SuccessCriteriaMet",
            last: "Complete",
            reason: reason.into(),
            message: message.into(),
        }
    }
}

impl Sync<'_> {
    /// Has it failed, or has an earlier reconcile decided?
    pub(super) fn judge(&mut self, plan: &mut Plan) {
        let spec = &self.job.spec;
        let earlier = |kind: &str| condition(&self.job.status.conditions, kind);
        if let Some(met) = earlier("SuccessCriteriaMet") {
            self.verdict = Some(Verdict::success(&met.reason, &met.message));
        } else if let Some(target) = earlier("FailureTarget") {
            self.verdict = Some(Verdict::failure(&target.reason, &target.message));
        } else if let Some(message) = self.policy_failure() {
            self.verdict = Some(Verdict::failure("PodFailurePolicy", &message));
        } else if self.failed > spec.backoff_limit.unwrap_or(6) || self.restarts_exceed() {
            let message = "Job has reached the specified backoff limit";
            self.verdict = Some(Verdict::failure("BackoffLimitExceeded", message));
        } else if let (Some(seconds), Some(start), false) =
            (spec.active_deadline_seconds, self.start, spec.suspend)
        {
            let deadline = start + Duration::from_secs(seconds.max(0).unsigned_abs());
            if self.now >= deadline {
                let message = "Job was active longer than specified deadline";
                self.verdict = Some(Verdict::failure("DeadlineExceeded", message));
            } else {
                plan.wake(deadline);
            }
        }
    }

    /// The message of the first failed Pod that fails the whole Job.
    fn policy_failure(&self) -> Option<String> {
        self.pods.iter().filter(|p| self.job.failed(p)).find_map(|p| match self.job.judge(p) {
            Outcome::FailJob(message) => Some(message),
            _ => None,
        })
    }

    /// Too many indexes lost, all of them ended, or the success policy met?
    pub(super) fn judge_indexes(&mut self) {
        if self.verdict.is_some() || !self.job.indexed() {
            return;
        }
        let (spec, completions) = (&self.job.spec, self.job.completions());
        let lost = self.lost.as_ref().map_or(0, Indexes::total);
        if spec.max_failed_indexes.is_some_and(|most| lost > size(most)) {
            let message = "Job has exceeded the specified maximal number of failed indexes";
            self.verdict = Some(Verdict::failure("MaxFailedIndexesExceeded", message));
        } else if lost > 0 && lost + self.indexes.total() >= completions as usize {
            self.verdict = Some(Verdict::failure("FailedIndexes", "Job has failed indexes"));
        } else if let Some(message) =
            spec.success_policy.as_ref().and_then(|policy| policy.met(completions, &self.indexes))
        {
            self.verdict = Some(Verdict::success("SuccessPolicy", &message));
        }
    }

    /// With restartPolicy OnFailure the containers' restarts count against the limit.
    fn restarts_exceed(&self) -> bool {
        if self.job.spec.template.spec.restart_policy != "OnFailure" {
            return false;
        }
        let living = self.pods.iter().filter(|p| matches!(p.status.phase.as_str(), "Running" | "Pending"));
        let restarts: i32 = living
            .flat_map(|p| p.status.init_container_statuses.iter().chain(&p.status.container_statuses))
            .map(|c| c.restart_count)
            .sum();
        let limit = self.job.spec.backoff_limit.unwrap_or(6);
        restarts > 0 && restarts >= limit
    }
}
