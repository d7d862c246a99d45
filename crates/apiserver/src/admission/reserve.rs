//! What was taken for one write, and how it is settled once the write has ended.
//!
//! Invariants: what was taken is settled exactly once, also when the write fails, when its answer is lost and when the
//! request ends before it (its client went, its time was up, its handler panicked): from the moment the write is handed to
//! the store, a task of its own waits for its end. Only a plugin that panics while it settles loses what it took.
//! Absent: what is taken; that is the plugins'.

use std::sync::Arc;

use async_trait::async_trait;
use base::Facts;
use bytes::Bytes;
use store::{Entry, Expect, Op, Store, StoreError, Write};

use crate::context::facts::commit;
use crate::context::object;

/// How a write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is stored as it was reviewed.
    Stored,
    /// The object is gone.
    Removed,
    /// Nothing was written.
    Nothing,
    /// It cannot be told; what was taken must be counted again from what is stored.
    Unknown,
}

/// Something taken by a plugin.
#[async_trait]
pub(crate) trait Reservation: Send {
    /// Keeps it or gives it back.
    async fn settle(self: Box<Self>, outcome: Outcome);
}

/// All that was taken for one write.
#[derive(Default)]
pub(crate) struct Reserved(Vec<Box<dyn Reservation>>);

impl Reserved {
    pub(super) fn extend(&mut self, taken: Option<Box<dyn Reservation>>) {
        self.0.extend(taken);
    }

    /// Nothing is written.
    pub(crate) async fn give_back(self) {
        self.settle(Outcome::Nothing).await;
    }

    async fn settle(mut self, outcome: Outcome) {
        // The last taken first, as one would by hand.
        while let Some(taken) = self.0.pop() {
            taken.settle(outcome).await;
        }
    }

    /// Commits the write and settles; the facts are those of what is stored, if they are known.
    pub(crate) async fn commit(
        self,
        store: &Arc<dyn Store>,
        write: Write,
        facts: Option<Facts>,
    ) -> Result<Arc<Entry>, StoreError> {
        if self.0.is_empty() {
            return commit(&**store, write, facts).await;
        }
        let store = store.clone();
        let ended = tokio::spawn(async move {
            let result = commit(&*store, write.clone(), facts).await;
            let outcome = outcome(&*store, &write, &result).await;
            self.settle(outcome).await;
            result
        });
        ended.await.unwrap_or_else(|e| Err(StoreError::Unavailable(e.to_string())))
    }
}

impl Drop for Reserved {
    /// Only here if the request ended before its write was handed to the store.
    fn drop(&mut self) {
        if self.0.is_empty() {
            return;
        }
        let taken = Self(std::mem::take(&mut self.0));
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(taken.give_back())),
            Err(error) => {
                tracing::error!(%error, "reservations are lost with their runtime");
                // What a runtime that ends cannot run, nobody can: not dropped again.
                std::mem::forget(taken);
            }
        }
    }
}

async fn outcome(store: &dyn Store, write: &Write, result: &Result<Arc<Entry>, StoreError>) -> Outcome {
    match result {
        Ok(_) if matches!(write.op, Op::Delete(_)) => Outcome::Removed,
        Ok(_) => Outcome::Stored,
        Err(StoreError::Unavailable(_)) => look(store, write).await,
        Err(_) => Outcome::Nothing,
    }
}

/// What became of a write whose answer is lost: everything before a barrier is visible after it.
async fn look(store: &dyn Store, write: &Write) -> Outcome {
    let Ok(revision) = store.barrier().await else { return Outcome::Unknown };
    store.wait_for(revision).await;
    match (store.get(&write.key), &write.op, write.expect) {
        (None, Op::Delete(_), _) => Outcome::Removed,
        (None, _, Expect::Absent) => Outcome::Nothing,
        (Some(entry), _, Expect::Revision(before)) if entry.revision == before => Outcome::Nothing,
        (Some(entry), Op::Put(bytes) | Op::Ending(bytes), _) => compared(&entry, bytes),
        _ => Outcome::Unknown,
    }
}

/// Whether this is what was to be stored, or at least the object that was to be created.
fn compared(entry: &Entry, bytes: &Bytes) -> Outcome {
    let uid = |json: &[u8]| {
        let parsed: Result<serde_json::Value, _> = serde_json::from_slice(json);
        parsed.map(|obj| object::meta(&obj, "uid").to_owned()).unwrap_or_default()
    };
    if object::without_revision(entry) == *bytes {
        Outcome::Stored
    } else if uid(&entry.value) != uid(bytes) {
        Outcome::Nothing
    } else {
        Outcome::Unknown
    }
}
