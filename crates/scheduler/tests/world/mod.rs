//! A cluster of 1,000 nodes with as many Pods as one likes, for what counts and for what measures.

use std::sync::Arc;

use base::{Instant, Timestamp};
use scheduler::{NodeFacts, PodInfo, PodState, Resources, Scheduler, Settings, Step};

/// How many nodes there are.
pub const NODES: usize = 1000;
/// The time of everything.
pub const NOW: Instant = Instant(0);

/// A scheduler that knows the nodes and `others` bound Pods `p0`, `p1`, …, and has decided one Pod.
pub fn with(others: usize) -> Scheduler {
    let mut scheduler = Scheduler::new(Settings::default(), 1, NOW);
    for index in 0..NODES {
        let name: Arc<str> = format!("n{index}").into();
        scheduler.set_node(NOW, &name, Some(node(&name)));
    }
    for index in 0..others {
        set(&mut scheduler, pod(&format!("p{index}"), &format!("n{}", index % NODES)), 1);
    }
    decide(&mut scheduler, "first");
    scheduler
}

fn node(name: &str) -> NodeFacts {
    let allocatable = Resources { milli_cpu: 64_000, memory: 1 << 38, ..Resources::default() };
    NodeFacts { name: name.into(), allocatable, max_pods: 200, ..NodeFacts::default() }
}

/// A small Pod, bound if `node` names one.
pub fn pod(name: &str, node: &str) -> PodInfo {
    PodInfo {
        namespace: "d".into(),
        name: name.into(),
        uid: name.into(),
        node_name: node.into(),
        scheduler_name: scheduler::DEFAULT.into(),
        requests: Resources { milli_cpu: 10, memory: 1 << 20, ..Resources::default() },
        ..PodInfo::default()
    }
}

/// Tells of a Pod.
pub fn set(scheduler: &mut Scheduler, pod: PodInfo, generation: i64) {
    let key = (pod.namespace.clone(), pod.name.clone());
    scheduler.set_pod(NOW, &key, Some((pod, PodState { generation, ..PodState::default() })));
}

/// A new Pod comes and gets a node.
pub fn decide(scheduler: &mut Scheduler, name: &str) {
    set(scheduler, pod(name, ""), 1);
    let decision = scheduler.next(NOW, Timestamp::default()).and_then(Step::decided);
    assert!(decision.is_some_and(|decision| decision.node.is_some()), "{name} got no node");
}
