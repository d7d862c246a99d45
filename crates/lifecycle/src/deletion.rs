//! The end of a Pod: why it ends, and the order in which it is taken down. The object is deleted only once the API shows
//! a terminal phase (upstream: `pod_workers.go`, `status_manager.go`).

use k8s_openapi::api::core::v1::PodStatus;
use kinds::rules::phase::is_finished;

use crate::step::Run;
use crate::text::normal;
use crate::types::{Action, ContainerState, Key, Termination, Verdict};
use crate::view::{alive, newest, pod_spec, sandboxes};

/// Seconds for which records of ended containers beside the newest stay.
const KEEP_RECORDS: i64 = 60;

impl Run<'_> {
    /// Sets `ending` if the Pod must end, and shortens its grace; it is never unset and never lengthened.
    pub(crate) fn judge_end(&mut self) {
        let shown = self.d.pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default();
        if self.mem.ending.is_none() && is_finished(shown) {
            let status = self.d.pod.status.clone().unwrap_or_default();
            let failed = shown == "Failed";
            self.mem.ending = Some(Termination {
                grace: self.pod_grace(),
                reason: status.reason.unwrap_or_default(),
                message: status.message.unwrap_or_default(),
                failed,
                rejected: failed
                    && self.o.containers.is_empty()
                    && status.container_statuses.is_none_or(|c| c.is_empty()),
                ..Termination::default()
            });
        }
        self.judge_verdict();
        self.judge_deadline();
        if let Some(grace) = self.d.deleting {
            self.end_with(Termination { grace: grace.max(1), ..Termination::default() });
        }
    }

    fn end_with(&mut self, new: Termination) {
        match &mut self.mem.ending {
            None => self.mem.ending = Some(new.clone()),
            Some(old) if new.grace < old.grace => old.grace = new.grace,
            Some(_) => return,
        }
        self.shorten(new.grace);
    }

    fn judge_verdict(&mut self) {
        if self.mem.ending.is_some() {
            return;
        }
        let pod_grace = self.pod_grace();
        self.mem.ending = match &self.d.verdict {
            None => return,
            Some(Verdict::Rejected { reason, message }) => Some(Termination {
                reason: reason.clone(),
                message: format!("Pod was rejected: {message}"),
                failed: true,
                rejected: true,
                ..Termination::default()
            }),
            Some(Verdict::Evicted { reason, message, grace, disruption }) => Some(Termination {
                grace: (*grace).min(pod_grace),
                reason: reason.clone(),
                message: message.clone(),
                disruption: disruption.then(|| "TerminationByKubelet".to_owned()),
                failed: true,
                rejected: false,
            }),
        };
        if let Some(Verdict::Rejected { reason, message } | Verdict::Evicted { reason, message, .. }) =
            self.d.verdict.clone()
        {
            self.emit(crate::text::warning("", &reason, message));
        }
    }

    fn judge_deadline(&mut self) {
        let Some(seconds) = pod_spec(&self.d.pod).active_deadline_seconds else { return };
        let (None, Some(start)) = (&self.mem.ending, self.start_time()) else { return };
        let at = start.plus_secs(seconds);
        if self.now < at {
            return self.wake_at(at);
        }
        let message = "Pod was active on the node longer than the specified deadline";
        self.emit(normal("", "DeadlineExceeded", message));
        self.mem.ending = Some(Termination {
            grace: self.pod_grace(),
            reason: "DeadlineExceeded".into(),
            message: message.into(),
            failed: true,
            ..Termination::default()
        });
    }

    /// Containers, sandboxes, volumes, cgroup, in this order.
    pub(crate) fn take_down(&mut self) {
        let living: Vec<String> =
            self.o.containers.iter().filter(|c| alive(c)).map(|c| c.id.clone()).collect();
        for id in &living {
            self.kill(id, None, "");
        }
        if !living.is_empty()
            || self.starting()
            || self.o.in_flight.iter().any(|k| matches!(k, Key::Prepare | Key::MountVolumes))
        {
            return;
        }
        if !self.stop_sandboxes() {
            return;
        }
        if !self.mem.volumes_down {
            return self.act(Action::UnmountVolumes);
        }
        if !self.mem.cgroup_down {
            return self.act(Action::RemoveCgroup);
        }
        if self.d.gone {
            self.forget();
        }
    }

    /// Whether no process of the Pod lives and none can start any more.
    pub(crate) fn is_down(&self) -> bool {
        self.mem.ending.is_some() && !self.any_alive() && !self.starting()
    }

    /// Whether nothing of the Pod runs, its sandboxes included.
    pub(crate) fn is_over(&self) -> bool {
        self.is_down() && !self.o.sandboxes.iter().any(|s| s.ready)
    }

    fn forget(&mut self) {
        let containers: Vec<String> = self.o.containers.iter().map(|c| c.id.clone()).collect();
        for id in &containers {
            self.act(Action::RemoveContainer { id: id.clone() });
        }
        if !containers.is_empty() {
            return;
        }
        let boxes: Vec<String> = self.o.sandboxes.iter().map(|s| s.id.clone()).collect();
        for id in &boxes {
            self.act(Action::RemoveSandbox { id: id.clone() });
        }
        if boxes.is_empty() {
            self.act(Action::Forget);
        }
    }

    /// Asks for the object's deletion when everything is down and the API shows the end.
    pub(crate) fn delete_when_over(&mut self, status: &PodStatus) {
        let shown = self.d.pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default();
        let over = self.is_down() && self.mem.volumes_down && self.mem.cgroup_down;
        // What the API refuses to hear must not hold up the end.
        let heard = self.o.refused || self.o.published && is_finished(shown);
        let told = heard && status.phase.as_deref().is_some_and(is_finished);
        if over && told && !self.mem.deleted && self.d.deleting.is_some() && !self.d.is_static && !self.d.gone
        {
            self.act(Action::DeleteFromApi);
        }
    }

    /// Removes records nobody reads any more: of each container the newest ended one stays, of sandboxes the newest and
    /// those with containers.
    pub(crate) fn collect_garbage(&mut self) {
        let known = self.o;
        self.mem.stopped.retain(|id| known.sandboxes.iter().any(|s| s.id == *id));
        if self.d.gone {
            return;
        }
        for ctr in self.ctrs.clone() {
            let dead = crate::view::instances(self.o, ctr.name())
                .into_iter()
                .filter(|c| c.state == ContainerState::Exited);
            let newest_id = newest(self.o, ctr.name()).map(|c| c.id.clone());
            let old: Vec<_> = dead
                .skip(1)
                .filter(|c| Some(&c.id) != newest_id.as_ref())
                .map(|c| (c.id.clone(), c.finished_at))
                .collect();
            for (id, finished) in old {
                let due = finished.plus_secs(KEEP_RECORDS);
                if self.now < due {
                    self.wake_at(due);
                } else {
                    self.act(Action::RemoveContainer { id });
                }
            }
        }
        let boxes: Vec<String> = sandboxes(self.o)
            .into_iter()
            .skip(1)
            .filter(|s| {
                !s.ready
                    && self.mem.stopped.contains(&s.id)
                    && !self.o.containers.iter().any(|c| c.sandbox_id == s.id)
            })
            .map(|s| s.id.clone())
            .collect();
        for id in boxes {
            self.act(Action::RemoveSandbox { id });
        }
    }
}
