//! What the allocator keeps. Invariant: nothing here changes what the program does, only what it holds of the machine.

use std::time::Duration;

/// So long after the start whatever it needed is free again.
const SETTLED: Duration = Duration::from_secs(5);

/// Two allocator arenas instead of eight per core: each costs memory that is never given back.
pub(crate) fn limit_arenas() {
    // SAFETY: mallopt only sets a parameter of the allocator; no other thread runs yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
}

/// Gives back, once, what only the start needed: roles, certificates and first lists are made in bulk.
pub(crate) async fn give_back_after_start() {
    tokio::time::sleep(SETTLED).await;
    // SAFETY: no memory in use is affected.
    unsafe {
        libc::malloc_trim(0);
    }
}
