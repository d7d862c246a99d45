//! One bucket's recent history: events in revision order, bounded by bytes, count and age.
//!
//! Invariant: every event of the bucket with a revision above `floor` is in the ring. Absent: clocks (the time is an
//! argument) and locks (the view's).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::{Event, Revision};

/// Rough cost of an event beyond its key and value: entry, event, deque slot.
const OVERHEAD: usize = 200;

/// How much history a bucket keeps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) age: Duration,
    pub(crate) bytes: usize,
    pub(crate) events: usize,
}

#[derive(Debug)]
struct Kept {
    event: Event,
    since: Instant,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    events: VecDeque<Kept>,
    bytes: usize,
    /// History is complete after this revision.
    floor: Revision,
    /// The newest event that was dropped; at most `floor`, less after an explicit compaction beyond the last event.
    dropped: Revision,
}

impl Ring {
    /// An empty ring whose history is complete after `floor`.
    pub(crate) fn starting_at(floor: Revision) -> Self {
        Self { floor, dropped: floor, ..Self::default() }
    }

    pub(crate) fn floor(&self) -> Revision {
        self.floor
    }

    pub(crate) fn dropped(&self) -> Revision {
        self.dropped
    }

    /// The newest event's revision, also of one that was dropped.
    pub(crate) fn newest(&self) -> Revision {
        self.events.back().map_or(self.dropped, |kept| kept.event.entry.revision)
    }

    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// When the oldest event entered.
    pub(crate) fn oldest_since(&self) -> Option<Instant> {
        self.events.front().map(|kept| kept.since)
    }

    /// The events after a revision.
    pub(crate) fn after(&self, revision: Revision) -> impl Iterator<Item = &Event> {
        let from = self.events.partition_point(|kept| kept.event.entry.revision <= revision);
        self.events.range(from..).map(|kept| &kept.event)
    }

    /// Adds the newest event and drops what exceeds size and count into `gone`, never the newest itself.
    pub(crate) fn push(&mut self, event: Event, now: Instant, limits: &Limits, gone: &mut Vec<Event>) {
        self.bytes += cost(&event);
        self.events.push_back(Kept { event, since: now });
        while self.events.len() > 1 && (self.bytes > limits.bytes || self.events.len() > limits.events) {
            self.drop_oldest(gone);
        }
    }

    /// Drops what is older than the limit.
    pub(crate) fn expire(&mut self, now: Instant, limits: &Limits, gone: &mut Vec<Event>) {
        while self.oldest_since().is_some_and(|since| now.duration_since(since) >= limits.age) {
            self.drop_oldest(gone);
        }
    }

    /// Drops everything up to and including `before`.
    pub(crate) fn compact(&mut self, before: Revision, gone: &mut Vec<Event>) {
        while self.events.front().is_some_and(|kept| kept.event.entry.revision <= before) {
            self.drop_oldest(gone);
        }
        self.floor = self.floor.max(before);
    }

    fn drop_oldest(&mut self, gone: &mut Vec<Event>) {
        if let Some(kept) = self.events.pop_front() {
            self.bytes -= cost(&kept.event);
            self.dropped = kept.event.entry.revision;
            self.floor = self.floor.max(self.dropped);
            gone.push(kept.event);
        }
    }
}

fn cost(event: &Event) -> usize {
    event.entry.key.len() + event.entry.value.len() + OVERHEAD
}
