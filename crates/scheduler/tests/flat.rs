//! What an unrelated change and a decision cost, counted in allocations, does not grow with the Pods there are.
//!
//! Invariant: this file has one test, so nobody else allocates while it counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use base::{Instant, Timestamp};
use scheduler::{NodeFacts, PodInfo, PodState, Profile, Resources, Scheduler};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the rules of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the rules of `dealloc`.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const NODES: usize = 1000;
const NOW: Instant = Instant(0);

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

fn counted(act: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    act();
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

/// Allocations of one unrelated change, and of one decision.
fn costs(others: usize) -> (u64, u64) {
    let mut scheduler = Scheduler::new(Profile::default(), 1, NOW);
    for index in 0..NODES {
        let name = format!("n{index}");
        scheduler.set_node(NOW, &name.as_str().into(), Some(node(&name)));
    }
    for index in 0..others {
        set(&mut scheduler, pod(&format!("p{index}"), &format!("n{}", index % NODES)), 1);
    }
    set(&mut scheduler, pod("first", ""), 1);
    assert!(scheduler.next(NOW, Timestamp::default()).is_some_and(|d| d.node.is_some()));
    let changed = pod("p0", "n0");
    let event = counted(|| set(&mut scheduler, changed, 2));
    set(&mut scheduler, pod("second", ""), 1);
    let decision = counted(|| {
        assert!(scheduler.next(NOW, Timestamp::default()).is_some_and(|d| d.node.is_some()));
    });
    (event, decision)
}

#[test]
fn neither_a_change_nor_a_decision_grows_with_the_pods() {
    let (few, many) = (costs(10), costs(50_000));
    let flat = |few: u64, many: u64| many * 10 <= few * 12 && few * 10 <= many * 12;
    assert!(flat(few.0, many.0), "an unrelated change: {few:?} and {many:?}");
    assert!(flat(few.1, many.1), "a decision: {few:?} and {many:?}");
}
