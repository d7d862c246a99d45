//! What the node says about the Pod: derived anew in every step from the observation, memory and the last status.
//!
//! Invariants: times move only when a state flips; addresses and start time stay once told; a terminal phase never
//! changes and is withheld while a process could still run.

mod conditions;
mod containers;
pub(crate) mod phase;

use k8s_openapi::api::core::v1::{ContainerStatus, HostIP, PodIP, PodStatus};
use kinds::rules::phase::is_finished;

pub use conditions::OWNED as OWNED_CONDITIONS;

use crate::step::Run;
use crate::types::Role;
use crate::view::pod_spec;

impl Run<'_> {
    /// The status to publish.
    pub(crate) fn status(&self) -> PodStatus {
        let mut status = self.mem.status.clone().unwrap_or_default();
        if !self.undecided() {
            status.observed_generation = self.d.pod.metadata.generation.max(status.observed_generation);
        }
        status.start_time = Some(status.start_time.unwrap_or_else(|| self.now.to_api()));
        if !self.d.qos_class.is_empty() {
            status.qos_class = Some(self.d.qos_class.clone());
        }
        status.host_ip = self.d.host_ips.first().cloned().or(status.host_ip);
        if !self.d.host_ips.is_empty() {
            status.host_ips = Some(self.d.host_ips.iter().map(|ip| HostIP { ip: ip.clone() }).collect());
        }
        self.addresses(&mut status);
        if self.mem.ending.as_ref().is_some_and(|e| e.rejected) {
            self.rejected(&mut status);
            return status;
        }
        let list = |roles: &[Role]| -> Option<Vec<ContainerStatus>> {
            let all: Vec<_> = self
                .ctrs
                .iter()
                .filter(|c| roles.contains(&c.role))
                .map(|c| self.container_status(c))
                .collect();
            (!all.is_empty()).then_some(all)
        };
        status.init_container_statuses = list(&[Role::Init, Role::Sidecar]);
        status.container_statuses = list(&[Role::Regular]);
        status.ephemeral_container_statuses = list(&[Role::Ephemeral]);
        for sorted in
            [&mut status.container_statuses, &mut status.ephemeral_container_statuses].into_iter().flatten()
        {
            sorted.sort_by(|a, b| a.name.cmp(&b.name));
        }
        self.set_phase(&mut status);
        self.set_conditions(&mut status);
        status
    }

    /// The last told status of a container.
    pub(crate) fn told(&self, name: &str) -> Option<&ContainerStatus> {
        let s = self.mem.status.as_ref()?;
        let lists = [&s.init_container_statuses, &s.container_statuses, &s.ephemeral_container_statuses];
        lists.into_iter().flatten().flatten().find(|c| c.name == name)
    }

    fn addresses(&self, status: &mut PodStatus) {
        let ips: Vec<String> = if pod_spec(&self.d.pod).host_network == Some(true) {
            if status.pod_ip.is_some() || self.o.sandboxes.is_empty() {
                return;
            }
            self.d.host_ips.clone()
        } else {
            self.usable_sandbox().map(|s| s.ips.clone()).unwrap_or_default()
        };
        if let Some(first) = ips.first() {
            status.pod_ip = Some(first.clone());
            status.pod_ips = Some(ips.iter().map(|ip| PodIP { ip: ip.clone() }).collect());
        }
    }

    fn rejected(&self, status: &mut PodStatus) {
        let Some(e) = &self.mem.ending else { return };
        status.phase = Some("Failed".into());
        status.reason = Some(e.reason.clone());
        status.message = Some(e.message.clone());
        self.set_conditions(status);
    }

    fn set_phase(&self, status: &mut PodStatus) {
        let old = self.mem.status.as_ref().and_then(|s| s.phase.clone()).unwrap_or_default();
        if is_finished(&old) {
            return;
        }
        let new = self.phase(status);
        if let Some(e) = self.mem.ending.as_ref().filter(|e| !e.reason.is_empty() && is_finished(new)) {
            status.reason = Some(e.reason.clone());
            status.message = Some(e.message.clone());
        }
        status.phase = Some(new.to_owned());
    }
}
