//! CPU time of an unrelated Pod event and of a decision, beside few and beside 50,000 other Pods on 1,000 nodes:
//! `cargo run --release -p scheduler --example decision_cost`.

#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "it measures and prints")]

use std::time::Instant as Clock;

use base::{Instant, Timestamp};
use scheduler::{NodeFacts, PodInfo, PodState, Profile, Resources, Scheduler};

const NODES: usize = 1000;
const ROUNDS: u32 = 500;
const NOW: Instant = Instant(0);

fn main() {
    for others in [10, 50_000] {
        let mut scheduler = Scheduler::new(Profile::default(), 1, NOW);
        for index in 0..NODES {
            let name = format!("n{index}");
            scheduler.set_node(NOW, &name.as_str().into(), Some(node(&name)));
        }
        for index in 0..others {
            set(&mut scheduler, pod(&format!("p{index}"), &format!("n{}", index % NODES)), 1);
        }
        set(&mut scheduler, pod("first", ""), 1);
        scheduler.next(NOW, Timestamp::default());
        let start = Clock::now();
        for round in 0..ROUNDS {
            set(&mut scheduler, pod("p0", "n0"), i64::from(round) + 2);
        }
        let event = start.elapsed() / ROUNDS;
        let start = Clock::now();
        for round in 0..ROUNDS {
            set(&mut scheduler, pod(&format!("new{round}"), ""), 1);
            scheduler.next(NOW, Timestamp::default());
        }
        let decision = start.elapsed() / ROUNDS;
        println!("{NODES} nodes, {others} other Pods: an unrelated event {event:?}, a decision {decision:?}");
    }
}

fn node(name: &str) -> NodeFacts {
    let allocatable = Resources { milli_cpu: 64_000, memory: 1 << 38, ..Resources::default() };
    NodeFacts { name: name.into(), allocatable, max_pods: 200, ..NodeFacts::default() }
}

fn pod(name: &str, node: &str) -> PodInfo {
    PodInfo {
        namespace: "d".into(),
        name: name.into(),
        uid: name.into(),
        node_name: node.into(),
        scheduler_name: scheduler::NAME.into(),
        requests: Resources { milli_cpu: 10, memory: 1 << 20, ..Resources::default() },
        ..PodInfo::default()
    }
}

fn set(scheduler: &mut Scheduler, pod: PodInfo, generation: i64) {
    let key = (pod.namespace.clone(), pod.name.clone());
    scheduler.set_pod(NOW, &key, Some((pod, PodState { generation, ..PodState::default() })));
}
