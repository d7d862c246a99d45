//! `NodeName`: a Pod that names a node goes nowhere else.

use crate::change::Kinds;
use crate::plugin::{Plugin, Points, PreFilter};
use crate::pod::PodInfo;
use crate::refusal::Refusal;
use crate::snapshot::Snapshot;

const REFUSAL: Refusal = Refusal::final_("node(s) didn't match the requested node name");

/// See the module.
#[derive(Debug)]
pub(crate) struct NodeName;

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }

    fn points(&self) -> Points {
        Points::FILTER
    }

    fn wakes(&self) -> Kinds {
        Kinds::NODE_ADDED
    }

    fn pre_filter<'a>(&'a self, pod: &'a PodInfo, _: &'a Snapshot) -> PreFilter<'a> {
        if pod.node_name.is_empty() {
            return PreFilter::Skip;
        }
        PreFilter::each(|node| if pod.node_name == node.name { Ok(()) } else { Err(REFUSAL) })
    }
}
