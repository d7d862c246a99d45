//! Exponential back-off as `k8s.io/client-go/util/flowcontrol.Backoff` does it: doubling, a cap, and a reset after the
//! subject has been quiet for twice the cap.
//!
//! Invariant: a value; the time of each step is an argument. Absent: jitter, keys (keep a map of these).

use std::time::Duration;

use crate::time::Instant;

/// The back-off of one subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    initial: Duration,
    cap: Duration,
    state: Option<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    delay: Duration,
    since: Instant,
}

impl Backoff {
    /// A back-off that starts at `initial` and never exceeds `cap`.
    #[must_use]
    pub const fn new(initial: Duration, cap: Duration) -> Self {
        Self { initial, cap, state: None }
    }

    /// A back-off taken up again where an earlier one stood, `delay` counted from `since`.
    #[must_use]
    pub const fn resumed(initial: Duration, cap: Duration, delay: Duration, since: Instant) -> Self {
        Self { initial, cap, state: Some(State { delay, since }) }
    }

    /// Records a failure at `now` and returns the delay from it.
    pub fn next(&mut self, now: Instant) -> Duration {
        let delay = match self.state {
            Some(state) if now.since(state.since) <= self.cap * 2 => (state.delay * 2).min(self.cap),
            _ => self.initial.min(self.cap),
        };
        self.state = Some(State { delay, since: now });
        delay
    }

    /// The delay in force, zero if none.
    #[must_use]
    pub fn delay(&self) -> Duration {
        self.state.map_or(Duration::ZERO, |s| s.delay)
    }

    /// When the delay in force ends; `None` without one.
    #[must_use]
    pub fn until(&self) -> Option<Instant> {
        self.state.map(|s| s.since + s.delay)
    }

    /// Whether `now` is still inside the delay.
    #[must_use]
    pub fn is_active(&self, now: Instant) -> bool {
        self.until().is_some_and(|until| now < until)
    }

    /// Forgets everything: the next failure starts at `initial`.
    pub fn reset(&mut self) {
        self.state = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant(seconds * 1_000_000_000)
    }

    #[test]
    fn doubles_up_to_the_cap_and_resets() {
        let mut backoff = Backoff::new(Duration::from_secs(10), Duration::from_secs(300));
        assert!(!backoff.is_active(at(0)));
        let mut now = 0;
        for want in [10, 20, 40, 80, 160, 300, 300] {
            assert_eq!(backoff.next(at(now)).as_secs(), want);
            assert!(backoff.is_active(at(now)));
            now += want;
            assert!(!backoff.is_active(at(now)));
        }
        // Quiet for longer than twice the cap.
        assert_eq!(backoff.next(at(now + 601)).as_secs(), 10);
        backoff.next(at(now + 602));
        backoff.reset();
        assert_eq!(backoff.next(at(now + 603)).as_secs(), 10);
    }
}
