//! The bounded queue between the callers and the writer's thread: callers wait asynchronously for room, the writer
//! takes everything at once and sleeps on a condition variable.
//!
//! Invariant: what was pushed is taken, even after `close`.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use base::Facts;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::{Entry, Revision, StoreError, Write};

/// So many commands may wait, hence be in one group commit.
const ROOM: usize = 1024;

pub(super) type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the writer is asked to do.
#[derive(Debug)]
pub(super) enum Command {
    /// A write with the facts of the version that it makes.
    Write {
        write: Write,
        facts: Option<Arc<Facts>>,
        answer: Answer<Arc<Entry>>,
        _room: OwnedSemaphorePermit,
    },
    Probe {
        answer: Answer<()>,
        _room: OwnedSemaphorePermit,
    },
    Compact {
        before: Revision,
        answer: Answer<()>,
        _room: OwnedSemaphorePermit,
    },
}

#[derive(Debug, Default)]
struct State {
    commands: VecDeque<Command>,
    closed: bool,
}

#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    ready: Condvar,
    room: Arc<Semaphore>,
}

impl Default for Queue {
    fn default() -> Self {
        Self { state: Mutex::default(), ready: Condvar::new(), room: Arc::new(Semaphore::new(ROOM)) }
    }
}

fn closed<E>(_: E) -> StoreError {
    StoreError::Unavailable("closed".to_owned())
}

impl Queue {
    /// Waits for room and queues the command.
    pub(super) async fn push(
        &self,
        command: impl FnOnce(OwnedSemaphorePermit) -> Command,
    ) -> Result<(), StoreError> {
        let room = self.room.clone().acquire_owned().await.map_err(closed)?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return Err(closed(()));
        }
        state.commands.push_back(command(room));
        drop(state);
        self.ready.notify_one();
        Ok(())
    }

    /// Everything queued; waits for it until the given time, without one for ever. `None`: closed and empty.
    pub(super) fn take(&self, until: Option<Instant>) -> Option<VecDeque<Command>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.commands.is_empty() {
            if state.closed {
                return None;
            }
            let Some(until) = until else {
                state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.ready.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Some(std::mem::take(&mut state.commands))
    }

    /// Takes no more commands.
    pub(super) fn close(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.room.close();
        self.ready.notify_one();
    }
}
