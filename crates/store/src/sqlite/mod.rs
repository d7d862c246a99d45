//! The embedded engine: SQLite as an append-only log of revisions, everything current in memory.
//!
//! Invariants: one thread writes; a write is in a synced transaction before anybody sees it; revisions count up, also
//! over failures and restarts. What failed was not acknowledged, though a crash right after the failure may bring it
//! back, as with any write whose answer is lost. Absent: refusing a second process (the daemon's lock on the data
//! directory does).

mod log;
mod queue;
mod reserve;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use base::Facts;
use tokio::sync::oneshot;

use crate::ring::Limits;
use crate::view::{View, bucket_of};
use crate::{
    Collection, Entry, Interest, Op, Page, RangeQuery, ReadFacts, Revision, Store, StoreError, Watcher,
    Write, splice,
};
use log::Log;
pub use log::OpenError;
use queue::{Command, Queue};
use reserve::Reserve;
use writer::{Garbage, Writer};

/// How much the store keeps and when it tidies up. The defaults suit a node.
#[derive(Debug, Clone)]
pub struct Options {
    /// History older than this may be forgotten.
    pub retain_age: Duration,
    /// Each bucket's history beyond this many bytes may be forgotten.
    pub retain_bytes: usize,
    /// Each bucket's history beyond this many events may be forgotten.
    pub retain_events: usize,
    /// So many superseded rows may wait on disk for their deletion; few deletions keep an idle disk idle.
    pub garbage_rows: usize,
    /// The write-ahead log is carried over into the database after this many pages of 4 KiB.
    pub checkpoint_pages: u32,
    /// So many bytes are kept in a file beside the database for writes that free something on a full disk; 0 is none.
    pub reserve_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            retain_age: Duration::from_secs(300),
            retain_bytes: 8 << 20,
            retain_events: 10_000,
            garbage_rows: 1000,
            checkpoint_pages: 1000,
            reserve_bytes: 4 << 20,
        }
    }
}

/// What the store holds, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// The newest revision.
    pub revision: Revision,
    /// Current keys.
    pub keys: usize,
    /// Events kept as history.
    pub events: usize,
    /// Approximate size of that history in bytes.
    pub event_bytes: usize,
    /// Superseded rows on disk that wait for their deletion.
    pub garbage_rows: usize,
}

/// The engine. See the module.
#[derive(Debug)]
pub struct SqliteStore {
    view: Arc<View>,
    queue: Arc<Queue>,
    garbage: Arc<Garbage>,
    read_facts: ReadFacts,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl SqliteStore {
    /// Opens or creates the database file at `path` and reads it into memory. Blocks on the disk. `read_facts`
    /// reads those of each version that is current now or comes to be.
    pub fn open(path: &Path, options: Options, read_facts: ReadFacts) -> Result<Arc<Self>, OpenError> {
        let limits =
            Limits { age: options.retain_age, bytes: options.retain_bytes, events: options.retain_events };
        let view = Arc::new(View::new(limits));
        let garbage = Arc::new(Garbage::default());
        let mut reserve = Reserve::of(path, options.reserve_bytes);
        let log = match Log::open(path, options.checkpoint_pages) {
            // Even to open a database takes room, for the side files that a clean end removed.
            Err(error) if error.may_want_room() && reserve.give_up() => {
                tracing::warn!(%error, "once more, with the reserve given up");
                Log::open(path, options.checkpoint_pages)?
            }
            other => other?,
        };
        reserve.refill();
        log.load(&read_facts, |loaded| match loaded {
            log::Loaded::Floors(floors) => view.restore_floors(floors.all, &floors.buckets),
            log::Loaded::Events(events) => garbage.add(&view.restore(events, Instant::now())),
            log::Loaded::Rest(key, revision) => garbage.add_row(key, revision),
            log::Loaded::Newest(revision) => view.restored(revision),
        })?;
        let queue = Arc::new(Queue::default());
        let writer = Writer::new(
            (log, reserve),
            view.clone(),
            queue.clone(),
            garbage.clone(),
            read_facts.clone(),
            &options,
        );
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(OpenError::Thread)?;
        Ok(Arc::new(Self { view, queue, garbage, read_facts, thread: Mutex::new(Some(thread)) }))
    }

    /// Ends watchers, performs what is queued, carries the write-ahead log over into the database, closes it. Later
    /// writes are [`StoreError::Unavailable`]; reads still answer.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.view.close();
        self.queue.close();
        let thread = self.take_thread();
        let ended = tokio::task::spawn_blocking(move || thread.map_or(Ok(()), JoinHandle::join)).await;
        match ended {
            Ok(Ok(())) => Ok(()),
            _ => Err(StoreError::Unavailable("the writer ended with a panic".to_owned())),
        }
    }

    /// What the store holds now.
    pub fn stats(&self) -> Stats {
        let held = self.view.held();
        Stats {
            revision: self.view.revision(),
            keys: held.keys,
            events: held.events,
            event_bytes: held.event_bytes,
            garbage_rows: self.garbage.len(),
        }
    }

    /// The facts of what is about to be written, read by the caller so that the writer's thread need not.
    fn facts_of(&self, write: &Write) -> Option<Facts> {
        let (Op::Put(value) | Op::Ending(value) | Op::Delete(Some(value))) = &write.op else { return None };
        Some(self.read_facts.read(&write.key, value))
    }

    async fn perform(&self, write: Write, facts: Option<Facts>) -> Result<Arc<Entry>, StoreError> {
        // Whatever is as in the current version is shared with it.
        let facts = facts.map(|facts| match self.view.get(&write.key) {
            Some(current) => facts.sharing(current.facts()),
            None => Arc::new(facts),
        });
        let (answer, answered) = oneshot::channel();
        self.queue.push(|room| Command::Write { write, facts, answer, _room: room }).await?;
        answered.await.unwrap_or_else(|_| Err(StoreError::Unavailable("the writer ended".to_owned())))
    }

    fn take_thread(&self) -> Option<JoinHandle<()>> {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.view.close();
        self.queue.close();
        if let Some(thread) = self.take_thread()
            && thread.join().is_err()
        {
            tracing::error!("the store's writer ended with a panic");
        }
    }
}

fn check(write: &Write) -> Result<(), StoreError> {
    if bucket_of(&write.key).is_none_or(str::is_empty) {
        return Err(StoreError::Invalid("a key begins with its bucket"));
    }
    match &write.op {
        Op::Put(value) | Op::Ending(value) | Op::Delete(Some(value)) if !splice::is_canonical(value) => {
            Err(StoreError::Invalid("a value begins with metadata and holds no resourceVersion"))
        }
        _ => Ok(()),
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn revision(&self) -> Revision {
        self.view.revision()
    }

    async fn barrier(&self) -> Result<Revision, StoreError> {
        // The only writer publishes before it answers.
        Ok(self.view.revision())
    }

    async fn wait_for(&self, revision: Revision) {
        self.view.wait_for(revision).await;
    }

    fn get(&self, key: &str) -> Option<Arc<Entry>> {
        self.view.get(key)
    }

    fn range(&self, query: &RangeQuery<'_>) -> Result<Page, StoreError> {
        self.view.range(query)
    }

    fn read(&self, buckets: &[&str]) -> (Revision, Vec<Collection>) {
        self.view.read(buckets)
    }

    async fn commit(&self, write: Write) -> Result<Arc<Entry>, StoreError> {
        check(&write)?;
        let facts = self.facts_of(&write);
        self.perform(write, facts).await
    }

    async fn commit_known(&self, write: Write, facts: Facts) -> Result<Arc<Entry>, StoreError> {
        check(&write)?;
        self.perform(write, Some(facts)).await
    }

    fn watch(&self, interests: &[Interest], after: Revision) -> Result<Box<dyn Watcher>, StoreError> {
        Ok(Box::new(self.view.watch(interests, after)?))
    }

    async fn compact(&self, before: Revision) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        self.queue.push(|room| Command::Compact { before, answer, _room: room }).await?;
        answered.await.unwrap_or_else(|_| Err(StoreError::Unavailable("the writer ended".to_owned())))
    }

    async fn probe(&self) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        self.queue.push(|room| Command::Probe { answer, _room: room }).await?;
        answered.await.unwrap_or_else(|_| Err(StoreError::Unavailable("the writer ended".to_owned())))
    }
}
