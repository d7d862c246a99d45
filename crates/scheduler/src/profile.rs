//! Which plugins decide, where each takes part, in which order and with which weight.
//!
//! Invariant: the order is upstream's: of several plugins that would refuse a node, the first speaks.

use std::sync::Arc;

use kinds::plan::Write;

use crate::change::{Change, Kinds};
use crate::node::NodeInfo;
use crate::plugin::{Plugin, PluginSet, Points};
use crate::plugins;
use crate::pod::PodInfo;
use crate::snapshot::Snapshot;

/// The name of the profile that Pods ask for if they ask for none.
pub const DEFAULT: &str = "default-scheduler";

/// One profile, for the Pods that name it.
#[derive(Debug)]
pub struct Profile {
    /// `schedulerName`.
    pub name: Arc<str>,
    /// `percentageOfNodesToScore`; `None` or 0 depends on how many nodes there are.
    pub percentage: Option<usize>,
    pub(crate) plugins: Vec<Box<dyn Plugin>>,
    pub(crate) seats: Seats,
}

/// Who takes part where, by place among the plugins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seats {
    pub(crate) enqueue: Vec<usize>,
    pub(crate) filter: Vec<usize>,
    pub(crate) post_filter: Vec<usize>,
    pub(crate) score: Vec<(usize, i64)>,
    pub(crate) bind: Vec<usize>,
}

impl Default for Profile {
    fn default() -> Self {
        let (plugins, weights): (Vec<_>, Vec<_>) = plugins::defaults().unzip();
        let made: &[Box<dyn Plugin>] = &plugins;
        let at = |point: Points| (0..made.len()).filter(move |i| made[*i].points().contains(point));
        let seats = Seats {
            enqueue: at(Points::ENQUEUE).collect(),
            filter: at(Points::FILTER).collect(),
            post_filter: at(Points::POST_FILTER).collect(),
            score: at(Points::SCORE).map(|i| (i, weights[i])).collect(),
            bind: at(Points::BIND).collect(),
        };
        Self { name: DEFAULT.into(), percentage: None, plugins, seats }
    }
}

impl Profile {
    fn of<'p>(&'p self, seats: &'p [usize]) -> impl Iterator<Item = (usize, &'p dyn Plugin)> {
        seats.iter().map(|i| (*i, &*self.plugins[*i]))
    }

    /// Whether a Pod may be decided at all yet.
    #[must_use]
    pub fn admits(&self, pod: &PodInfo) -> bool {
        self.of(&self.seats.enqueue).all(|(_, plugin)| plugin.pre_enqueue(pod))
    }

    /// The plugins that filter.
    pub(crate) fn filters(&self) -> impl Iterator<Item = (usize, &dyn Plugin)> {
        self.of(&self.seats.filter)
    }

    /// The plugins that act once no node fits.
    pub(crate) fn post_filters(&self) -> impl Iterator<Item = &dyn Plugin> {
        self.of(&self.seats.post_filter).map(|(_, plugin)| plugin)
    }

    /// The plugins that score, with their weights.
    pub(crate) fn scores(&self) -> impl Iterator<Item = (&dyn Plugin, i64)> {
        self.seats.score.iter().map(|(i, weight)| (&*self.plugins[*i], *weight))
    }

    /// The plugins that bind.
    pub(crate) fn binders(&self) -> impl Iterator<Item = &dyn Plugin> {
        self.of(&self.seats.bind).map(|(_, plugin)| plugin)
    }

    /// What a Pod needs before it is bound to a node, and who waits for it; nothing if it can be bound.
    pub(crate) fn prepare(
        &self,
        pod: &PodInfo,
        node: &NodeInfo,
        world: &Snapshot,
    ) -> Option<(PluginSet, Vec<Write>)> {
        let mut found: Option<(PluginSet, Vec<Write>)> = None;
        for (index, plugin) in self.filters() {
            let Some(writes) = plugin.prepare(pod, node, world) else { continue };
            let (by, all) = found.get_or_insert_default();
            by.insert(index);
            all.extend(writes);
        }
        found
    }

    /// The name of a plugin.
    pub(crate) fn plugin_name(&self, plugin: usize) -> &'static str {
        self.plugins[plugin].name()
    }

    fn refusers(&self, refused_by: PluginSet) -> impl Iterator<Item = &dyn Plugin> {
        let all = self.plugins.iter().enumerate();
        all.filter(move |(index, _)| refused_by.contains(*index)).map(|(_, plugin)| &**plugin)
    }

    /// Whether changes of such sorts could lift a refusal by these plugins. Without any (there was no node at all) only
    /// a new node does.
    #[must_use]
    pub fn may_lift(&self, refused_by: PluginSet, kinds: Kinds) -> bool {
        match refused_by {
            none if none.is_empty() => kinds.meets(Kinds::NODE_ADDED),
            by if by.meets(PluginSet::EXTENDER) => true,
            by => self.refusers(by).any(|plugin| plugin.wakes().meets(kinds)),
        }
    }

    /// Whether a change could lift the refusal of this Pod by these plugins.
    #[must_use]
    pub fn lifts(&self, pod: &PodInfo, refused_by: PluginSet, change: &Change) -> bool {
        let kinds = change.kinds();
        if refused_by.is_empty() || refused_by.meets(PluginSet::EXTENDER) {
            return self.may_lift(refused_by, kinds);
        }
        self.refusers(refused_by).any(|plugin| plugin.wakes().meets(kinds) && plugin.lifts(pod, change))
    }
}

/// All profiles.
#[derive(Debug)]
pub struct Profiles(pub(crate) Vec<Profile>);

impl Profiles {
    /// The profile of a scheduler's name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|profile| *profile.name == *name)
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, place: usize) -> &Profile {
        &self.0[place]
    }
}
