//! The network as a node uses it, on a "host" that is a namespace of its own with an "outside" behind it.
//!
//! Each test runs on a thread with its own network and mount namespaces: nothing here touches the machine's network.
//! Needs root, `ip` and `nft`.

#![allow(clippy::unwrap_used, reason = "a test's helpers may panic")]

mod killed;
mod lifecycle;
mod peers;
mod policies;
mod services;
mod spoofed;
mod traffic;
mod world;
