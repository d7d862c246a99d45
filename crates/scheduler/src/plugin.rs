//! What a plugin is: the extension points, each with a default that does nothing.
//!
//! Invariants: a plugin is a value without memory; what it prepares for one Pod lives as long as that decision. What it
//! remembers between decisions stands in the cache. Upstream: `framework.Plugin` and its extension points of the same
//! names; pre-bind and bind return the writes that the shell performs.

use std::collections::BTreeSet;
use std::fmt::Debug;

use kinds::plan::Write;

use crate::cache::Cache;
use crate::change::{Change, Kinds};
use crate::cycle::Cycle;
use crate::dice::Dice;
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::refusal::{Diagnosis, Refusal};
use crate::snapshot::Snapshot;

/// A node fits, or why it does not.
pub type Verdict = Result<(), Refusal>;

/// The greatest score that a plugin gives.
pub const MAX_SCORE: i64 = 100;
/// A score's place for a node that the plugin leaves out of its comparison; normalising makes 0 of it.
pub const IGNORED: i64 = i64::MIN;

/// One plugin. Every method but the name has a default that does nothing.
pub trait Plugin: Debug + Send + Sync {
    /// Upstream's name.
    fn name(&self) -> &'static str;

    /// The sorts of change that can lift a refusal of this plugin.
    fn wakes(&self) -> Kinds {
        Kinds::NONE
    }

    /// Whether a change of such a sort could lift this plugin's refusal of the Pod (a queueing hint).
    fn lifts(&self, pod: &PodInfo, change: &Change) -> bool {
        let _ = (pod, change);
        true
    }

    /// Prepares the filter of one Pod.
    fn pre_filter<'a>(&'a self, pod: &'a PodInfo, world: &'a Snapshot) -> PreFilter<'a> {
        let _ = (pod, world);
        PreFilter::Skip
    }

    /// What to do once no node fits.
    fn post_filter(&self, attempt: &Attempt<'_, '_>, dice: &mut Dice) -> PostFilter {
        let _ = (attempt, dice);
        PostFilter::Silent
    }

    /// Prepares the scores of one Pod on the nodes that fit; `None` if they are all the same.
    fn pre_score<'a>(
        &'a self,
        pod: &'a PodInfo,
        world: &'a Snapshot,
        fitting: &[&'a NodeInfo],
    ) -> Option<Box<dyn Score + 'a>> {
        let _ = (pod, world, fitting);
        None
    }

    /// Takes what the Pod needs on its node, after the Pod is assumed there.
    ///
    /// # Errors
    /// If it is not to be had; then what others took is given back.
    fn reserve(&self, pod: &PodInfo, node: &str, cache: &mut Cache) -> Verdict {
        let _ = (pod, node, cache);
        Ok(())
    }

    /// Gives back what was taken, if it was; the binding failed.
    fn unreserve(&self, pod: &PodInfo, node: &str, cache: &mut Cache) {
        let _ = (pod, node, cache);
    }

    /// The last word before the binding.
    ///
    /// # Errors
    /// If the Pod may not be bound now.
    fn permit(&self, pod: &PodInfo, node: &str, cache: &Cache) -> Verdict {
        let _ = (pod, node, cache);
        Ok(())
    }

    /// Writes that must have been done before the binding.
    fn pre_bind(&self, pod: &PodInfo, node: &str) -> Vec<Write> {
        let _ = (pod, node);
        Vec::new()
    }

    /// The binding; the first plugin that has one makes it.
    fn bind(&self, pod: &PodInfo, node: &str) -> Option<Write> {
        let _ = (pod, node);
        None
    }
}

/// What a plugin has to say about a Pod before nodes are looked at.
pub enum PreFilter<'a> {
    /// Nothing; its filter is left out.
    Skip,
    /// Every node is to be asked.
    Filter(Box<dyn Filter<'a> + 'a>),
    /// Only these nodes can fit; they are to be asked.
    Only(BTreeSet<&'a str>, Box<dyn Filter<'a> + 'a>),
    /// No node can fit.
    Refuse(Refusal),
}

impl<'a> PreFilter<'a> {
    /// Every node is asked by itself.
    pub fn each(check: impl Fn(&NodeInfo) -> Verdict + Clone + 'a) -> Self {
        Self::Filter(Box::new(Each(check)))
    }
}

/// One Pod's filter.
pub trait Filter<'a> {
    /// Whether the node fits.
    ///
    /// # Errors
    /// Why it does not.
    fn check(&self, node: &NodeInfo) -> Verdict;

    /// As if this Pod were on the node too.
    fn add_pod(&mut self, pod: &PodInfo, node: &NodeInfo) {
        let _ = (pod, node);
    }

    /// As if this Pod were not on the node.
    fn remove_pod(&mut self, pod: &PodInfo, node: &NodeInfo) {
        let _ = (pod, node);
    }

    /// A copy to try things on.
    fn boxed(&self) -> Box<dyn Filter<'a> + 'a>;
}

/// A filter that asks nothing but the node.
#[derive(Clone)]
pub struct Each<F>(pub F);

impl<'a, F: Fn(&NodeInfo) -> Verdict + Clone + 'a> Filter<'a> for Each<F> {
    fn check(&self, node: &NodeInfo) -> Verdict {
        (self.0)(node)
    }

    fn boxed(&self) -> Box<dyn Filter<'a> + 'a> {
        Box::new(self.clone())
    }
}

/// One Pod's scores.
pub trait Score {
    /// One node's.
    fn score(&self, node: &NodeInfo) -> i64;

    /// Brings them all between 0 and [`MAX_SCORE`].
    fn normalise(&self, scores: &mut [i64]) {
        let _ = scores;
    }
}

/// An attempt that found no node.
pub struct Attempt<'a, 'c> {
    /// The Pod with its filters.
    pub cycle: &'a Cycle<'c>,
    /// Why.
    pub diagnosis: &'a Diagnosis,
    /// Where room was kept for the Pod.
    pub nominated: Option<&'a str>,
}

/// What a post-filter did.
#[derive(Debug, Clone, PartialEq)]
pub enum PostFilter {
    /// Nothing to say.
    Silent,
    /// Nothing was done, and why.
    Said(String),
    /// Nothing can be done, and why; room that was kept for the Pod is kept no longer.
    GaveUp(String),
    /// The Pod will fit on this node once these are gone.
    Nominate(Nomination),
}

/// Room to be made for a Pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Nomination {
    /// Where.
    pub node: std::sync::Arc<str>,
    /// Who must go.
    pub victims: Vec<std::sync::Arc<PodInfo>>,
}

/// Plugins by their place in the profile's table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PluginSet(u32);

impl PluginSet {
    /// Adds one.
    pub fn insert(&mut self, plugin: usize) {
        self.0 |= 1 << plugin;
    }

    /// Whether it is in.
    #[must_use]
    pub fn contains(self, plugin: usize) -> bool {
        self.0 & (1 << plugin) != 0
    }

    /// Whether none is in.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Scales to 0..=[`MAX_SCORE`] by the greatest; `reverse` makes the greatest the worst.
pub fn normalise_by_greatest(scores: &mut [i64], reverse: bool) {
    let greatest = scores.iter().copied().max().unwrap_or(0);
    for score in scores {
        let part = if greatest == 0 { 0 } else { *score * MAX_SCORE / greatest };
        *score = if reverse { MAX_SCORE - part } else { part };
    }
}
