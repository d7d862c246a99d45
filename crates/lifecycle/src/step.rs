//! `step`, the machine's only entry, and the working state that its parts share while it runs.
//!
//! Order: results are taken in, the end of the Pod is judged, then either the Pod is brought (or kept) up or it is taken
//! down, probes are scheduled, and the status is derived from all of it.

use std::collections::BTreeMap;

use crate::types::{Action, ContainerMemory, Desired, Event, Memory, Observed, Step, Time};
use crate::view::{Ctr, containers};

/// Decides what happens next for one Pod. Pure: the same arguments give the same answer.
#[must_use]
pub fn step(now: Time, desired: &Desired, observed: &Observed, memory: &Memory) -> Step {
    let mut run = Run {
        now,
        d: desired,
        o: observed,
        ctrs: containers(&desired.pod),
        mem: memory.clone(),
        actions: Vec::new(),
        wake: None,
    };
    if run.mem.status.is_none() {
        run.mem.status = desired.pod.status.clone();
    }
    run.absorb();
    run.judge_end();
    if run.mem.ending.is_none() {
        run.allocate();
    }
    if run.mem.ending.is_none() {
        run.sync();
    }
    if run.mem.ending.is_some() {
        run.take_down();
    }
    run.progress_kills();
    run.schedule_probes();
    run.collect_garbage();
    let status = run.status();
    run.mem.status = Some(status.clone());
    if run.mem.ending.is_some() {
        run.delete_when_over(&status);
    }
    Step { actions: run.actions, status, memory: run.mem, wake_at: run.wake }
}

/// The state of one step.
pub(crate) struct Run<'a> {
    pub(crate) now: Time,
    pub(crate) d: &'a Desired,
    pub(crate) o: &'a Observed,
    pub(crate) ctrs: Vec<Ctr<'a>>,
    pub(crate) mem: Memory,
    pub(crate) actions: Vec<Action>,
    pub(crate) wake: Option<Time>,
}

impl Run<'_> {
    /// Asks for an action unless it is in flight, asked for already, or backing off.
    pub(crate) fn act(&mut self, action: Action) {
        if let Some(key) = action.key() {
            if self.o.in_flight.contains(&key) || self.actions.iter().any(|a| a.key().as_ref() == Some(&key))
            {
                return;
            }
            if let Some(at) = self.mem.retry.get(&retry_name(&key)).map(|r| r.at)
                && self.now < at
            {
                self.wake_at(at);
                return;
            }
        }
        self.actions.push(action);
    }

    /// Says something.
    pub(crate) fn emit(&mut self, event: Event) {
        self.actions.push(Action::EmitEvent(event));
    }

    /// Wants another step at `at`.
    pub(crate) fn wake_at(&mut self, at: Time) {
        self.wake = Some(self.wake.map_or(at, |w| w.min(at)));
    }

    /// The memory of a container.
    pub(crate) fn cm(&mut self, name: &str) -> &mut ContainerMemory {
        self.mem.containers.entry(name.to_owned()).or_default()
    }

    /// The same, to read only.
    pub(crate) fn peek(&self, name: &str) -> Option<&ContainerMemory> {
        self.mem.containers.get(name)
    }

    /// The images' states by field.
    pub(crate) const fn images(&self) -> &BTreeMap<String, crate::types::ImageState> {
        &self.o.images
    }
}

/// Under which name an action's back-off is kept. A stop is the same stop whatever its deadline.
pub(crate) fn retry_name(key: &crate::types::Key) -> String {
    use crate::types::Key;
    match key {
        Key::Stop(id, _) => format!("Stop {id}"),
        other => format!("{other:?}"),
    }
}
