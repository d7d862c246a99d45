//! What an unrelated change and a decision cost, counted in allocations, does not grow with the Pods there are.
//!
//! Invariant: this file has one test, so nobody else allocates while it counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

mod world;

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

fn counted(act: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    act();
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

/// Allocations of one unrelated change, and of one Pod that comes and is decided.
fn costs(others: usize) -> (u64, u64) {
    let mut scheduler = world::with(others);
    let changed = world::pod("p0", "n0");
    let event = counted(|| world::set(&mut scheduler, changed, 2));
    (event, counted(|| world::decide(&mut scheduler, "second")))
}

#[test]
fn neither_a_change_nor_a_decision_grows_with_the_pods() {
    let (few, many) = (costs(10), costs(50_000));
    let flat = |few: u64, many: u64| many * 10 <= few * 12 && few * 10 <= many * 12;
    assert!(flat(few.0, many.0), "an unrelated change: {few:?} and {many:?}");
    assert!(flat(few.1, many.1), "a decision: {few:?} and {many:?}");
}
