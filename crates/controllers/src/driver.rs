//! The one driver of every controller: changes fill a queue of keys, tasks work them off.
//!
//! Invariants: work on one key is serial; a turn sees what the turns before it wrote; an error backs that key off and no other; idle means asleep on a change or
//! the next due time. All objects are told anew every ten minutes in case a key was ever lost.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base::Timestamp;
use client::{Delta, Deltas, Gvr, Status};
use futures_util::FutureExt as _;
use kinds::Catalogue;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::queue::Queue;

const RESCAN: Duration = Duration::from_secs(600);
/// A controller that asks to be woken in the past is woken this much later.
const LEAST_DELAY: Duration = Duration::from_millis(10);
const WORKERS: usize = 8;

/// What a controller works on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    /// Bucket of the kind where a controller's keys are of several kinds, else empty.
    pub(crate) bucket: Arc<str>,
    /// Namespace, empty if cluster-scoped.
    pub(crate) namespace: Arc<str>,
    /// Name.
    pub(crate) name: Arc<str>,
}

impl Key {
    pub(crate) fn new(bucket: &str, namespace: &str, name: &str) -> Self {
        Self { bucket: bucket.into(), namespace: namespace.into(), name: name.into() }
    }

    /// The key of the object that changed.
    pub(crate) fn of(delta: &Delta) -> Self {
        Self { bucket: Arc::default(), namespace: delta.namespace.clone(), name: delta.name.clone() }
    }
}

/// Why a turn failed; the key is tried again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The API said no.
    #[error("{0}")]
    Api(#[from] Status),
    /// A stored object does not fit what the controller expects.
    #[error("stored object: {0}")]
    Stored(#[from] serde_json::Error),
    /// A turn panicked; others go on.
    #[error("panicked: {0}")]
    Panicked(String),
}

impl Failure {
    /// Somebody else wrote first; nothing to report.
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Api(status) if status.is("Conflict"))
    }
}

/// When to look at a key again, if ever, without a change.
pub(crate) type Turn = Result<Option<Timestamp>, Failure>;

/// One controller.
#[async_trait]
pub(crate) trait Controller: Send + Sync + 'static {
    /// Upstream's name, which is also its service account in kube-system and the source of its events.
    fn name(&self) -> &'static str;
    /// Whose changes concern it, of all that is served.
    fn watches(&self, catalogue: &Catalogue) -> Vec<Gvr>;
    /// The keys that a change concerns.
    fn keys(&self, context: &Context, delta: &Delta) -> Vec<Key>;
    /// One turn: read, decide, write.
    async fn sync(&self, context: &Context, key: &Key) -> Turn;
}

/// Runs a controller until cancelled; work already begun is finished.
pub(crate) async fn run(controller: Arc<dyn Controller>, context: Context, cancel: CancellationToken) {
    let catalogue = context.snapshots.catalogue();
    Driver {
        deltas: context.snapshots.deltas(&controller.watches(&catalogue)),
        catalogue,
        controller,
        context: Arc::new(context),
        queue: Queue::default(),
        tasks: JoinSet::new(),
        start: Instant::now(),
        rescan: Instant::now() + RESCAN,
    }
    .run(&cancel)
    .await;
}

/// One turn. What a failed turn has written is unknown, and so is the revision to wait for: after it everything that was
/// done so far must be seen first, or its successor would do it again.
async fn turn(controller: &dyn Controller, context: &Context, key: &Key, doubtful: bool) -> Turn {
    if doubtful {
        context.snapshots.barrier().await?;
    }
    controller.sync(context, key).await
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without words".to_owned())
}

struct Driver {
    controller: Arc<dyn Controller>,
    context: Arc<Context>,
    catalogue: Arc<Catalogue>,
    deltas: Box<dyn Deltas>,
    queue: Queue,
    tasks: JoinSet<(Key, Turn)>,
    start: Instant,
    rescan: Instant,
}

impl Driver {
    async fn run(mut self, cancel: &CancellationToken) {
        let snapshots = self.context.snapshots.clone();
        loop {
            self.queue.release_due(self.now());
            self.start_tasks();
            let next = self.queue.next_due().map(|at| self.start + Duration::from_nanos(at.0));
            let timer = next.map_or(self.rescan, |at| at.min(self.rescan));
            tokio::select! {
                // In this order, so that a simulation can repeat it.
                biased;
                () = cancel.cancelled() => break,
                Some(done) = self.tasks.join_next() => self.finished(done),
                deltas = self.deltas.next() => self.route(&deltas),
                newer = snapshots.catalogue_after(self.catalogue.generation()) => self.follow(newer),
                () = tokio::time::sleep_until(timer) => self.rescan_if_due(),
            }
        }
        while self.tasks.join_next().await.is_some() {}
    }

    fn now(&self) -> base::Instant {
        base::Instant(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn start_tasks(&mut self) {
        while self.tasks.len() < WORKERS {
            let Some(key) = self.queue.take() else { return };
            let (controller, context) = (self.controller.clone(), self.context.clone());
            let doubtful = self.queue.has_failed(&key);
            self.tasks.spawn(async move {
                let turn =
                    AssertUnwindSafe(turn(&*controller, &context, &key, doubtful)).catch_unwind().await;
                (key, turn.unwrap_or_else(|panic| Err(Failure::Panicked(words(&*panic)))))
            });
        }
    }

    fn route(&mut self, deltas: &[Delta]) {
        for delta in deltas {
            for key in self.controller.keys(&self.context, delta) {
                self.queue.wake(key);
            }
        }
    }

    fn finished(&mut self, done: Result<(Key, Turn), tokio::task::JoinError>) {
        let (key, turn) = match done {
            Ok(done) => done,
            // Turns end by themselves, and their panics are caught.
            Err(error) => {
                return tracing::error!(controller = self.controller.name(), "a turn is lost: {error}");
            }
        };
        let now = self.now();
        match turn {
            Ok(wake_at) => {
                let delay = wake_at.map(|at| at.since(self.context.now()).max(LEAST_DELAY));
                self.queue.succeeded(key, now, delay);
            }
            Err(failure) => {
                let controller = self.controller.name();
                let (namespace, name) = (key.namespace.clone(), key.name.clone());
                let conflict = failure.is_conflict();
                let delay = self.queue.failed(key, now);
                if conflict {
                    tracing::debug!(controller, %namespace, %name, "{failure}");
                } else {
                    tracing::warn!(controller, %namespace, %name, ?delay, "{failure}");
                }
            }
        }
    }

    fn rescan_if_due(&mut self) {
        if Instant::now() >= self.rescan {
            self.rescan = Instant::now() + RESCAN;
            self.deltas = self.context.snapshots.deltas(&self.controller.watches(&self.catalogue));
        }
    }

    /// Kinds came or went: who watches other resources now begins again with all of them.
    fn follow(&mut self, newer: Arc<Catalogue>) {
        let before = std::mem::replace(&mut self.catalogue, newer);
        let watches = self.controller.watches(&self.catalogue);
        if watches != self.controller.watches(&before) {
            self.deltas = self.context.snapshots.deltas(&watches);
        }
    }
}
