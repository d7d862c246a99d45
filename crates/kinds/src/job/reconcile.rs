//! What a Job needs next (`pkg/controller/job/job_controller.go`): Pods, their accounting, conditions and events.
//!
//! Invariants: a finished Pod's UID stands in `status.uncountedTerminatedPods` before its tracking finalizer goes, and
//! leaves it in the write that counts it, so no Pod is counted twice or never. Deliberately absent: podFailurePolicy,
//! successPolicy and backoffLimitPerIndex (their fields have no effect yet).

use std::collections::BTreeSet;
use std::time::Duration;

use base::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::indexes::Indexes;
pub use super::pods::{FINALIZER, adopt, release, unfinalize};
use super::pods::{create, delete, progress};
pub use super::view::{JobView, expires_at};
use super::view::{Uncounted, condition};
use crate::plan::{Action, Notice, Plan, Reference, Write, api_version};
use crate::view::{PodView, time};

/// At most so many Pods are made, removed or counted in one go.
const BATCH: usize = 500;
const FIRST_BACKOFF: Duration = Duration::from_secs(10);
const MAX_BACKOFF: Duration = Duration::from_secs(600);

/// The Job as stored and the Pods it controls.
#[derive(Debug)]
pub struct Observed {
    /// The stored object.
    pub job: Value,
    /// Pods whose controller is this Job (by UID).
    pub pods: Vec<PodView>,
}

/// Decides.
///
/// # Errors
/// If the stored Job does not fit its type.
pub fn reconcile(now: Timestamp, observed: &Observed) -> Result<Plan, serde_json::Error> {
    let job = JobView::deserialize(&observed.job)?;
    let foreign = job.spec.managed_by.as_deref().is_some_and(|by| by != "kubernetes.io/job-controller");
    let mut plan = Plan::about(Reference::new(&super::KIND, &job.metadata));
    if foreign || (job.end().is_some() && !job.metadata.deleting()) {
        return Ok(plan);
    }
    let mut sync = Sync::new(now, &job, observed);
    sync.judge(&mut plan);
    if sync.verdict.is_some() {
        sync.end_active(&mut plan);
    } else {
        if !job.metadata.deleting() {
            sync.manage(&mut plan);
        }
        sync.check_complete();
        if sync.verdict.is_none() && !job.metadata.deleting() {
            sync.suspension(&mut plan);
        }
    }
    sync.account(&mut plan);
    Ok(plan)
}

/// A condition about to be set.
#[derive(Debug, Clone)]
struct Verdict {
    interim: &'static str,
    last: &'static str,
    reason: String,
    message: String,
}

impl Verdict {
    fn failure(reason: &str, message: &str) -> Self {
        Self { interim: "FailureTarget", last: "Failed", reason: reason.into(), message: message.into() }
    }

    fn success(reason: &str, message: &str) -> Self {
        Self {
            interim: "SuccessCriteriaMet",
            last: "Complete",
            reason: reason.into(),
            message: message.into(),
        }
    }
}

/// One reconcile's working state.
struct Sync<'a> {
    now: Timestamp,
    job: &'a JobView,
    stored: &'a Value,
    pods: &'a [PodView],
    /// The status being made.
    status: Value,
    conditions: Vec<Value>,
    active: Vec<&'a PodView>,
    making: usize,
    terminating: usize,
    succeeded: i32,
    failed: i32,
    indexes: Indexes,
    start: Option<Timestamp>,
    verdict: Option<Verdict>,
    uncounted: Uncounted,
}

impl<'a> Sync<'a> {
    fn new(now: Timestamp, job: &'a JobView, observed: &'a Observed) -> Self {
        let status = observed.job.get("status").cloned().unwrap_or_else(|| json!({}));
        let uncounted = job.status.uncounted_terminated_pods.clone();
        let fresh = |seen: &[String], ended: &dyn Fn(&PodView) -> bool| {
            let pods = observed.pods.iter().filter(|p| job.countable(p) && !seen.contains(&p.metadata.uid));
            count(pods.filter(|p| ended(p)).count())
        };
        let succeeded = job.status.succeeded
            + count(uncounted.succeeded.len())
            + fresh(&uncounted.succeeded, &|p| p.status.phase == "Succeeded");
        let failed =
            job.status.failed + count(uncounted.failed.len()) + fresh(&uncounted.failed, &|p| job.failed(p));
        let mut indexes = Indexes::parse(&job.status.completed_indexes, job.completions());
        if job.indexed() {
            let done = observed.pods.iter().filter(|p| job.countable(p) && p.status.phase == "Succeeded");
            indexes.extend(done.filter_map(|p| job.index(p)));
        }
        Self {
            now,
            job,
            stored: &observed.job,
            pods: &observed.pods,
            conditions: status["conditions"].as_array().cloned().unwrap_or_default(),
            status,
            active: observed.pods.iter().filter(|p| p.active()).collect(),
            making: 0,
            terminating: observed.pods.iter().filter(|p| p.terminating()).count(),
            succeeded: if job.indexed() { count(indexes.total()) } else { succeeded },
            failed,
            indexes,
            start: time(job.status.start_time.as_deref()).or((!job.spec.suspend).then_some(now)),
            verdict: None,
            uncounted,
        }
    }

    /// Has it failed, or has an earlier reconcile decided?
    fn judge(&mut self, plan: &mut Plan) {
        let spec = &self.job.spec;
        let earlier = |kind: &str| condition(&self.job.status.conditions, kind);
        if let Some(met) = earlier("SuccessCriteriaMet") {
            self.verdict = Some(Verdict::success(&met.reason, &met.message));
        } else if let Some(target) = earlier("FailureTarget") {
            self.verdict = Some(Verdict::failure(&target.reason, &target.message));
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

    /// A decided Job deletes what still runs.
    fn end_active(&mut self, plan: &mut Plan) {
        let active = std::mem::take(&mut self.active);
        plan.stage(active.iter().map(|p| delete(p)).collect());
        self.terminating += active.len();
    }

    fn manage(&mut self, plan: &mut Plan) {
        let spec = &self.job.spec;
        if spec.suspend {
            let active = std::mem::take(&mut self.active);
            self.remove(plan, active);
            return;
        }
        let wanted = match spec.completions {
            None if self.succeeded > 0 => self.active.len(),
            None => size(self.job.parallelism()),
            Some(completions) => size((completions - self.succeeded).min(self.job.parallelism())),
        };
        let doomed = self.surplus(wanted);
        if !doomed.is_empty() {
            let gone: BTreeSet<&str> = doomed.iter().map(|p| p.metadata.uid.as_str()).collect();
            self.active.retain(|p| !gone.contains(p.metadata.uid.as_str()));
            self.remove(plan, doomed);
            return;
        }
        let held = if spec.pod_replacement_policy == "Failed" { self.terminating } else { 0 };
        let missing = wanted.saturating_sub(held + self.active.len()).min(BATCH);
        if missing == 0 {
            return;
        }
        if let Some(until) = self.backoff_until() {
            plan.wake(until);
            return;
        }
        let created = self.creations(missing);
        self.making = created.len();
        plan.stage(created);
    }

    /// Pods too many: of an Indexed Job first the doubles, then the least far along.
    fn surplus(&self, wanted: usize) -> Vec<&'a PodView> {
        let mut left = self.active.clone();
        left.sort_by_key(|p| progress(p));
        let mut doomed = Vec::new();
        if self.job.indexed() {
            let mut seen = BTreeSet::new();
            let mut kept = Vec::new();
            // The furthest along of each index stays.
            for pod in left.into_iter().rev() {
                match self.job.index(pod) {
                    Some(index) if seen.insert(index) => kept.push(pod),
                    _ => doomed.push(pod),
                }
            }
            kept.reverse();
            left = kept;
        }
        let more = self.active.len().saturating_sub(wanted + doomed.len());
        doomed.extend(left.into_iter().take(more));
        doomed.truncate(BATCH);
        doomed
    }

    /// Removes Pods without counting them: the finalizer goes first.
    fn remove(&mut self, plan: &mut Plan, doomed: Vec<&'a PodView>) {
        plan.stage(
            doomed.iter().filter(|p| p.metadata.has_finalizer(FINALIZER)).map(|p| unfinalize(p)).collect(),
        );
        plan.stage(doomed.iter().map(|p| delete(p)).collect());
        self.terminating += doomed.len();
    }

    /// Failures since the last success delay the next Pods: 10 s, doubling, at most 10 minutes.
    fn backoff_until(&self) -> Option<Timestamp> {
        let ended = |ended: &dyn Fn(&PodView) -> bool| -> Vec<Timestamp> {
            self.pods.iter().filter(|p| ended(p)).map(PodView::finish_time).collect()
        };
        let success = ended(&|p| p.status.phase == "Succeeded").into_iter().max();
        let failures: Vec<Timestamp> =
            ended(&|p| self.job.failed(p)).into_iter().filter(|t| success.is_none_or(|s| *t > s)).collect();
        let last = failures.iter().max()?;
        let doublings = u32::try_from(failures.len() - 1).unwrap_or(u32::MAX).min(6);
        let until = *last + (FIRST_BACKOFF * 2u32.pow(doublings)).min(MAX_BACKOFF);
        (until > self.now).then_some(until)
    }

    fn creations(&self, missing: usize) -> Vec<Write> {
        if !self.job.indexed() {
            return (0..missing).map(|_| create(self.stored, self.job, None)).collect();
        }
        let mut taken = self.indexes.clone();
        taken.extend(self.active.iter().filter_map(|p| self.job.index(p)));
        if self.job.spec.pod_replacement_policy == "Failed" {
            taken.extend(self.pods.iter().filter(|p| p.terminating()).filter_map(|p| self.job.index(p)));
        }
        let free = taken.free(self.job.completions(), missing);
        free.into_iter().map(|index| create(self.stored, self.job, Some(index))).collect()
    }

    fn check_complete(&mut self) {
        let active = self.active_count();
        let complete = match self.job.spec.completions {
            None => self.succeeded > 0 && active == 0,
            Some(completions) => self.succeeded >= completions && active == 0,
        };
        if complete {
            let message = "Reached expected number of succeeded pods";
            self.verdict = Some(Verdict::success("CompletionsReached", message));
        }
    }

    /// Active Pods, those about to be made included: the status is written after them.
    fn active_count(&self) -> usize {
        self.active.len() + self.making
    }

    fn suspension(&mut self, plan: &mut Plan) {
        let known = self.job.status.conditions.iter().find(|c| c.kind == "Suspended");
        if self.job.spec.suspend {
            if known.is_none_or(|c| c.status != "True") {
                self.set_condition("Suspended", "True", "JobSuspended", "Job suspended");
                plan.events.push(Notice::normal("Suspended", "Job suspended"));
            }
        } else if known.is_some_and(|c| c.status != "False") {
            self.set_condition("Suspended", "False", "JobResumed", "Job resumed");
            plan.events.push(Notice::normal("Resumed", "Job resumed"));
            // The deadline counts from the resumption.
            self.start = Some(self.now);
        }
    }

    fn set_condition(&mut self, kind: &str, status: &str, reason: &str, message: &str) {
        let same = |c: &Value| c["status"] == status && c["reason"] == reason && c["message"] == message;
        let now = self.now.rfc3339();
        let made = json!({"type": kind, "status": status, "reason": reason, "message": message,
            "lastProbeTime": now, "lastTransitionTime": now});
        match self.conditions.iter_mut().find(|c| c["type"] == kind) {
            Some(old) if same(old) => {}
            Some(old) => *old = made,
            None => self.conditions.push(made),
        }
    }

    /// Counts ended Pods: first their UIDs into the status, then their finalizers go, then (a later reconcile, which
    /// sees them without finalizer) the counters.
    fn account(&mut self, plan: &mut Plan) {
        self.count_released();
        let release = self.note_ended();
        if let Some(verdict) = self.verdict.clone() {
            self.set_condition(verdict.interim, "True", &verdict.reason, &verdict.message);
            let nothing_left = self.uncounted.succeeded.is_empty() && self.uncounted.failed.is_empty();
            if nothing_left && release.is_empty() && self.terminating == 0 && self.job.end().is_none() {
                self.finish(plan, &verdict);
            }
        }
        self.fill_status();
        let unchanged = self.stored.get("status") == Some(&self.status);
        if !unchanged {
            let mut object = self.stored.clone();
            object["apiVersion"] = json!(api_version(&super::KIND));
            object["kind"] = json!(super::KIND.kind);
            object["status"] = self.status.take();
            let meta = &self.job.metadata;
            let write = Write::new(&super::KIND, &meta.namespace, &meta.name, Action::Update(object));
            plan.stage(vec![write.through("status")]);
        }
        plan.stage(release.into_iter().map(unfinalize).collect());
    }

    /// Uncounted Pods that have lost their finalizer (or are gone) are counted.
    fn count_released(&mut self) {
        let held: BTreeSet<&str> = self
            .pods
            .iter()
            .filter(|p| p.metadata.has_finalizer(FINALIZER))
            .map(|p| p.metadata.uid.as_str())
            .collect();
        let release = |uids: &mut Vec<String>| {
            let before = uids.len();
            uids.retain(|uid| held.contains(uid.as_str()));
            count(before - uids.len())
        };
        let succeeded = self.job.status.succeeded + release(&mut self.uncounted.succeeded);
        let failed = self.job.status.failed + release(&mut self.uncounted.failed);
        set(
            &mut self.status,
            "succeeded",
            if self.job.indexed() { count(self.indexes.total()) } else { succeeded },
        );
        set(&mut self.status, "failed", failed);
    }

    /// Notes the UIDs of newly ended Pods and returns the Pods whose finalizer can go.
    fn note_ended(&mut self) -> Vec<&'a PodView> {
        let decided = self.verdict.is_some();
        let failing = self.verdict.as_ref().is_some_and(|v| v.last == "Failed");
        let mut release = Vec::new();
        for pod in self.pods.iter().filter(|p| p.metadata.has_finalizer(FINALIZER)) {
            let succeeded = pod.status.phase == "Succeeded";
            let failed = self.job.failed(pod);
            if !(succeeded || failed || decided || self.job.metadata.deleting()) || release.len() >= BATCH {
                continue;
            }
            release.push(pod);
            let uid = &pod.metadata.uid;
            let counts = !self.job.indexed() || self.job.index(pod).is_some();
            if succeeded && !self.uncounted.failed.contains(uid) {
                // The index itself is the account of an Indexed Job.
                if !self.job.indexed() && !self.uncounted.succeeded.contains(uid) {
                    self.uncounted.succeeded.push(uid.clone());
                }
            } else if (failed || failing) && counts && !self.uncounted.failed.contains(uid) {
                self.uncounted.failed.push(uid.clone());
            }
        }
        release
    }

    fn finish(&mut self, plan: &mut Plan, verdict: &Verdict) {
        self.set_condition(verdict.last, "True", &verdict.reason, &verdict.message);
        if verdict.last == "Failed" {
            plan.events.push(Notice::warning(&verdict.reason, &verdict.message));
            return;
        }
        self.status["completionTime"] = json!(self.now.rfc3339());
        if self.job.spec.completions.is_some_and(|c| self.succeeded > c) {
            let message = "Too many succeeded pods running after completion count reached";
            plan.events.push(Notice::warning("TooManySucceededPods", message));
        }
        plan.events.push(Notice::normal("Completed", "Job completed"));
    }

    fn fill_status(&mut self) {
        let active = count(self.active_count());
        set(&mut self.status, "active", active);
        self.status["ready"] = json!(self.active.iter().filter(|p| p.ready()).count());
        self.status["terminating"] = json!(self.terminating);
        if let Some(start) = self.start {
            self.status["startTime"] = json!(start.rfc3339());
        }
        let mut uncounted = json!({});
        for (name, uids) in [("succeeded", &self.uncounted.succeeded), ("failed", &self.uncounted.failed)] {
            if !uids.is_empty() {
                uncounted[name] = json!(uids);
            }
        }
        self.status["uncountedTerminatedPods"] = uncounted;
        if !self.conditions.is_empty() {
            self.status["conditions"] = Value::Array(std::mem::take(&mut self.conditions));
        }
        if self.job.indexed() && self.indexes.total() > 0 {
            self.status["completedIndexes"] = json!(self.indexes.to_string());
        }
    }
}

/// Sets a number, or removes it if zero (`omitempty`).
fn set(status: &mut Value, name: &str, number: i32) {
    if let Some(map) = status.as_object_mut() {
        if number == 0 {
            map.remove(name);
        } else {
            map.insert(name.into(), json!(number));
        }
    }
}

fn count(n: usize) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

fn size(n: i32) -> usize {
    usize::try_from(n).unwrap_or(0)
}

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;
