//! `NodeResourcesFit`: a node has room for the Pod's requests; the emptier it is afterwards the better
//! (`LeastAllocated` over CPU and memory).
//!
//! Invariant: a request beyond the whole node is final, since removing Pods cannot help.

use crate::change::{Change, Kinds};
use crate::node::{NodeFacts, NodeInfo};
use crate::plugin::{MAX_SCORE, Plugin, PreFilter, Score, Verdict};
use crate::pod::PodInfo;
use crate::refusal::{Reason, Refusal};
use crate::resources::Resources;
use crate::snapshot::Snapshot;

const TOO_MANY: Reason = Reason::new("Too many pods");
const CPU: Reason = Reason::new("Insufficient cpu");
const MEMORY: Reason = Reason::new("Insufficient memory");
const STORAGE: Reason = Reason::new("Insufficient ephemeral-storage");

/// See the module.
#[derive(Debug)]
pub(crate) struct NodeResourcesFit;

struct LeastAllocated<'a>(&'a PodInfo);

/// Collects reasons; the first needs no allocation.
#[derive(Default)]
struct Shortage(Option<Refusal>);

impl Shortage {
    fn add(&mut self, reason: Reason, resolvable: bool) {
        match &mut self.0 {
            None => self.0 = Some(Refusal { reason, more: Vec::new(), resolvable }),
            Some(refusal) => {
                refusal.more.push(reason);
                refusal.resolvable &= resolvable;
            }
        }
    }

    fn compare(&mut self, reason: impl FnOnce() -> Reason, want: i64, all: i64, used: i64) {
        if want > 0 && want > all - used {
            self.add(reason(), want <= all);
        }
    }
}

fn check(pod: &PodInfo, node: &NodeInfo) -> Verdict {
    let mut short = Shortage::default();
    if node.pod_count() + 1 > node.max_pods {
        short.add(TOO_MANY, node.max_pods > 0);
    }
    let (want, all, used) = (&pod.requests, &node.allocatable, &node.requested);
    short.compare(|| CPU, want.milli_cpu, all.milli_cpu, used.milli_cpu);
    short.compare(|| MEMORY, want.memory, all.memory, used.memory);
    short.compare(|| STORAGE, want.ephemeral_storage, all.ephemeral_storage, used.ephemeral_storage);
    for (name, amount) in &want.scalar {
        let of = |r: &Resources| r.scalar.get(name).copied().unwrap_or_default();
        short.compare(|| Reason::of("Insufficient ", name), *amount, of(all), of(used));
    }
    short.0.map_or(Ok(()), Err)
}

/// Whether an empty node of this sort would have room.
fn could_hold(pod: &PodInfo, node: &NodeFacts) -> bool {
    node.max_pods > 0 && !pod.requests.exceeds_somewhere(&node.allocatable)
}

impl Plugin for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn wakes(&self) -> Kinds {
        Kinds::NODE_ADDED | Kinds::NODE_RESOURCES | Kinds::POD_GONE | Kinds::POD_SHRUNK
    }

    fn lifts(&self, pod: &PodInfo, change: &Change) -> bool {
        match change {
            Change::Node { .. } => change.node().is_some_and(|node| could_hold(pod, node)),
            _ => true,
        }
    }

    fn pre_filter<'a>(&'a self, pod: &'a PodInfo, _: &'a Snapshot) -> PreFilter<'a> {
        PreFilter::each(|node| check(pod, node))
    }

    fn pre_score<'a>(
        &'a self,
        pod: &'a PodInfo,
        _: &'a Snapshot,
        _: &[&'a NodeInfo],
    ) -> Option<Box<dyn Score + 'a>> {
        Some(Box::new(LeastAllocated(pod)))
    }
}

impl Score for LeastAllocated<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let free = |used: i64, all: i64| if used > all { 0 } else { (all - used) * MAX_SCORE / all };
        let (want, used, all) = (self.0.nonzero, node.nonzero, &node.allocatable);
        let parts =
            [(want.milli_cpu + used.milli_cpu, all.milli_cpu), (want.memory + used.memory, all.memory)];
        let (mut sum, mut count) = (0, 0);
        for (used, all) in parts {
            if all > 0 {
                sum += free(used, all);
                count += 1;
            }
        }
        if count == 0 { 0 } else { sum / count }
    }
}
