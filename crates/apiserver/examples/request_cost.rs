//! CPU time of all threads for requests beside few and beside 50,000 other Pods, the store's writer and other watchers
//! included: `cargo run --release -p apiserver --example request_cost`.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "it measures and prints")]

#[path = "../tests/crowded/mod.rs"]
mod crowded;

use crowded::{WHAT, World};
use rustix::time::{ClockId, clock_gettime};

const TURNS: u64 = 500;

/// Nanoseconds of CPU time that this process has used.
fn spent() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    u64::try_from(time.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap()
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    for others in [10, 50_000] {
        let sums = World::with(others).await.turns(TURNS, spent).await;
        let costs = WHAT.iter().zip(sums).map(|(what, sum)| format!("{what} {} µs", sum / TURNS / 1000));
        println!("{others} other Pods: {}", costs.collect::<Vec<_>>().join(", "));
    }
}
