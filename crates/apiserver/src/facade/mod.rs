//! What the rest of the program holds: the server, the API in the process, and what keeps itself going beside requests.
//!
//! Invariant: the highest layer; no other imports it.

mod addresses;
mod bootstrap;
mod custom;
mod expiry;
mod inproc;
mod kubernetes;
mod server;

pub use server::{Config, Server};
