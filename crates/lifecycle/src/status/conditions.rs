//! The Pod's conditions that the node owns (upstream: `pkg/kubelet/status/generate.go`). Others' are kept.

use k8s_openapi::api::core::v1::{ContainerStatus, PodCondition, PodStatus};
use kinds::rules::conditions::since;
use kinds::rules::phase::is_finished;

use crate::step::Run;
use crate::types::Role;
use crate::view::pod_spec;

/// The conditions that the node writes.
pub const OWNED: [&str; 9] = [
    "PodResizePending",
    "PodResizeInProgress",
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
    "DisruptionTarget",
    "AllContainersRestarting",
];

/// Status, reason, message of a condition.
type Said = (bool, String, String);

fn yes() -> Said {
    (true, String::new(), String::new())
}

fn no(reason: &str, message: String) -> Said {
    (false, reason.to_owned(), message)
}

fn names(list: &[&str]) -> String {
    format!("[{}]", list.join(" "))
}

impl Run<'_> {
    pub(super) fn set_conditions(&self, status: &mut PodStatus) {
        if let Some(list) = &mut status.conditions {
            list.retain(|c| OWNED.contains(&c.type_.as_str()));
        }
        self.set_resize(status);
        let rejected = self.mem.ending.as_ref().is_some_and(|e| e.rejected);
        if !rejected {
            let ready = self.containers_ready(status);
            let said = [
                (
                    "PodReadyToStartContainers",
                    (self.usable_sandbox().is_some(), String::new(), String::new()),
                ),
                ("Initialized", self.initialized(status)),
                ("Ready", self.ready(&ready)),
                ("ContainersReady", ready),
            ];
            for (kind, said) in said {
                self.set(status, kind, &said);
            }
        }
        if self.may_restart_all() {
            let said = (
                true,
                "RestartAllContainersStarted".into(),
                "container exited with restart policy rule".into(),
            );
            let none = (false, String::new(), String::new());
            self.set(
                status,
                "AllContainersRestarting",
                if self.mem.restart_all.is_some() { &said } else { &none },
            );
        }
        self.set(status, "PodScheduled", &yes());
        let disruption =
            self.mem.ending.as_ref().and_then(|e| e.disruption.clone().zip(Some(e.message.clone())));
        if let Some((reason, message)) =
            disruption.filter(|_| status.phase.as_deref().is_some_and(is_finished))
        {
            self.set(status, "DisruptionTarget", &(true, reason, message));
        }
    }

    /// The two that are there only while they are true.
    fn set_resize(&self, status: &mut PodStatus) {
        let going_on = self.mem.ending.is_none();
        let pending = self.mem.resize_pending.as_ref().filter(|_| going_on);
        let progress = self.mem.resize_progress.as_ref().filter(|_| going_on);
        let pending = pending.map(|f| (true, f.reason.clone(), f.message.clone()));
        let progress = progress.map(|p| {
            let reason = if p.error.is_empty() { "" } else { "Error" };
            (true, reason.to_owned(), p.error.clone())
        });
        for (kind, said) in [("PodResizePending", pending), ("PodResizeInProgress", progress)] {
            match said {
                Some(said) => self.set(status, kind, &said),
                None => status.conditions.iter_mut().for_each(|list| list.retain(|c| c.type_ != kind)),
            }
        }
    }

    fn set(&self, status: &mut PodStatus, kind: &str, said: &Said) {
        let (value, reason, message) = said;
        let value = if *value { "True" } else { "False" };
        let list = status.conditions.get_or_insert_default();
        let old = list.iter().position(|c| c.type_ == kind);
        let before = old.map(|i| (list[i].status.as_str(), list[i].last_transition_time.clone()));
        let new = PodCondition {
            type_: kind.to_owned(),
            status: value.to_owned(),
            reason: (!reason.is_empty()).then(|| reason.clone()),
            message: (!message.is_empty()).then(|| message.clone()),
            last_transition_time: Some(since(before, value, || self.now.to_api())),
            last_probe_time: None,
            observed_generation: status.observed_generation,
        };
        match old {
            Some(i) => list[i] = new,
            None => list.push(new),
        }
    }

    /// Statuses in spec order of the containers that have these roles.
    fn of<'s>(
        &self,
        status: &'s PodStatus,
        roles: &[Role],
    ) -> Vec<(Role, &'s str, Option<&'s ContainerStatus>)>
    where
        Self: 's,
    {
        let lists = [&status.init_container_statuses, &status.container_statuses];
        let mut out = Vec::new();
        for ctr in self.ctrs.iter().filter(|c| roles.contains(&c.role)) {
            if let Some(s) = lists.iter().copied().flatten().flatten().find(|s| s.name == ctr.name()) {
                out.push((ctr.role, s.name.as_str(), Some(s)));
            }
        }
        out
    }

    fn containers_ready(&self, status: &PodStatus) -> Said {
        if let Some(said) = terminal(status) {
            return said;
        }
        let all = self.of(status, &[Role::Sidecar, Role::Regular]);
        if all.is_empty() {
            return no("UnknownContainerStatuses", String::new());
        }
        let unready: Vec<&str> =
            all.iter().filter(|(_, _, s)| s.is_some_and(|s| !s.ready)).map(|(_, n, _)| *n).collect();
        if unready.is_empty() {
            return yes();
        }
        no("ContainersNotReady", format!("containers with unready status: {}", names(&unready)))
    }

    fn ready(&self, containers: &Said) -> Said {
        if !containers.0 {
            return containers.clone();
        }
        let mut missing = Vec::new();
        for gate in pod_spec(&self.d.pod).readiness_gates.iter().flatten() {
            let kind = &gate.condition_type;
            // Readiness gates are others' conditions: the API's word counts, not the node's memory of it.
            let api = self.d.pod.status.as_ref().and_then(|s| s.conditions.as_ref());
            match api.into_iter().flatten().find(|c| c.type_ == *kind) {
                None => missing
                    .push(format!("corresponding condition of pod readiness gate {kind:?} does not exist.")),
                Some(c) if c.status != "True" => {
                    missing.push(format!(
                        "the status of pod readiness gate {kind:?} is not \"True\", but {}",
                        c.status
                    ));
                }
                Some(_) => {}
            }
        }
        if missing.is_empty() { yes() } else { no("ReadinessGatesNotReady", missing.join(", ")) }
    }

    fn initialized(&self, status: &PodStatus) -> Said {
        if status.phase.as_deref() == Some("Succeeded") {
            return (true, "PodCompleted".into(), String::new());
        }
        let init = self.of(status, &[Role::Init, Role::Sidecar]);
        if init.is_empty() || self.regular_started() {
            return yes();
        }
        let incomplete: Vec<&str> = init
            .iter()
            .filter(|(role, _, s)| {
                s.is_none_or(|s| if *role == Role::Sidecar { s.started != Some(true) } else { !s.ready })
            })
            .map(|(_, n, _)| *n)
            .collect();
        if incomplete.is_empty() {
            return yes();
        }
        no("ContainersNotInitialized", format!("containers with incomplete status: {}", names(&incomplete)))
    }
}

fn terminal(status: &PodStatus) -> Option<Said> {
    match status.phase.as_deref() {
        Some("Succeeded") => Some(no("PodCompleted", String::new())),
        Some("Failed") => Some(no("PodFailed", String::new())),
        _ => None,
    }
}
