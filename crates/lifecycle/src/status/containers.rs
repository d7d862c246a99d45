//! The status of one container (upstream: `convertToAPIContainerStatuses` and `TerminatePod`).

use k8s_openapi::api::core::v1::{
    ContainerState as State, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, ContainerUser, LinuxContainerUser, VolumeMountStatus,
};

use crate::step::Run;
use crate::text::{LOST_AT_END, LOST_WHILE_RUNNING};
use crate::types::{Container, ContainerState, Role, Time};
use crate::view::{Ctr, instances};

fn waiting(reason: &str, message: &str) -> State {
    let set = |s: &str| (!s.is_empty()).then(|| s.to_owned());
    State {
        waiting: Some(ContainerStateWaiting { reason: set(reason), message: set(message) }),
        ..State::default()
    }
}

fn lost(message: &str) -> State {
    let terminated = ContainerStateTerminated {
        exit_code: 137,
        reason: Some("ContainerStatusUnknown".into()),
        message: Some(message.into()),
        ..Default::default()
    };
    State { terminated: Some(terminated), ..State::default() }
}

fn moment(t: Time) -> Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time> {
    (t != Time::default()).then(|| t.to_api())
}

impl Run<'_> {
    pub(super) fn container_status(&self, ctr: &Ctr<'_>) -> ContainerStatus {
        let insts = instances(self.o, ctr.name());
        let mut s = self.blank(ctr);
        match insts.first() {
            Some(newest) => self.of_instance(&mut s, ctr, newest, insts.get(1).copied()),
            None => self.without_record(&mut s, ctr),
        }
        self.fill_end(&mut s, ctr);
        s
    }

    fn blank(&self, ctr: &Ctr<'_>) -> ContainerStatus {
        let has_init = self.ctrs.iter().any(|c| matches!(c.role, Role::Init | Role::Sidecar));
        let default = if has_init { "PodInitializing" } else { "ContainerCreating" };
        let (reason, message) = self
            .peek(ctr.name())
            .and_then(|m| m.start_error.as_ref())
            .map_or((default, ""), |e| (&e.reason, &e.message));
        let mounts: Vec<VolumeMountStatus> = ctr
            .spec
            .volume_mounts
            .iter()
            .flatten()
            .map(|m| VolumeMountStatus {
                mount_path: m.mount_path.clone(),
                name: m.name.clone(),
                read_only: m.read_only,
                recursive_read_only: m
                    .read_only
                    .filter(|r| *r)
                    .map(|_| m.recursive_read_only.clone().unwrap_or_else(|| "Disabled".into())),
                ..VolumeMountStatus::default()
            })
            .collect();
        let allocated = self.mem.allocated.as_ref().and_then(|a| a.get(ctr.name()));
        let resources = allocated.or(ctr.spec.resources.as_ref()).cloned();
        let resources = resources.filter(|r| r.limits.is_some() || r.requests.is_some());
        ContainerStatus {
            name: ctr.name().to_owned(),
            image: ctr.image().to_owned(),
            state: Some(waiting(reason, message)),
            last_state: Some(State::default()),
            started: Some(false),
            allocated_resources: resources.as_ref().and_then(|r| r.requests.clone()),
            resources: Some(resources.unwrap_or_default()),
            volume_mounts: (!mounts.is_empty()).then_some(mounts),
            ..ContainerStatus::default()
        }
    }

    fn of_instance(
        &self,
        s: &mut ContainerStatus,
        ctr: &Ctr<'_>,
        newest: &Container,
        second: Option<&Container>,
    ) {
        s.restart_count = i32::try_from(newest.attempt).unwrap_or(i32::MAX);
        if let Some(old) = self.told(ctr.name()) {
            s.restart_count = s.restart_count.max(old.restart_count);
            let same = |l: &State| {
                l.terminated
                    .as_ref()
                    .and_then(|t| t.container_id.as_ref())
                    .is_some_and(|id| id.ends_with(&newest.id))
            };
            s.last_state = old.last_state.clone().filter(|l| !same(l)).or_else(|| Some(State::default()));
        }
        s.container_id = Some(format!("{}://{}", self.d.runtime_name, newest.id));
        newest.image.clone_into(&mut s.image);
        newest.image_ref.clone_into(&mut s.image_id);
        if let Some(second) = second.filter(|c| c.state == ContainerState::Exited) {
            s.last_state = Some(self.terminated(second));
        }
        if let Some((uid, gid, groups)) = &newest.user {
            let linux = LinuxContainerUser {
                uid: i64::from(*uid),
                gid: i64::from(*gid),
                supplemental_groups: (!groups.is_empty())
                    .then(|| groups.iter().map(|g| i64::from(*g)).collect()),
            };
            s.user = Some(ContainerUser { linux: Some(linux) });
        }
        match newest.state {
            ContainerState::Running => {
                s.state = Some(State {
                    running: Some(ContainerStateRunning { started_at: moment(newest.started_at) }),
                    ..State::default()
                });
                if let Some(actual) = self
                    .actual(newest)
                    .filter(|_| self.mem.allocated.as_ref().is_some_and(|a| a.contains_key(ctr.name())))
                {
                    s.resources = Some(actual);
                }
                s.started = Some(self.has_started(ctr, newest));
                s.ready = self.is_ready(ctr, newest);
            }
            ContainerState::Created => {
                let error = self.peek(ctr.name()).and_then(|m| m.start_error.as_ref());
                s.state = match error {
                    Some(e) => Some(waiting(&e.reason, &e.message)),
                    // The first one is still being made: no reason would look like a step back.
                    None if s.restart_count == 0 => self.blank(ctr).state,
                    None => Some(waiting("", "")),
                };
            }
            ContainerState::Exited => self.ended(s, ctr, newest),
        }
    }

    fn is_ready(&self, ctr: &Ctr<'_>, inst: &Container) -> bool {
        match ctr.role {
            Role::Init | Role::Ephemeral => false,
            Role::Sidecar | Role::Regular => self.passes_readiness(ctr, inst),
        }
    }

    fn ended(&self, s: &mut ContainerStatus, ctr: &Ctr<'_>, inst: &Container) {
        let state = self.terminated(inst);
        s.ready = ctr.role == Role::Init && inst.exit_code == 0 && inst.reason != "OOMKilled";
        // An ended container that is due to start shows why it does not yet.
        let error = self.peek(ctr.name()).and_then(|m| m.start_error.as_ref());
        match error {
            Some(e) if self.will_restart(ctr.name()) => {
                s.last_state = Some(state);
                s.state = Some(waiting(&e.reason, &e.message));
            }
            // The API takes no container back that ended for good, so that one is never shown as ended.
            None if self.will_restart(ctr.name()) && self.replaced(ctr, inst) => {
                s.last_state = Some(state);
                s.state = self.blank(ctr).state;
            }
            _ => s.state = Some(state),
        }
    }

    fn terminated(&self, c: &Container) -> State {
        let reason = match (c.reason.as_str(), c.exit_code) {
            ("", 0) => "Completed",
            ("", _) => "Error",
            (r, _) => r,
        };
        let terminated = ContainerStateTerminated {
            container_id: Some(format!("{}://{}", self.d.runtime_name, c.id)),
            exit_code: c.exit_code,
            finished_at: moment(c.finished_at),
            message: (!c.message.is_empty()).then(|| c.message.clone()),
            reason: Some(reason.to_owned()),
            signal: None,
            // The field is always there; a container that never started has the zero time.
            started_at: moment(c.started_at).or_else(|| Some(Time::default().to_api())),
        };
        State { terminated: Some(terminated), ..State::default() }
    }

    /// No record of any instance: never made, or lost.
    fn without_record(&self, s: &mut ContainerStatus, ctr: &Ctr<'_>) {
        let restarting = self.mem.restart_all.is_some();
        if ctr.role == Role::Init && self.regular_started() && !restarting {
            let done = ContainerStateTerminated {
                exit_code: 0,
                reason: Some("Completed".into()),
                ..Default::default()
            };
            s.state = Some(State { terminated: Some(done), ..State::default() });
            s.ready = true;
        }
        let Some(old) = self.told(ctr.name()) else { return };
        let old_state = old.state.clone().unwrap_or_default();
        if restarting {
            s.state = Some(waiting("RestartingAllContainers", ""));
            s.last_state =
                if old_state.terminated.is_some() { Some(old_state) } else { old.last_state.clone() };
            s.restart_count = old.restart_count;
            s.container_id.clone_from(&old.container_id);
            return;
        }
        if old_state.terminated.is_some() {
            *s = old.clone();
            return;
        }
        if self.lost_for_good(ctr) {
            *s = ContainerStatus {
                state: Some(lost(LOST_WHILE_RUNNING)),
                ready: false,
                started: Some(false),
                ..old.clone()
            };
            return;
        }
        s.restart_count = old.restart_count;
        s.last_state.clone_from(&old.last_state);
        if old_state.waiting.is_some() {
            s.container_id.clone_from(&old.container_id);
        }
        if old_state.running.is_some() {
            s.last_state = Some(lost(LOST_WHILE_RUNNING));
            s.restart_count += 1;
        }
    }

    /// Once a Pod is down, nothing stays waiting that could have run.
    fn fill_end(&self, s: &mut ContainerStatus, ctr: &Ctr<'_>) {
        if !self.is_over() || s.state.as_ref().is_some_and(|st| st.terminated.is_some()) {
            return;
        }
        let has_init = self.ctrs.iter().any(|c| matches!(c.role, Role::Init | Role::Sidecar));
        let was_made = s.container_id.is_some();
        let fills = match ctr.role {
            Role::Regular => was_made || !has_init || self.mem.initialized.is_some(),
            _ => was_made,
        };
        if fills {
            s.state = Some(lost(LOST_AT_END));
            s.ready = false;
            s.started = Some(false);
        }
    }
}
