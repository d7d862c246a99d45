//! Stops containers: Killing event, preStop hook within the grace, then StopContainer with what is left of it, at least
//! 2 s. Sidecars wait for all regular containers, then go in reverse order (upstream: `killContainer`,
//! `terminationOrdering`).

use crate::step::Run;
use crate::types::{Action, Container, ContainerState, Hook, Key, ProbeKind, Role, Stopping};
use crate::view::{Ctr, alive, pod_spec};

/// The least that StopContainer is given, in seconds.
const LEAST: i64 = 2;

impl Run<'_> {
    /// The Pod's own grace in seconds.
    pub(crate) fn pod_grace(&self) -> i64 {
        pod_spec(&self.d.pod).termination_grace_period_seconds.unwrap_or(30).max(0)
    }

    /// Grace of a kill by a probe.
    pub(crate) fn probe_grace(&self, ctr: &Ctr<'_>, kind: ProbeKind) -> i64 {
        let probe =
            if kind == ProbeKind::Startup { &ctr.spec.startup_probe } else { &ctr.spec.liveness_probe };
        probe.as_ref().and_then(|p| p.termination_grace_period_seconds).unwrap_or_else(|| self.pod_grace())
    }

    /// Begins to stop an instance unless that began already. `why` replaces the usual message.
    pub(crate) fn kill(&mut self, id: &str, grace: Option<i64>, why: &str) {
        let Some(name) = self.name_of(id) else { return };
        let grace =
            grace.unwrap_or_else(|| self.mem.ending.as_ref().map_or_else(|| self.pod_grace(), |e| e.grace));
        let now = self.now;
        let cm = self.cm(&name);
        if cm.stopping.as_ref().is_some_and(|s| s.id == id) {
            return;
        }
        cm.stopping = Some(Stopping { id: id.to_owned(), since: now, grace, hook_done: false, until: None });
        let text = if why.is_empty() { format!("Stopping container {name}") } else { why.to_owned() };
        self.emit_for(&name, "Killing", &text);
    }

    /// A shorter grace for everything being stopped, counted from now.
    pub(crate) fn shorten(&mut self, grace: i64) {
        let now = self.now;
        for cm in self.mem.containers.values_mut() {
            let Some(s) = cm.stopping.as_mut() else { continue };
            let left = s.grace - now.secs_since(s.since);
            if grace < left {
                s.since = now;
                s.grace = grace;
                s.until = None;
            }
        }
    }

    /// Moves every stop on.
    pub(crate) fn progress_kills(&mut self) {
        let names: Vec<String> = self
            .mem
            .containers
            .iter()
            .filter(|(_, m)| m.stopping.is_some())
            .map(|(n, _)| n.clone())
            .collect();
        for name in names {
            let Some(stopping) = self.peek(&name).and_then(|m| m.stopping.clone()) else { continue };
            let inst = self.o.containers.iter().find(|c| c.id == stopping.id).cloned();
            match inst {
                Some(inst) if alive(&inst) => {
                    let next = self.advance(&name, &inst, stopping);
                    self.cm(&name).stopping = Some(next);
                }
                _ => self.cm(&name).stopping = None,
            }
        }
    }

    fn advance(&mut self, name: &str, inst: &Container, mut s: Stopping) -> Stopping {
        let end = s.since.plus_secs(s.grace);
        if !s.hook_done {
            let has_hook = self.has_pre_stop(name) && inst.state == ContainerState::Running;
            if has_hook && s.grace > 0 && self.now < end {
                let left = s.grace - self.now.secs_since(s.since);
                let (id, container) = (inst.id.clone(), name.to_owned());
                self.act(Action::RunHook { id, container, hook: Hook::PreStop, timeout: Some(left.max(1)) });
                self.wake_at(end);
                return s;
            }
            s.hook_done = true;
        }
        if self.now < end && !self.may_stop(name) {
            self.wake_at(end);
            return s;
        }
        if s.until.is_some_and(|u| !self.o.in_flight.contains(&Key::Stop(inst.id.clone(), u))) {
            // Lost with a restart of the node, or failed: again, with the full grace period.
            s.since = self.now;
            s.until = None;
        }
        if s.until.is_none() {
            let grace = (s.grace - self.now.secs_since(s.since)).max(LEAST);
            let until = self.now.plus_secs(grace).0.div_euclid(1_000_000_000);
            s.until = Some(until);
            self.act(Action::StopContainer { id: inst.id.clone(), container: name.to_owned(), grace, until });
        }
        s
    }

    fn has_pre_stop(&self, name: &str) -> bool {
        let ctr = self.ctrs.iter().find(|c| c.name() == name);
        ctr.and_then(|c| c.spec.lifecycle.as_ref()).is_some_and(|l| l.pre_stop.is_some())
    }

    /// While the Pod ends, a sidecar waits for every container that depends on it.
    fn may_stop(&self, name: &str) -> bool {
        let at = self.ctrs.iter().position(|c| c.name() == name);
        let (Some(at), true) = (at, self.mem.ending.is_some()) else { return true };
        if self.ctrs[at].role != Role::Sidecar {
            return true;
        }
        let later = &self.ctrs[at + 1..];
        !later
            .iter()
            .filter(|c| matches!(c.role, Role::Sidecar | Role::Regular))
            .any(|c| self.o.containers.iter().any(|i| i.name == c.name() && alive(i)))
    }
}
