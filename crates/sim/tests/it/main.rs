//! Controllers and scheduler together, on the real API server and store.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod garbage;
mod jobs;
mod leases;
mod namespaces;
mod pod_garbage;
mod replicasets;
mod scheduling;
mod world;
