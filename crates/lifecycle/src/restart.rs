//! Whether an ended container runs again (upstream: `pkg/api/v1/pod/util.go`).

use k8s_openapi::api::core::v1::ContainerRestartRule;

use crate::step::Run;
use crate::types::{Container, ContainerState, Role};
use crate::view::{Ctr, newest, pod_spec};

/// Whether an init container's instance counts as failed. Killed for memory is failed whatever the exit code.
pub(crate) fn init_failed(c: &Container) -> bool {
    c.exit_code != 0 || c.reason == "OOMKilled"
}

/// What the first fitting rule says.
pub(crate) fn matching_rule(rules: &[ContainerRestartRule], exit_code: i32) -> Option<&str> {
    rules
        .iter()
        .find(|rule| {
            rule.exit_codes.as_ref().is_some_and(|codes| {
                let listed = codes.values.iter().flatten().any(|v| *v == exit_code);
                match codes.operator.as_str() {
                    "In" => listed,
                    "NotIn" => !listed,
                    _ => false,
                }
            })
        })
        .map(|rule| rule.action.as_str())
}

impl Run<'_> {
    /// The Pod's policy, `Always` if none is given.
    pub(crate) fn pod_policy(&self) -> String {
        pod_spec(&self.d.pod)
            .restart_policy
            .clone()
            .filter(|p| !p.is_empty())
            .unwrap_or_else(|| "Always".into())
    }

    /// The container's own policy, or the Pod's.
    pub(crate) fn policy(&self, ctr: &Ctr<'_>) -> String {
        ctr.spec.restart_policy.clone().filter(|p| !p.is_empty()).unwrap_or_else(|| self.pod_policy())
    }

    /// Whether a probe that failed leads to a new instance.
    pub(crate) fn restarts_after_kill(&self, ctr: &Ctr<'_>) -> bool {
        self.mem.ending.is_none() && ctr.role != Role::Ephemeral && self.policy(ctr) != "Never"
    }

    /// Whether no record is left of a container that was told to run or to have ended, and that runs once only: it is
    /// not run again because the machine forgot it.
    pub(crate) fn lost_for_good(&self, ctr: &Ctr<'_>) -> bool {
        if newest(self.o, ctr.name()).is_some() || self.may_restart_all() {
            return false;
        }
        let Some(told) = self.told(ctr.name()).and_then(|s| s.state.as_ref()) else { return false };
        let ended_well = told.terminated.as_ref().is_some_and(|t| t.exit_code == 0);
        let ran = told.running.is_some() || told.terminated.is_some();
        match ctr.role {
            Role::Init | Role::Sidecar => false,
            Role::Ephemeral => ran,
            Role::Regular => match self.policy(ctr).as_str() {
                "Never" => ran,
                "OnFailure" => ended_well,
                _ => false,
            },
        }
    }

    /// Whether this ended instance is followed by another.
    pub(crate) fn restarts(&self, ctr: &Ctr<'_>, ended: &Container) -> bool {
        if self.mem.ending.is_some() || ctr.role == Role::Ephemeral {
            return false;
        }
        if ctr.role == Role::Sidecar || ended.state == ContainerState::Created {
            return true;
        }
        let failed = if ctr.role == Role::Init { init_failed(ended) } else { ended.exit_code != 0 };
        if ctr.role == Role::Init && !failed {
            return false;
        }
        if self.replaced(ctr, ended) {
            return true;
        }
        let own = ctr.spec.restart_policy.as_deref().filter(|p| !p.is_empty());
        if own.is_some() {
            let rules = ctr.spec.restart_policy_rules.as_deref().unwrap_or_default();
            if let Some(action) = matching_rule(rules, ended.exit_code) {
                return matches!(action, "Restart" | "RestartAllContainers");
            }
        }
        match self.policy(ctr).as_str() {
            "Never" => false,
            "OnFailure" => failed,
            _ => true,
        }
    }
}
