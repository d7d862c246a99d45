//! The driver's queue: which keys are ready, at work, waiting for a time, or backing off.
//!
//! Invariants: a key is at work at most once; a wake-up during work makes it ready again afterwards; a wake-up during a
//! delay ends the delay. Time is an argument. Absent: priorities, bounds (it holds keys, at most one for each object).

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use base::{Backoff, Instant};

use crate::driver::Key;

/// Upstream's rate limiter of work queues starts so and doubles.
const FIRST_BACKOFF: Duration = Duration::from_millis(5);
const MAX_BACKOFF: Duration = Duration::from_secs(300);

/// Keys and their states.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    ready: VecDeque<Key>,
    is_ready: HashSet<Key>,
    working: HashSet<Key>,
    again: HashSet<Key>,
    due: BTreeSet<(Instant, Key)>,
    due_at: HashMap<Key, Instant>,
    backoff: HashMap<Key, Backoff>,
}

impl Queue {
    /// Something about this key changed.
    pub(crate) fn wake(&mut self, key: Key) {
        self.forget_delay(&key);
        if self.working.contains(&key) {
            self.again.insert(key);
        } else if self.is_ready.insert(key.clone()) {
            self.ready.push_back(key);
        }
    }

    /// The next key to work on.
    pub(crate) fn take(&mut self) -> Option<Key> {
        let key = self.ready.pop_front()?;
        self.is_ready.remove(&key);
        self.working.insert(key.clone());
        Some(key)
    }

    /// Whether the key's last turn failed.
    pub(crate) fn has_failed(&self, key: &Key) -> bool {
        self.backoff.contains_key(key)
    }

    /// Work ended well; look again after `delay`, if there is one.
    pub(crate) fn succeeded(&mut self, key: Key, now: Instant, delay: Option<Duration>) {
        self.backoff.remove(&key);
        self.finished(key, delay.map(|d| now + d));
    }

    /// Work failed: try again after the key's back-off, which is returned.
    pub(crate) fn failed(&mut self, key: Key, now: Instant) -> Duration {
        let backoff = self.backoff.entry(key.clone()).or_insert(Backoff::new(FIRST_BACKOFF, MAX_BACKOFF));
        let delay = backoff.next(now);
        self.finished(key, Some(now + delay));
        delay
    }

    /// Makes ready what is due.
    pub(crate) fn release_due(&mut self, now: Instant) {
        while let Some((at, key)) = self.due.first().cloned() {
            if at > now {
                break;
            }
            self.wake(key);
        }
    }

    /// When the next delay ends.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    fn finished(&mut self, key: Key, due: Option<Instant>) {
        self.working.remove(&key);
        if self.again.remove(&key) {
            self.wake(key);
        } else if let Some(at) = due {
            self.due.insert((at, key.clone()));
            self.due_at.insert(key, at);
        }
    }

    fn forget_delay(&mut self, key: &Key) {
        if let Some(at) = self.due_at.remove(key) {
            self.due.remove(&(at, key.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::new("", "n", name)
    }

    fn at(ms: u64) -> Instant {
        Instant(ms * 1_000_000)
    }

    #[test]
    fn one_turn_at_a_time() {
        let mut queue = Queue::default();
        queue.wake(key("a"));
        queue.wake(key("a"));
        queue.wake(key("b"));
        assert_eq!(queue.take(), Some(key("a")));
        queue.wake(key("a"));
        assert_eq!(queue.take(), Some(key("b")));
        assert_eq!(queue.take(), None);
        queue.succeeded(key("a"), at(0), None);
        assert_eq!(queue.take(), Some(key("a")));
        queue.succeeded(key("a"), at(0), None);
        assert_eq!((queue.take(), queue.next_due()), (None, None));
    }

    #[test]
    fn delays_end_by_time_or_by_a_wake_up() {
        let mut queue = Queue::default();
        for name in ["a", "b"] {
            queue.wake(key(name));
            queue.take();
            queue.succeeded(key(name), at(0), Some(Duration::from_millis(10)));
        }
        queue.release_due(at(9));
        assert_eq!((queue.take(), queue.next_due()), (None, Some(at(10))));
        queue.wake(key("b"));
        assert_eq!(queue.take(), Some(key("b")));
        queue.release_due(at(10));
        assert_eq!((queue.take(), queue.next_due()), (Some(key("a")), None));
    }

    #[test]
    fn failures_double_the_delay_until_a_success() {
        let mut queue = Queue::default();
        let fail = |queue: &mut Queue| {
            queue.wake(key("a"));
            queue.take();
            queue.failed(key("a"), at(0)).as_millis()
        };
        assert_eq!([fail(&mut queue), fail(&mut queue), fail(&mut queue)], [5, 10, 20]);
        queue.wake(key("a"));
        queue.take();
        queue.succeeded(key("a"), at(0), None);
        assert_eq!(fail(&mut queue), 5);
    }
}
