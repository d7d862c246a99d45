//! Keeps a Pod up: sandbox, ephemeral containers, init containers and sidecars in order, regular containers one by one
//! (upstream: `computePodActions` and `SyncPod`).

use crate::restart::init_failed;
use crate::start::Progress;
use crate::step::Run;
use crate::text::normal;
use crate::types::{Action, Container, ContainerState, ProbeKind, Role, Sandbox, Termination};
use crate::view::{Ctr, alive, instances, newest, pod_spec, sandboxes};

impl Run<'_> {
    /// One pass of bringing the Pod up and keeping it so. Sets `ending` when nothing is left to run.
    pub(crate) fn sync(&mut self) {
        if !self.o.prepared {
            return self.act(Action::Prepare);
        }
        if !self.o.mounted {
            return self.act(Action::MountVolumes);
        }
        match self.usable_sandbox().cloned() {
            Some(sandbox) => self.sync_containers(&sandbox),
            None => self.renew_sandbox(),
        }
    }

    /// The newest sandbox, if the Pod's containers can live in it.
    pub(crate) fn usable_sandbox(&self) -> Option<&Sandbox> {
        let host = pod_spec(&self.d.pod).host_network == Some(true);
        let mut ready = self.o.sandboxes.iter().filter(|s| s.ready);
        let (first, second) = (ready.next()?, ready.next());
        let newest = sandboxes(self.o).first().is_some_and(|s| s.id == first.id);
        (second.is_none() && newest && first.host_network == host && (host || !first.ips.is_empty()))
            .then_some(first)
    }

    fn renew_sandbox(&mut self) {
        let old = sandboxes(self.o).first().map(|s| (*s).clone());
        let lost = self.ctrs.iter().any(|c| c.role == Role::Regular && self.lost_for_good(c));
        if self.pod_policy() == "Never" && (lost || !self.o.containers.is_empty()) {
            return self.end_by_itself();
        }
        if (lost || self.regular_started()) && !self.anything_to_start() {
            return self.end_by_itself();
        }
        if let Some(old) = &old {
            if self.mem.sandbox_changed.as_ref() != Some(&old.id) {
                self.mem.sandbox_changed = Some(old.id.clone());
                self.emit(normal(
                    "",
                    "SandboxChanged",
                    "Pod sandbox changed, it will be killed and re-created.",
                ));
            }
            if !self.clear_sandboxes() {
                return;
            }
        }
        let attempt = old.map_or(0, |s| s.attempt + 1);
        self.act(Action::CreateSandbox { attempt });
    }

    /// Ids of all running instances.
    pub(crate) fn living(&self) -> Vec<String> {
        let running = self.o.containers.iter().filter(|c| c.state == ContainerState::Running);
        running.map(|c| c.id.clone()).collect()
    }

    /// Stops what lives in old sandboxes, then these; true once all are stopped.
    fn clear_sandboxes(&mut self) -> bool {
        let living = self.living();
        for id in &living {
            self.kill(id, None, "");
        }
        living.is_empty() && self.stop_sandboxes()
    }

    /// Stops every sandbox that was not stopped yet; true once none is left.
    pub(crate) fn stop_sandboxes(&mut self) -> bool {
        let open: Vec<String> = self
            .o
            .sandboxes
            .iter()
            .filter(|s| s.ready || !self.mem.stopped.contains(&s.id))
            .map(|s| s.id.clone())
            .collect();
        for id in &open {
            self.act(Action::StopSandbox { id: id.clone() });
        }
        open.is_empty()
    }

    /// Whether a regular container was ever made.
    pub(crate) fn regular_started(&self) -> bool {
        self.ctrs.iter().any(|c| c.role == Role::Regular && newest(self.o, c.name()).is_some())
    }

    fn anything_to_start(&self) -> bool {
        let regular = self.ctrs.iter().filter(|c| c.role == Role::Regular);
        let mut unfinished = regular.filter(|c| {
            let done = newest(self.o, c.name())
                .is_some_and(|i| i.state == ContainerState::Exited && i.exit_code == 0);
            !(done && self.policy(c) == "OnFailure" || self.lost_for_good(c))
        });
        unfinished.next().is_some()
    }

    /// The Pod's containers are done for good.
    fn end_by_itself(&mut self) {
        let grace = self.pod_grace();
        self.mem.ending = Some(Termination { grace, ..Termination::default() });
    }

    fn sync_containers(&mut self, sandbox: &Sandbox) {
        if self.restart_all(sandbox) {
            return;
        }
        let ctrs = self.ctrs.clone();
        self.enforce(&ctrs);
        for ctr in ctrs.iter().filter(|c| c.role == Role::Ephemeral) {
            let inst = newest(self.o, ctr.name());
            let unfinished =
                |i: &Container| matches!(i.state, ContainerState::Created | ContainerState::Running);
            if inst.map_or(!self.lost_for_good(ctr), unfinished) {
                self.bring_up(ctr, sandbox, inst);
            }
        }
        if self.init_containers(&ctrs, sandbox) {
            self.regular_containers(&ctrs, sandbox);
        }
    }

    /// True once all init containers are through and all sidecars started.
    fn init_containers(&mut self, ctrs: &[Ctr<'_>], sandbox: &Sandbox) -> bool {
        let initialized =
            self.mem.initialized.as_ref() == Some(&sandbox.id) || self.regular_in(ctrs, sandbox);
        for ctr in ctrs.iter().filter(|c| matches!(c.role, Role::Init | Role::Sidecar)) {
            let inst = instances(self.o, ctr.name()).into_iter().find(|i| i.sandbox_id == sandbox.id);
            let passed = if ctr.role == Role::Sidecar {
                self.sidecar(ctr, sandbox, inst)
            } else {
                initialized || self.init_container(ctr, sandbox, inst)
            };
            if self.mem.ending.is_some() || (!passed && !initialized) {
                return false;
            }
        }
        self.mem.initialized = Some(sandbox.id.clone());
        true
    }

    fn regular_in(&self, ctrs: &[Ctr<'_>], sandbox: &Sandbox) -> bool {
        let regular = |name: &str| ctrs.iter().any(|c| c.role == Role::Regular && c.name() == name);
        self.o.containers.iter().any(|c| c.sandbox_id == sandbox.id && regular(&c.name))
    }

    fn init_container(&mut self, ctr: &Ctr<'_>, sandbox: &Sandbox, inst: Option<&Container>) -> bool {
        if let Some(i) = inst
            && i.state == ContainerState::Exited
        {
            if !init_failed(i) {
                return true;
            }
            if !self.restarts(ctr, i) {
                self.end_by_itself();
                return false;
            }
        }
        self.bring_up(ctr, sandbox, inst);
        false
    }

    fn sidecar(&mut self, ctr: &Ctr<'_>, sandbox: &Sandbox, inst: Option<&Container>) -> bool {
        if let Some(i) = inst
            && i.state == ContainerState::Running
            && self.kill_if_wrong(ctr, i)
        {
            return false;
        }
        self.bring_up(ctr, sandbox, inst);
        inst.is_some_and(|i| i.state == ContainerState::Running && self.has_started(ctr, i))
    }

    fn regular_containers(&mut self, ctrs: &[Ctr<'_>], sandbox: &Sandbox) {
        let (mut left, mut busy) = (false, false);
        for ctr in ctrs.iter().filter(|c| c.role == Role::Regular) {
            let inst = newest(self.o, ctr.name());
            match inst {
                Some(i) if i.state == ContainerState::Running => {
                    left = true;
                    if self.kill_if_wrong(ctr, i) {
                        continue;
                    }
                }
                Some(i) if i.state == ContainerState::Exited && !self.restarts(ctr, i) => continue,
                None if self.lost_for_good(ctr) => continue,
                _ => left = true,
            }
            if !busy || inst.is_some_and(|i| i.state == ContainerState::Running) {
                busy |= self.bring_up(ctr, sandbox, inst) == Progress::Busy;
            }
        }
        if !left && !self.starting() {
            self.end_by_itself();
        }
    }

    /// Kills a running container whose definition changed or whose probe says so; true if it is being killed.
    fn kill_if_wrong(&mut self, ctr: &Ctr<'_>, inst: &Container) -> bool {
        let name = ctr.name().to_owned();
        if self.peek(&name).and_then(|m| m.stopping.as_ref()).is_some_and(|s| s.id == inst.id) {
            return true;
        }
        if inst.image_spec != ctr.image() {
            self.kill(&inst.id, None, &format!("Container {name} definition changed, will be restarted"));
            return true;
        }
        for kind in [ProbeKind::Startup, ProbeKind::Liveness] {
            if self.probe_result(&name, kind, &inst.id) == Some(false) {
                let word = crate::text::probe_word(kind);
                let text = if ctr.role == Role::Sidecar {
                    format!("Init container {name} failed {word} probe")
                } else if self.restarts_after_kill(ctr) {
                    format!("Container {name} failed {word} probe, will be restarted")
                } else {
                    format!("Container {name} failed {word} probe")
                };
                let grace = self.probe_grace(ctr, kind);
                self.kill(&inst.id, Some(grace), &text);
                return true;
            }
        }
        false
    }

    /// Whether anything is about to make a container.
    pub(crate) fn starting(&self) -> bool {
        use crate::types::Key;
        self.o.in_flight.iter().any(|k| matches!(k, Key::Create(_) | Key::Start(_) | Key::CreateSandbox))
    }

    /// Whether any process may still live.
    pub(crate) fn any_alive(&self) -> bool {
        self.o.containers.iter().any(alive)
    }
}
