//! A Pod as scheduling sees it, made once for each version of its object.
//!
//! Invariant: nothing here is parsed again when the Pod is decided or compared with; two versions that are equal here are
//! the same for every plugin. What only the API's conversation needs is apart in [`PodState`]. Absent: resource claims.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodSpec, PodStatus, Toleration, Volume};
use kinds::pod::ephemeral::claim_name;
use kinds::rules::node_affinity::{Preferred, Required};
use kinds::rules::ports::{self, HostPort};

use crate::resources::{NonZero, Resources, nonzero_requests, requests};

mod affinity;
mod spread;

pub(crate) use affinity::compile;
pub use affinity::{PodAffinity, PodTerm, Weighted};
pub use spread::{Constraint, Inclusion};

/// What every decision about a Pod, or beside it, may ask.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PodInfo {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// UID.
    pub uid: Arc<str>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// `metadata.creationTimestamp`, in nanoseconds since 1970.
    pub created: i128,
    /// `spec.nodeName`: bound, or asking for that node.
    pub node_name: Arc<str>,
    /// `spec.schedulerName`.
    pub scheduler_name: Arc<str>,
    /// `spec.priority`.
    pub priority: i32,
    /// `preemptionPolicy: Never`.
    pub never_preempts: bool,
    /// Has scheduling gates.
    pub gated: bool,
    /// Succeeded or Failed: holds nothing on its node.
    pub finished: bool,
    /// Has a deletion timestamp.
    pub deleting: bool,
    /// Has been asked to make room (its `DisruptionTarget` condition says so).
    pub preempted: bool,
    /// `status.startTime`, in nanoseconds since 1970.
    pub started: Option<i128>,
    /// Sum of the requests.
    pub requests: Resources,
    /// The same for scoring.
    pub nonzero: NonZero,
    /// Host ports.
    pub ports: Vec<HostPort>,
    /// Images of its containers, with a tag or digest.
    pub images: Vec<Arc<str>>,
    /// `spec.nodeSelector` and required node affinity.
    pub required: Required,
    /// Preferred node affinity.
    pub preferred: Preferred,
    /// Tolerations.
    pub tolerations: Vec<Toleration>,
    /// Inter-Pod affinity and anti-affinity.
    pub pod_affinity: Option<Box<PodAffinity>>,
    /// Topology spread constraints.
    pub spread: Vec<Constraint>,
    /// Kind and name of the controller that owns it.
    pub controller: Option<(Arc<str>, Arc<str>)>,
    /// The claims of its volumes.
    pub claims: Vec<ClaimUse>,
}

/// A claim that a Pod uses.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimUse {
    /// Its name.
    pub name: Arc<str>,
    /// It is the Pod's own.
    pub ephemeral: bool,
}

/// What the conversation about a Pod needs and no decision does.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PodState {
    /// `metadata.generation`.
    pub generation: i64,
    /// Reason and message of its `PodScheduled=False` condition.
    pub refused: Option<(String, String)>,
    /// `status.nominatedNodeName`, may be empty.
    pub nominated: Arc<str>,
}

impl PodInfo {
    /// What scheduling needs of a Pod.
    #[must_use]
    pub fn new(pod: &Pod) -> Self {
        let (empty_spec, empty_status) = (PodSpec::default(), PodStatus::default());
        let spec = pod.spec.as_ref().unwrap_or(&empty_spec);
        let status = pod.status.as_ref().unwrap_or(&empty_status);
        let meta = &pod.metadata;
        let labels = meta.labels.clone().unwrap_or_default();
        let namespace = shared(meta.namespace.as_deref());
        let owner = meta.owner_references.iter().flatten().find(|o| o.controller == Some(true));
        Self {
            name: shared(meta.name.as_deref()),
            uid: shared(meta.uid.as_deref()),
            created: meta.creation_timestamp.as_ref().map(|t| t.0.as_nanosecond()).unwrap_or_default(),
            node_name: shared(spec.node_name.as_deref()),
            scheduler_name: shared(spec.scheduler_name.as_deref()),
            priority: spec.priority.unwrap_or_default(),
            never_preempts: spec.preemption_policy.as_deref() == Some("Never"),
            gated: spec.scheduling_gates.as_ref().is_some_and(|g| !g.is_empty()),
            finished: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
            deleting: meta.deletion_timestamp.is_some(),
            preempted: has_condition(status, "DisruptionTarget", Some("PreemptionByScheduler")),
            started: status.start_time.as_ref().map(|t| t.0.as_nanosecond()),
            requests: requests(pod),
            nonzero: nonzero_requests(pod),
            ports: ports::held(spec).collect(),
            images: images(spec),
            required: Required::of(spec),
            preferred: Preferred::of(spec),
            tolerations: spec.tolerations.clone().unwrap_or_default(),
            pod_affinity: PodAffinity::new(spec.affinity.as_ref(), &namespace, &labels).map(Box::new),
            spread: spread::constraints(spec, &labels),
            claims: claims(spec, meta.name.as_deref().unwrap_or_default()),
            controller: owner.map(|o| (o.kind.as_str().into(), o.name.as_str().into())),
            namespace,
            labels,
        }
    }

    /// Whether it takes up room on a node.
    #[must_use]
    pub fn holds(&self) -> bool {
        !self.node_name.is_empty() && !self.finished
    }

    /// Whether somebody has to find it a node.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.node_name.is_empty() && !self.finished && !self.deleting
    }
}

impl PodState {
    /// What the conversation needs of a Pod.
    #[must_use]
    pub fn new(pod: &Pod) -> Self {
        let status = pod.status.as_ref();
        let conditions = status.and_then(|s| s.conditions.as_deref()).unwrap_or_default();
        let refused = conditions.iter().find(|c| c.type_ == "PodScheduled" && c.status == "False");
        let text = |t: &Option<String>| t.clone().unwrap_or_default();
        Self {
            generation: pod.metadata.generation.unwrap_or_default(),
            refused: refused.map(|c| (text(&c.reason), text(&c.message))),
            nominated: shared(status.and_then(|s| s.nominated_node_name.as_deref())),
        }
    }
}

fn claims(spec: &PodSpec, pod: &str) -> Vec<ClaimUse> {
    let one = |volume: &Volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(named), _) => Some(ClaimUse { name: named.claim_name.as_str().into(), ephemeral: false }),
        (None, Some(_)) => Some(ClaimUse { name: claim_name(pod, &volume.name).into(), ephemeral: true }),
        (None, None) => None,
    };
    spec.volumes.iter().flatten().filter_map(one).collect()
}

fn shared(text: Option<&str>) -> Arc<str> {
    text.unwrap_or_default().into()
}

fn has_condition(status: &PodStatus, kind: &str, reason: Option<&str>) -> bool {
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let found = conditions.iter().find(|c| c.type_ == kind && c.status == "True");
    found.is_some_and(|c| reason.is_none() || c.reason.as_deref() == reason)
}

fn images(spec: &PodSpec) -> Vec<Arc<str>> {
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    containers.filter_map(|c| c.image.as_deref()).map(with_tag).collect()
}

/// Nodes report images with a tag; a name without one means `latest` (upstream: `normalizedImageName`).
fn with_tag(image: &str) -> Arc<str> {
    let last = image.rsplit('/').next().unwrap_or_default();
    if last.contains(':') { image.into() } else { format!("{image}:latest").into() }
}
