//! Wall time of an unrelated Pod event and of a Pod that comes and is decided, beside few and beside 50,000 other Pods on
//! 1,000 nodes: `cargo run --release -p scheduler --example decision_cost`.

#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "it measures and prints")]

use std::time::Instant as Clock;

#[path = "../tests/world/mod.rs"]
mod world;

const ROUNDS: u32 = 500;

fn main() {
    for others in [10, 50_000] {
        let mut scheduler = world::with(others);
        let start = Clock::now();
        for round in 0..ROUNDS {
            world::set(&mut scheduler, world::pod("p0", "n0"), i64::from(round) + 2);
        }
        let event = start.elapsed() / ROUNDS;
        let start = Clock::now();
        for round in 0..ROUNDS {
            world::decide(&mut scheduler, &format!("new{round}"));
        }
        let decision = start.elapsed() / ROUNDS;
        let nodes = world::NODES;
        println!("{nodes} nodes, {others} other Pods: an unrelated event {event:?}, a decision {decision:?}");
        for (name, spec) in [
            ("spread", world::spread("DoNotSchedule")),
            ("spread if it can be", world::spread("ScheduleAnyway")),
            ("near and apart", world::near_and_apart()),
        ] {
            let start = Clock::now();
            for round in 0..ROUNDS {
                world::set(&mut scheduler, world::parsed(&format!("{name}{round}"), &spec), 1);
                assert!(scheduler.next(world::NOW, base::Timestamp::default()).is_some());
            }
            println!("  {name}: a decision {:?}", start.elapsed() / ROUNDS);
        }
    }
}
