//! The network probes and HTTP hooks: one attempt each (`pkg/probe`).
//!
//! Invariant: an attempt never outlives its timeout. Absent: thresholds and periods (`lifecycle`), exec probes (the
//! runtime's).

pub mod grpc;
pub mod http;
pub mod tcp;

use std::time::Duration;

/// What one attempt found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Passed.
    Success,
    /// Passed, with something to tell: the `ProbeWarning` event.
    Warning(String),
    /// Did not pass; the text after `probe failed: `.
    Failure(String),
}

/// Upstream's words for an attempt that took too long.
fn timed_out(what: &str) -> Outcome {
    Outcome::Failure(format!(
        "{what}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
    ))
}

/// Runs an attempt within its timeout.
async fn within<F: Future<Output = Outcome>>(
    limit: Duration,
    late: impl FnOnce() -> Outcome,
    attempt: F,
) -> Outcome {
    tokio::time::timeout(limit, attempt).await.unwrap_or_else(|_| late())
}

#[cfg(test)]
mod tests;
