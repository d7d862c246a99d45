//! Which Pods go first when there are too many (`controller.ActivePodsWithRanks`).
//!
//! Invariant: a total order. Upstream compares ages by magnitude and then by UID at once, which is no order (three Pods may
//! each come before the next); here restarts decide before the UID does.

use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;

use base::Timestamp;

use crate::view::{PodView, time};

/// What a Pod says it costs to delete it.
pub const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Sorts Pods so that those to be deleted come first. `related` are all active Pods of the same purpose (for a ReplicaSet
/// those of all ReplicaSets of its owner): where more of them share a node, one of them goes first.
pub fn sort<'a>(doomed: &mut [&'a PodView], related: impl IntoIterator<Item = &'a PodView>, now: Timestamp) {
    let mut on_node: HashMap<&str, usize> = HashMap::new();
    for pod in related.into_iter().filter(|p| p.active() && !p.spec.node_name.is_empty()) {
        *on_node.entry(&pod.spec.node_name).or_default() += 1;
    }
    doomed.sort_by_cached_key(|pod| {
        let doubles = on_node.get(pod.spec.node_name.as_str()).copied().unwrap_or(0);
        key(pod, doubles, now)
    });
}

/// The lower goes first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    assigned: bool,
    phase: u8,
    ready: bool,
    cost: i32,
    doubles: Reverse<usize>,
    /// Ready for long is worth more; only told apart by magnitude.
    ready_for: Age,
    restarts: Reverse<(i32, i32)>,
    exists_for: Age,
    uid: String,
}

fn key(pod: &PodView, doubles: usize, now: Timestamp) -> Key {
    let ready = pod.ready();
    let since = |text: Option<&str>| Age(time(text).map(|at| magnitude(now, at)));
    Key {
        assigned: !pod.spec.node_name.is_empty(),
        phase: match pod.status.phase.as_str() {
            "Pending" => 0,
            "Unknown" => 1,
            _ => 2,
        },
        ready,
        cost: deletion_cost(pod),
        doubles: Reverse(doubles),
        ready_for: if ready { since(pod.ready_since()) } else { Age(None) },
        restarts: Reverse(restarts(pod)),
        exists_for: since(pod.metadata.creation_timestamp.as_deref()),
        uid: pod.metadata.uid.clone(),
    }
}

/// How long something lasts, by magnitude; what is not known comes first.
#[derive(Debug, PartialEq, Eq)]
struct Age(Option<i64>);

impl Ord for Age {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for Age {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The binary logarithm of the nanoseconds passed; -1 if none have.
fn magnitude(now: Timestamp, at: Timestamp) -> i64 {
    now.since(at).as_nanos().checked_ilog2().map_or(-1, i64::from)
}

/// What the annotation says, 0 if it is no plain number.
fn deletion_cost(pod: &PodView) -> i32 {
    let Some(text) = pod.metadata.annotations.get(DELETION_COST) else { return 0 };
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = digits == "0" || digits.bytes().next().is_some_and(|b| (b'1'..=b'9').contains(&b));
    if plain { text.parse().unwrap_or(0) } else { 0 }
}

/// The most restarts of a container, and of a sidecar.
fn restarts(pod: &PodView) -> (i32, i32) {
    let sidecar = |name: &str| pod.spec.init_containers.iter().any(|c| c.name == name && c.is_sidecar());
    let status = &pod.status;
    let most = |all: &mut dyn Iterator<Item = i32>| all.max().unwrap_or(0);
    let sidecars = status.init_container_statuses.iter().filter(|c| sidecar(&c.name));
    (
        most(&mut status.container_statuses.iter().map(|c| c.restart_count)),
        most(&mut sidecars.map(|c| c.restart_count)),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(100_000);

    fn at(ago: i64) -> String {
        Timestamp::from_seconds(NOW.seconds - ago).rfc3339()
    }

    /// A Pod that has run well for an hour, but for `change`.
    fn pod(uid: &str, change: &Value) -> PodView {
        let mut pod = json!({"metadata": {"uid": uid, "creationTimestamp": at(3600)}, "spec": {"nodeName": "n1"},
            "status": {"phase": "Running", "containerStatuses": [{"name": "c", "restartCount": 1}],
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": at(3600)}]}});
        pod = schema::patch::merge_patch(&pod, change.to_string().as_bytes()).unwrap().value;
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn each_rule_decides_before_the_next() {
        let ready = |status: &str, ago: i64| json!([{"type": "Ready", "status": status, "lastTransitionTime": at(ago)}]);
        let cost = |text: &str| json!({"metadata": {"annotations": {DELETION_COST: text}}});
        let restarted = |name: &str, count: i32| {
            json!({"spec": {"initContainers": [{"name": "s", "restartPolicy": "Always"}, {"name": "i"}]},
                "status": {"initContainerStatuses": [{"name": name, "restartCount": count}]}})
        };
        let all = [
            ("unassigned", json!({"spec": {"nodeName": null}})),
            ("pending", json!({"status": {"phase": "Pending"}})),
            ("unknown", json!({"status": {"phase": "Unknown"}})),
            ("unready", json!({"status": {"conditions": ready("False", 0)}})),
            ("cheap", cost("-5")),
            ("doubled", json!({"spec": {"nodeName": "n2"}})),
            ("just-ready", json!({"status": {"conditions": ready("True", 10)}})),
            ("restarted", json!({"status": {"containerStatuses": [{"name": "c", "restartCount": 4}]}})),
            ("sidecar-restarted", restarted("s", 2)),
            ("young", json!({"metadata": {"creationTimestamp": at(100)}})),
            ("a-plain", restarted("i", 9)),
            // Of the same magnitude: as old as the one before.
            ("b-plain", json!({"metadata": {"creationTimestamp": at(3700)}})),
            ("c-unreadable-cost", cost("+5")),
            ("dear", cost("5")),
        ];
        let pods: Vec<PodView> = all.iter().map(|(uid, change)| pod(uid, change)).collect();
        let others = [pod("x", &json!({"spec": {"nodeName": "n2"}}))];
        let related: Vec<PodView> = (0..20).map(|_| others[0].clone()).collect();
        for turn in 0..all.len() {
            let mut mixed: Vec<&PodView> = pods.iter().collect();
            mixed.rotate_left(turn);
            sort(&mut mixed, pods.iter().chain(&related), NOW);
            let order: Vec<&str> = mixed.iter().map(|p| p.metadata.uid.as_str()).collect();
            assert_eq!(order, all.iter().map(|(uid, _)| *uid).collect::<Vec<_>>());
        }
    }
}
