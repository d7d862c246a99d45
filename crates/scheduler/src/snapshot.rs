//! The world as one decision sees it: nodes with their Pods, shared with the cache.
//!
//! Invariants: it changes only when [`crate::Cache::refresh`] brings it up to date, which costs what changed since the
//! last time; nodes come zone by zone in turn, so that looking at some of them looks at all zones (upstream: `nodeTree`).

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base::labels::Selector;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;

use crate::Map;
use crate::node::NodeInfo;
use crate::pod::{PodInfo, PodTerm, compile};
use crate::standing::Standing;
use crate::tally::{Question, Tallies, Tally};
use crate::volumes::Volumes;

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

impl Budget {
    /// What scheduling needs of a PodDisruptionBudget.
    #[must_use]
    pub fn new(key: &(Arc<str>, Arc<str>), api: &PodDisruptionBudget) -> Self {
        let status = api.status.as_ref();
        let disrupted = status.and_then(|s| s.disrupted_pods.as_ref());
        Self {
            namespace: key.0.clone(),
            name: key.1.clone(),
            selector: compile(api.spec.as_ref().and_then(|s| s.selector.as_ref())),
            allowed: status.and_then(|s| s.disruptions_allowed).map_or(0, i64::from),
            disrupted: disrupted.into_iter().flatten().map(|(name, _)| name.clone()).collect(),
        }
    }
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
    /// Claims, volumes and classes.
    pub volumes: Arc<Volumes>,
}

impl Surroundings {
    /// Whether a term means a Pod, by the labels of the Pod's namespace if it asks them.
    #[must_use]
    pub fn means(&self, term: &PodTerm, pod: &PodInfo) -> bool {
        let labels = term.asks_namespaces().then(|| self.namespaces.get(&pod.namespace)).flatten();
        term.matches(pod, labels.map(|l| &**l))
    }
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    nodes: Vec<Arc<NodeInfo>>,
    positions: Map<Arc<str>, usize>,
    standing: Standing,
    tallies: RefCell<Tallies>,
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

    /// What the Pods that are there ask of others.
    pub(crate) fn standing(&self) -> &Standing {
        &self.standing
    }

    /// The answer to a question, which is remembered and kept up to date.
    #[must_use]
    pub fn tally(&self, question: Question) -> Arc<Tally> {
        self.tallies.borrow_mut().ask(question, &self.nodes, &self.surroundings)
    }

    /// Whether a term means a Pod.
    #[must_use]
    pub fn means(&self, term: &PodTerm, pod: &PodInfo) -> bool {
        self.surroundings.means(term, pod)
    }

    /// How many nodes have an image.
    #[must_use]
    pub fn nodes_with_image(&self, name: &str) -> usize {
        self.images.get(name).copied().unwrap_or_default()
    }

    /// What selects Pods in a namespace.
    #[must_use]
    pub fn groups(&self, namespace: &str) -> Option<&Groups> {
        self.surroundings.groups.get(namespace).map(|g| &**g)
    }

    /// Claims, volumes and classes.
    #[must_use]
    pub fn volumes(&self) -> &Volumes {
        &self.surroundings.volumes
    }

    /// The budgets that protect a Pod.
    pub fn budgets<'a>(&'a self, pod: &'a PodInfo) -> impl Iterator<Item = &'a Arc<Budget>> {
        let start = (pod.namespace.clone(), Arc::from(""));
        let here = self.surroundings.budgets.range(start..);
        here.map(|(_, budget)| budget)
            .take_while(|b| b.namespace == pod.namespace)
            .filter(|b| !b.selector.requirements.is_empty() && b.selector.matches(&pod.labels))
    }

    /// Takes what is known beside nodes and Pods.
    pub(crate) fn surround(&mut self, surroundings: &Arc<Surroundings>) {
        if Arc::ptr_eq(&self.surroundings, surroundings) {
            return;
        }
        if self.surroundings.namespaces != surroundings.namespaces {
            self.tallies.get_mut().forget();
        }
        self.surroundings = surroundings.clone();
    }

    /// Puts a newer state in a node's place.
    pub(crate) fn replace(&mut self, node: &Arc<NodeInfo>) {
        let Some(&position) = self.positions.get(&node.name) else { return };
        let old = std::mem::replace(&mut self.nodes[position], node.clone());
        self.moved(Some(&old), Some(node));
    }

    /// Takes the nodes of a new arrangement.
    pub(crate) fn arrange(&mut self, nodes: Vec<Arc<NodeInfo>>) {
        let old = std::mem::replace(&mut self.nodes, nodes);
        let mut former: Map<Arc<str>, Arc<NodeInfo>> = old.into_iter().map(|n| (n.name.clone(), n)).collect();
        self.positions = self.nodes.iter().enumerate().map(|(i, n)| (n.name.clone(), i)).collect();
        for position in 0..self.nodes.len() {
            let node = self.nodes[position].clone();
            let before = former.remove(&node.name);
            self.moved(before.as_deref(), Some(&node));
        }
        for gone in former.values() {
            self.moved(Some(gone), None);
        }
    }

    /// Keeps what is counted over nodes.
    fn moved(&mut self, old: Option<&NodeInfo>, new: Option<&NodeInfo>) {
        let facts = |node: Option<&NodeInfo>| node.map(|n| Arc::as_ptr(&n.facts));
        if facts(old) != facts(new) {
            new.into_iter().for_each(|node| self.count_images(node, 1));
            old.into_iter().for_each(|node| self.count_images(node, -1));
        }
        self.standing.moved(old, new);
        self.tallies.get_mut().moved(old, new, &self.surroundings);
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
