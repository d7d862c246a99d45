//! `NodeResourcesFit`: a node has room for the Pod's requests; how good it is depends on how full it would be.
//!
//! Invariant: a request beyond the whole node is final, since removing Pods cannot help.

use std::collections::BTreeSet;

use kinds::names::check_label_key;
use kinds::rules::resources::is_extended;

use crate::change::{Change, Kinds};
use crate::config::Fields;
use crate::node::{NodeFacts, NodeInfo};
use crate::plugin::{Plugin, Points, PreFilter, Score, Verdict};
use crate::pod::PodInfo;
use crate::refusal::{Reason, Refusal};
use crate::resources::Resources;
use crate::snapshot::Snapshot;

use self::strategy::{Scored, Strategy};

mod strategy;

const TOO_MANY: Reason = Reason::new("Too many pods");
const CPU: Reason = Reason::new("Insufficient cpu");
const MEMORY: Reason = Reason::new("Insufficient memory");
const STORAGE: Reason = Reason::new("Insufficient ephemeral-storage");

/// See the module.
#[derive(Debug)]
pub(crate) struct NodeResourcesFit {
    /// Extended resources that are not looked at, and groups of them.
    ignored: BTreeSet<String>,
    ignored_groups: BTreeSet<String>,
    strategy: Strategy,
}

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

impl NodeResourcesFit {
    /// With the plugin's arguments.
    pub(crate) fn new(mut args: Fields<'_>) -> Self {
        let (ignored, groups) = (args.texts("ignoredResources"), args.texts("ignoredResourceGroups"));
        for (i, name) in ignored.iter().enumerate() {
            args.tell(&format!("ignoredResources[{i}]"), |errors, path| {
                check_label_key(errors, path, name);
            });
        }
        for (i, group) in groups.iter().enumerate() {
            args.tell(&format!("ignoredResourceGroups[{i}]"), |errors, path| {
                if group.contains('/') {
                    errors.invalid(path, group.as_str(), "resource group name can't contain '/'");
                }
                check_label_key(errors, path, group);
            });
        }
        let strategy = Strategy::new(args.inner("scoringStrategy"));
        let (ignored, ignored_groups) = (ignored.into_iter().collect(), groups.into_iter().collect());
        Self { ignored, ignored_groups, strategy }
    }

    fn ignores(&self, name: &str) -> bool {
        let in_group = || self.ignored_groups.contains(name.split('/').next().unwrap_or_default());
        (!self.ignored.is_empty() || !self.ignored_groups.is_empty())
            && is_extended(name)
            && (self.ignored.contains(name) || in_group())
    }

    /// Whether a node with so many Pods, which use so much, has room.
    fn check(&self, pod: &PodInfo, node: &NodeFacts, pods: i64, used: &Resources) -> Verdict {
        let mut short = Shortage::default();
        if pods + 1 > node.max_pods {
            short.add(TOO_MANY, true);
        }
        let (want, all) = (&pod.requests, &node.allocatable);
        short.compare(|| CPU, want.milli_cpu, all.milli_cpu, used.milli_cpu);
        short.compare(|| MEMORY, want.memory, all.memory, used.memory);
        short.compare(|| STORAGE, want.ephemeral_storage, all.ephemeral_storage, used.ephemeral_storage);
        for (name, amount) in want.scalar.iter().filter(|(name, _)| !self.ignores(name)) {
            let of = |r: &Resources| r.scalar.get(name).copied().unwrap_or_default();
            short.compare(|| Reason::of("Insufficient ", name), *amount, of(all), of(used));
        }
        short.0.map_or(Ok(()), Err)
    }

    /// Whether an empty node of this sort would have room.
    fn could_hold(&self, pod: &PodInfo, node: &NodeFacts) -> bool {
        self.check(pod, node, 0, &Resources::default()).is_ok()
    }
}

impl Plugin for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn points(&self) -> Points {
        Points::FILTER | Points::SCORE
    }

    fn leave_to_extenders(&mut self, resources: &BTreeSet<String>) {
        self.ignored.extend(resources.iter().cloned());
    }

    fn wakes(&self) -> Kinds {
        Kinds::NODE_ADDED | Kinds::NODE_RESOURCES | Kinds::POD_GONE | Kinds::POD_SHRUNK
    }

    fn lifts(&self, pod: &PodInfo, change: &Change) -> bool {
        match change {
            Change::Node { .. } => change.node().is_some_and(|node| self.could_hold(pod, node)),
            _ => true,
        }
    }

    fn pre_filter<'a>(&'a self, pod: &'a PodInfo, _: &'a Snapshot) -> PreFilter<'a> {
        PreFilter::each(|node| self.check(pod, node, node.pod_count(), &node.requested))
    }

    fn pre_score<'a>(
        &'a self,
        pod: &'a PodInfo,
        _: &'a Snapshot,
        _: &[&'a NodeInfo],
    ) -> Option<Box<dyn Score + 'a>> {
        Some(Box::new(Scored { strategy: &self.strategy, pod }))
    }
}
