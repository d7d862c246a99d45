//! The Pod's phase (upstream: `getPhase` and the status manager's last word at the end of a Pod).

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, PodStatus};
use kinds::rules::phase::is_finished;

use crate::step::Run;
use crate::types::{ContainerState, Role};
use crate::view::newest;

#[derive(Default)]
struct Count {
    unknown: usize,
    waiting: usize,
    running: usize,
    stopped: usize,
    succeeded: usize,
}

/// How the newest ended instance ended: the state, or the last state while waiting.
fn ended(c: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    let state = c.state.as_ref();
    state.and_then(|s| s.terminated.as_ref()).or_else(|| {
        state.filter(|s| s.running.is_none())?;
        c.last_state.as_ref().and_then(|s| s.terminated.as_ref())
    })
}

fn runs(c: &ContainerStatus) -> bool {
    c.state.as_ref().is_some_and(|s| s.running.is_some())
}

impl Run<'_> {
    pub(super) fn phase(&self, status: &PodStatus) -> &'static str {
        let natural = self.natural_phase(status);
        let Some(ending) = self.mem.ending.as_ref().filter(|_| self.is_over()) else {
            // Withheld: containers could still run.
            let before = self.mem.status.as_ref().and_then(|s| s.phase.as_deref());
            return match (is_finished(natural), before) {
                (false, _) => natural,
                (true, Some("Pending") | None) => "Pending",
                (true, _) => "Running",
            };
        };
        if ending.failed {
            return "Failed";
        }
        let regular = status.container_statuses.as_deref().unwrap_or_default();
        let all_good = !regular.is_empty()
            && regular.iter().all(|c| {
                c.state.as_ref().and_then(|s| s.terminated.as_ref()).is_some_and(|t| t.exit_code == 0)
            });
        if all_good { "Succeeded" } else { "Failed" }
    }

    fn natural_phase(&self, status: &PodStatus) -> &'static str {
        let mut n = Count::default();
        let (mut init_pending, mut init_failed) = (false, false);
        let statuses = |name: &str| {
            let lists = [&status.init_container_statuses, &status.container_statuses];
            lists.into_iter().flatten().flatten().find(|c| c.name == name)
        };
        let regular_started =
            self.ctrs.iter().any(|c| c.role == Role::Regular && newest(self.o, c.name()).is_some());
        for ctr in &self.ctrs {
            let Some(s) = statuses(ctr.name()) else { continue };
            match ctr.role {
                Role::Init => match ended(s) {
                    Some(t) if t.exit_code == 0 => {}
                    Some(_) if self.policy(ctr) == "Never" && !self.will_restart(ctr.name()) => {
                        init_failed = true
                    }
                    _ => init_pending |= !regular_started,
                },
                Role::Sidecar => {
                    if !regular_started && s.started != Some(true) {
                        init_pending = true;
                    }
                    if runs(s) {
                        n.running += 1;
                    } else if ended(s).is_none() {
                        n.waiting += 1;
                    }
                }
                Role::Regular => count(&mut n, s),
                Role::Ephemeral => {}
            }
        }
        self.by_counts(&n, init_pending, init_failed)
    }

    fn by_counts(&self, n: &Count, init_pending: bool, init_failed: bool) -> &'static str {
        if init_failed {
            return "Failed";
        }
        if init_pending || n.waiting > 0 {
            return "Pending";
        }
        if n.running > 0 && n.unknown == 0 {
            return "Running";
        }
        if n.running == 0 && n.stopped > 0 && n.unknown == 0 {
            let restarts =
                self.ctrs.iter().filter(|c| c.role == Role::Regular).any(|c| self.will_restart(c.name()));
            return match (restarts, n.stopped == n.succeeded) {
                (true, _) => "Running",
                (false, true) => "Succeeded",
                (false, false) => "Failed",
            };
        }
        "Pending"
    }

    /// Whether the newest instance ended and another follows.
    pub(super) fn will_restart(&self, name: &str) -> bool {
        let ctr = self.ctrs.iter().find(|c| c.name() == name);
        ctr.zip(newest(self.o, name))
            .is_some_and(|(c, i)| i.state != ContainerState::Running && self.restarts(c, i))
    }
}

fn count(n: &mut Count, s: &ContainerStatus) {
    if runs(s) {
        n.running += 1;
    } else if let Some(t) = ended(s) {
        n.stopped += 1;
        n.succeeded += usize::from(t.exit_code == 0);
    } else if s.state.as_ref().is_some_and(|s| s.waiting.is_some()) {
        n.waiting += 1;
    } else {
        n.unknown += 1;
    }
}
