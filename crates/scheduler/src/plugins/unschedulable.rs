//! `NodeUnschedulable`: a cordoned node takes only Pods that tolerate that.

use k8s_openapi::api::core::v1::Taint;
use kinds::rules::taints::tolerated;

use crate::change::{Change, Kinds};
use crate::plugin::{Plugin, Points, PreFilter};
use crate::pod::PodInfo;
use crate::refusal::Refusal;
use crate::snapshot::Snapshot;

const REFUSAL: Refusal = Refusal::final_("node(s) were unschedulable");

/// See the module.
#[derive(Debug)]
pub(crate) struct NodeUnschedulable;

fn tolerates_cordon(pod: &PodInfo) -> bool {
    let (key, effect) = ("node.kubernetes.io/unschedulable".into(), "NoSchedule".into());
    tolerated(&Taint { key, effect, ..Taint::default() }, &pod.tolerations)
}

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }

    fn points(&self) -> Points {
        Points::FILTER
    }

    fn wakes(&self) -> Kinds {
        Kinds::NODE_ADDED | Kinds::NODE_TAINTS
    }

    fn lifts(&self, _: &PodInfo, change: &Change) -> bool {
        change.node().is_some_and(|node| !node.unschedulable)
    }

    fn pre_filter<'a>(&'a self, pod: &'a PodInfo, _: &'a Snapshot) -> PreFilter<'a> {
        if tolerates_cordon(pod) {
            return PreFilter::Skip;
        }
        PreFilter::each(|node| if node.unschedulable { Err(REFUSAL) } else { Ok(()) })
    }
}
