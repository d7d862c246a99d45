//! The world as one decision sees it: nodes with their Pods, shared with the cache.
//!
//! Invariants: it changes only when [`crate::Cache::refresh`] brings it up to date, which costs what changed since the
//! last time; nodes come zone by zone in turn, so that looking at some of them looks at all zones (upstream: `nodeTree`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base::labels::Selector;

use crate::Map;
use crate::node::NodeInfo;
use crate::pod::PodInfo;

type Labels = BTreeMap<String, String>;

/// What selects Pods in a namespace, by kind and name: Services and workloads.
pub type Groups = BTreeMap<(Arc<str>, Arc<str>), Arc<Selector>>;

/// A disruption budget.
#[derive(Debug, Clone, PartialEq)]
pub struct Budget {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// Which Pods it protects.
    pub selector: Selector,
    /// `status.disruptionsAllowed`.
    pub allowed: i64,
    /// `status.disruptedPods`: already counted.
    pub disrupted: BTreeSet<String>,
}

/// What is known beside nodes and Pods; changes seldom.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Surroundings {
    /// Labels of each namespace.
    pub namespaces: BTreeMap<Arc<str>, Arc<Labels>>,
    /// What selects Pods, by namespace.
    pub groups: BTreeMap<Arc<str>, Arc<Groups>>,
    /// Disruption budgets, by namespace and name.
    pub budgets: BTreeMap<(Arc<str>, Arc<str>), Arc<Budget>>,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    nodes: Vec<Arc<NodeInfo>>,
    positions: Map<Arc<str>, usize>,
    with_affinity: BTreeSet<usize>,
    with_anti_affinity: BTreeSet<usize>,
    /// How many nodes have an image.
    images: Map<Arc<str>, usize>,
    pub(crate) surroundings: Arc<Surroundings>,
    /// Everything up to this generation of the cache is in.
    pub(crate) generation: u64,
    /// Which arrangement of the cache's nodes this is.
    pub(crate) arrangement: u64,
}

impl Snapshot {
    /// All nodes, in their turn.
    #[must_use]
    pub fn nodes(&self) -> &[Arc<NodeInfo>] {
        &self.nodes
    }

    /// One node and its position.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<(usize, &NodeInfo)> {
        let position = *self.positions.get(name)?;
        Some((position, &self.nodes[position]))
    }

    /// The nodes that have Pods with inter-Pod affinity.
    pub fn with_affinity(&self) -> impl Iterator<Item = &NodeInfo> {
        self.with_affinity.iter().map(|i| &*self.nodes[*i])
    }

    /// The nodes that have Pods with required anti-affinity.
    pub fn with_anti_affinity(&self) -> impl Iterator<Item = &NodeInfo> {
        self.with_anti_affinity.iter().map(|i| &*self.nodes[*i])
    }

    /// How many nodes have an image.
    #[must_use]
    pub fn nodes_with_image(&self, name: &str) -> usize {
        self.images.get(name).copied().unwrap_or_default()
    }

    /// The labels of a namespace, if it is known.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<&Labels> {
        self.surroundings.namespaces.get(name).map(|l| &**l)
    }

    /// What selects Pods in a namespace.
    #[must_use]
    pub fn groups(&self, namespace: &str) -> Option<&Groups> {
        self.surroundings.groups.get(namespace).map(|g| &**g)
    }

    /// The budgets that protect a Pod.
    pub fn budgets<'a>(&'a self, pod: &'a PodInfo) -> impl Iterator<Item = &'a Arc<Budget>> {
        let start = (pod.namespace.clone(), Arc::from(""));
        let here = self.surroundings.budgets.range(start..);
        here.map(|(_, budget)| budget)
            .take_while(|b| b.namespace == pod.namespace)
            .filter(|b| !b.selector.requirements.is_empty() && b.selector.matches(&pod.labels))
    }

    /// Puts a newer state in a node's place.
    pub(crate) fn replace(&mut self, node: &Arc<NodeInfo>) {
        let Some(&position) = self.positions.get(&node.name) else { return };
        let old = std::mem::replace(&mut self.nodes[position], node.clone());
        if !Arc::ptr_eq(&old.facts, &node.facts) {
            self.count_images(&node.clone(), 1);
            self.count_images(&old, -1);
        }
        self.mark(position);
    }

    /// Takes the nodes of a new arrangement.
    pub(crate) fn arrange(&mut self, nodes: Vec<Arc<NodeInfo>>) {
        let old = std::mem::replace(&mut self.nodes, nodes);
        let former: Map<Arc<str>, Arc<NodeInfo>> = old.into_iter().map(|n| (n.name.clone(), n)).collect();
        self.positions = self.nodes.iter().enumerate().map(|(i, n)| (n.name.clone(), i)).collect();
        self.with_affinity.clear();
        self.with_anti_affinity.clear();
        for position in 0..self.nodes.len() {
            let node = self.nodes[position].clone();
            match former.get(&node.name) {
                Some(old) if Arc::ptr_eq(&old.facts, &node.facts) => {}
                _ => self.count_images(&node, 1),
            }
            self.mark(position);
        }
        for (name, old) in &former {
            let same = self.node(name).is_some_and(|(_, now)| Arc::ptr_eq(&now.facts, &old.facts));
            if !same {
                self.count_images(old, -1);
            }
        }
    }

    fn mark(&mut self, position: usize) {
        let node = &self.nodes[position];
        for (set, has) in [
            (&mut self.with_affinity, node.with_affinity > 0),
            (&mut self.with_anti_affinity, node.with_anti_affinity > 0),
        ] {
            if has {
                set.insert(position);
            } else {
                set.remove(&position);
            }
        }
    }

    fn count_images(&mut self, node: &NodeInfo, by: isize) {
        for name in node.images.keys() {
            let count = self.images.entry(name.clone()).or_default();
            *count = count.saturating_add_signed(by);
            if *count == 0 {
                self.images.remove(name);
            }
        }
    }
}
