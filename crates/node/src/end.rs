//! Ending every Pod of this node without the machine: for `minke down`, after the node's loops have stopped.
//!
//! Invariant: the API is not touched, so that Pods run again when the node comes back. preStop hooks run and are
//! paid from the grace period; sidecars end after the regular containers, last started first.
//! Absent: statuses (nobody reads them any more).

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use k8s_openapi::api::core::v1::Container;
use kinds::rules::containers;
use lifecycle::Hook;
use runtime::{ContainerState, ContainerStatus, Runtime};

use crate::handle::{NodeHandle, PodEntry};
use crate::probes::Place;

/// Upstream's default.
const GRACE: i64 = 30;

/// Ends all Pods, each with its own grace but at most `limit`, and returns how many there were. What cannot be ended is
/// logged; removing the instance tries again and reports.
pub async fn all(handle: &NodeHandle, limit: Option<Duration>) -> usize {
    let pods = handle.pods();
    join_all(pods.iter().map(|pod| one(handle.runtime(), pod, limit))).await.len()
}

async fn one(runtime: &Arc<dyn Runtime>, entry: &PodEntry, limit: Option<Duration>) {
    let Some(spec) = entry.pod.spec.as_ref() else { return };
    let own = Duration::from_secs(
        u64::try_from(spec.termination_grace_period_seconds.unwrap_or(GRACE)).unwrap_or(0),
    );
    let until = Instant::now() + limit.map_or(own, |limit| own.min(limit));
    let first = spec.containers.iter().chain(containers::init(spec).filter(|c| !containers::is_sidecar(c)));
    join_all(first.map(|c| stop(runtime, entry, c, until))).await;
    for container in containers::sidecars(spec).rev() {
        stop(runtime, entry, container, until).await;
    }
    if let Some(sandbox) = &entry.sandbox
        && let Err(error) = runtime.stop_sandbox(sandbox).await
    {
        tracing::warn!(sandbox, %error, "cannot stop the sandbox");
    }
}

fn running<'a>(entry: &'a PodEntry, name: &str) -> Option<&'a ContainerStatus> {
    entry.containers.get(name)?.first().filter(|c| c.state == ContainerState::Running)
}

async fn stop(runtime: &Arc<dyn Runtime>, entry: &PodEntry, container: &Container, until: Instant) {
    let Some(status) = running(entry, &container.name) else { return };
    let left = || until.saturating_duration_since(Instant::now());
    let ip = entry.pod.status.as_ref().and_then(|s| s.pod_ip.as_deref()).unwrap_or_default();
    let place = Place { runtime: &**runtime, id: &status.id, container, ip };
    let seconds = i64::try_from(left().as_secs()).unwrap_or(i64::MAX);
    if seconds > 0
        && let Err(error) = place.hook(Hook::PreStop, Some(seconds)).await
    {
        tracing::warn!(container = container.name, %error, "PreStopHook failed");
    }
    if let Err(error) = runtime.stop_container(&status.id, left()).await {
        tracing::warn!(container = container.name, %error, "cannot stop the container");
    }
}
