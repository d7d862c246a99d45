//! What a plugin is: the extension points, each with a default that does nothing.
//!
//! Invariants: a plugin is a value without memory; what it prepares for one Pod lives as long as that decision. What it
//! remembers between decisions stands in the cache. Upstream: `framework.Plugin` and its extension points of the same
//! names; bind returns the write that the shell performs. Absent: reserve
//! and permit; pre-bind is [`Plugin::prepare`], after which the Pod is decided once more.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::ops::BitOr;

use kinds::plan::Write;

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

    /// Where it takes part.
    fn points(&self) -> Points;

    /// These extended resources are an extender's business, not the plugin's.
    fn leave_to_extenders(&mut self, resources: &BTreeSet<String>) {
        let _ = resources;
    }

    /// Whether the Pod may be decided at all yet.
    fn pre_enqueue(&self, pod: &PodInfo) -> bool {
        let _ = pod;
        true
    }

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
        PostFilter::Said(String::new())
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

    /// What is to be written before the Pod can be bound to the node that was chosen; it is decided again when a change
    /// lifts the plugin's refusal. `None` if nothing is wanting; no writes if it only waits.
    fn prepare(&self, pod: &PodInfo, node: &NodeInfo, world: &Snapshot) -> Option<Vec<Write>> {
        let _ = (pod, node, world);
        None
    }

    /// The binding; the first plugin that has one makes it.
    fn bind(&self, pod: &PodInfo, node: &str) -> Option<Write> {
        let _ = (pod, node);
        None
    }
}

/// Extension points, as a set; a filter and its preparation are one, and so are a score and its preparation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Points(u8);

impl Points {
    /// `preEnqueue`.
    pub const ENQUEUE: Self = Self(1);
    /// `preFilter` and `filter`.
    pub const FILTER: Self = Self(1 << 1);
    /// `postFilter`.
    pub const POST_FILTER: Self = Self(1 << 2);
    /// `preScore` and `score`.
    pub const SCORE: Self = Self(1 << 3);
    /// `bind`.
    pub const BIND: Self = Self(1 << 4);

    /// As a number.
    pub(crate) fn bits(self) -> u8 {
        self.0
    }

    /// Whether all of the other's are in.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Points {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
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
    /// Nothing was done, and why.
    Said(String),
    /// Nothing can be done, and why; room that was kept for the Pod is kept no longer.
    GaveUp(String),
    /// The Pod will fit on one of these nodes once its victims are gone.
    Nominate(Vec<Nomination>),
}

/// Room to be made for a Pod.
#[derive(Debug, Clone, PartialEq)]
pub struct Nomination {
    /// Where.
    pub node: std::sync::Arc<str>,
    /// Who must go, the most important first.
    pub victims: Vec<std::sync::Arc<PodInfo>>,
    /// How many of them a disruption budget protects.
    pub violations: usize,
}

/// Plugins by their place in the profile's table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PluginSet(u32);

impl PluginSet {
    /// Of an extender, which says nothing about what could lift its refusal.
    pub const EXTENDER: Self = Self(1 << 31);

    /// Adds all of another.
    pub fn extend(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Adds one.
    pub fn insert(&mut self, plugin: usize) {
        self.0 |= 1 << plugin;
    }

    /// Whether it is in.
    #[must_use]
    pub fn contains(self, plugin: usize) -> bool {
        self.0 & (1 << plugin) != 0
    }

    /// Whether both have a plugin in common.
    #[must_use]
    pub fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
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
