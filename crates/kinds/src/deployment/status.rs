//! A Deployment's status: counts of Pods, and whether the rollout gets on (`pkg/controller/deployment/progress.go`,
//! `calculateStatus`).
//!
//! Invariant: conditions' reasons and messages are upstream's, which `kubectl rollout status` goes by.

use std::time::Duration;

use base::Timestamp;
use serde_json::{Value, json};

use super::revisions::REVISION;
use super::sets::{Set, Sets};
use super::view::DeploymentView;
use crate::plan::Write;
use crate::value::text;
use crate::view::{Condition, time};
use crate::workload::conditions::{Conditions, Says};
use crate::workload::status::Status;

const PROGRESSING: &str = "Progressing";
const FAILURE: &str = "ReplicaFailure";
const AVAILABLE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

/// A status in the making.
#[derive(Debug)]
pub(super) struct Report<'a> {
    now: Timestamp,
    stored: &'a Value,
    deployment: &'a DeploymentView,
    pub(super) conditions: Conditions,
    pub(super) collisions: Option<i32>,
    /// The revision that the Deployment is to show, 0 for the one it shows.
    pub(super) revision: i64,
}

/// How many Pods there are of what.
#[derive(Debug, Clone, Copy)]
struct Counts {
    replicas: i32,
    updated: i32,
    ready: i32,
    available: i32,
    unavailable: i32,
    terminating: Option<i32>,
}

impl Counts {
    fn of(sets: &Sets) -> Self {
        let statuses = || sets.all().map(|s| &s.view.status);
        let available = sets.available();
        Self {
            replicas: sets.actual(),
            updated: sets.new.as_ref().map_or(0, |s| s.view.status.replicas),
            ready: statuses().map(|s| s.ready_replicas).sum(),
            available,
            unavailable: (sets.wanted() - available).max(0),
            terminating: statuses().map(|s| s.terminating_replicas).sum(),
        }
    }
}

impl<'a> Report<'a> {
    pub(super) fn new(now: Timestamp, stored: &'a Value, deployment: &'a DeploymentView) -> Self {
        let conditions = Conditions::with_updates(&stored["status"]);
        let collisions = deployment.status.collision_count;
        Self { now, stored, deployment, conditions, collisions, revision: 0 }
    }

    /// Says in a condition whether the rollout is held (`checkPausedConditions`).
    pub(super) fn note_pause(&mut self) {
        let reason = self.conditions.reason(PROGRESSING);
        if self.deployment.deadline().is_none() || reason == TIMED_OUT {
            return;
        }
        match (self.deployment.spec.paused, reason == PAUSED) {
            (true, false) => self.progressing("Unknown", PAUSED, "Deployment is paused"),
            (false, true) => self.progressing("Unknown", "DeploymentResumed", "Deployment is resumed"),
            _ => {}
        }
    }

    /// Says that a new set was made, found, or could not be made.
    pub(super) fn progressing(&mut self, status: &str, reason: &str, message: &str) {
        self.conditions.set(PROGRESSING, Says { status, reason, message }, self.now);
    }

    /// Whether nothing has been said about progress yet, though it is to be watched.
    pub(super) fn is_silent(&self) -> bool {
        self.deployment.deadline().is_some() && self.conditions.get(PROGRESSING).is_none()
    }

    /// Whether all Pods are of the present template and available (`DeploymentComplete`).
    fn is_complete(&self, counts: Counts) -> bool {
        let wanted = self.deployment.spec.replicas;
        [counts.updated, counts.replicas, counts.available].iter().all(|n| *n == wanted)
    }

    /// The same of the status as it is stored.
    pub(super) fn was_complete(&self) -> bool {
        let (status, wanted) = (&self.deployment.status, self.deployment.spec.replicas);
        [status.updated_replicas, status.replicas, status.available_replicas].iter().all(|n| *n == wanted)
            && self.stored["status"]["observedGeneration"].as_i64().unwrap_or(0)
                >= self.deployment.metadata.generation
    }

    /// Says how the rollout gets on (`syncRolloutStatus`).
    pub(super) fn judge(&mut self, sets: &Sets) {
        let counts = Counts::of(sets);
        let Some(deadline) = self.deployment.deadline() else {
            self.conditions.remove(PROGRESSING);
            return self.failures(sets);
        };
        let rests = counts.replicas == counts.updated && self.conditions.reason(PROGRESSING) == AVAILABLE;
        if !rests {
            let what = sets.new.as_ref().map_or_else(
                || format!("Deployment {:?}", self.deployment.metadata.name),
                |s| format!("ReplicaSet {:?}", s.name()),
            );
            if self.is_complete(counts) {
                self.progressing("True", AVAILABLE, &format!("{what} has successfully progressed."));
            } else if self.has_moved(counts) {
                let message = format!("{what} is progressing.");
                let says = Says { status: "True", reason: "ReplicaSetUpdated", message: &message };
                self.conditions.renew(PROGRESSING, says, self.now);
            } else if self.due(deadline).is_some_and(|at| at < self.now) {
                self.progressing("False", TIMED_OUT, &format!("{what} has timed out progressing."));
            }
        }
        self.failures(sets);
    }

    fn has_moved(&self, now: Counts) -> bool {
        let before = &self.deployment.status;
        now.updated > before.updated_replicas
            || now.replicas - now.updated < before.replicas - before.updated_replicas
            || now.ready > before.ready_replicas
            || now.available > before.available_replicas
    }

    /// When the rollout counts as stuck if nothing moves; `None` where that is not watched.
    fn due(&self, deadline: u64) -> Option<Timestamp> {
        let condition = self.conditions.get(PROGRESSING)?;
        if text(&condition["reason"]) == AVAILABLE {
            return None;
        }
        Some(time(condition["lastUpdateTime"].as_str())? + Duration::from_secs(deadline))
    }

    /// When to look again though nothing moves.
    pub(super) fn wake_at(&self, sets: &Sets) -> Option<Timestamp> {
        let reason = self.conditions.reason(PROGRESSING);
        if reason == TIMED_OUT || reason == PAUSED || self.is_complete(Counts::of(sets)) {
            return None;
        }
        // A second later, since times are whole ones.
        Some(self.due(self.deployment.deadline()?)? + Duration::from_secs(1))
    }

    /// A set that cannot make Pods makes that the Deployment's condition, the new one's first.
    fn failures(&mut self, sets: &Sets) {
        let of = |set: &Set| set.view.status.conditions.iter().find(|c| c.kind == FAILURE).cloned();
        let failure: Option<Condition> =
            sets.new.as_ref().and_then(of).or_else(|| sets.old.iter().find_map(of));
        match failure {
            Some(f) if self.conditions.reason(FAILURE) == f.reason => {}
            Some(f) => self.conditions.put(json!({"type": FAILURE, "status": f.status, "reason": f.reason,
                "message": f.message, "lastTransitionTime": f.last_transition_time,
                "lastUpdateTime": f.last_transition_time})),
            None => self.conditions.remove(FAILURE),
        }
    }

    fn availability(&mut self, available: i32) {
        let least = self.deployment.spec.replicas - self.deployment.bounds().unavailable;
        let says = if available >= least {
            let message = "Deployment has minimum availability.";
            Says { status: "True", reason: "MinimumReplicasAvailable", message }
        } else {
            let message = "Deployment does not have minimum availability.";
            Says { status: "False", reason: "MinimumReplicasUnavailable", message }
        };
        self.conditions.set("Available", says, self.now);
    }

    /// The write, if it says anything new.
    pub(super) fn write(mut self, sets: &Sets) -> Option<Write> {
        let counts = Counts::of(sets);
        self.availability(counts.available);
        let mut status = Status::default();
        status.number("observedGeneration", self.deployment.metadata.generation);
        status.number("replicas", counts.replicas);
        status.number("updatedReplicas", counts.updated);
        status.number("readyReplicas", counts.ready);
        status.number("availableReplicas", counts.available);
        status.number("unavailableReplicas", counts.unavailable);
        status.set("terminatingReplicas", json!(counts.terminating));
        status.set("collisionCount", json!(self.collisions));
        status.set("conditions", json!(self.conditions.into_list()));
        let revision = self.revision.to_string();
        let shown = self.deployment.metadata.annotations.get(REVISION);
        if self.revision == 0 || shown == Some(&revision) {
            return status.write(&super::KIND, self.stored);
        }
        let mut stored = self.stored.clone();
        stored["metadata"]["annotations"][REVISION] = json!(revision);
        stored["status"] = Value::Null;
        status.write(&super::KIND, &stored)
    }
}
