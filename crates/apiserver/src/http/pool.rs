//! Threads for what takes long, bounded, so that requests which take no time always find a worker and a core.
//!
//! Invariant: whoever has long work does it in pieces of a few milliseconds, and waits its turn for each. Absent: priorities.

use std::io;
use std::sync::Arc;

use tokio::sync::Semaphore;

/// No more pieces than this are at work at once, however many cores there are.
const MOST: usize = 8;

/// See the head of the file.
pub(crate) struct Pool(Arc<Semaphore>);

impl Pool {
    /// One that leaves a core to everything else.
    pub(crate) fn of_this_machine() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self(Arc::new(Semaphore::new(cores.saturating_sub(1).clamp(1, MOST))))
    }

    /// Does one piece of work, after those that came before it.
    ///
    /// # Errors
    /// If it panicked, or the runtime ends.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let turn = self.0.clone().acquire_owned().await.map_err(io::Error::other)?;
        let piece = move || {
            let _turn = turn;
            work()
        };
        tokio::task::spawn_blocking(piece).await.map_err(io::Error::other)
    }
}
