//! `NodePorts`: a host port is had once on each node.

use kinds::rules::ports::HostPort;

use crate::change::{Change, Kinds};
use crate::node::NodeInfo;
use crate::plugin::{Plugin, Points, PreFilter, Verdict};
use crate::pod::PodInfo;
use crate::refusal::Refusal;
use crate::snapshot::Snapshot;

const REFUSAL: Refusal = Refusal::resolvable("node(s) didn't have free ports for the requested pod ports");

/// See the module.
#[derive(Debug)]
pub(crate) struct NodePorts;

fn conflict(pod: &PodInfo, taken: &[HostPort]) -> bool {
    pod.ports.iter().any(|want| taken.iter().any(|held| want.conflicts(held)))
}

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }

    fn points(&self) -> Points {
        Points::FILTER
    }

    fn wakes(&self) -> Kinds {
        Kinds::NODE_ADDED | Kinds::POD_GONE
    }

    fn lifts(&self, pod: &PodInfo, change: &Change) -> bool {
        match change.pod() {
            (Some(gone), _) => conflict(pod, &gone.ports),
            _ => true,
        }
    }

    fn pre_filter<'a>(&'a self, pod: &'a PodInfo, _: &'a Snapshot) -> PreFilter<'a> {
        if pod.ports.is_empty() {
            return PreFilter::Skip;
        }
        PreFilter::each(|node: &NodeInfo| -> Verdict {
            if conflict(pod, &node.ports) { Err(REFUSAL) } else { Ok(()) }
        })
    }
}
