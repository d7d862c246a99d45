//! Which range of Pod addresses a node gets (`pkg/controller/nodeipam/ipam`, the range allocator).
//!
//! Invariant: a range that a node has is nobody else's, and is kept for as long as the node is there. Absent: IPv6, another size
//! than a /24.

use std::net::{IpAddr, Ipv4Addr};

use base::Cidr;
use serde::Deserialize;
use serde_json::json;

use super::KIND;
use crate::plan::{Action, Notice, Plan, Reference, Write};
use crate::view::Meta;

/// Bits of one node's range: 253 Pods.
const PREFIX: u8 = 24;

/// What is read of a Node.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct NodeView {
    /// Metadata.
    pub metadata: Meta,
    /// What it has.
    pub spec: Spec,
}

/// `spec`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Spec {
    /// Its ranges.
    #[serde(rename = "podCIDRs")]
    pub pod_cidrs: Vec<String>,
}

impl NodeView {
    /// Whether it waits for a range.
    #[must_use]
    pub fn waits(&self) -> bool {
        self.spec.pod_cidrs.is_empty() && !self.metadata.deleting()
    }
}

/// Gives each node that waits the first free range of the cluster's.
#[must_use]
pub fn reconcile(cluster: Cidr, nodes: &[NodeView]) -> Plan {
    let of = |node: &NodeView| {
        node.spec.pod_cidrs.iter().filter_map(|text| text.parse().ok()).collect::<Vec<Cidr>>()
    };
    let mut taken: Vec<Cidr> = nodes.iter().flat_map(of).collect();
    let mut plan = Plan::default();
    let mut writes = Vec::new();
    for node in nodes.iter().filter(|node| node.waits()) {
        let name = &node.metadata.name;
        let Some(range) = free(cluster, &taken) else {
            let notice =
                Notice::normal("CIDRNotAvailable", format!("Node {name} status is now: CIDRNotAvailable"));
            plan.others.push((Reference::new(&KIND, &node.metadata), notice));
            continue;
        };
        taken.push(range);
        let text = range.to_string();
        let spec = json!({"spec": {"podCIDR": text, "podCIDRs": [text]}});
        writes.push(Write::new(&KIND, "", name, Action::Merge(spec)));
    }
    plan.stage(writes);
    plan
}

fn free(cluster: Cidr, taken: &[Cidr]) -> Option<Cidr> {
    let IpAddr::V4(first) = cluster.address() else { return None };
    let count = 1u32.checked_shl(u32::from(PREFIX.checked_sub(cluster.prefix())?))?;
    let nth =
        |n: u32| Cidr::new(Ipv4Addr::from(u32::from(first).checked_add(n << (32 - PREFIX))?).into(), PREFIX);
    (0..count).filter_map(nth).find(|range| !taken.iter().any(|other| other.overlaps(range)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, ranges: &[&str]) -> NodeView {
        NodeView {
            metadata: Meta { name: name.to_owned(), ..Meta::default() },
            spec: Spec { pod_cidrs: ranges.iter().map(|r| (*r).to_owned()).collect() },
        }
    }

    #[test]
    fn each_gets_its_own() {
        let given = |cluster: &str, nodes: &[NodeView]| {
            let plan = reconcile(cluster.parse().unwrap(), nodes);
            let range = |write: &Write| match &write.action {
                Action::Merge(patch) => {
                    format!("{} {}", write.name, patch["spec"]["podCIDR"].as_str().unwrap())
                }
                other => panic!("{other:?}"),
            };
            let writes = plan.stages.iter().flatten().map(range);
            writes.chain(plan.others.iter().map(|(_, notice)| notice.message.clone())).collect::<Vec<_>>()
        };
        let first = node("a", &["10.84.1.0/24"]);
        for (cluster, nodes, want) in [
            ("10.84.0.0/16", vec![first.clone()], vec![]),
            ("10.84.0.0/16", vec![first.clone(), node("b", &[])], vec!["b 10.84.0.0/24"]),
            (
                "10.84.0.0/16",
                vec![node("b", &[]), first.clone(), node("c", &[])],
                vec!["b 10.84.0.0/24", "c 10.84.2.0/24"],
            ),
            ("10.84.0.0/16", vec![node("b", &[]), node("w", &["10.84.0.0/17"])], vec!["b 10.84.128.0/24"]),
            ("10.84.1.0/24", vec![first, node("b", &[])], vec!["Node b status is now: CIDRNotAvailable"]),
        ] {
            assert_eq!(given(cluster, &nodes), want);
        }
    }
}
