//! The node agent: one actor per Pod (observe → step → execute → publish status), Pod sources (API watch, manifests),
//! images, probes, hooks, the Node object and its Lease.
//!
//! Invariants: `lifecycle` decides, this crate only executes; every queue is bounded; nothing here keeps a container
//! from running when the API server is away.
//! Deliberately absent: how a sandbox, an image or a network is made (`runtime`, `images`, `net`).

pub mod container;
pub mod handle;
pub mod logs;
pub mod probe;
pub mod register;
pub mod volumes;

pub use handle::{NodeHandle, PodEntry};
