//! What a Job needs next (`pkg/controller/job/job_controller.go`): Pods, their accounting, conditions and events.
//!
//! Invariants: a finished Pod's UID stands in `status.uncountedTerminatedPods` before its tracking finalizer goes, and
//! leaves it in the write that counts it, so no Pod is counted twice or never. Whose Pods are whose is decided in `claim`,
//! how a Job ends in `judge`; back-off limits of single indexes are in `per_index`.

mod judge;

use std::collections::{BTreeMap, BTreeSet};

use base::Timestamp;
use serde_json::{Value, json};

use self::judge::Verdict;
use super::indexes::Indexes;
use super::per_index;
pub use super::pods::FINALIZER;
use super::pods::{create, progress, unfinalize};
use super::view::Uncounted;
pub use super::view::{JobView, expires_at};
use crate::plan::{Action, Notice, Plan, Reference, Write};
use crate::value::remove;
use crate::view::{PodView, time};
use crate::workload::pods::delete;

/// At most so many Pods are made, removed or counted in one go.
const BATCH: usize = 500;

/// Decides for a Job that is neither over nor somebody else's, and the Pods it controls.
pub(super) fn manage(now: Timestamp, job: &JobView, stored: &Value, pods: &[PodView]) -> Plan {
    let mut plan = Plan::about(Reference::new(&super::KIND, &job.metadata));
    let mut sync = Sync::new(now, job, stored, pods);
    sync.judge(&mut plan);
    sync.judge_indexes();
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
    plan
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
    /// Indexes lost, where each has a back-off limit of its own.
    lost: Option<Indexes>,
    /// Failed Pods that keep their finalizer until they are replaced, by index.
    waiting: BTreeMap<u32, &'a PodView>,
    start: Option<Timestamp>,
    verdict: Option<Verdict>,
    uncounted: Uncounted,
}

impl<'a> Sync<'a> {
    fn new(now: Timestamp, job: &'a JobView, stored: &'a Value, pods: &'a [PodView]) -> Self {
        let status = stored.get("status").cloned().unwrap_or_else(|| json!({}));
        let uncounted = job.status.uncounted_terminated_pods.clone();
        let fresh = |seen: &[String], ended: &dyn Fn(&PodView) -> bool| {
            let pods = pods.iter().filter(|p| job.countable(p) && !seen.contains(&p.metadata.uid));
            count(pods.filter(|p| ended(p)).count())
        };
        let succeeded = job.status.succeeded
            + count(uncounted.succeeded.len())
            + fresh(&uncounted.succeeded, &|p| p.status.phase == "Succeeded");
        let failed = job.status.failed
            + count(uncounted.failed.len())
            + fresh(&uncounted.failed, &|p| job.failed(p) && job.counts(p));
        let mut indexes = Indexes::parse(&job.status.completed_indexes, job.completions());
        if job.indexed() {
            let done = pods.iter().filter(|p| job.countable(p) && p.status.phase == "Succeeded");
            indexes.extend(done.filter_map(|p| job.index(p)));
        }
        let active: Vec<&PodView> = pods.iter().filter(|p| p.active()).collect();
        let lost = job.per_index().then(|| per_index::failed(job, pods));
        let waiting = lost.as_ref().map_or_else(BTreeMap::new, |lost| {
            let running: BTreeSet<u32> = active.iter().filter_map(|p| job.index(p)).collect();
            let closed = |i: u32| indexes.has(i) || lost.has(i) || running.contains(&i);
            per_index::waiting(job, pods, closed)
        });
        Self {
            now,
            job,
            stored,
            pods,
            conditions: status["conditions"].as_array().cloned().unwrap_or_default(),
            status,
            active,
            making: 0,
            terminating: pods.iter().filter(|p| p.terminating()).count(),
            succeeded: if job.indexed() { count(indexes.total()) } else { succeeded },
            failed,
            indexes,
            lost,
            waiting,
            start: time(job.status.start_time.as_deref()).or((!job.spec.suspend).then_some(now)),
            verdict: None,
            uncounted,
        }
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
        let created = self.creations(plan, missing);
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

    /// Failures since the last success delay the next Pods, unless each index has a delay of its own.
    fn backoff_until(&self) -> Option<Timestamp> {
        if self.lost.is_some() {
            return None;
        }
        let ended = |ended: &dyn Fn(&PodView) -> bool| -> Vec<Timestamp> {
            self.pods.iter().filter(|p| ended(p)).map(PodView::finish_time).collect()
        };
        let success = ended(&|p| p.status.phase == "Succeeded").into_iter().max();
        let failures: Vec<Timestamp> =
            ended(&|p| self.job.failed(p)).into_iter().filter(|t| success.is_none_or(|s| *t > s)).collect();
        let last = failures.iter().max()?;
        let until = *last + per_index::delay(failures.len());
        (until > self.now).then_some(until)
    }

    fn creations(&self, plan: &mut Plan, missing: usize) -> Vec<Write> {
        if !self.job.indexed() {
            return (0..missing).map(|_| create(self.stored, self.job, None, None)).collect();
        }
        let mut taken = self.indexes.clone();
        taken.extend(self.active.iter().filter_map(|p| self.job.index(p)));
        if self.job.spec.pod_replacement_policy == "Failed" {
            taken.extend(self.pods.iter().filter(|p| p.terminating()).filter_map(|p| self.job.index(p)));
        }
        if let Some(lost) = &self.lost {
            taken.merge(lost);
        }
        let mut created = Vec::new();
        for index in taken.free(self.job.completions(), missing) {
            let before = self.waiting.get(&index).copied();
            match before.map(per_index::due).filter(|due| *due > self.now) {
                Some(due) => plan.wake(due),
                None => created.push(create(self.stored, self.job, Some(index), before)),
            }
        }
        created
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
            // It starts anew when it is resumed.
            self.start = None;
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
            object["apiVersion"] = json!(super::KIND.api_version());
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
            let ending = decided || self.job.metadata.deleting();
            let last = self.job.index(pod).and_then(|index| self.waiting.get(&index));
            let waits = last.is_some_and(|last| last.metadata.uid == pod.metadata.uid);
            if !(succeeded || (failed && !waits) || ending) || release.len() >= BATCH {
                continue;
            }
            release.push(pod);
            let uid = &pod.metadata.uid;
            let counts = (!self.job.indexed() || self.job.index(pod).is_some()) && self.job.counts(pod);
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
        // What never ran because it was suspended is over too, and only what has started can be.
        self.start.get_or_insert(self.now);
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
        match self.start {
            Some(start) => self.status["startTime"] = json!(start.rfc3339()),
            None => remove(&mut self.status, "startTime"),
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
        if let Some(lost) = &self.lost {
            self.status["failedIndexes"] = json!(lost.to_string());
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
#[path = "reconcile_policies.rs"]
mod policies;
#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;
