//! The ranges of nodes' Pods; what is decided is `kinds::node::ranges`.
//!
//! Invariant: one key for all nodes, so that no range is given twice. Without a range of the cluster's there is nothing to give.

use base::{Cidr, Timestamp};
use client::{Delta, Gvr};
use kinds::Catalogue;
use kinds::node::KIND as NODES;
use kinds::node::ranges::{NodeView, reconcile};
use kinds::plan::Plan;

use crate::driver::{Failure, Key};
use crate::reconcile::{Reads, Reconcile, resources};

/// The controller.
pub(crate) struct NodeRanges {
    pub(crate) cluster: Option<Cidr>,
}

impl Reconcile for NodeRanges {
    const NAME: &'static str = "node-controller";
    /// The range to give of, and all Nodes.
    type Observed = (Cidr, Vec<NodeView>);

    fn watches(&self, _: &Catalogue) -> Vec<Gvr> {
        resources(&[&NODES])
    }

    /// A node that waits, and one that has gone: its range may be what another waits for.
    fn routes(&self, _: Reads<'_>, delta: &Delta) -> Vec<Key> {
        let waits = |node: &client::Object| node.parse::<NodeView>().is_ok_and(|node| node.waits());
        let concerns = delta.after.as_ref().is_none_or(waits);
        if concerns { vec![Key::new("", "", "")] } else { Vec::new() }
    }

    fn observe(&self, reads: Reads<'_>, _: &Key) -> Result<Option<Self::Observed>, Failure> {
        let Some(cluster) = self.cluster else { return Ok(None) };
        Ok(Some((cluster, reads.all(&NODES, "")?)))
    }

    fn decide(&self, _: Timestamp, (cluster, nodes): &Self::Observed) -> Result<Plan, serde_json::Error> {
        Ok(reconcile(*cluster, nodes))
    }
}
