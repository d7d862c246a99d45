//! The node's Pod state machine: what a node does next for one Pod, and what it says about it.
//! Deliberately absent: tokio, clocks, files, randomness, and every detail of how an action is done.

mod types;
mod view;

pub use types::*;
pub use view::{Ctr, containers, pod_label};
