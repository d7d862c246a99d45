//! A node as scheduling sees it: what its object says ([`NodeFacts`]), and what runs there ([`NodeInfo`]).
//!
//! Invariant: the sums of a [`NodeInfo`] are those of its Pods at any time; a Pod costs the same to add or to take away
//! however many there are elsewhere. Absent: volumes in use.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Taint};
use kinds::rules::ports::HostPort;
use kinds::rules::resources::amounts;

use crate::pod::PodInfo;
use crate::pods::Pods;
use crate::resources::{NonZero, Resources};

/// Label of a node's own name.
pub const HOSTNAME: &str = "kubernetes.io/hostname";
/// Label of a node's zone.
pub const ZONE: &str = "topology.kubernetes.io/zone";
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const REGION: &str = "topology.kubernetes.io/region";

/// What a node's object says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NodeFacts {
    /// Name.
    pub name: Arc<str>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Taints.
    pub taints: Vec<Taint>,
    /// `spec.unschedulable`.
    pub unschedulable: bool,
    /// `status.allocatable`.
    pub allocatable: Resources,
    /// `status.allocatable.pods`.
    pub max_pods: i64,
    /// Bytes of each image the node has, by every name it has.
    pub images: BTreeMap<Arc<str>, i64>,
}

impl NodeFacts {
    /// What scheduling needs of a Node.
    #[must_use]
    pub fn new(node: &Node) -> Self {
        let spec = node.spec.as_ref();
        let status = node.status.as_ref();
        let allocatable = amounts(status.and_then(|s| s.allocatable.as_ref()));
        let images = status.and_then(|s| s.images.as_deref()).unwrap_or_default().iter();
        let images = images.flat_map(|image| {
            let size = image.size_bytes.unwrap_or_default();
            image.names.iter().flatten().map(move |name| (Arc::from(name.as_str()), size))
        });
        Self {
            name: node.metadata.name.as_deref().unwrap_or_default().into(),
            labels: node.metadata.labels.clone().unwrap_or_default(),
            taints: spec.and_then(|s| s.taints.clone()).unwrap_or_default(),
            unschedulable: spec.and_then(|s| s.unschedulable).unwrap_or_default(),
            max_pods: allocatable.get("pods").map_or(0, |pods| pods.value()),
            allocatable: Resources::new(&allocatable),
            images: images.collect(),
        }
    }

    /// A label's value.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).map(String::as_str)
    }

    /// Whether it is not marked as not ready, as every node is until its kubelet says otherwise.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.taints.iter().any(|t| t.key == NOT_READY)
    }

    /// What nodes are taken from in turn by: region and zone.
    #[must_use]
    pub fn zone(&self) -> (&str, &str) {
        (self.label(REGION).unwrap_or_default(), self.label(ZONE).unwrap_or_default())
    }
}

/// A node and what runs on it, including Pods that are assumed to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NodeInfo {
    /// What its object says.
    pub facts: Arc<NodeFacts>,
    /// Its Pods that have not finished, deleting ones included.
    pub pods: Pods,
    /// Pods for which room was made here and that are not bound yet.
    pub nominated: Vec<Arc<PodInfo>>,
    /// Sum of the requests of its Pods.
    pub requested: Resources,
    /// The same for scoring.
    pub nonzero: NonZero,
    /// Host ports its Pods hold.
    pub ports: Vec<HostPort>,
}

impl Deref for NodeInfo {
    type Target = NodeFacts;

    fn deref(&self) -> &NodeFacts {
        &self.facts
    }
}

impl NodeInfo {
    /// A node without Pods.
    #[must_use]
    pub fn new(facts: Arc<NodeFacts>) -> Self {
        Self { facts, ..Self::default() }
    }

    /// Counts a Pod that is bound, or about to be bound, to this node.
    pub fn add_pod(&mut self, pod: Arc<PodInfo>) {
        self.requested.add(&pod.requests);
        self.nonzero.milli_cpu += pod.nonzero.milli_cpu;
        self.nonzero.memory += pod.nonzero.memory;
        self.ports.extend(pod.ports.iter().cloned());
        self.pods.push(pod);
    }

    /// Counts a Pod no more; without it here nothing happens.
    pub fn remove_pod(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        let pod = self.pods.remove(uid)?;
        self.requested.subtract(&pod.requests);
        self.nonzero.milli_cpu -= pod.nonzero.milli_cpu;
        self.nonzero.memory -= pod.nonzero.memory;
        for port in &pod.ports {
            if let Some(held) = self.ports.iter().position(|p| p == port) {
                self.ports.swap_remove(held);
            }
        }
        Some(pod)
    }

    /// How many Pods it has.
    #[must_use]
    pub fn pod_count(&self) -> i64 {
        i64::try_from(self.pods.len()).unwrap_or(i64::MAX)
    }
}
