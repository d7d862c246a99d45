//! What a CronJob needs next (`pkg/controller/cronjob`): a Job begun, old ones removed, its status told.
//!
//! Invariants: a run's Job has a name that follows from its time, so that a run is begun once whatever goes wrong; the status
//! knows a Job only once it is there, so a run that was begun is told of in the turn that its Job wakes.

use base::Timestamp;
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::KIND;
use super::runs::{Impossible, Runs};
use super::schedule::Schedule;
use super::view::{ChildView, CronJobView};
use super::zone::Zone;
use crate::job::KIND as JOB;
use crate::plan::{Action, Notice, Plan, Reference, Write};
use crate::rules::deletion::{Deletion, Propagation};
use crate::value::text;
use crate::view::time;
use crate::workload::claim::owner_reference;
use crate::workload::status::Status;

/// The annotation of a Job with the time of its run.
pub const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";

/// A CronJob and its Jobs.
#[derive(Debug, Default)]
pub struct Observed {
    /// The stored object.
    pub cronjob: Value,
    /// The Jobs that it controls.
    pub jobs: Vec<ChildView>,
}

/// Decides.
///
/// # Errors
/// If the stored object does not fit its type.
pub fn reconcile(now: Timestamp, observed: &Observed) -> Result<Plan, serde_json::Error> {
    let view = CronJobView::deserialize(&observed.cronjob)?;
    let plan = Plan::about(Reference::new(&KIND, &view.metadata));
    let mut turn = Turn { now, observed, view: &view, plan, active: Vec::new(), last: None, succeeded: None };
    turn.look_at_jobs();
    let (mut removals, mut begun) = (turn.surplus(), Vec::new());
    if !view.metadata.deleting() && !view.spec.suspend {
        turn.run(&mut removals, &mut begun);
    }
    let status = turn.status();
    let mut plan = turn.plan;
    plan.stage(removals);
    plan.stage(begun);
    plan.stage(status.into_iter().collect());
    Ok(plan)
}

struct Turn<'a> {
    now: Timestamp,
    observed: &'a Observed,
    view: &'a CronJobView,
    plan: Plan,
    /// `status.active` as it is to be.
    active: Vec<Value>,
    last: Option<Timestamp>,
    succeeded: Option<Timestamp>,
}

impl Turn<'_> {
    fn tell(&mut self, notice: Notice) {
        self.plan.events.push(notice);
    }

    fn is_active(&self, uid: &str) -> bool {
        self.view.status.active.iter().any(|a| a["uid"] == uid)
    }

    /// Compares the Jobs under way with those that the status tells of.
    fn look_at_jobs(&mut self) {
        let status = &self.view.status;
        self.last = time(status.last_schedule_time.as_deref());
        self.succeeded = time(status.last_successful_time.as_deref());
        for job in &self.observed.jobs {
            let (name, known) = (&job.metadata.name, self.is_active(&job.metadata.uid));
            match job.end() {
                None if !known => self.found(job),
                None => {}
                Some(end) => {
                    if known {
                        let message = format!("Saw completed job: {name}, condition: {end}");
                        self.tell(Notice::normal("SawCompletedJob", message));
                    }
                    let done = time(job.status.completion_time.as_deref()).filter(|_| end == "Complete");
                    self.succeeded = self.succeeded.max(done);
                }
            }
        }
        let known = status.active.iter().filter(|known| {
            let job = self.observed.jobs.iter().find(|job| known["uid"] == job.metadata.uid.as_str());
            job.is_some_and(|job| job.end().is_none())
        });
        let known: Vec<Value> = known.cloned().collect();
        for gone in &status.active {
            if !self.observed.jobs.iter().any(|job| gone["uid"] == job.metadata.uid.as_str()) {
                let message = format!("Active job went missing: {}", text(&gone["name"]));
                self.plan.events.push(Notice::normal("MissingJob", message));
            }
        }
        self.active.splice(0..0, known);
    }

    /// A Job under way that the status does not know: one that was just begun, or a stranger.
    fn found(&mut self, job: &ChildView) {
        let meta = &job.metadata;
        if meta.deleting() {
            return;
        }
        let run = meta.annotations.get(SCHEDULED).and_then(|at| Timestamp::parse(at).ok());
        let Some(run) = run.filter(|run| job_name(&self.view.metadata.name, *run) == meta.name) else {
            let message = format!("Saw a job that the controller did not create or forgot: {}", meta.name);
            return self.tell(Notice::warning("UnexpectedJob", message));
        };
        self.last = self.last.max(Some(run));
        self.active
            .push(json!({"kind": JOB.kind, "apiVersion": JOB.api_version(), "namespace": meta.namespace,
            "name": meta.name, "uid": meta.uid, "resourceVersion": meta.resource_version}));
    }

    /// Finished Jobs beyond those that are kept.
    fn surplus(&self) -> Vec<Write> {
        let spec = &self.view.spec;
        let limits =
            [("Complete", spec.successful_jobs_history_limit), ("Failed", spec.failed_jobs_history_limit)];
        let mut writes = Vec::new();
        for (end, limit) in limits {
            let Some(limit) = limit else { continue };
            let ended = |job: &&ChildView| job.end() == Some(end) && !job.metadata.deleting();
            let mut jobs: Vec<&ChildView> = self.observed.jobs.iter().filter(ended).collect();
            jobs.sort_by(|a, b| a.age().cmp(&b.age()));
            let surplus = jobs.len().saturating_sub(limit);
            writes.extend(
                jobs.into_iter()
                    .take(surplus)
                    .map(|job| delete(&job.metadata.namespace, &job.metadata.name, &job.metadata.uid)),
            );
        }
        writes
    }

    /// Begins the run that is due, if there is one.
    fn run(&mut self, removals: &mut Vec<Write>, begun: &mut Vec<Write>) {
        let spec = &self.view.spec;
        let zone = match Zone::named(spec.time_zone.as_deref().unwrap_or_default()) {
            Ok(zone) => zone,
            Err(why) => {
                let name = spec.time_zone.as_deref().unwrap_or_default();
                let message = format!("invalid timeZone: {name:?}: {why}");
                return self.tell(Notice::warning("UnknownTimeZone", message));
            }
        };
        let schedule = match Schedule::parse(&spec.schedule) {
            Ok(schedule) => schedule,
            Err(why) => {
                let message = format!("unparseable schedule: {:?} : {why}", spec.schedule);
                return self.tell(Notice::warning("UnparseableSchedule", message));
            }
        };
        let created = time(self.view.metadata.creation_timestamp.as_deref()).unwrap_or(self.now);
        let deadline = spec.starting_deadline_seconds;
        let runs = Runs { schedule: &schedule, zone: &zone, created, last: self.last, deadline };
        match runs.due(self.now) {
            Err(Impossible) => {
                let message = format!("invalid schedule: {} : {}", spec.schedule, Impossible::WORDS);
                return self.tell(Notice::warning("InvalidSchedule", message));
            }
            Ok(due) => {
                if due.missed_many() && due.at.is_some() {
                    let message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check \
                                   clock skew";
                    self.tell(Notice::warning("TooManyMissedTimes", message));
                }
                if let Some(at) = due.at {
                    self.begin(at, &zone, removals, begun);
                }
            }
        }
        if let Some(at) = runs.next_look(self.now) {
            self.plan.wake(at);
        }
    }

    fn begin(&mut self, at: Timestamp, zone: &Zone, removals: &mut Vec<Write>, begun: &mut Vec<Write>) {
        let (spec, meta) = (&self.view.spec, &self.view.metadata);
        let late = spec
            .starting_deadline_seconds
            .is_some_and(|seconds| Timestamp::from_seconds(at.seconds.saturating_add(seconds)) < self.now);
        if late {
            let message = format!("Missed scheduled time to start a job: {}", rfc1123z(at));
            return self.tell(Notice::warning("MissSchedule", message));
        }
        let name = job_name(&meta.name, at);
        if self.last == Some(at) || self.active.iter().any(|a| a["name"] == name.as_str()) {
            return;
        }
        // Names tell minutes apart: what is more often is begun once in a minute.
        if self.observed.jobs.iter().any(|job| job.metadata.name == name) {
            self.last = Some(at);
            return;
        }
        if spec.concurrency_policy == "Forbid" && !self.active.is_empty() {
            let message =
                "Not starting job because prior execution is running and concurrency policy is Forbid";
            return self.tell(Notice::normal("JobAlreadyActive", message));
        }
        if spec.concurrency_policy == "Replace" {
            let active = std::mem::take(&mut self.active);
            removals
                .extend(active.iter().map(|a| delete(&meta.namespace, text(&a["name"]), text(&a["uid"]))));
        }
        let job = job(self.view, &name, &zone.rfc3339(at));
        begun.push(Write::new(&JOB, &meta.namespace, &name, Action::Create(job)).telling(
            Notice::normal("SuccessfulCreate", "Created job "),
            Notice::warning("FailedCreate", "Error creating job: "),
        ));
    }

    fn status(&self) -> Option<Write> {
        let mut status = Status::default();
        let stored = &self.observed.cronjob["status"];
        let as_told = |field: &str, at: Option<Timestamp>| {
            let told = &stored[field];
            if time(told.as_str()) == at { told.clone() } else { json!(at.map(Timestamp::rfc3339)) }
        };
        status.set("active", json!(self.active));
        status.set("lastScheduleTime", as_told("lastScheduleTime", self.last));
        status.set("lastSuccessfulTime", as_told("lastSuccessfulTime", self.succeeded));
        status.write(&KIND, &self.observed.cronjob)
    }
}

/// As Go's `time.RFC1123Z` writes a time in UTC.
fn rfc1123z(at: Timestamp) -> String {
    let civil = Zone::utc().civil(at.seconds);
    format!(
        "{}, {:02} {} {} {:02}:{:02}:{:02} +0000",
        civil.weekday_name(),
        civil.day,
        civil.month_name(),
        civil.year,
        civil.hour,
        civil.minute,
        civil.second
    )
}

/// The name of the Job of a run.
fn job_name(cronjob: &str, at: Timestamp) -> String {
    format!("{cronjob}-{}", at.seconds / 60)
}

/// The Job of a run.
fn job(cronjob: &CronJobView, name: &str, at: &str) -> Value {
    let (meta, template) = (&cronjob.metadata, &cronjob.spec.job_template);
    let mut job = json!({"apiVersion": JOB.api_version(), "kind": JOB.kind,
        "metadata": {"name": name, "namespace": meta.namespace, "annotations": {},
            "ownerReferences": [owner_reference(&KIND, meta)]},
        "spec": template["spec"]});
    for part in ["labels", "annotations"] {
        if template["metadata"][part].is_object() {
            job["metadata"][part] = template["metadata"][part].clone();
        }
    }
    job["metadata"]["annotations"][SCHEDULED] = json!(at);
    job
}

fn delete(namespace: &str, name: &str, uid: &str) -> Write {
    let options = Deletion::of(uid).then(Propagation::Background).body();
    Write::new(&JOB, namespace, name, Action::Delete(options)).telling(
        Notice::normal("SuccessfulDelete", "Deleted job "),
        Notice::warning("FailedDelete", "Deleted job: "),
    )
}

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;
