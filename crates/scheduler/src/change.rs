//! A change of the world as a pair (before, after), and which sorts of change it is.
//!
//! Invariant: a change that no plugin could ask about has no sort, so it costs nobody anything. Upstream:
//! `framework.ClusterEvent` and its action types.

use std::ops::BitOr;
use std::sync::Arc;

use crate::node::NodeFacts;
use crate::pod::PodInfo;

/// Sorts of change, as a set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kinds(u16);

impl Kinds {
    /// No sort.
    pub const NONE: Self = Self(0);
    /// A node came.
    pub const NODE_ADDED: Self = Self(1);
    /// A node went.
    pub const NODE_GONE: Self = Self(1 << 1);
    /// A node's allocatable resources changed.
    pub const NODE_RESOURCES: Self = Self(1 << 2);
    /// A node's labels changed.
    pub const NODE_LABELS: Self = Self(1 << 3);
    /// A node's taints changed, or whether it is cordoned.
    pub const NODE_TAINTS: Self = Self(1 << 4);
    /// A Pod came to a node.
    pub const POD_ADDED: Self = Self(1 << 5);
    /// The labels of a Pod on a node changed.
    pub const POD_LABELS: Self = Self(1 << 6);
    /// A Pod on a node asks for less.
    pub const POD_SHRUNK: Self = Self(1 << 7);
    /// A Pod left its node.
    pub const POD_GONE: Self = Self(1 << 8);
    /// The labels of a namespace changed.
    pub const NAMESPACE_LABELS: Self = Self(1 << 9);
    /// A Service or a workload came, went or selects otherwise.
    pub const GROUPS: Self = Self(1 << 10);
    /// A disruption budget changed.
    pub const BUDGETS: Self = Self(1 << 11);
    /// A claim, a volume or a class came, changed or went.
    pub const VOLUMES: Self = Self(1 << 12);

    /// Whether both have a sort in common.
    #[must_use]
    pub fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn when(self, condition: bool) -> Self {
        if condition { self } else { Self::NONE }
    }
}

impl BitOr for Kinds {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What changed.
#[derive(Debug, Clone)]
pub enum Change {
    /// A node came, changed or went.
    Node {
        /// As it was.
        before: Option<Arc<NodeFacts>>,
        /// As it is.
        after: Option<Arc<NodeFacts>>,
    },
    /// A Pod came, changed or went; it matters to others while it holds a node.
    Pod {
        /// As it was.
        before: Option<Arc<PodInfo>>,
        /// As it is.
        after: Option<Arc<PodInfo>>,
    },
    /// The labels of this namespace changed.
    Namespace(Arc<str>),
    /// What selects Pods in this namespace changed.
    Groups(Arc<str>),
    /// Disruption budgets changed.
    Budgets,
    /// This claim changed; or, without a name, a volume, a class or what a node takes.
    Volumes(Option<(Arc<str>, Arc<str>)>),
}

impl Change {
    /// Its sorts.
    #[must_use]
    pub fn kinds(&self) -> Kinds {
        match self {
            Self::Node { before, after } => node_kinds(before.as_deref(), after.as_deref()),
            Self::Pod { before, after } => {
                let holding = |pod: &Option<Arc<PodInfo>>| pod.clone().filter(|p| p.holds());
                pod_kinds(holding(before).as_deref(), holding(after).as_deref())
            }
            Self::Namespace(_) => Kinds::NAMESPACE_LABELS,
            Self::Groups(_) => Kinds::GROUPS,
            Self::Budgets => Kinds::BUDGETS,
            Self::Volumes(_) => Kinds::VOLUMES,
        }
    }

    /// The node that it leaves behind, if it is about one.
    #[must_use]
    pub fn node(&self) -> Option<&NodeFacts> {
        match self {
            Self::Node { after, .. } => after.as_deref(),
            _ => None,
        }
    }

    /// The Pod that it is about: as it was, and as it is, where it holds a node.
    #[must_use]
    pub fn pod(&self) -> (Option<&PodInfo>, Option<&PodInfo>) {
        match self {
            Self::Pod { before, after } => {
                (before.as_deref().filter(|p| p.holds()), after.as_deref().filter(|p| p.holds()))
            }
            _ => (None, None),
        }
    }
}

fn node_kinds(before: Option<&NodeFacts>, after: Option<&NodeFacts>) -> Kinds {
    match (before, after) {
        (None, None) => Kinds::NONE,
        (None, Some(_)) => Kinds::NODE_ADDED,
        (Some(_), None) => Kinds::NODE_GONE,
        (Some(old), Some(new)) => {
            let resources = old.allocatable != new.allocatable || old.max_pods != new.max_pods;
            let taints = old.taints != new.taints || old.unschedulable != new.unschedulable;
            Kinds::NODE_RESOURCES.when(resources)
                | Kinds::NODE_LABELS.when(old.labels != new.labels)
                | Kinds::NODE_TAINTS.when(taints)
        }
    }
}

fn pod_kinds(before: Option<&PodInfo>, after: Option<&PodInfo>) -> Kinds {
    match (before, after) {
        (None, None) => Kinds::NONE,
        (None, Some(_)) => Kinds::POD_ADDED,
        (Some(_), None) => Kinds::POD_GONE,
        (Some(old), Some(new)) if old.uid != new.uid || old.node_name != new.node_name => {
            Kinds::POD_GONE | Kinds::POD_ADDED
        }
        (Some(old), Some(new)) => {
            // One that begins to end no longer counts for topology spread.
            Kinds::POD_LABELS.when(old.labels != new.labels || old.deleting != new.deleting)
                | Kinds::POD_SHRUNK.when(old.requests.exceeds_somewhere(&new.requests))
        }
    }
}
