//! Whole clusters in one thread, without kernel and network: the real store, API server, controllers, scheduler and Pod
//! machine, on a simulated machine in simulated time.
//!
//! Invariant: nothing that decides is simulated; only what cannot run here is (containers, time). Begin with
//! `tests/one_pod.rs`, the story of one Pod. Absent: HTTP, TLS, the real node's executors (`crates/minke`'s end-to-end
//! tests have them).

pub mod by_hand;
pub mod clock;
pub mod cluster;
pub mod faults;
pub mod history;
pub mod lag;
pub mod laws;
pub mod machine;
pub mod node;
pub mod seed;
pub mod steady;
pub mod talk;
pub mod world;
