//! The real store, waited for without giving way: for the simulation a commit takes no time.
//!
//! Invariant: while the store's thread writes, no other task runs and the paused clock stands still (tokio would take the
//! wait for another thread as idleness and jump to the next timer).

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use async_trait::async_trait;
use base::Facts;
use store::{
    Collection, Entry, Interest, Page, RangeQuery, Revision, SqliteStore, Store, StoreError, Watcher, Write,
};

/// See the module.
#[derive(Debug)]
pub struct SteadyStore(Arc<SqliteStore>);

impl SteadyStore {
    /// Wraps a store.
    #[must_use]
    pub const fn new(store: Arc<SqliteStore>) -> Self {
        Self(store)
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread alone.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    // Without the task's budget: a future that ran out of it would wait for the task to give way.
    let mut future = pin!(tokio::task::unconstrained(future));
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

#[async_trait]
impl Store for SteadyStore {
    fn revision(&self) -> Revision {
        self.0.revision()
    }

    async fn barrier(&self) -> Result<Revision, StoreError> {
        self.0.barrier().await
    }

    async fn wait_for(&self, revision: Revision) {
        self.0.wait_for(revision).await;
    }

    fn get(&self, key: &str) -> Option<Arc<Entry>> {
        self.0.get(key)
    }

    fn range(&self, query: &RangeQuery<'_>) -> Result<Page, StoreError> {
        self.0.range(query)
    }

    fn read(&self, buckets: &[&str]) -> (Revision, Vec<Collection>) {
        self.0.read(buckets)
    }

    async fn commit(&self, write: Write) -> Result<Arc<Entry>, StoreError> {
        block_on(self.0.commit(write))
    }

    async fn commit_known(&self, write: Write, facts: Facts) -> Result<Arc<Entry>, StoreError> {
        block_on(self.0.commit_known(write, facts))
    }

    fn watch(&self, interests: &[Interest], after: Revision) -> Result<Box<dyn Watcher>, StoreError> {
        self.0.watch(interests, after)
    }

    async fn compact(&self, before: Revision) -> Result<(), StoreError> {
        block_on(self.0.compact(before))
    }

    async fn probe(&self) -> Result<(), StoreError> {
        block_on(self.0.probe())
    }
}
