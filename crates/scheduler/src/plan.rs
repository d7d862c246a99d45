//! What is written and said about a decision.
//!
//! Invariants: the PodScheduled condition is written only when its message is new; victims are told before they go, and go
//! by their UID.

use base::Timestamp;
use kinds::plan::{Action, Notice, Plan, Reference, Write};
use kinds::rules::deletion::Deletion;
use serde_json::{Value, json};

use crate::pod::{PodInfo, PodState};
use crate::profile::Profile;

/// An event about a Pod.
pub(crate) fn about(pod: &PodInfo, notice: Notice) -> Plan {
    Plan { events: vec![notice], ..Plan::about(reference(pod)) }
}

/// The event's text of a Pod that got a node.
pub(crate) fn assigned(pod: &PodInfo, node: &str) -> String {
    format!("Successfully assigned {}/{} to {node}", pod.namespace, pod.name)
}

/// The binding.
pub(crate) fn bind(profile: &Profile, pod: &PodInfo, node: &str) -> Plan {
    let mut plan = Plan::about(reference(pod));
    plan.stage(profile.binders().find_map(|plugin| plugin.bind(pod, node)).into_iter().collect());
    plan
}

/// What a Pod needs before it can be bound.
pub(crate) fn prepare(pod: &PodInfo, writes: Vec<Write>) -> Plan {
    let mut plan = Plan::about(reference(pod));
    plan.stage(writes);
    plan
}

/// The event, the condition if its reason or message is new, and the node where room is kept if that is new.
pub(crate) fn refuse(
    pod: &PodInfo,
    known: Option<&PodState>,
    reason: &str,
    message: String,
    nominated: Option<&str>,
    clock: Timestamp,
) -> Plan {
    let mut status = json!({});
    let said = known.and_then(|k| k.refused.as_ref());
    if said.is_none_or(|(known, text)| known != reason || *text != message) {
        let mut condition = json!({"type": "PodScheduled", "status": "False", "reason": reason,
            "message": message, "observedGeneration": known.map_or(0, |k| k.generation), "lastProbeTime": null});
        if said.is_none() {
            condition["lastTransitionTime"] = json!(clock.rfc3339());
        }
        status["conditions"] = json!([condition]);
    }
    if let Some(node) = nominated.filter(|n| known.is_none_or(|k| *k.nominated != **n)) {
        status["nominatedNodeName"] = if node.is_empty() { Value::Null } else { json!(node) };
    }
    let mut plan = about(pod, Notice::warning("FailedScheduling", message));
    if status.as_object().is_some_and(|s| !s.is_empty()) {
        plan.stage(vec![patch_status(pod, status)]);
    }
    plan
}

/// Makes a Pod go for another.
pub(crate) fn preempt(pod: &PodInfo, victim: &PodInfo, node: &str, clock: Timestamp) -> Plan {
    let condition = json!({"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
        "message": format!("{}: preempting to accommodate a higher priority pod", pod.scheduler_name),
        "lastProbeTime": null, "lastTransitionTime": clock.rfc3339()});
    let message = format!("Preempted by pod {} on node {node}", pod.uid);
    let mut plan = about(victim, Notice::normal("Preempted", message));
    plan.stage(vec![patch_status(victim, json!({"conditions": [condition]}))]);
    let options = Deletion::of(&victim.uid).body();
    plan.stage(vec![Write::new(&kinds::pod::KIND, &victim.namespace, &victim.name, Action::Delete(options))]);
    plan
}

/// Says that no room is kept for a Pod any more.
pub(crate) fn denominate(pod: &PodInfo) -> Plan {
    let mut plan = Plan::about(reference(pod));
    plan.stage(vec![patch_status(pod, json!({"nominatedNodeName": null}))]);
    plan
}

fn patch_status(pod: &PodInfo, status: Value) -> Write {
    let patch = json!({"metadata": {"uid": &*pod.uid}, "status": status});
    Write::new(&kinds::pod::KIND, &pod.namespace, &pod.name, Action::Strategic(patch)).through("status")
}

fn reference(pod: &PodInfo) -> Reference {
    Reference {
        api_version: "v1".into(),
        kind: "Pod".into(),
        namespace: pod.namespace.to_string(),
        name: pod.name.to_string(),
        uid: pod.uid.to_string(),
        resource_version: String::new(),
        field_path: String::new(),
    }
}
