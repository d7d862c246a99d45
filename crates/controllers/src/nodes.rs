//! Taints of nodes by their conditions (`pkg/controller/nodelifecycle`): the admission's `not-ready` taint of a new Node
//! goes when the Node says it is ready, and comes back when it is not.
//!
//! Invariant: only the `NoSchedule` taints of the table below are touched, and no others. Absent: noticing nodes that
//! fell silent, `NoExecute` taints and the evictions by them.

use base::Timestamp;
use client::{Delta, Gvr};
use kinds::Catalogue;
use kinds::plan::{Action, Plan, Write};
use kinds::view::{Condition, Meta};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::driver::{Failure, Key};
use crate::reconcile::{Reads, Reconcile, resources};

/// (condition, its status, the taint it brings).
const TAINTS: [(&str, &str, &str); 6] = [
    ("Ready", "False", "node.kubernetes.io/not-ready"),
    ("Ready", "Unknown", "node.kubernetes.io/unreachable"),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
];
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// The controller.
pub(crate) struct Nodes;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct NodeView {
    metadata: Meta,
    spec: SpecView,
    status: StatusView,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SpecView {
    unschedulable: bool,
    taints: Vec<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StatusView {
    conditions: Vec<Condition>,
}

impl Reconcile for Nodes {
    const NAME: &'static str = "node-controller";
    type Observed = NodeView;

    fn watches(&self, _: &Catalogue) -> Vec<Gvr> {
        resources(&[&kinds::node::KIND])
    }

    fn routes(&self, _: Reads<'_>, delta: &Delta) -> Vec<Key> {
        vec![Key::of(delta)]
    }

    fn observe(&self, reads: Reads<'_>, key: &Key) -> Result<Option<NodeView>, Failure> {
        let node: Option<NodeView> = reads.one(&kinds::node::KIND, "", &key.name)?;
        Ok(node.filter(|n| !n.metadata.deleting()))
    }

    fn decide(&self, _: Timestamp, node: &NodeView) -> Result<Plan, serde_json::Error> {
        Ok(reconcile(node))
    }
}

fn reconcile(node: &NodeView) -> Plan {
    let mut plan = Plan::default();
    let wanted = wanted(node);
    let ours = |t: &&Value| {
        let known = TAINTS.iter().any(|(_, _, key)| t["key"] == *key) || t["key"] == UNSCHEDULABLE;
        known && t["effect"] == "NoSchedule"
    };
    let has = |key: &str| node.spec.taints.iter().filter(ours).any(|t| t["key"] == key);
    let superfluous =
        node.spec.taints.iter().filter(ours).any(|t| !wanted.iter().any(|key| t["key"] == *key));
    if wanted.iter().all(|key| has(key)) && !superfluous {
        return plan;
    }
    let mut taints: Vec<Value> = node.spec.taints.iter().filter(|t| !ours(t)).cloned().collect();
    taints.extend(wanted.iter().map(|key| json!({"key": key, "effect": "NoSchedule"})));
    let taints = if taints.is_empty() { Value::Null } else { Value::Array(taints) };
    let meta = json!({"uid": node.metadata.uid, "resourceVersion": node.metadata.resource_version});
    let patch = json!({"metadata": meta, "spec": {"taints": taints}});
    plan.stage(vec![Write::new(&kinds::node::KIND, "", &node.metadata.name, Action::Merge(patch))]);
    plan
}

/// Keys of the taints that the node is to have. One that has never spoken of readiness is not ready.
fn wanted(node: &NodeView) -> Vec<&'static str> {
    let conditions = &node.status.conditions;
    let holds = |kind: &str, status: &str| conditions.iter().any(|c| c.kind == kind && c.status == status);
    let silent = !conditions.iter().any(|c| c.kind == "Ready");
    let mut wanted: Vec<&str> = TAINTS
        .iter()
        .filter(|(kind, status, _)| holds(kind, status) || (silent && (*kind, *status) == ("Ready", "False")))
        .map(|(_, _, key)| *key)
        .collect();
    if node.spec.unschedulable {
        wanted.push(UNSCHEDULABLE);
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taints_follow_conditions() {
        let not_ready = json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"});
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
            ("not ready", json!({}), json!([["Ready", "False"]]), Some(json!([not_ready]))),
            (
                "unreachable",
                json!({"taints": [not_ready]}),
                json!([["Ready", "Unknown"]]),
                Some(json!([{"key": "node.kubernetes.io/unreachable", "effect": "NoSchedule"}])),
            ),
            (
                "cordoned and short of memory",
                json!({"unschedulable": true}),
                json!([["Ready", "True"], ["MemoryPressure", "True"]]),
                Some(json!([{"key": "node.kubernetes.io/memory-pressure", "effect": "NoSchedule"},
                    {"key": UNSCHEDULABLE, "effect": "NoSchedule"}])),
            ),
        ] {
            let conditions: Vec<Value> = conditions
                .as_array()
                .unwrap()
                .iter()
                .map(|c| json!({"type": c[0], "status": c[1]}))
                .collect();
            let node = json!({"metadata": {"name": "n"}, "spec": spec, "status": {"conditions": conditions}});
            let plan = reconcile(&serde_json::from_value(node).unwrap());
            let made = plan.stages.first().map(|s| match &s[0].action {
                Action::Merge(patch) => patch["spec"]["taints"].clone(),
                other => panic!("{other:?}"),
            });
            assert_eq!(made, want, "{name}");
        }
    }
}
