//! The node agent: one actor per Pod (observe → step → execute → publish status), Pod sources (API watch, manifests),
//! images, probes, hooks, the Node object and its Lease.
//!
//! Invariants: `lifecycle` decides, this crate only executes; every queue is bounded; nothing here keeps a container
//! from running when the API server is away.
//! Deliberately absent: how a sandbox, an image or a network is made (`runtime`, `images`, `net`).

mod actor;
mod admission;
mod calls;
mod clock;
mod config;
pub mod container;
mod credentials;
pub mod end;
mod events;
mod eviction;
mod files;
mod grpc;
pub mod handle;
mod ledger;
mod limits;
mod local_volumes;
pub mod logs;
mod manager;
mod node;
pub mod peers;
pub mod policies;
pub mod probe;
mod probes;
mod pulls;
pub mod register;
pub mod resolver;
pub mod server;
pub mod services;
mod sources;
mod status;
pub mod streaming;
#[cfg(test)]
mod tests;
mod upkeep;
mod usage;
pub mod volumes;

pub use config::Config;
pub use handle::{NodeHandle, PodEntry};
pub use limits::Limits;
pub use node::{Node, NodeError};
