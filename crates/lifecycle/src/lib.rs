//! The node's Pod state machine: what a node does next for one Pod, and what it says about it.
//!
//! `step(now, desired, observed, memory) → Step { actions, status, memory, wake_at }` is the only entry. It decides and
//! returns data; the node executes and chooses nothing. Called again with the same arguments it says the same, and an
//! action that is in flight is never asked for twice.
//! Deliberately absent: tokio, clocks, files, randomness, and every detail of how an action is done.

mod absorb;
mod action;
mod backoff;
mod deletion;
mod kill;
mod memory;
mod probe;
mod resize;
mod restart;
mod restart_all;
mod start;
mod status;
mod step;
mod sync;
mod text;
mod time;
mod types;
mod view;

#[cfg(test)]
mod tests;

pub use resize::{has_resources, with_resources};
pub use status::OWNED_CONDITIONS;
pub use step::step;
pub use types::{
    Action, Allocation, Asked, Container, ContainerMemory, ContainerState, Desired, Event, EventType,
    Failure, Finished, Hook, ImageState, Key, Memory, Observed, Outcome, ProbeKind, ProbeMemory,
    ProbeVerdict, PullMemory, ResizeProgress, Retry, Role, Sandbox, Step, Stopping, Termination, Time,
    Verdict,
};
pub use view::{Ctr, containers, pod_label};
