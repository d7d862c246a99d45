//! `NodeResourcesBalancedAllocation`: the nearer the used shares of CPU and memory are to each other, the better.
//!
//! Invariant: a Pod that requests nothing is indifferent.

use crate::node::NodeInfo;
use crate::plugin::{MAX_SCORE, Plugin, Score};
use crate::pod::PodInfo;
use crate::snapshot::Snapshot;

/// See the module.
#[derive(Debug)]
pub(crate) struct BalancedAllocation;

struct Balance<'a>(&'a PodInfo);

impl Plugin for BalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    fn pre_score<'a>(
        &'a self,
        pod: &'a PodInfo,
        _: &'a Snapshot,
        _: &[&'a NodeInfo],
    ) -> Option<Box<dyn Score + 'a>> {
        (!pod.requests.is_zero()).then(|| Box::new(Balance(pod)) as Box<dyn Score>)
    }
}

impl Score for Balance<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let share = |used: i64, all: i64| {
            if all <= 0 { MAX_SCORE } else { (used * MAX_SCORE / all).clamp(0, MAX_SCORE) }
        };
        let (want, used, all) = (&self.0.requests, &node.requested, &node.allocatable);
        let cpu = share(used.milli_cpu + want.milli_cpu, all.milli_cpu);
        let memory = share(used.memory.saturating_add(want.memory), all.memory);
        MAX_SCORE - (cpu - memory).abs() / 2
    }
}
