//! The rule action `RestartAllContainers`: everything in the sandbox is killed and removed, the container that asked for
//! it last; then the Pod starts over in the same sandbox, with its address, volumes and logs.

use crate::restart::matching_rule;
use crate::step::Run;
use crate::types::{Action, Container, ContainerState, Role, Sandbox};
use crate::view::{Ctr, newest};

/// Seconds that a container has for its end; preStop hooks do not run.
const GRACE: i64 = 2;
const ACTION: &str = "RestartAllContainers";

impl Run<'_> {
    /// Whether any container's rules can ask for it.
    pub(crate) fn may_restart_all(&self) -> bool {
        self.ctrs.iter().any(|c| c.spec.restart_policy_rules.iter().flatten().any(|r| r.action == ACTION))
    }

    /// Does the next part of it; true while it is being done.
    pub(crate) fn restart_all(&mut self, sandbox: &Sandbox) -> bool {
        if self.mem.restart_all.is_none() {
            let Some((name, ended)) = self.trigger(sandbox) else { return false };
            if let Some(until) = self.crash_backoff(&name, &ended, false) {
                self.tell_crash_backoff(&name, &ended.id, until);
                return true;
            }
            self.mem.restart_all = Some(ended.id);
        }
        let living = self.living();
        for id in &living {
            self.kill(id, Some(GRACE), "");
            self.skip_hook(id);
        }
        if !living.is_empty() || self.starting() {
            return true;
        }
        let trigger = self.mem.restart_all.clone();
        let all: Vec<String> =
            self.o.containers.iter().filter(|c| c.sandbox_id == sandbox.id).map(|c| c.id.clone()).collect();
        let others: Vec<&String> = all.iter().filter(|id| Some(*id) != trigger.as_ref()).collect();
        for id in if others.is_empty() { all.iter().collect() } else { others } {
            self.act(Action::RemoveContainer { id: id.clone() });
        }
        if all.is_empty() {
            self.mem.restart_all = None;
            self.mem.initialized = None;
        }
        !all.is_empty()
    }

    fn skip_hook(&mut self, id: &str) {
        for cm in self.mem.containers.values_mut() {
            if let Some(s) = cm.stopping.as_mut().filter(|s| s.id == id) {
                s.hook_done = true;
            }
        }
    }

    /// An ended container whose rule asks for it.
    fn trigger(&self, sandbox: &Sandbox) -> Option<(String, Container)> {
        let asks = |ctr: &Ctr<'_>| {
            let ended = newest(self.o, ctr.name())
                .filter(|i| i.state == ContainerState::Exited && i.sandbox_id == sandbox.id)?;
            let rules = ctr.spec.restart_policy_rules.as_deref().unwrap_or_default();
            (matching_rule(rules, ended.exit_code) == Some(ACTION))
                .then(|| (ctr.name().to_owned(), ended.clone()))
        };
        self.ctrs.iter().filter(|c| c.role != Role::Ephemeral).find_map(asks)
    }
}
