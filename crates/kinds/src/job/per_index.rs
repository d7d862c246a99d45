//! A Job with backoffLimitPerIndex: how often each index failed, and which Pods remember it
//! (`pkg/controller/job/indexed_job_utils.go`).
//!
//! Invariant: of each index that neither runs nor has ended, the last failed Pod keeps its finalizer until its
//! replacement carries the counts on in its annotations; so no failure of an index is forgotten.

use std::collections::BTreeMap;
use std::time::Duration;

use base::Timestamp;
use serde_json::{Value, json};

use super::indexes::Indexes;
use super::policy::Outcome;
use super::view::JobView;
use crate::view::PodView;

/// Failures of an index before this Pod.
const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
/// Failures of an index before this Pod that the policy ignored.
const IGNORED: &str = "batch.kubernetes.io/job-index-ignored-failure-count";

const FIRST_BACKOFF: Duration = Duration::from_secs(10);
const MAX_BACKOFF: Duration = Duration::from_secs(600);

/// How long after the last of so many failures the next Pod is made: 10 s, doubling, at most 10 minutes.
pub(super) fn delay(failures: usize) -> Duration {
    let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(u32::MAX).min(6);
    (FIRST_BACKOFF * 2u32.pow(doublings)).min(MAX_BACKOFF)
}

fn counted(pod: &PodView, annotation: &str) -> u32 {
    pod.metadata.annotations.get(annotation).and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// The indexes lost so far: those in the status, and those whose Pods just failed once too often.
pub(super) fn failed(job: &JobView, pods: &[PodView]) -> Indexes {
    let mut lost =
        Indexes::parse(job.status.failed_indexes.as_deref().unwrap_or_default(), job.completions());
    lost.extend(pods.iter().filter(|p| job.countable(p) && is_last(job, p)).filter_map(|p| job.index(p)));
    lost
}

/// Whether a Pod's failure is its index's last.
fn is_last(job: &JobView, pod: &PodView) -> bool {
    if !job.failed(pod) {
        return false;
    }
    let limit = u32::try_from(job.spec.backoff_limit_per_index.unwrap_or(i32::MAX)).unwrap_or(0);
    match job.judge(pod) {
        Outcome::FailIndex => true,
        Outcome::Ignore => false,
        Outcome::Count | Outcome::FailJob(_) => counted(pod, FAILURES) >= limit,
    }
}

/// The last failed Pod of each index in `open`: it waits for its replacement.
pub(super) fn waiting<'a>(
    job: &JobView,
    pods: &'a [PodView],
    closed: impl Fn(u32) -> bool,
) -> BTreeMap<u32, &'a PodView> {
    let mut last: BTreeMap<u32, &PodView> = BTreeMap::new();
    let rank = |p: &PodView| (counted(p, FAILURES) + counted(p, IGNORED), p.finish_time());
    for pod in pods.iter().filter(|p| job.countable(p) && job.failed(p)) {
        let Some(index) = job.index(pod).filter(|i| !closed(*i)) else { continue };
        let slot = last.entry(index).or_insert(pod);
        if rank(pod) >= rank(slot) {
            *slot = pod;
        }
    }
    last
}

/// When the replacement of a failed Pod is due.
pub(super) fn due(before: &PodView) -> Timestamp {
    let failures = counted(before, FAILURES) + counted(before, IGNORED) + 1;
    before.finish_time() + delay(failures as usize)
}

/// Gives a Pod about to be made the counts of its index, with the failure of the Pod that it replaces.
pub(super) fn stamp(pod: &mut Value, job: &JobView, before: Option<&PodView>) {
    let (mut failures, mut ignored) = (0, 0);
    if let Some(before) = before {
        (failures, ignored) = (counted(before, FAILURES), counted(before, IGNORED));
        let one_more = if job.counts(before) { &mut failures } else { &mut ignored };
        *one_more += 1;
    }
    pod["metadata"]["annotations"][FAILURES] = json!(failures.to_string());
    if ignored > 0 {
        pod["metadata"]["annotations"][IGNORED] = json!(ignored.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_ten_minutes() {
        for (failures, seconds) in [(0, 10), (1, 10), (2, 20), (6, 320), (7, 600), (99, 600)] {
            assert_eq!(delay(failures), Duration::from_secs(seconds), "{failures}");
        }
    }
}
