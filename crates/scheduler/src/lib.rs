//! Where a Pod goes: [`decide`] filters and scores the nodes of a [`Snapshot`] and gives the reason for every node
//! refused, in upstream's words.
//!
//! Invariant: pure and deterministic, the same Pod and snapshot always give the same answer. Deliberately absent:
//! preemption (a refused Pod waits), inter-Pod affinity, topology spread, volumes, dynamic resources, sampling of nodes.

mod affinity;
mod filter;
mod info;
mod refusal;
mod score;

pub use affinity::NodeAffinity;
pub use info::{HostPort, NodeInfo, PodInfo, Resources, Taint, Toleration};
pub use refusal::{NodeRefusal, Reason, Refusals};

/// The nodes with what runs on them, in the order of their names.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Every node, schedulable or not.
    pub nodes: Vec<NodeInfo>,
}

/// The node chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// Its name.
    pub node: String,
    /// Its score, for the log.
    pub score: i64,
}

/// Chooses a node for a Pod that is not gated and not yet bound.
///
/// # Errors
/// One [`NodeRefusal`] for each node if none fits.
pub fn decide(pod: &PodInfo, snapshot: &Snapshot) -> Result<Placement, Refusals> {
    let mut refused = Vec::new();
    let mut fitting = Vec::new();
    for node in &snapshot.nodes {
        match filter::check(pod, node) {
            Ok(()) => fitting.push(node),
            Err(refusal) => refused.push(refusal),
        }
    }
    let scores = score::total(pod, &fitting);
    // Equal scores go to the node with fewer Pods, then to the first name; upstream draws lots.
    let best = fitting
        .iter()
        .zip(scores)
        .max_by(|(a, x), (b, y)| x.cmp(y).then(b.pods.cmp(&a.pods)).then_with(|| b.name.cmp(&a.name)));
    match best {
        Some((node, score)) => Ok(Placement { node: node.name.clone(), score }),
        None => Err(Refusals { nodes: refused, never_preempts: pod.never_preempts }),
    }
}

#[cfg(test)]
mod tests;
