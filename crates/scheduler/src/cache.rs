//! The world as it changes: nodes and Pods fed by pairs (before, after), and the Pods that are assumed to be where they
//! were decided to go.
//!
//! Invariants: a Pod counts on at most one node; its sums are kept, never made again; an assumed Pod counts until its
//! binding is seen, refused or so long ago that it must be lost. A change costs what it changes. Upstream: `backend/cache`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use base::Instant;
use base::labels::Selector;

use crate::Map;
use crate::change::Change;
use crate::node::{NodeFacts, NodeInfo};
use crate::pod::{PodInfo, PodState};
use crate::snapshot::{Budget, Snapshot, Surroundings};

/// How long after its binding a Pod that nobody shows bound is believed in.
const ASSUMED_FOR: Duration = Duration::from_secs(30);

/// Namespace and name.
pub type Key = (Arc<str>, Arc<str>);

/// A Pod as it was last seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// For decisions.
    pub info: Arc<PodInfo>,
    /// For the conversation.
    pub state: PodState,
}

/// A Pod that was decided and is not yet seen bound.
#[derive(Debug)]
struct Assumed {
    pod: Arc<PodInfo>,
    /// Set once its binding is done.
    until: Option<Instant>,
}

#[derive(Debug, Default)]
struct Slot {
    /// Its object is there; else only Pods that name it are.
    present: bool,
    info: Arc<NodeInfo>,
    generation: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Cache {
    slots: Map<Arc<str>, Slot>,
    /// By the generation in which each slot last changed.
    changed: BTreeMap<u64, Arc<str>>,
    generation: u64,
    /// Counts changes of which nodes there are and of their zones.
    arrangement: u64,
    pods: Map<Key, Known>,
    keys: Map<Arc<str>, Key>,
    assumed: Map<Arc<str>, Assumed>,
    /// Those whose binding is done, by the time until which they are believed in.
    due: BTreeSet<(Instant, Arc<str>)>,
    nominated: Map<Arc<str>, Arc<str>>,
    surroundings: Arc<Surroundings>,
}

impl Cache {
    /// A node came, changed or (`None`) went. `None` if nothing that counts is different.
    pub fn set_node(&mut self, name: &Arc<str>, after: Option<NodeFacts>) -> Option<Change> {
        let before = self.slots.get(name).filter(|s| s.present).map(|s| s.info.facts.clone());
        if before.as_deref() == after.as_ref() {
            return None;
        }
        let moved = before.as_deref().map(NodeFacts::zone) != after.as_ref().map(NodeFacts::zone)
            || before.is_some() != after.is_some();
        let absent = || NodeFacts { name: name.clone(), ..NodeFacts::default() };
        let present = after.is_some();
        let facts = Arc::new(after.unwrap_or_else(absent));
        let slot = self.touch(name);
        slot.present = present;
        Arc::make_mut(&mut slot.info).facts = facts.clone();
        let empty = slot.info.pods.is_empty() && slot.info.nominated.is_empty();
        if !present && empty {
            self.drop_slot(name);
        }
        self.arrangement += u64::from(moved);
        Some(Change::Node { before, after: present.then_some(facts) })
    }

    /// A Pod came, changed or (`None`) went.
    pub fn set_pod(&mut self, key: &Key, after: Option<(PodInfo, PodState)>) -> Change {
        let old = self.pods.get(key).cloned();
        let before = old.as_ref().map(|k| k.info.clone());
        let Some((info, state)) = after else {
            self.forget_pod(key, before.as_ref());
            return Change::Pod { before, after: None };
        };
        let same_pod = before.as_ref().is_some_and(|b| b.uid == info.uid);
        if !same_pod {
            self.forget_pod(key, before.as_ref());
        }
        // What is the same is shared, so an unrelated change touches no node.
        let info = match &before {
            Some(old) if **old == info => old.clone(),
            _ => Arc::new(info),
        };
        let same_info = before.as_ref().is_some_and(|b| Arc::ptr_eq(b, &info));
        if !same_info {
            self.place(before.as_ref().filter(|_| same_pod), &info);
            self.keys.insert(info.uid.clone(), key.clone());
        }
        let said = old.map(|k| k.state.nominated).unwrap_or_default();
        if !info.is_open() {
            self.nominate(&info.uid, None);
        } else if said != state.nominated || (!same_info && self.nominated.contains_key(&info.uid)) {
            let node = if said == state.nominated {
                self.nominated.get(&info.uid).cloned()
            } else {
                Some(state.nominated.clone()).filter(|n| !n.is_empty())
            };
            self.nominate_as(&info, node);
        }
        self.pods.insert(key.clone(), Known { info: info.clone(), state });
        Change::Pod { before, after: Some(info) }
    }

    /// A Pod by its UID.
    #[must_use]
    pub fn pod(&self, uid: &str) -> Option<&Known> {
        self.pods.get(self.keys.get(uid)?)
    }

    /// Counts a Pod on the node that was chosen for it.
    pub fn assume(&mut self, pod: &PodInfo, node: &Arc<str>) {
        let there = Arc::new(PodInfo { node_name: node.clone(), ..pod.clone() });
        self.nominate(&pod.uid, None);
        self.add_to_node(node, there.clone());
        self.assumed.insert(pod.uid.clone(), Assumed { pod: there, until: None });
    }

    /// Whether a Pod is assumed to be somewhere.
    #[must_use]
    pub fn is_assumed(&self, uid: &str) -> bool {
        self.assumed.contains_key(uid)
    }

    /// The binding of an assumed Pod is done and will be seen.
    pub fn binding_done(&mut self, uid: &str, now: Instant) {
        if let Some(assumed) = self.assumed.get_mut(uid) {
            let until = now + ASSUMED_FOR;
            assumed.until = Some(until);
            self.due.insert((until, assumed.pod.uid.clone()));
        }
    }

    /// The binding of an assumed Pod was refused, or it is lost: its room is free again.
    pub fn unassume(&mut self, uid: &str) -> Option<Change> {
        let Assumed { pod, until } = self.assumed.remove(uid)?;
        if let Some(until) = until {
            self.due.remove(&(until, pod.uid.clone()));
        }
        self.remove_from_node(&pod.node_name.clone(), uid);
        Some(Change::Pod { before: Some(pod), after: None })
    }

    /// Bound Pods that nobody showed bound in time.
    #[must_use]
    pub fn overdue(&self, now: Instant) -> Vec<Arc<str>> {
        self.due.iter().take_while(|(until, _)| *until <= now).map(|(_, uid)| uid.clone()).collect()
    }

    /// When the next assumed Pod is overdue.
    #[must_use]
    pub fn next_overdue(&self) -> Option<Instant> {
        self.due.first().map(|(until, _)| *until)
    }

    /// Keeps room for an unbound Pod on a node, or (`None`) no longer.
    pub fn nominate(&mut self, uid: &str, node: Option<Arc<str>>) {
        match (self.pod(uid).map(|k| k.info.clone()), node) {
            (Some(info), node) => self.nominate_as(&info, node),
            (None, _) => self.clear_nomination(uid),
        }
    }

    /// Where room is kept for a Pod.
    #[must_use]
    pub fn nominated(&self, uid: &str) -> Option<&Arc<str>> {
        self.nominated.get(uid)
    }

    /// The labels of a namespace; `None` if it is gone.
    pub fn set_namespace(
        &mut self,
        name: &Arc<str>,
        labels: Option<BTreeMap<String, String>>,
    ) -> Option<Change> {
        let known = &self.surroundings.namespaces;
        if known.get(name).map(|l| &**l) == labels.as_ref() {
            return None;
        }
        let known = &mut Arc::make_mut(&mut self.surroundings).namespaces;
        match labels {
            Some(labels) => known.insert(name.clone(), Arc::new(labels)),
            None => known.remove(name),
        };
        Some(Change::Namespace(name.clone()))
    }

    /// What a Service or workload selects in its namespace; `None` if it is gone or selects nothing.
    pub fn set_group(&mut self, key: &Key, kind: &Arc<str>, selector: Option<Selector>) -> Option<Change> {
        let (namespace, name) = key;
        let id = (kind.clone(), name.clone());
        let known = self.surroundings.groups.get(namespace).and_then(|g| g.get(&id));
        if known.map(|s| &**s) == selector.as_ref() {
            return None;
        }
        let groups = &mut Arc::make_mut(&mut self.surroundings).groups;
        let here = Arc::make_mut(groups.entry(namespace.clone()).or_default());
        match selector {
            Some(selector) => here.insert(id, Arc::new(selector)),
            None => here.remove(&id),
        };
        if here.is_empty() {
            groups.remove(namespace);
        }
        Some(Change::Groups(namespace.clone()))
    }

    /// A disruption budget; `None` if it is gone.
    pub fn set_budget(&mut self, key: &Key, budget: Option<Budget>) -> Option<Change> {
        if self.surroundings.budgets.get(key).map(|b| &**b) == budget.as_ref() {
            return None;
        }
        let known = &mut Arc::make_mut(&mut self.surroundings).budgets;
        match budget {
            Some(budget) => known.insert(key.clone(), Arc::new(budget)),
            None => known.remove(key),
        };
        Some(Change::Budgets)
    }

    /// A claim, a volume, a class or what a node takes, by its resource; `None` if it is gone.
    pub fn set_storage(
        &mut self,
        resource: &str,
        key: &Key,
        after: Option<serde_json::Value>,
    ) -> Option<Change> {
        let volumes = Arc::make_mut(&mut Arc::make_mut(&mut self.surroundings).volumes);
        let is_claim = resource == "persistentvolumeclaims";
        volumes.set(resource, key, after).then(|| Change::Volumes(is_claim.then(|| key.clone())))
    }

    /// Brings a snapshot up to date.
    pub fn refresh(&self, snapshot: &mut Snapshot) {
        snapshot.surround(&self.surroundings);
        if snapshot.arrangement == self.arrangement {
            for name in self.changed.range(snapshot.generation + 1..).map(|(_, name)| name) {
                if let Some(slot) = self.slots.get(name).filter(|s| s.present) {
                    snapshot.replace(&slot.info);
                }
            }
        } else {
            snapshot.arrange(self.in_turn());
            snapshot.arrangement = self.arrangement;
        }
        snapshot.generation = self.generation;
    }

    /// The nodes, one of each zone in turn.
    fn in_turn(&self) -> Vec<Arc<NodeInfo>> {
        let mut zones: BTreeMap<(&str, &str), Vec<&Arc<NodeInfo>>> = BTreeMap::new();
        for slot in self.slots.values().filter(|s| s.present) {
            zones.entry(slot.info.zone()).or_default().push(&slot.info);
        }
        for nodes in zones.values_mut() {
            nodes.sort_by(|a, b| a.name.cmp(&b.name));
        }
        let longest = zones.values().map(Vec::len).max().unwrap_or_default();
        let turn = |i: usize| zones.values().filter_map(move |nodes| nodes.get(i).map(|n| (*n).clone()));
        (0..longest).flat_map(turn).collect()
    }

    /// Moves a Pod from where its former version, or the assumption, counted to where this version does.
    fn place(&mut self, before: Option<&Arc<PodInfo>>, after: &Arc<PodInfo>) {
        if let Some(old) = before.filter(|b| b.holds()) {
            self.remove_from_node(&old.node_name.clone(), &old.uid);
        }
        if after.is_open() {
            return;
        }
        self.unassume(&after.uid);
        if after.holds() {
            self.add_to_node(&after.node_name.clone(), after.clone());
        }
    }

    fn forget_pod(&mut self, key: &Key, known: Option<&Arc<PodInfo>>) {
        let Some(pod) = known else { return };
        self.clear_nomination(&pod.uid);
        self.unassume(&pod.uid);
        if pod.holds() {
            self.remove_from_node(&pod.node_name.clone(), &pod.uid);
        }
        self.keys.remove(&pod.uid);
        self.pods.remove(key);
    }

    fn nominate_as(&mut self, info: &Arc<PodInfo>, node: Option<Arc<str>>) {
        self.clear_nomination(&info.uid);
        if let Some(node) = node {
            Arc::make_mut(&mut self.touch(&node).info).nominated.push(info.clone());
            self.nominated.insert(info.uid.clone(), node);
        }
    }

    fn clear_nomination(&mut self, uid: &str) {
        let Some(node) = self.nominated.remove(uid) else { return };
        Arc::make_mut(&mut self.touch(&node).info).nominated.retain(|p| *p.uid != *uid);
        self.drop_if_empty(&node);
    }

    fn add_to_node(&mut self, node: &Arc<str>, pod: Arc<PodInfo>) {
        Arc::make_mut(&mut self.touch(node).info).add_pod(pod);
    }

    fn remove_from_node(&mut self, node: &Arc<str>, uid: &str) {
        Arc::make_mut(&mut self.touch(node).info).remove_pod(uid);
        self.drop_if_empty(node);
    }

    /// The slot of a node, marked as changed now.
    fn touch(&mut self, name: &Arc<str>) -> &mut Slot {
        self.generation += 1;
        self.changed.insert(self.generation, name.clone());
        let slot = self.slots.entry(name.clone()).or_insert_with(|| {
            let facts = NodeFacts { name: name.clone(), ..NodeFacts::default() };
            Slot { info: Arc::new(NodeInfo::new(Arc::new(facts))), ..Slot::default() }
        });
        self.changed.remove(&slot.generation);
        slot.generation = self.generation;
        slot
    }

    fn drop_if_empty(&mut self, node: &Arc<str>) {
        let unused = |s: &Slot| !s.present && s.info.pods.is_empty() && s.info.nominated.is_empty();
        if self.slots.get(node).is_some_and(unused) {
            self.drop_slot(node);
        }
    }

    fn drop_slot(&mut self, node: &Arc<str>) {
        if let Some(slot) = self.slots.remove(node) {
            self.changed.remove(&slot.generation);
        }
    }
}
