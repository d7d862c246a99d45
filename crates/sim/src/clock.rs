//! Simulated time: the paused clock of tokio, read as wall-clock time.
//!
//! Invariant: time passes only when every task waits, and then jumps to the next timer.

use base::Timestamp;
use tokio::time::Instant;

/// When every simulated world begins: 2026-01-01T00:00:00Z.
const BEGINNING: i64 = 1_767_225_600;

/// The clock of one world; make it inside a runtime whose time is paused.
#[derive(Debug, Clone, Copy)]
pub struct SimClock {
    start: Instant,
}

impl SimClock {
    /// A clock that shows the beginning.
    #[must_use]
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// The time as the node's machine takes it.
    #[must_use]
    pub fn time(&self) -> lifecycle::Time {
        lifecycle::Time::from_secs(BEGINNING).plus(self.start.elapsed())
    }

    /// When a moment of this world comes, for sleeping until then.
    #[must_use]
    pub fn instant(&self, at: lifecycle::Time) -> Instant {
        let since = at.0 - lifecycle::Time::from_secs(BEGINNING).0;
        self.start + std::time::Duration::from_nanos(since.max(0).unsigned_abs())
    }
}

impl controllers::Clock for SimClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(BEGINNING) + self.start.elapsed()
    }
}
