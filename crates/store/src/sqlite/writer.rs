//! The one thread that changes anything: it drains the queue, decides every compare-and-set against the view and the
//! group so far, commits the group in one transaction, publishes it, answers. In between it forgets old history.
//!
//! Invariant: nothing is answered before its transaction is synced, not even a conflict with a write of that group.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Options;
use super::log::{self, Log, Row};
use super::queue::{Answer, Command, Queue};
use crate::envelope::{Record, seal};
use crate::view::{View, bucket_of};
use crate::{Entry, Event, Expect, Op, Revision, StoreError, Write};

/// Rows deleted in one transaction, so that writes never wait long.
const SWEEP_STEP: usize = 256;
/// Old history is looked for no more often than this (or its age, if that is less).
const EXPIRE_PAUSE: Duration = Duration::from_secs(10);

/// Superseded rows, oldest first, each with its bucket.
#[derive(Debug, Default)]
pub(super) struct Garbage {
    rows: Mutex<VecDeque<(Arc<str>, Revision)>>,
}

impl Garbage {
    fn rows(&self) -> std::sync::MutexGuard<'_, VecDeque<(Arc<str>, Revision)>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the rows that nobody needs once these events are forgotten.
    pub(super) fn add(&self, forgotten: &[Event]) {
        let mut rows = self.rows();
        for event in forgotten {
            if let Some(previous) = &event.previous {
                rows.push_back((previous.key.clone(), previous.revision));
            }
            if event.deleted {
                rows.push_back((event.entry.key.clone(), event.entry.revision));
            }
        }
    }

    pub(super) fn add_row(&self, key: Arc<str>, row: Revision) {
        self.rows().push_back((key, row));
    }

    pub(super) fn len(&self) -> usize {
        self.rows().len()
    }

    fn front(&self, count: usize) -> Vec<(Arc<str>, Revision)> {
        self.rows().iter().take(count).cloned().collect()
    }

    fn remove_front(&self, count: usize) {
        self.rows().drain(..count);
    }
}

/// See the module.
pub(super) struct Writer {
    log: Log,
    view: Arc<View>,
    queue: Arc<Queue>,
    garbage: Arc<Garbage>,
    garbage_limit: usize,
    sweeping: bool,
    expire_at: Option<Instant>,
    expire_pause: Duration,
    /// The newest revision ever given out, also to a write that failed.
    given: Revision,
    /// A failed transaction may have left rows after the newest published revision.
    failed: bool,
}

type Decision = Result<Arc<Entry>, StoreError>;

/// The writes of one transaction, decided but not yet durable.
#[derive(Default)]
struct Group {
    rows: Vec<Row>,
    events: Vec<Event>,
    /// What the keys written in this group will be.
    state: HashMap<Arc<str>, Option<Arc<Entry>>>,
    answers: Vec<(Answer<Arc<Entry>>, Decision)>,
}

impl Writer {
    pub(super) fn new(
        log: Log,
        view: Arc<View>,
        queue: Arc<Queue>,
        garbage: Arc<Garbage>,
        options: &Options,
    ) -> Self {
        Self {
            given: view.revision(),
            log,
            view,
            queue,
            garbage,
            garbage_limit: options.garbage_rows,
            sweeping: false,
            expire_at: Some(Instant::now()),
            expire_pause: options.retain_age.min(EXPIRE_PAUSE),
            failed: false,
        }
    }

    /// Works until the queue is closed and empty.
    pub(super) fn run(mut self) {
        while let Some(commands) = self.queue.take(self.wake_at()) {
            let mut group = Group::default();
            let mut compactions = Vec::new();
            for command in commands {
                match command {
                    Command::Write { write, answer, _room } => {
                        let decision = self.decide(&mut group, write);
                        group.answers.push((answer, decision));
                    }
                    Command::Compact { before, answer, _room } => compactions.push((before, answer)),
                }
            }
            self.commit(group);
            for (before, answer) in compactions {
                // A caller that no longer waits is not an error.
                let _ = answer.send(self.compact(before));
            }
            self.tidy();
        }
        if let Err(error) = self.log.close() {
            tracing::warn!(%error, "the store's last checkpoint failed; the next start repeats it");
        }
    }

    fn wake_at(&self) -> Option<Instant> {
        if self.sweeping { Some(Instant::now()) } else { self.expire_at }
    }

    /// Whether the write's expectation holds, and if so, adds it to the group.
    fn decide(&mut self, group: &mut Group, write: Write) -> Decision {
        let current = match group.state.get(&write.key) {
            Some(current) => current.clone(),
            None => self.view.get(&write.key),
        };
        let holds = match write.expect {
            Expect::Any => true,
            Expect::Absent => current.is_none(),
            Expect::Revision(revision) => current.as_ref().is_some_and(|entry| entry.revision == revision),
        };
        if !holds {
            return Err(StoreError::Conflict { current });
        }
        let revision = self.given + 1;
        let (entry, envelope, deleted) = match (&write.op, &current) {
            (Op::Put(value), _) => {
                let key = current.as_ref().map_or(&write.key, |entry| &entry.key);
                (log::entry(key, revision, value), seal(Record::Put(value)), false)
            }
            (Op::Delete(last), Some(current)) => {
                let last = last.as_deref();
                (log::deletion(current, revision, last), seal(Record::Delete(last)), true)
            }
            (Op::Delete(_), None) => return Err(StoreError::Conflict { current }),
        };
        self.given = revision;
        group.state.insert(entry.key.clone(), (!deleted).then(|| entry.clone()));
        group.rows.push(Row { revision, key: entry.key.clone(), envelope });
        group.events.push(Event { entry: entry.clone(), previous: current, deleted });
        Ok(entry)
    }

    /// Makes the group durable, then visible, then answers.
    fn commit(&mut self, group: Group) {
        let published = self.view.revision();
        let mut failure = None;
        if !group.rows.is_empty() {
            match self.log.append(&group.rows, self.failed.then_some(published)) {
                Ok(()) => {
                    self.failed = false;
                    let now = Instant::now();
                    self.garbage.add(&self.view.publish(group.events, now));
                    self.expire_at.get_or_insert(now + self.expire_pause);
                }
                Err(error) => failure = Some(self.failed_to("write", &error)),
            }
        }
        for (answer, decision) in group.answers {
            let decision = match &failure {
                Some(Failure { full: true, message }) => Err(StoreError::Full(message.clone())),
                Some(Failure { message, .. }) => Err(StoreError::Unavailable(message.clone())),
                None => decision,
            };
            // A caller that no longer waits is not an error.
            let _ = answer.send(decision);
        }
    }

    /// Raises every floor to `before`, durably.
    fn compact(&mut self, before: Revision) -> Result<(), StoreError> {
        let before = before.min(self.view.revision());
        self.log
            .sweep(&[("", before.max(self.view.floor("")))], &[])
            .map_err(|error| StoreError::Unavailable(self.failed_to("compact", &error).message))?;
        self.garbage.add(&self.view.compact(before));
        self.sweeping = true;
        Ok(())
    }

    /// One step of forgetting: history that is too old, then rows that nobody needs.
    fn tidy(&mut self) {
        let now = Instant::now();
        if self.expire_at.is_some_and(|at| at <= now) {
            let (forgotten, next) = self.view.expire(now);
            self.garbage.add(&forgotten);
            self.expire_at = next.map(|next| next.max(now + self.expire_pause));
        }
        let waiting = self.garbage.len();
        self.sweeping = waiting > 0 && (self.sweeping || waiting >= self.garbage_limit);
        if self.sweeping {
            self.sweep();
        }
    }

    fn sweep(&mut self) {
        let step = self.garbage.front(SWEEP_STEP);
        let mut floors: Vec<(&str, Revision)> = Vec::new();
        for bucket in step.iter().filter_map(|(key, _)| bucket_of(key)) {
            if !floors.iter().any(|(known, _)| *known == bucket) {
                floors.push((bucket, self.view.floor(bucket)));
            }
        }
        let rows: Vec<Revision> = step.iter().map(|(_, row)| *row).collect();
        match self.log.sweep(&floors, &rows) {
            Ok(()) => self.garbage.remove_front(step.len()),
            Err(error) => {
                // What waits stays; the next expiry or compaction tries again.
                self.sweeping = false;
                self.failed_to("compact", &error);
            }
        }
    }

    /// Records a failure of the engine and words it for callers.
    fn failed_to(&mut self, what: &str, error: &rusqlite::Error) -> Failure {
        self.failed = true;
        tracing::error!(%error, "the store cannot {what}");
        // A full disk often has room in the log that only a checkpoint frees.
        if let Err(error) = self.log.checkpoint() {
            tracing::warn!(%error, "the store cannot checkpoint either");
        }
        let full = error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull);
        Failure { full, message: format!("cannot {what}, nothing was changed: {error}") }
    }
}

/// Why the engine did not do something.
struct Failure {
    /// The disk has no room.
    full: bool,
    message: String,
}
