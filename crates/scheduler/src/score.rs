//! How well a fitting node suits a Pod: upstream's default plugins and weights as far as they are here.
//!
//! Invariant: each part is 0 to 100 before its weight. Absent: image locality, inter-Pod affinity, topology spread.

use crate::info::{NodeInfo, PodInfo};

const MAX: i64 = 100;
const AFFINITY_WEIGHT: i64 = 2;
const TAINT_WEIGHT: i64 = 3;

/// One total for each node.
pub(crate) fn total(pod: &PodInfo, nodes: &[&NodeInfo]) -> Vec<i64> {
    let preferred = normalised(nodes.iter().map(|n| pod.preferred.weight(n)).collect(), false);
    let taints = normalised(nodes.iter().map(|n| soft_taints(pod, n)).collect(), true);
    let parts = preferred.into_iter().zip(taints);
    let total = |(node, (preferred, taint))| {
        least_allocated(pod, node) + balanced(pod, node) + AFFINITY_WEIGHT * preferred + TAINT_WEIGHT * taint
    };
    nodes.iter().copied().zip(parts).map(total).collect()
}

/// Free share after placing, the mean of CPU and memory (`NodeResourcesFit` with `LeastAllocated`).
fn least_allocated(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let share = |used: i64, all: i64| if all <= 0 || used > all { 0 } else { (all - used) * MAX / all };
    let cpu = share(node.used_nonzero.0 + pod.nonzero.0, node.allocatable.milli_cpu);
    let memory = share(node.used_nonzero.1 + pod.nonzero.1, node.allocatable.memory);
    i64::midpoint(cpu, memory)
}

/// How near the shares of CPU and memory are to each other (`NodeResourcesBalancedAllocation`). A Pod that requests
/// nothing is indifferent.
fn balanced(pod: &PodInfo, node: &NodeInfo) -> i64 {
    if pod.requests.is_zero() {
        return 0;
    }
    let share = |used: i64, all: i64| if all <= 0 { MAX } else { (used * MAX / all).clamp(0, MAX) };
    let cpu = share(node.used.milli_cpu + pod.requests.milli_cpu, node.allocatable.milli_cpu);
    let memory = share(node.used.memory + pod.requests.memory, node.allocatable.memory);
    MAX - (cpu - memory).abs() / 2
}

/// `PreferNoSchedule` taints that the Pod does not tolerate.
fn soft_taints(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let soft = node.taints.iter().filter(|t| t.effect == "PreferNoSchedule");
    let untolerated = soft.filter(|taint| !pod.tolerations.iter().any(|t| t.covers(taint)));
    i64::try_from(untolerated.count()).unwrap_or(i64::MAX)
}

/// Scales to 0..=100 by the greatest; `reverse` makes the greatest the worst.
fn normalised(scores: Vec<i64>, reverse: bool) -> Vec<i64> {
    let greatest = scores.iter().copied().max().unwrap_or(0);
    let scale = |score: i64| {
        let part = if greatest == 0 { 0 } else { score * MAX / greatest };
        if reverse { MAX - part } else { part }
    };
    scores.into_iter().map(scale).collect()
}
