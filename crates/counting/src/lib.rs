//! The allocator of test programs that count: work is told by what it allocates, the same on every machine.
//!
//! Invariant: each thread counts for itself, so tests side by side do not disturb each other; who asks for the sum of all
//! threads is alone in its program. Absent: bytes, and what is freed. A program says `#[global_allocator] static ALLOCATOR: counting::Allocator = counting::Allocator;`.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// Of all threads, those that ended too.
static EVERYWHERE: AtomicU64 = AtomicU64::new(0);

/// The system's allocator, counting what each thread asks for.
#[derive(Debug, Clone, Copy)]
pub struct Allocator;

// SAFETY: everything is the system's allocator; counting touches a thread's own cell and a static, which allocate nothing.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        EVERYWHERE.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

/// Allocations of this thread so far.
#[must_use]
pub fn so_far() -> u64 {
    COUNT.get()
}

/// Allocations of all threads so far: work that is handed to another thread counts too.
#[must_use]
pub fn everywhere() -> u64 {
    EVERYWHERE.load(Ordering::Relaxed)
}

/// Allocations of this thread while `act` runs.
pub fn of(act: impl FnOnce()) -> u64 {
    let before = so_far();
    act();
    so_far() - before
}

/// Whether two counts differ by less than a fifth: what does not depend on who else is there.
#[must_use]
pub fn is_flat(few: u64, many: u64) -> bool {
    few.abs_diff(many) * 5 < few.min(many).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static ALLOCATOR: Allocator = Allocator;

    #[test]
    fn counts_this_thread() {
        assert_eq!(of(|| drop(Box::new(7))), 1);
        assert_eq!(of(|| assert_eq!(std::hint::black_box(1) + 1, 2)), 0);
    }

    #[test]
    fn less_than_a_fifth() {
        for (few, many, flat) in
            [(100, 119, true), (100, 120, false), (119, 100, true), (5, 5, true), (0, 0, true), (0, 1, false)]
        {
            assert_eq!(is_flat(few, many), flat, "{few} {many}");
        }
    }
}
