//! Which plugins decide, in which order and with which weight.
//!
//! Invariant: the order is upstream's: of several plugins that would refuse a node, the first speaks.

use crate::change::{Change, Kinds};
use crate::plugin::{Plugin, PluginSet};
use crate::plugins;
use crate::pod::PodInfo;

/// See the module.
#[derive(Debug)]
pub struct Profile {
    plugins: Vec<(Box<dyn Plugin>, i64)>,
}

impl Default for Profile {
    fn default() -> Self {
        Self { plugins: plugins::table() }
    }
}

impl Profile {
    /// These plugins with their weights in scores.
    #[must_use]
    pub fn new(plugins: Vec<(Box<dyn Plugin>, i64)>) -> Self {
        Self { plugins }
    }

    /// The plugins in their order.
    pub fn plugins(&self) -> impl DoubleEndedIterator<Item = &dyn Plugin> + ExactSizeIterator {
        self.plugins.iter().map(|(plugin, _)| &**plugin)
    }

    /// The plugins with their weights.
    pub fn weighted(&self) -> impl Iterator<Item = (&dyn Plugin, i64)> {
        self.plugins.iter().map(|(plugin, weight)| (&**plugin, *weight))
    }

    /// Whether a change could lift the refusal of a Pod by these plugins. Without any (there was no node at all) only
    /// a new node does.
    #[must_use]
    pub fn lifts(&self, pod: &PodInfo, refused_by: PluginSet, change: &Change) -> bool {
        let kinds = change.kinds();
        if refused_by.is_empty() {
            return kinds.meets(Kinds::NODE_ADDED);
        }
        self.plugins()
            .enumerate()
            .filter(|(index, _)| refused_by.contains(*index))
            .any(|(_, plugin)| plugin.wakes().meets(kinds) && plugin.lifts(pod, change))
    }
}
