//! `NodeAffinity`: `nodeSelector`, required and preferred node affinity, and affinity that the profile adds to all Pods.

use k8s_openapi::api::core::v1::NodeAffinity as Api;
use kinds::rules::node_affinity::{Preferred, Required};

use crate::change::{Change, Kinds};
use crate::config::Fields;
use crate::node::{NodeFacts, NodeInfo};
use crate::plugin::{Plugin, Points, PreFilter, Score, normalise_by_greatest};
use crate::pod::PodInfo;
use crate::refusal::Refusal;
use crate::snapshot::Snapshot;

const REFUSAL: Refusal = Refusal::final_("node(s) didn't match Pod's node affinity/selector");
const ADDED_REFUSAL: Refusal = Refusal::final_("node(s) didn't match scheduler-enforced node affinity");

/// See the module.
#[derive(Debug)]
pub(crate) struct NodeAffinity {
    added: Required,
    added_preferred: Preferred,
}

struct Weights<'a> {
    own: &'a Preferred,
    added: &'a Preferred,
}

impl NodeAffinity {
    /// With the plugin's argument `addedAffinity`.
    pub(crate) fn new(mut args: Fields<'_>) -> Self {
        if let Some(added) = args.raw("addedAffinity") {
            args.tell("addedAffinity", |errors, path| {
                errors.extend(kinds::pod::node_affinity_errors(added, path));
            });
        }
        let added: Api = args.decoded("addedAffinity").unwrap_or_default();
        Self { added: Required::of_affinity(&added), added_preferred: Preferred::of_affinity(&added) }
    }

    fn check(&self, pod: &PodInfo, node: &NodeFacts) -> Result<(), Refusal> {
        if !self.added.matches(&node.labels, &node.name) {
            return Err(ADDED_REFUSAL);
        }
        if allowed(pod, node) { Ok(()) } else { Err(REFUSAL) }
    }
}

/// Whether the Pod's own selector and required affinity allow the node.
#[must_use]
pub(crate) fn allowed(pod: &PodInfo, node: &NodeFacts) -> bool {
    pod.required.matches(&node.labels, &node.name)
}

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn points(&self) -> Points {
        Points::FILTER | Points::SCORE
    }

    fn wakes(&self) -> Kinds {
        Kinds::NODE_ADDED | Kinds::NODE_LABELS
    }

    fn lifts(&self, pod: &PodInfo, change: &Change) -> bool {
        change.node().is_some_and(|node| self.check(pod, node).is_ok())
    }

    fn pre_filter<'a>(&'a self, pod: &'a PodInfo, _: &'a Snapshot) -> PreFilter<'a> {
        if pod.required.is_empty() && self.added.is_empty() {
            return PreFilter::Skip;
        }
        let each = crate::plugin::Each(move |node: &NodeInfo| self.check(pod, node));
        match pod.required.only_names() {
            Some(names) => PreFilter::Only(names, Box::new(each)),
            None => PreFilter::Filter(Box::new(each)),
        }
    }

    fn pre_score<'a>(
        &'a self,
        pod: &'a PodInfo,
        _: &'a Snapshot,
        _: &[&'a NodeInfo],
    ) -> Option<Box<dyn Score + 'a>> {
        let indifferent = pod.preferred.is_empty() && self.added_preferred.is_empty();
        (!indifferent).then(|| {
            Box::new(Weights { own: &pod.preferred, added: &self.added_preferred }) as Box<dyn Score>
        })
    }
}

impl Score for Weights<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        self.own.weight(&node.labels, &node.name) + self.added.weight(&node.labels, &node.name)
    }

    fn normalise(&self, scores: &mut [i64]) {
        normalise_by_greatest(scores, false);
    }
}
