//! `step`, the machine's only entry, and the working state that its parts share while it runs.
//!
//! Order: results are taken in, the end of the Pod is judged, then either the Pod is brought (or kept) up or it is taken
//! down, probes are scheduled, and the status is derived from all of it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::text::warning;
use crate::types::{Action, Asked, ContainerMemory, Desired, Event, Key, Memory, Observed, Step, Time};
use crate::view::{Ctr, containers};

/// An action that is asked for so often is asked for too often.
const OFTEN: u32 = 8;
/// Seconds without it, after which it counts anew.
const FORGOTTEN: i64 = 30;
/// Milliseconds between two of one that is asked for too often, at first.
const FIRST_PAUSE: u64 = 500;
/// And in the end.
const LONGEST_PAUSE: u64 = 10_000;

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
            if let Some(at) = self.too_often(&key) {
                self.wake_at(at);
                return;
            }
        }
        self.actions.push(action);
    }

    /// Counts that an action is asked for. One that ends well and is asked for again and again does not bring the Pod
    /// on: from then on it waits half a second doubling to 10 s (`Some`), and that is said once.
    fn too_often(&mut self, key: &Key) -> Option<Time> {
        if matches!(key, Key::Probe(..)) {
            return None;
        }
        let (name, now) = (retry_name(key), self.now);
        self.mem.asked.retain(|_, asked| now.secs_since(asked.last) <= FORGOTTEN);
        let asked = self.mem.asked.entry(name.clone()).or_default();
        if let Some(excess) = asked.times.checked_sub(OFTEN) {
            let pause = (FIRST_PAUSE << excess.min(8)).min(LONGEST_PAUSE);
            let due = asked.last.plus(Duration::from_millis(pause));
            if now < due {
                return Some(due);
            }
        }
        *asked = Asked { times: asked.times.saturating_add(1), last: now };
        if asked.times == OFTEN {
            let text = format!("error syncing pod: {name} brings nothing about, it is done less often now");
            self.emit(warning("", "FailedSync", text));
        }
        None
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
pub(crate) fn retry_name(key: &Key) -> String {
    match key {
        Key::Stop(id, _) => format!("Stop {id}"),
        other => format!("{other:?}"),
    }
}
