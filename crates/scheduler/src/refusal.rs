//! Why nodes were refused, and the text of the FailedScheduling event made from it.
//!
//! Invariant: the text is upstream's v1.36 form: `0/N nodes are available: COUNT REASON, …. no new claims to
//! deallocate, preemption: 0/N nodes are available: ….`, the parts sorted as texts.

use std::collections::BTreeMap;
use std::fmt;

/// Why one node was refused; the display is upstream's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Cordoned.
    Unschedulable,
    /// Not the node the Pod names.
    NodeName,
    /// A taint no toleration covers.
    Taint,
    /// nodeSelector or required affinity.
    Affinity,
    /// Not among the only node names that the affinity allows.
    AffinityNames,
    /// A host port is taken.
    Ports,
    /// The node has all the Pods it takes.
    TooManyPods,
    /// Not enough of a resource.
    Insufficient(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Unschedulable => "node(s) were unschedulable",
            Self::NodeName => "node(s) didn't match the requested node name",
            Self::Taint => "node(s) had untolerated taint(s)",
            Self::Affinity => "node(s) didn't match Pod's node affinity/selector",
            Self::AffinityNames => "node(s) didn't satisfy plugin(s) [NodeAffinity]",
            Self::Ports => "node(s) didn't have free ports for the requested pod ports",
            Self::TooManyPods => "Too many pods",
            Self::Insufficient(resource) => return write!(f, "Insufficient {resource}"),
        };
        f.write_str(text)
    }
}

/// One node's refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRefusal {
    /// The node.
    pub node: String,
    /// At least one.
    pub reasons: Vec<Reason>,
    /// Whether removing Pods from the node could help.
    pub resolvable: bool,
}

/// Every node's refusal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusals {
    /// One for each node.
    pub nodes: Vec<NodeRefusal>,
    /// The Pod has `preemptionPolicy: Never`.
    pub never_preempts: bool,
}

impl Refusals {
    /// The message of the FailedScheduling event and of the PodScheduled condition.
    #[must_use]
    pub fn message(&self) -> String {
        if self.nodes.is_empty() {
            return "no nodes available to schedule pods".into();
        }
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for reason in self.nodes.iter().flat_map(|n| &n.reasons) {
            *counts.entry(reason.to_string()).or_default() += 1;
        }
        // The first half is the dynamic-resources plugin's, which speaks for every Pod without claims too.
        format!("{} no new claims to deallocate, preemption: {}", self.sentence(counts), self.preemption())
    }

    fn preemption(&self) -> String {
        if self.never_preempts {
            return "not eligible due to preemptionPolicy=Never.".into();
        }
        let mut counts = BTreeMap::new();
        for node in &self.nodes {
            let text = if node.resolvable {
                "No preemption victims found for incoming pod"
            } else {
                "Preemption is not helpful for scheduling"
            };
            *counts.entry(text.to_owned()).or_default() += 1;
        }
        self.sentence(counts)
    }

    fn sentence(&self, counts: BTreeMap<String, usize>) -> String {
        let mut parts: Vec<String> =
            counts.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        parts.sort();
        format!("0/{} nodes are available: {}.", self.nodes.len(), parts.join(", "))
    }
}
