//! The store as its callers see it, one suite for every engine, and what happens to it when it is killed.

#![allow(clippy::unwrap_used, reason = "a test's helpers may panic")]

mod crash;
mod load;
mod model;
mod restart;
mod suite;
mod value;
