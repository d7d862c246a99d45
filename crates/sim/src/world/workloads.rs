//! What a world's user makes of workloads and how they are changed, and when one is at rest.
//!
//! Invariant: what a law goes by never changes while it counts (a Deployment's number, bounds of rollouts).

use client::Gvr;
use serde_json::{Value, json};

use crate::seed::Dice;

/// Every kind of workload that a world has, with its bucket.
pub(super) const KINDS: [(&str, &str, &str); 5] = [
    ("apps", "deployments", "deployments.apps/"),
    ("", "replicationcontrollers", "replicationcontrollers/"),
    ("apps", "daemonsets", "daemonsets.apps/"),
    ("apps", "statefulsets", "statefulsets.apps/"),
    ("apps", "replicasets", "replicasets.apps/"),
];

/// A kind, and a new one of it.
pub(super) fn new(dice: &Dice, number: u32) -> (Gvr, Value) {
    let kind = dice.within(0..=4);
    let (resource, letter, spec) = match kind {
        0 | 1 => ("deployments", 'd', deployment(dice)),
        2 => {
            ("replicationcontrollers", 'c', json!({"replicas": dice.within(1..=4), "selector": {"app": "c"}}))
        }
        3 => ("daemonsets", 'n', daemon_set(dice)),
        _ => ("statefulsets", 's', stateful_set(dice)),
    };
    let mut made = json!({"metadata": {"name": format!("{letter}{number}")}, "spec": spec});
    made["spec"]["template"] = json!({"metadata": {"labels": {"app": letter}},
        "spec": {"containers": [{"name": "c", "image": "busybox:1.36"}]}});
    if kind != 2 {
        made["spec"]["selector"] = json!({"matchLabels": {"app": letter}});
    }
    (Gvr::new(if kind == 2 { "" } else { "apps" }, "v1", resource), made)
}

fn deployment(dice: &Dice) -> Value {
    let surge = dice.within(0..=2);
    let unavailable = if surge == 0 { 1 } else { dice.within(0..=1) };
    json!({"replicas": dice.within(1..=4),
        "strategy": {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}})
}

fn daemon_set(dice: &Dice) -> Value {
    let bounds = if dice.chance(500) { [1, 0] } else { [0, 1] };
    json!({"updateStrategy": {"rollingUpdate": {"maxUnavailable": bounds[0], "maxSurge": bounds[1]}}})
}

fn stateful_set(dice: &Dice) -> Value {
    let policy = if dice.chance(500) { "OrderedReady" } else { "Parallel" };
    let mut spec = json!({"replicas": dice.within(1..=4), "podManagementPolicy": policy,
        "updateStrategy": {"rollingUpdate": {"partition": dice.within(0..=1)}}});
    if dice.chance(300) {
        spec["updateStrategy"]["rollingUpdate"]["maxUnavailable"] = json!(2);
    }
    spec
}

/// Another template, perhaps one that was there before, or another number of Pods where that may change.
pub(super) fn change(dice: &Dice, resource: &str) -> Value {
    let scales = matches!(resource, "replicationcontrollers" | "statefulsets");
    if scales && dice.chance(500) {
        return json!({"spec": {"replicas": dice.within(0..=4)}});
    }
    let version = dice.within(1..=3).to_string();
    json!({"spec": {"template": {"metadata": {"labels": {"version": version}}}}})
}

/// Whether a workload has all its Pods and says so.
pub(super) fn is_settled(resource: &str, object: &Value, pods: &[Value]) -> bool {
    let (spec, status) = (&object["spec"], &object["status"]);
    let seen = status["observedGeneration"] == object["metadata"]["generation"];
    let count = |field: &str| status[field].as_i64().unwrap_or(0);
    let wanted = spec["replicas"].as_i64().unwrap_or(0);
    let all = |fields: &[&str], wanted: i64| fields.iter().all(|field| count(field) == wanted);
    seen && match resource {
        "deployments" => all(&["replicas", "updatedReplicas", "availableReplicas"], wanted),
        "daemonsets" => {
            let counted = ["currentNumberScheduled", "updatedNumberScheduled", "numberAvailable"];
            count("desiredNumberScheduled") > 0 && all(&counted, count("desiredNumberScheduled"))
        }
        "statefulsets" => {
            let kept = spec["updateStrategy"]["rollingUpdate"]["partition"].as_i64().unwrap_or(0);
            all(&["replicas", "readyReplicas", "availableReplicas"], wanted)
                && count("updatedReplicas") >= wanted - kept
        }
        _ => {
            let mine = |p: &&Value| p["metadata"]["ownerReferences"][0]["uid"] == object["metadata"]["uid"];
            let over = |p: &&Value| matches!(p["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
            let active = pods.iter().filter(mine).filter(|p| !over(p)).count();
            spec["replicas"] == active && status["replicas"] == active
        }
    }
}
