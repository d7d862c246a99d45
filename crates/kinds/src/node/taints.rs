//! The taints that a node's conditions bring, and the one write that makes them its own.
//!
//! Invariant: only taints of the table below are touched, and of `NoExecute` ones only those two that go with readiness.

use base::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::KIND;
use crate::plan::{Action, Write};
use crate::view::{Condition, Meta};

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// (condition, its status, the taint it brings).
const TAINTS: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
];

/// What controllers read of a Node.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct NodeView {
    /// Its metadata.
    pub metadata: Meta,
    /// Its spec.
    pub spec: SpecView,
    /// Its status.
    pub status: StatusView,
}

/// A Node's spec.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct SpecView {
    /// Whether it is cordoned off.
    pub unschedulable: bool,
    /// Its taints.
    pub taints: Vec<Value>,
}

/// A Node's status.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct StatusView {
    /// Conditions.
    pub conditions: Vec<Condition>,
}

impl NodeView {
    /// A condition by its type.
    #[must_use]
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|c| c.kind == kind)
    }

    pub(super) fn has(&self, condition: &str) -> bool {
        self.condition(condition).is_some()
    }
}

/// A node's taints as they are to be.
pub(super) struct Taints<'a> {
    node: &'a NodeView,
    list: Vec<Value>,
}

impl<'a> Taints<'a> {
    pub(super) fn of(node: &'a NodeView) -> Self {
        Self { node, list: node.spec.taints.clone() }
    }

    /// Keys of the `NoSchedule` taints that the node is to have. One that has never spoken of readiness is not ready.
    fn wanted_no_schedule(&self) -> Vec<&'static str> {
        let node = self.node;
        let holds = |kind: &str, status: &str| node.condition(kind).is_some_and(|c| c.status == status);
        let silent = !node.has("Ready");
        let brings = |(kind, status, _): &&(&str, &str, &str)| {
            holds(kind, status) || (silent && (*kind, *status) == ("Ready", "False"))
        };
        let mut wanted: Vec<&str> = TAINTS.iter().filter(brings).map(|(_, _, key)| *key).collect();
        if node.spec.unschedulable {
            wanted.push(UNSCHEDULABLE);
        }
        wanted
    }

    pub(super) fn set_no_schedule(&mut self, now: Timestamp) {
        let ours = |t: &Value| TAINTS.iter().any(|(_, _, key)| t["key"] == *key) || t["key"] == UNSCHEDULABLE;
        self.replace(
            |t| t["effect"] == "NoSchedule" && ours(t),
            &self.wanted_no_schedule(),
            "NoSchedule",
            now,
        );
    }

    /// The key of the `NoExecute` taint that its readiness brings.
    pub(super) fn wanted_no_execute(&self) -> Option<&'static str> {
        match self.node.condition("Ready")?.status.as_str() {
            "False" => Some(NOT_READY),
            "Unknown" => Some(UNREACHABLE),
            _ => None,
        }
    }

    pub(super) fn has_no_execute(&self) -> bool {
        self.list.iter().any(is_of_readiness)
    }

    pub(super) fn set_no_execute(&mut self, wanted: Option<&str>, now: Timestamp) {
        self.replace(is_of_readiness, wanted.as_slice(), "NoExecute", now);
    }

    /// Makes those of `ours` the wanted ones; who is there already stays as it is.
    fn replace(&mut self, ours: impl Fn(&Value) -> bool, wanted: &[&str], effect: &str, now: Timestamp) {
        self.list.retain(|t| !ours(t) || wanted.iter().any(|key| t["key"] == *key));
        for key in wanted {
            if !self.list.iter().any(|t| ours(t) && t["key"] == *key) {
                self.list.push(json!({"key": key, "effect": effect, "timeAdded": now.rfc3339()}));
            }
        }
    }

    /// The write, if it changes anything.
    pub(super) fn write(self) -> Option<Write> {
        if self.list == self.node.spec.taints {
            return None;
        }
        let taints = if self.list.is_empty() { Value::Null } else { Value::Array(self.list) };
        let meta = &self.node.metadata;
        let patch = json!({"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version},
            "spec": {"taints": taints}});
        Some(Write::new(&KIND, "", &meta.name, Action::Merge(patch)))
    }
}

fn is_of_readiness(taint: &Value) -> bool {
    taint["effect"] == "NoExecute" && (taint["key"] == NOT_READY || taint["key"] == UNREACHABLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taints_follow_conditions() {
        let now = Timestamp::from_seconds(0);
        let taint = |key: &str| json!({"key": key, "effect": "NoSchedule", "timeAdded": now.rfc3339()});
        let not_ready = json!({"key": NOT_READY, "effect": "NoSchedule"});
        let own = json!({"key": "mine", "effect": "NoExecute"});
        for (name, spec, conditions, want) in [
            ("ready", json!({"taints": [not_ready]}), json!([["Ready", "True"]]), Some(Value::Null)),
            ("ready and clean", json!({}), json!([["Ready", "True"]]), None),
            (
                "the user's stay",
                json!({"taints": [own, not_ready]}),
                json!([["Ready", "True"]]),
                Some(json!([own])),
            ),
            ("silent", json!({"taints": [not_ready]}), json!([]), None),
            ("not ready", json!({}), json!([["Ready", "False"]]), Some(json!([taint(NOT_READY)]))),
            (
                "unreachable",
                json!({"taints": [not_ready]}),
                json!([["Ready", "Unknown"]]),
                Some(json!([taint(UNREACHABLE)])),
            ),
            (
                "cordoned and short of memory",
                json!({"unschedulable": true}),
                json!([["Ready", "True"], ["MemoryPressure", "True"]]),
                Some(json!([taint("node.kubernetes.io/memory-pressure"), taint(UNSCHEDULABLE)])),
            ),
        ] {
            let conditions: Vec<Value> = conditions
                .as_array()
                .unwrap()
                .iter()
                .map(|c| json!({"type": c[0], "status": c[1]}))
                .collect();
            let node = json!({"metadata": {"name": "n"}, "spec": spec, "status": {"conditions": conditions}});
            let node: NodeView = serde_json::from_value(node).unwrap();
            let mut taints = Taints::of(&node);
            taints.set_no_schedule(now);
            let made = taints.write().map(|w| match &w.action {
                Action::Merge(patch) => patch["spec"]["taints"].clone(),
                other => panic!("{other:?}"),
            });
            assert_eq!(made, want, "{name}");
        }
    }
}
