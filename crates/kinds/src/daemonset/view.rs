//! What controllers read of a DaemonSet, and where its Pods are to be.
//!
//! Invariant: read-only, parsed from stored objects; never written back.

use base::labels::{ParseError, Selector};
use serde::Deserialize;
use serde_json::Value;

use super::nodes::Placement;
use crate::value::{items, text};
use crate::view::{Meta, PodView};

/// The fields looked at.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct DaemonSetView {
    /// Its metadata.
    pub metadata: Meta,
    pub(super) spec: SpecView,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct SpecView {
    pub(super) selector: Value,
    pub(super) template: Value,
    pub(super) update_strategy: StrategyView,
    pub(super) min_ready_seconds: i32,
    pub(super) revision_history_limit: i32,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct StrategyView {
    #[serde(rename = "type")]
    kind: String,
    pub(super) rolling_update: Value,
}

impl DaemonSetView {
    /// Which Pods are its.
    ///
    /// # Errors
    /// If the selector does not parse; the API never stores such a one.
    pub fn selector(&self) -> Result<Selector, ParseError> {
        Selector::from_label_selector(&self.spec.selector)
    }

    /// On which nodes its Pods belong.
    #[must_use]
    pub fn placement(&self) -> Placement {
        Placement::of(&self.spec.template)
    }

    pub(super) fn rolls(&self) -> bool {
        self.spec.update_strategy.kind == "RollingUpdate"
    }
}

/// The node that a Pod is bound to or made for; `None` if it names none (`util.GetTargetNodeName`).
pub(super) fn target(pod: &PodView) -> Option<&str> {
    if !pod.spec.node_name.is_empty() {
        return Some(&pod.spec.node_name);
    }
    let required = &pod.spec.affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let fields = items(&required["nodeSelectorTerms"]).iter().flat_map(|term| items(&term["matchFields"]));
    let mut named = fields.filter(|f| text(&f["key"]) == "metadata.name" && text(&f["operator"]) == "In");
    match items(&named.next()?["values"]) {
        [one] => Some(text(one)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn where_a_pod_is_to_be() {
        let made_for = |values: Value| {
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
                {"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": values}]}]}}}})
        };
        for (spec, want) in [
            (json!({"nodeName": "n1"}), Some("n1")),
            (made_for(json!(["n2"])), Some("n2")),
            (made_for(json!(["n2", "n3"])), None),
            (json!({}), None),
        ] {
            let pod: PodView = serde_json::from_value(json!({"spec": spec})).unwrap();
            assert_eq!(target(&pod), want, "{spec}");
        }
    }
}
