//! The probes' state machine (upstream: `pkg/kubelet/prober/worker.go`): when each probe runs, what its streak means.
//!
//! Invariant: a result belongs to one instance; a new instance starts with readiness failed, liveness good, startup
//! unknown. Results survive a restart of the node in memory.

use k8s_openapi::api::core::v1::Probe;

use crate::step::Run;
use crate::text::{probe_title, warning};
use crate::types::{Action, Container, ContainerState, Key, ProbeKind, ProbeMemory, ProbeVerdict, Role};
use crate::view::{Ctr, newest};

const KINDS: [ProbeKind; 3] = [ProbeKind::Startup, ProbeKind::Liveness, ProbeKind::Readiness];

/// The definition of one probe.
fn definition<'a>(ctr: &'a Ctr<'_>, kind: ProbeKind) -> Option<&'a Probe> {
    match kind {
        ProbeKind::Startup => ctr.spec.startup_probe.as_ref(),
        ProbeKind::Liveness => ctr.spec.liveness_probe.as_ref(),
        ProbeKind::Readiness => ctr.spec.readiness_probe.as_ref(),
    }
}

impl Run<'_> {
    /// What a probe of this instance says so far; `None` is unknown or not for this instance.
    pub(crate) fn probe_result(&self, name: &str, kind: ProbeKind, id: &str) -> Option<bool> {
        self.peek(name)?.probes.get(&kind).filter(|p| p.id == id)?.result
    }

    /// Whether the instance is ready by its readiness probe (or for want of one, by having started).
    pub(crate) fn passes_readiness(&self, ctr: &Ctr<'_>, inst: &Container) -> bool {
        self.has_started(ctr, inst)
            && (ctr.spec.readiness_probe.is_none()
                || self.probe_result(ctr.name(), ProbeKind::Readiness, &inst.id) == Some(true))
    }

    /// Takes in one answer.
    pub(crate) fn probed(&mut self, kind: ProbeKind, id: &str, verdict: &ProbeVerdict) {
        let Some(name) = self.name_of(id) else { return };
        let Some((failures, successes, period)) = self.ctrs.iter().find(|c| c.name() == name).and_then(|c| {
            let p = definition(c, kind)?;
            let at_least_one = |n: Option<i32>, d: i32| u32::try_from(n.unwrap_or(d).max(1)).unwrap_or(1);
            Some((
                at_least_one(p.failure_threshold, 3),
                at_least_one(p.success_threshold, 1),
                p.period_seconds.unwrap_or(10).max(1),
            ))
        }) else {
            return;
        };
        self.tell_probe(&name, kind, verdict);
        let now = self.now;
        let Some(p) = self.cm(&name).probes.get_mut(&kind).filter(|p| p.id == id) else { return };
        // The period runs from the time at which the probe was due, so that a slow one does not drift.
        let due = p.next_at.plus_secs(i64::from(period));
        p.next_at = if due < now { now.plus_secs(i64::from(period)) } else { due };
        let good = match verdict {
            ProbeVerdict::Error(_) => return,
            ProbeVerdict::Success | ProbeVerdict::Warning(_) => true,
            ProbeVerdict::Failure(_) => false,
        };
        let needed = if good { successes } else { failures };
        // Counted no further than it matters, so that memory rests while nothing changes.
        p.streak = if p.last == good && p.streak > 0 { (p.streak + 1).min(needed) } else { 1 };
        p.last = good;
        if p.streak < needed {
            return;
        }
        p.result = Some(good);
        if kind == ProbeKind::Startup || (kind == ProbeKind::Liveness && !good) {
            p.hold = true;
            p.streak = 0;
        }
    }

    fn tell_probe(&mut self, name: &str, kind: ProbeKind, verdict: &ProbeVerdict) {
        let path = self.path_of(name);
        let title = probe_title(kind);
        let event = match verdict {
            ProbeVerdict::Success => return,
            ProbeVerdict::Warning(text) => {
                warning(&path, "ProbeWarning", format!("{title} probe warning: {text}"))
            }
            ProbeVerdict::Failure(text) => {
                warning(&path, "Unhealthy", format!("{title} probe failed: {text}"))
            }
            ProbeVerdict::Error(text) => warning(
                &path,
                "Unhealthy",
                format!("{title} probe errored and resulted in unknown state: {text}"),
            ),
        };
        self.emit(event);
    }

    /// Asks for every probe that is due.
    pub(crate) fn schedule_probes(&mut self) {
        for ctr in self.ctrs.clone() {
            if matches!(ctr.role, Role::Init | Role::Ephemeral) {
                continue;
            }
            let Some(inst) = newest(self.o, ctr.name()).filter(|i| i.state == ContainerState::Running) else {
                continue;
            };
            for kind in KINDS {
                if let Some(probe) = definition(&ctr, kind) {
                    self.schedule(&ctr, inst, kind, probe);
                }
            }
        }
    }

    fn schedule(&mut self, ctr: &Ctr<'_>, inst: &Container, kind: ProbeKind, probe: &Probe) {
        if self.mem.ending.is_some() && kind != ProbeKind::Readiness {
            return;
        }
        let started = self.has_started(ctr, inst);
        let first = inst.started_at.plus_secs(i64::from(probe.initial_delay_seconds.unwrap_or(0).max(0)));
        let now = self.now;
        let entry = self.cm(ctr.name()).probes.entry(kind).or_default();
        if entry.id != inst.id {
            let result = match kind {
                ProbeKind::Startup => None,
                ProbeKind::Liveness => Some(true),
                ProbeKind::Readiness => Some(false),
            };
            *entry = ProbeMemory { id: inst.id.clone(), result, next_at: first, ..ProbeMemory::default() };
        }
        let (hold, due) = (entry.hold, entry.next_at.max(first));
        if hold || (kind != ProbeKind::Startup && !started) {
            return;
        }
        if self.o.in_flight.contains(&Key::Probe(kind, inst.id.clone())) {
            return;
        }
        if now < due {
            return self.wake_at(due);
        }
        if let Some(p) = self.cm(ctr.name()).probes.get_mut(&kind) {
            p.next_at = now;
        }
        self.act(Action::RunProbe { id: inst.id.clone(), container: ctr.name().to_owned(), probe: kind });
    }
}
