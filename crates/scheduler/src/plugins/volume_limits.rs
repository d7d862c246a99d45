//! `NodeVolumeLimits`: a node takes as many volumes of a driver as its CSINode says.

use std::collections::BTreeSet;

use crate::change::Kinds;
use crate::node::NodeInfo;
use crate::plugin::{Plugin, Points, PreFilter};
use crate::pod::PodInfo;
use crate::refusal::Refusal;
use crate::snapshot::Snapshot;

const FULL: Refusal = Refusal::resolvable("node(s) exceed max volume count");

/// See the module.
#[derive(Debug)]
pub(crate) struct NodeVolumeLimits;

impl Plugin for NodeVolumeLimits {
    fn name(&self) -> &'static str {
        "NodeVolumeLimits"
    }

    fn points(&self) -> Points {
        Points::FILTER
    }

    fn wakes(&self) -> Kinds {
        Kinds::POD_GONE | Kinds::NODE_ADDED | Kinds::VOLUMES
    }

    fn pre_filter<'a>(&'a self, pod: &'a PodInfo, world: &'a Snapshot) -> PreFilter<'a> {
        if pod.claims.is_empty() || !world.volumes().has_limits() {
            return PreFilter::Skip;
        }
        let volumes = world.volumes();
        let wanted: BTreeSet<(String, String)> = volumes.handles(pod).into_iter().collect();
        if wanted.is_empty() {
            return PreFilter::Skip;
        }
        PreFilter::each(move |node: &NodeInfo| {
            let there: BTreeSet<(String, String)> =
                node.pods.iter().flat_map(|p| volumes.handles(p)).collect();
            let drivers: BTreeSet<&String> = wanted.iter().map(|(driver, _)| driver).collect();
            let full = |driver: &&String| {
                let of = |all: &BTreeSet<(String, String)>| all.iter().filter(|(d, _)| d == *driver).count();
                let more: BTreeSet<_> = wanted.difference(&there).cloned().collect();
                let limit = volumes.limit(&node.name, driver);
                of(&more) > 0 && limit.is_some_and(|limit| of(&there) + of(&more) > limit)
            };
            if drivers.iter().any(full) { Err(FULL) } else { Ok(()) }
        })
    }
}
