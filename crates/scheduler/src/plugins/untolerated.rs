//! `TaintToleration`: taints keep Pods away that do not tolerate them, or make their node a worse choice.

use kinds::rules::taints::{keeps_away, tolerated, untolerated};

use crate::change::{Change, Kinds};
use crate::node::NodeInfo;
use crate::plugin::{Plugin, Points, PreFilter, Score, normalise_by_greatest};
use crate::pod::PodInfo;
use crate::refusal::Refusal;
use crate::snapshot::Snapshot;

const REFUSAL: Refusal = Refusal::final_("node(s) had untolerated taint(s)");

/// See the module.
#[derive(Debug)]
pub(crate) struct TaintToleration;

struct SoftTaints<'a>(&'a PodInfo);

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn points(&self) -> Points {
        Points::FILTER | Points::SCORE
    }

    fn wakes(&self) -> Kinds {
        Kinds::NODE_ADDED | Kinds::NODE_TAINTS
    }

    fn lifts(&self, pod: &PodInfo, change: &Change) -> bool {
        change.node().is_some_and(|node| untolerated(&node.taints, &pod.tolerations).is_none())
    }

    fn pre_filter<'a>(&'a self, pod: &'a PodInfo, _: &'a Snapshot) -> PreFilter<'a> {
        PreFilter::each(|node| match untolerated(&node.taints, &pod.tolerations) {
            None => Ok(()),
            Some(_) => Err(REFUSAL),
        })
    }

    fn pre_score<'a>(
        &'a self,
        pod: &'a PodInfo,
        _: &'a Snapshot,
        _: &[&'a NodeInfo],
    ) -> Option<Box<dyn Score + 'a>> {
        Some(Box::new(SoftTaints(pod)))
    }
}

impl Score for SoftTaints<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let soft = node.taints.iter().filter(|taint| !keeps_away(taint));
        let unborne = soft.filter(|taint| !tolerated(taint, &self.0.tolerations));
        i64::try_from(unborne.count()).unwrap_or(i64::MAX)
    }

    fn normalise(&self, scores: &mut [i64]) {
        normalise_by_greatest(scores, true);
    }
}
