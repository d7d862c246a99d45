//! The one thread that changes anything: it drains the queue, decides every compare-and-set against the view and the
//! group so far, commits the group in one transaction, publishes it, answers. In between it forgets old history.
//!
//! Invariant: nothing is answered before its transaction is synced, not even a conflict with a write of that group.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base::Facts;

use super::Options;
use super::log::{self, Log, Row};
use super::queue::{Answer, Command, Queue};
use super::reserve::Reserve;
use crate::envelope::{Record, seal};
use crate::view::{View, bucket_of};
use crate::{Entry, Event, Expect, Op, ReadFacts, Revision, StoreError, Write};

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
    reserve: Reserve,
    view: Arc<View>,
    queue: Arc<Queue>,
    garbage: Arc<Garbage>,
    read_facts: ReadFacts,
    garbage_limit: usize,
    sweeping: bool,
    expire_at: Option<Instant>,
    expire_pause: Duration,
    /// The newest revision ever given out, also to a write that failed.
    given: Revision,
    /// A failed transaction may have left rows after the newest published revision.
    failed: bool,
    /// Why the last transaction failed, if it did.
    unwell: Option<Failure>,
}

type Decision = Result<Arc<Entry>, StoreError>;

/// The writes of one transaction, decided but not yet durable.
#[derive(Default)]
struct Group {
    rows: Vec<Row>,
    events: Vec<Event>,
    /// What the keys written in this group will be.
    state: HashMap<Arc<str>, Option<Arc<Entry>>>,
}

/// A group and what becomes of each write in it, in their order.
struct Decided {
    group: Group,
    decisions: Vec<Decision>,
}

/// A write, the facts of the version that it makes, and who waits for it.
struct Asked {
    write: Write,
    facts: Option<Arc<Facts>>,
    answer: Answer<Arc<Entry>>,
}

type Writes = Vec<Asked>;

impl Writer {
    pub(super) fn new(
        (log, reserve): (Log, Reserve),
        view: Arc<View>,
        queue: Arc<Queue>,
        garbage: Arc<Garbage>,
        read_facts: ReadFacts,
        options: &Options,
    ) -> Self {
        Self {
            given: view.revision(),
            log,
            reserve,
            view,
            queue,
            garbage,
            read_facts,
            garbage_limit: options.garbage_rows,
            sweeping: false,
            expire_at: Some(Instant::now()),
            expire_pause: options.retain_age.min(EXPIRE_PAUSE),
            failed: false,
            unwell: None,
        }
    }

    /// Works until the queue is closed and empty.
    pub(super) fn run(mut self) {
        while let Some(commands) = self.queue.take(self.wake_at()) {
            let mut writes = Vec::new();
            let (mut compactions, mut probes) = (Vec::new(), Vec::new());
            for command in commands {
                match command {
                    Command::Write { write, facts, answer, _room } => {
                        writes.push(Asked { write, facts, answer });
                    }
                    Command::Probe { answer, _room } => probes.push(answer),
                    Command::Compact { before, answer, _room } => compactions.push((before, answer)),
                }
            }
            self.perform(writes);
            for (before, answer) in compactions {
                // A caller that no longer waits is not an error.
                let _ = answer.send(self.compact(before));
            }
            if !probes.is_empty() {
                let well = self.probe();
                for answer in probes {
                    let _ = answer.send(well.as_ref().map_err(Failure::to_error).copied());
                }
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
    fn decide(&mut self, group: &mut Group, asked: &Asked) -> Decision {
        let Asked { write, facts, .. } = asked;
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
            (Op::Put(value) | Op::Ending(value), _) => {
                let key = current.as_ref().map_or(&write.key, |entry| &entry.key);
                (log::entry(key, revision, value, &self.read_facts), seal(Record::Put(value)), false)
            }
            (Op::Delete(last), Some(current)) => {
                let last = last.as_deref();
                (log::deletion(current, revision, last), seal(Record::Delete(last)), true)
            }
            (Op::Delete(_), None) => return Err(StoreError::Conflict { current }),
        };
        // Of a deletion that leaves the value as it was they are known from it.
        let entry = Arc::new(if facts.is_some() { entry.with_facts(facts.clone()) } else { entry });
        self.given = revision;
        group.state.insert(entry.key.clone(), (!deleted).then(|| entry.clone()));
        group.rows.push(Row { revision, key: entry.key.clone(), envelope });
        group.events.push(Event { entry: entry.clone(), previous: current, deleted });
        Ok(entry)
    }

    /// Performs writes in one transaction and answers. When the disk is full, those that free something are performed
    /// all the same, out of the reserve, decided anew without the others.
    fn perform(&mut self, mut writes: Writes) {
        if let Some(failure) = self.out_of_room() {
            writes = refuse_what_frees_nothing(writes, &failure);
        }
        let mut decided = self.decide_all(&writes);
        let mut done = self.commit(&mut decided.group);
        while let Err(failure) = &done
            && failure.full
            && writes.iter().any(|asked| asked.write.op.may_spend_reserve())
            && self.reserve.give_up()
        {
            writes = refuse_what_frees_nothing(writes, failure);
            decided = self.decide_all(&writes);
            done = self.commit(&mut decided.group);
        }
        for (asked, decision) in writes.into_iter().zip(decided.decisions) {
            // A caller that no longer waits is not an error.
            let _ = asked.answer.send(done.as_ref().map_err(Failure::to_error).and(decision));
        }
    }

    fn decide_all(&mut self, writes: &Writes) -> Decided {
        let mut group = Group::default();
        let decisions = writes.iter().map(|asked| self.decide(&mut group, asked)).collect();
        Decided { group, decisions }
    }

    /// Why only writes that free something are taken now: the disk was full, and a part of the reserve is spent. Room
    /// inside the database is as good as the reserve.
    fn out_of_room(&mut self) -> Option<Failure> {
        let failure = self.unwell.as_ref().filter(|failure| failure.full && self.reserve.is_spent())?;
        let inside = self.log.free_bytes().is_ok_and(|bytes| bytes >= self.reserve.bytes());
        (!self.reserve.refill() && !inside).then(|| failure.clone())
    }

    /// Makes the group durable, then visible.
    fn commit(&mut self, group: &mut Group) -> Result<(), Failure> {
        if group.rows.is_empty() {
            return Ok(());
        }
        let published = self.view.revision();
        if let Err(error) = self.log.append(&group.rows, self.failed.then_some(published)) {
            return Err(self.failed_to("write", &error));
        }
        self.failed = false;
        if !self.reserve.is_spent() {
            self.unwell = None;
        } else if let Err(error) = self.log.recycle() {
            tracing::debug!(%error, "the write-ahead log grows on");
        }
        let now = Instant::now();
        self.garbage.add(&self.view.publish(std::mem::take(&mut group.events), now));
        self.expire_at.get_or_insert(now + self.expire_pause);
        Ok(())
    }

    /// Whether writes work. After a failure it is tried out, so that this turns well without anybody's write.
    fn probe(&mut self) -> Result<(), Failure> {
        if self.unwell.is_none() {
            return Ok(());
        }
        if let Some(failure) = self.out_of_room() {
            return Err(failure);
        }
        match self.log.sweep(&[("", self.view.floor(""))], &[]) {
            Ok(()) => {
                self.unwell = None;
                Ok(())
            }
            Err(error) => Err(self.failed_to("write", &error)),
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
                // What waits stays; the next expiry or compaction tries again, at once if the reserve gives room.
                self.sweeping = self.failed_to("compact", &error).full && self.reserve.give_up();
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
        let failure = Failure { full, message: format!("cannot {what}, nothing was changed: {error}") };
        self.unwell = Some(failure.clone());
        failure
    }
}

/// Answers those writes and returns the others.
fn refuse_what_frees_nothing(writes: Writes, failure: &Failure) -> Writes {
    let (left, refused): (Writes, Writes) =
        writes.into_iter().partition(|asked| asked.write.op.may_spend_reserve());
    for asked in refused {
        let _ = asked.answer.send(Err(failure.to_error()));
    }
    left
}

/// Why the engine did not do something.
#[derive(Debug, Clone)]
struct Failure {
    /// The disk has no room.
    full: bool,
    message: String,
}

impl Failure {
    fn to_error(&self) -> StoreError {
        let message = self.message.clone();
        if self.full { StoreError::Full(message) } else { StoreError::Unavailable(message) }
    }
}
