//! Leader election by a Lease in kube-system (`k8s.io/client-go/tools/leaderelection`).
//!
//! Invariants: work runs only between taking the lease and losing it, and sees what was
//! written before; a lease of the same holder is taken over at once.
//! Absent: the LeaderElection event, coordinated election.

use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use client::{Answer, Objects, Snapshots, Status, Verb};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::context::{plain, target};
use crate::{Clock, Config};

const NAMESPACE: &str = "kube-system";
/// How long a lease holds without renewal.
const DURATION: Duration = Duration::from_secs(30);
const RENEW: Duration = Duration::from_secs(10);
/// Renewal failing for so long is a loss, safely before others may take the lease.
const GIVE_UP: Duration = Duration::from_secs(20);
/// Between attempts while another holds it or the API does not answer: the first delay, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// One lease and who wants it.
pub(crate) struct Election {
    objects: Arc<dyn Objects>,
    snapshots: Arc<dyn Snapshots>,
    clock: Arc<dyn Clock>,
    lease: &'static str,
    holder: String,
}

/// What to do about a lease as it stands.
#[derive(Debug, PartialEq)]
enum Claim {
    /// Make it.
    Create(Value),
    /// Write it.
    Update(Value),
    /// Somebody else holds it.
    Held,
}

impl Election {
    pub(crate) fn new(config: &Config, lease: &'static str) -> Self {
        let objects = (config.connect)(&format!("system:{lease}"));
        Self {
            objects,
            snapshots: config.snapshots.clone(),
            clock: config.clock.clone(),
            lease,
            holder: config.holder.clone(),
        }
    }

    /// Runs what `start` starts whenever the lease is held, until `shutdown`; then gives it back.
    pub(crate) async fn lead(
        &self,
        shutdown: &CancellationToken,
        start: impl Fn(&CancellationToken) -> JoinSet<()>,
    ) {
        while self.acquire(shutdown).await {
            tracing::info!(lease = self.lease, holder = self.holder, "leading");
            let work = CancellationToken::new();
            let mut tasks = start(&work);
            let kept = self.keep(shutdown, &mut tasks).await;
            work.cancel();
            while let Some(ended) = tasks.join_next().await {
                report(ended);
            }
            if kept {
                self.release().await;
                return;
            }
            tracing::warn!(lease = self.lease, "lease lost");
        }
    }

    /// Whether the lease was taken (otherwise: shutdown). What the former leader wrote is seen from then on.
    async fn acquire(&self, shutdown: &CancellationToken) -> bool {
        let mut delay = RETRY.0;
        loop {
            match self.take().await {
                Ok(true) => return true,
                Ok(false) => {}
                Err(status) => tracing::debug!(lease = self.lease, "not taken: {status}"),
            }
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return false,
                () = tokio::time::sleep(delay) => delay = (delay * 2).min(RETRY.1),
            }
        }
    }

    async fn take(&self) -> Result<bool, Status> {
        let taken = self.attempt().await?;
        if taken {
            self.snapshots.barrier().await?;
        }
        Ok(taken)
    }

    /// Renews until shutdown (true) or loss (false). A task that ends by itself has failed, which is a loss too.
    async fn keep(&self, shutdown: &CancellationToken, tasks: &mut JoinSet<()>) -> bool {
        let mut renewed = tokio::time::Instant::now();
        let mut pause = RENEW;
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return true,
                Some(ended) = tasks.join_next() => {
                    report(ended);
                    return false;
                }
                () = tokio::time::sleep(pause) => {}
            }
            match self.attempt().await {
                Ok(true) => (renewed, pause) = (tokio::time::Instant::now(), RENEW),
                Ok(false) => return false,
                Err(status) => {
                    tracing::warn!(lease = self.lease, "renewal failed: {status}");
                    pause = RETRY.1;
                }
            }
            if renewed.elapsed() >= GIVE_UP {
                return false;
            }
        }
    }

    /// Takes or renews the lease; false if another holds it.
    async fn attempt(&self) -> Result<bool, Status> {
        let kind = &kinds::lease::KIND;
        let place = target(kind, NAMESPACE, self.lease, "");
        let held = self.objects.call(plain(place.clone(), Verb::Get)).await;
        let current = match held.and_then(Answer::value) {
            Ok(lease) => Some(lease),
            Err(status) if status.is("NotFound") => None,
            Err(status) => return Err(status),
        };
        let written = match claim(current.as_ref(), self.lease, &self.holder, self.clock.now()) {
            Claim::Held => return Ok(false),
            Claim::Create(lease) => {
                self.objects.call(plain(target(kind, NAMESPACE, "", ""), Verb::Create(lease))).await
            }
            Claim::Update(lease) => self.objects.call(plain(place, Verb::Update(lease))).await,
        };
        written.map(|_| true)
    }

    async fn release(&self) {
        let place = target(&kinds::lease::KIND, NAMESPACE, self.lease, "");
        let held = self.objects.call(plain(place.clone(), Verb::Get)).await;
        let Ok(mut lease) = held.and_then(Answer::value) else { return };
        if lease["spec"]["holderIdentity"] != self.holder.as_str() {
            return;
        }
        lease["spec"]["holderIdentity"] = json!("");
        lease["spec"]["leaseDurationSeconds"] = json!(1);
        if let Err(status) = self.objects.call(plain(place, Verb::Update(lease))).await {
            tracing::debug!(lease = self.lease, "not given back: {status}");
        }
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!("controller task failed: {error}");
    }
}

fn claim(current: Option<&Value>, name: &str, holder: &str, now: Timestamp) -> Claim {
    let stamp = json!(now.rfc3339_micro());
    let spec = |acquired: &Value, transitions: i64| {
        json!({"holderIdentity": holder, "leaseDurationSeconds": DURATION.as_secs(), "acquireTime": acquired,
            "renewTime": stamp, "leaseTransitions": transitions})
    };
    let Some(lease) = current else {
        let metadata = json!({"name": name, "namespace": NAMESPACE});
        return Claim::Create(
            json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata,
            "spec": spec(&stamp, 0)}),
        );
    };
    let old = &lease["spec"];
    let owner = old["holderIdentity"].as_str().unwrap_or_default();
    let transitions = old["leaseTransitions"].as_i64().unwrap_or(0);
    let mut lease = lease.clone();
    lease["spec"] = if owner == holder {
        spec(&old["acquireTime"], transitions)
    } else {
        let seconds = old["leaseDurationSeconds"].as_u64().unwrap_or(0);
        let renewed = old["renewTime"].as_str().and_then(|t| Timestamp::parse(t).ok()).unwrap_or_default();
        if !owner.is_empty() && renewed + Duration::from_secs(seconds) > now {
            return Claim::Held;
        }
        spec(&stamp, transitions + 1)
    };
    Claim::Update(lease)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_take_it() {
        let now = Timestamp::from_seconds(1_700_000_000);
        let lease = |holder: &str, age: u64| {
            json!({"metadata": {"resourceVersion": "5"}, "spec": {"holderIdentity": holder, "leaseDurationSeconds": 30,
                "acquireTime": "A", "renewTime": (now - Duration::from_secs(age)).rfc3339_micro(), "leaseTransitions": 2}})
        };
        for (name, current, want) in [
            ("another's", lease("you", 29), None),
            ("another's, run out", lease("you", 30), Some((3, false))),
            ("given back", lease("", 1), Some((3, false))),
            ("mine", lease("me", 1), Some((2, true))),
        ] {
            match (claim(Some(&current), "l", "me", now), want) {
                (Claim::Held, None) => {}
                (Claim::Update(made), Some((transitions, same))) => {
                    assert_eq!(made["spec"]["holderIdentity"], "me", "{name}");
                    assert_eq!(made["spec"]["leaseTransitions"], transitions, "{name}");
                    assert_eq!(made["spec"]["acquireTime"] == "A", same, "{name}");
                    assert_eq!(made["metadata"]["resourceVersion"], "5", "{name}");
                }
                (have, want) => panic!("{name}: {have:?}, wanted {want:?}"),
            }
        }
        assert!(matches!(claim(None, "l", "me", now), Claim::Create(_)));
    }
}
