//! The project's own tooling, and the kit that end-to-end tests, benchmarks and `make run` share: the pinned kubectl
//! and helm, an image made from Debian's busybox, a real registry on loopback.
//!
//! Invariant: `ci` runs exactly what CI runs. Deliberately absent: anything that ships.

pub mod bench;
pub mod ci;
pub mod demo;
pub mod kit;
pub mod schema;
pub mod shell;
pub mod sim;
pub mod tidy;
pub mod vm;
