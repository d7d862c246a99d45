//! On which nodes a DaemonSet's Pods are to run, and what a Pod for one of them looks like
//! (`NodeShouldRunDaemonPod`, `util.CreatePodTemplate`).
//!
//! Invariant: the scheduler places the Pods; each is made for one node, which it names in its affinity, and bears the
//! taints by which a node says that it is not well.

use k8s_openapi::api::core::v1::{Taint, Toleration};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{KIND, TEMPLATE_GENERATION};
use crate::rules::node_affinity::Required;
use crate::rules::{pod_spec, taints};
use crate::value::{child, is_true, items, text};
use crate::view::Meta;
use crate::workload::pods;
use crate::workload::revisions::REVISION_HASH;

/// The label of Pods that says how often the template had changed.
const POD_TEMPLATE_GENERATION: &str = "pod-template-generation";

/// What is looked at of a node.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct NodeView {
    /// Its metadata.
    pub metadata: Meta,
    /// Its spec.
    pub spec: NodeSpecView,
}

/// A node's spec.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct NodeSpecView {
    /// What keeps Pods away.
    pub taints: Vec<Taint>,
}

/// What a DaemonSet asks of a node, read once.
#[derive(Debug)]
pub struct Placement {
    node_name: String,
    required: Required,
    tolerations: Vec<Toleration>,
}

/// Whether a Pod belongs on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Belongs {
    /// It is to run there.
    Yes,
    /// One that runs there goes on, but none is to come.
    IfThere,
    /// None is to run there.
    No,
}

impl Placement {
    /// Of a Pod template.
    #[must_use]
    pub fn of(template: &Value) -> Self {
        let mut spec = template["spec"].clone();
        tolerate(&mut spec);
        let spec = pod_spec(&spec);
        Self {
            required: Required::of(&spec),
            node_name: spec.node_name.unwrap_or_default(),
            tolerations: spec.tolerations.unwrap_or_default(),
        }
    }

    /// Whether a Pod belongs on a node.
    #[must_use]
    pub fn belongs(&self, node: &NodeView) -> Belongs {
        let meta = &node.metadata;
        let elsewhere = !self.node_name.is_empty() && self.node_name != meta.name;
        if elsewhere || !self.required.matches(&meta.labels, &meta.name) {
            return Belongs::No;
        }
        let borne = |t: &&Taint| !taints::keeps_away(t) || taints::tolerated(t, &self.tolerations);
        let unborne = || node.spec.taints.iter().filter(|t| !borne(t));
        match unborne().next() {
            None => Belongs::Yes,
            Some(_) if unborne().all(|t| t.effect != "NoExecute") => Belongs::IfThere,
            Some(_) => Belongs::No,
        }
    }
}

/// Adds what every Pod of a DaemonSet bears, in the place of the same toleration for less long.
fn tolerate(spec: &mut Value) {
    let mut borne = vec![
        ("not-ready", "NoExecute"),
        ("unreachable", "NoExecute"),
        ("disk-pressure", "NoSchedule"),
        ("memory-pressure", "NoSchedule"),
        ("pid-pressure", "NoSchedule"),
        ("unschedulable", "NoSchedule"),
    ];
    if is_true(&spec["hostNetwork"]) {
        borne.push(("network-unavailable", "NoSchedule"));
    }
    let mut all = items(&spec["tolerations"]).to_vec();
    for (key, effect) in borne {
        let made =
            json!({"key": format!("node.kubernetes.io/{key}"), "operator": "Exists", "effect": effect});
        let same = |t: &&mut Value| {
            ["key", "operator", "effect", "value"].iter().all(|f| text(&t[*f]) == text(&made[*f]))
        };
        match all.iter_mut().find(same) {
            Some(there) => *there = made,
            None => all.push(made),
        }
    }
    spec["tolerations"] = json!(all);
}

/// A Pod for a node.
pub(super) fn pod(set: &Value, meta: &Meta, hash: &str, node: &str) -> Value {
    let mut pod = pods::from_template(&set["spec"]["template"], &KIND, meta);
    let labels = child(child(&mut pod, "metadata"), "labels");
    if let Some(generation) = meta.annotations.get(TEMPLATE_GENERATION) {
        labels[POD_TEMPLATE_GENERATION] = json!(generation);
    }
    labels[REVISION_HASH] = json!(hash);
    let spec = child(&mut pod, "spec");
    tolerate(spec);
    let only = json!({"key": "metadata.name", "operator": "In", "values": [node]});
    child(child(spec, "affinity"), "nodeAffinity")["requiredDuringSchedulingIgnoredDuringExecution"] =
        json!({"nodeSelectorTerms": [{"matchFields": [only]}]});
    pod
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, labels: &Value, taints: &Value) -> NodeView {
        let node = json!({"metadata": {"name": name, "labels": labels}, "spec": {"taints": taints}});
        serde_json::from_value(node).unwrap()
    }

    #[test]
    fn which_nodes() {
        use Belongs::{IfThere, No, Yes};
        let taint = |key: &str, effect: &str| json!([{"key": key, "effect": effect}]);
        let plain = node("n1", &json!({}), &json!([]));
        for (spec, node, want) in [
            (json!({}), plain.clone(), Yes),
            (json!({"nodeName": "n1"}), plain.clone(), Yes),
            (json!({"nodeName": "n2"}), plain.clone(), No),
            (json!({"nodeSelector": {"a": "b"}}), plain.clone(), No),
            (json!({"nodeSelector": {"a": "b"}}), node("n1", &json!({"a": "b"}), &json!([])), Yes),
            (json!({}), node("n1", &json!({}), &taint("x", "NoSchedule")), IfThere),
            (json!({}), node("n1", &json!({}), &taint("x", "NoExecute")), No),
            (json!({}), node("n1", &json!({}), &taint("x", "PreferNoSchedule")), Yes),
            (
                json!({"tolerations": [{"key": "x", "operator": "Exists"}]}),
                node("n1", &json!({}), &taint("x", "NoExecute")),
                Yes,
            ),
            (
                json!({}),
                node("n1", &json!({}), &taint("node.kubernetes.io/unschedulable", "NoSchedule")),
                Yes,
            ),
            (json!({}), node("n1", &json!({}), &taint("node.kubernetes.io/unreachable", "NoExecute")), Yes),
            (
                json!({}),
                node("n1", &json!({}), &taint("node.kubernetes.io/network-unavailable", "NoSchedule")),
                IfThere,
            ),
            (
                json!({"hostNetwork": true}),
                node("n1", &json!({}), &taint("node.kubernetes.io/network-unavailable", "NoSchedule")),
                Yes,
            ),
        ] {
            assert_eq!(Placement::of(&json!({"spec": spec})).belongs(&node), want, "{spec} {node:?}");
        }
    }

    #[test]
    fn a_pod_for_a_node() {
        let mine = json!({"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute",
            "tolerationSeconds": 5});
        let preferred = json!([{"weight": 1, "preference": {}}]);
        let affinity = json!({"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred,
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{}, {}]}}, "podAffinity": {}});
        let set = json!({"spec": {"template": {"metadata": {"labels": {"a": "b"}},
            "spec": {"tolerations": [mine], "affinity": affinity}}}});
        let meta = Meta {
            name: "d".into(),
            namespace: "n".into(),
            annotations: [(TEMPLATE_GENERATION.to_owned(), "3".to_owned())].into(),
            ..Meta::default()
        };
        let made = pod(&set, &meta, "h", "n1");
        let labels = json!({"a": "b", "pod-template-generation": "3", "controller-revision-hash": "h"});
        assert_eq!((&made["metadata"]["labels"], &made["metadata"]["generateName"]), (&labels, &json!("d-")));
        let tolerations = items(&made["spec"]["tolerations"]);
        assert_eq!(tolerations.len(), 6);
        assert_eq!(tolerations[0].get("tolerationSeconds"), None);
        let affinity = &made["spec"]["affinity"];
        assert_eq!(affinity["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"], preferred);
        assert_eq!(
            affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"],
            json!({"nodeSelectorTerms": [{"matchFields": [
                {"key": "metadata.name", "operator": "In", "values": ["n1"]}]}]})
        );
        assert_eq!(affinity["podAffinity"], json!({}));
    }
}
