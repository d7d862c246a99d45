//! `VolumeZone`: volumes with labels of a zone or a region are used there.

use std::collections::BTreeSet;

use crate::change::Kinds;
use crate::node::NodeInfo;
use crate::plugin::{Plugin, Points, PreFilter};
use crate::pod::PodInfo;
use crate::refusal::Refusal;
use crate::snapshot::Snapshot;
use crate::volumes::Claim;

const ELSEWHERE: Refusal = Refusal::final_("node(s) had no available volume zone");
/// Labels, under the names of today and those of before.
const LABELS: [[&str; 2]; 2] = [
    ["topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"],
    ["topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region"],
];
/// Between several zones of one volume.
const BETWEEN: &str = "__";

/// See the module.
#[derive(Debug)]
pub(crate) struct VolumeZone;

impl Plugin for VolumeZone {
    fn name(&self) -> &'static str {
        "VolumeZone"
    }

    fn points(&self) -> Points {
        Points::FILTER
    }

    fn wakes(&self) -> Kinds {
        Kinds::NODE_ADDED | Kinds::NODE_LABELS | Kinds::VOLUMES
    }

    fn pre_filter<'a>(&'a self, pod: &'a PodInfo, world: &'a Snapshot) -> PreFilter<'a> {
        let mut asked: Vec<([&str; 2], BTreeSet<&'a str>)> = Vec::new();
        for used in &pod.claims {
            let claim = world.volumes().claim(pod, used).map(|claim| world.volumes().state(claim));
            let Some(Claim::Bound(Some(volume))) = claim else { continue };
            for names in LABELS {
                let label = names.iter().find_map(|name| volume["metadata"]["labels"][*name].as_str());
                asked.extend(label.map(|label| (names, label.split(BETWEEN).collect())));
            }
        }
        if asked.is_empty() {
            return PreFilter::Skip;
        }
        PreFilter::each(move |node: &NodeInfo| {
            let own = |names: &[&str; 2]| names.iter().find_map(|name| node.labels.get(*name));
            let there = |(names, zones): &([&str; 2], BTreeSet<&str>)| {
                own(names).is_some_and(|zone| zones.contains(&**zone))
            };
            // A node that tells nothing of zones is nowhere.
            if asked.iter().all(there) { Ok(()) } else { Err(ELSEWHERE) }
        })
    }
}
