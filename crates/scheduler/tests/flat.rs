//! What an unrelated change and a decision cost, counted in allocations, does not grow with the Pods there are.

mod world;

#[global_allocator]
static ALLOCATOR: counting::Allocator = counting::Allocator;

/// Allocations of one unrelated change, and of one Pod that comes and is decided.
fn costs(others: usize) -> (u64, u64) {
    let mut scheduler = world::with(others);
    let changed = world::pod("p0", "n0");
    let event = counting::of(|| world::set(&mut scheduler, changed, 2));
    (event, counting::of(|| world::decide(&mut scheduler, "second")))
}

#[test]
fn neither_a_change_nor_a_decision_grows_with_the_pods() {
    let (few, many) = (costs(10), costs(50_000));
    assert!(counting::is_flat(few.0, many.0), "an unrelated change: {few:?} and {many:?}");
    assert!(counting::is_flat(few.1, many.1), "a decision: {few:?} and {many:?}");
}
