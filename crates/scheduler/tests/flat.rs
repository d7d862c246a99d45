//! What an unrelated change and a decision cost, counted in allocations, does not grow with the Pods there are: plain ones,
//! spread ones, ones with rules about each other, and ones that make others go. `FLAT_PODS` says how many there are.

mod world;

use kinds::rules::node_affinity::Required;
use scheduler::{Decision, PodInfo, Scheduler, Step};

#[global_allocator]
static ALLOCATOR: counting::Allocator = counting::Allocator;

/// A Pod of one sort, and what it must come to.
struct Case {
    name: &'static str,
    pod: fn(&str) -> PodInfo,
    is_right: fn(&Decision) -> bool,
}

const CASES: [Case; 5] = [
    Case { name: "plain", pod: |name| world::pod(name, ""), is_right: bound },
    Case {
        name: "spread",
        pod: |name| world::parsed(name, &world::spread("DoNotSchedule")),
        is_right: bound,
    },
    Case {
        name: "spread if it can be",
        pod: |name| world::parsed(name, &world::spread("ScheduleAnyway")),
        is_right: bound,
    },
    Case {
        name: "near and apart",
        pod: |name| world::parsed(name, &world::near_and_apart()),
        is_right: bound,
    },
    Case { name: "makes others go", pod: preemptor, is_right: makes_room },
];

fn bound(decision: &Decision) -> bool {
    decision.node.is_some()
}

/// Both that are there are told to go, and it is told itself.
fn makes_room(decision: &Decision) -> bool {
    let preempted =
        decision.plans.iter().flat_map(|plan| &plan.events).filter(|event| event.reason == "Preempted");
    decision.node.is_none() && preempted.count() == 2
}

/// A Pod that fits only on the full node, without those that are there.
fn preemptor(name: &str) -> PodInfo {
    let mut pod = world::pod(name, "");
    // Each goes before the one for whom room is kept already.
    pod.priority = if name == "second" { 20 } else { 10 };
    pod.requests.milli_cpu = 64_000;
    let only = world::parsed(name, &serde_json::json!({"nodeSelector": {"full": "yes"}}));
    pod.required = Required::clone(&only.required);
    pod
}

/// Allocations of one unrelated change, and of one more Pod that comes and is decided.
fn costs(case: &Case, others: usize) -> (u64, u64) {
    let mut scheduler = world::with(others);
    let decide = |scheduler: &mut Scheduler, name: &str| {
        world::set(scheduler, (case.pod)(name), 1);
        let step = scheduler.next(world::NOW, base::Timestamp::default());
        let decision = step.and_then(Step::decided).expect("a Pod that is ready is decided");
        assert!((case.is_right)(&decision), "{}: {:?}", case.name, decision.node);
    };
    // What is counted for the first of its sort is kept for the others.
    decide(&mut scheduler, "first");
    // The first may be what makes a table grow.
    world::set(&mut scheduler, world::pod("p0", "n0"), 2);
    let mut changed = world::pod("p0", "n0");
    changed.labels.insert("another".into(), "label".into());
    let event = counting::of(|| world::set(&mut scheduler, changed, 3));
    (event, counting::of(|| decide(&mut scheduler, "second")))
}

#[test]
#[expect(clippy::disallowed_methods, reason = "who runs it by hand says how many Pods")]
fn neither_a_change_nor_a_decision_grows_with_the_pods() {
    let many = std::env::var("FLAT_PODS").map_or(5_000, |text| text.parse().unwrap());
    for case in &CASES {
        let (few, many) = (costs(case, 10), costs(case, many));
        // Beside few a table may happen to grow, which is no fault.
        let is_flat = |few: u64, many: u64| many <= few || counting::is_flat(few, many);
        assert!(is_flat(few.0, many.0), "{}: an unrelated change: {few:?} and {many:?}", case.name);
        assert!(is_flat(few.1, many.1), "{}: a decision: {few:?} and {many:?}", case.name);
    }
}
