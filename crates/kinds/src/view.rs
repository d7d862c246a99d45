//! Read-only projections of objects: the few fields that reconciles look at, parsed straight from the stored bytes.
//!
//! Invariant: never written back (they drop what they do not know). Times stay texts until somebody needs them.

use crate::kind::Kind;
use std::collections::BTreeMap;

use base::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::rules::phase;

/// An object as one of the API's own types, by way of its text: what reads a type is made once for each form it is read from, and
/// for a Pod and its parts that takes some 180 kB, so all are read from text.
///
/// # Errors
/// If the value does not fit the type.
pub fn typed<T: serde::de::DeserializeOwned>(value: &Value) -> serde_json::Result<T> {
    serde_json::from_slice(&serde_json::to_vec(value)?)
}

/// `metadata`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Meta {
    /// Name.
    pub name: String,
    /// Namespace, empty if cluster-scoped.
    pub namespace: String,
    /// UID.
    pub uid: String,
    /// resourceVersion.
    pub resource_version: String,
    /// How often what is wished has changed.
    pub generation: i64,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Finalizers.
    pub finalizers: Vec<String>,
    /// Owners.
    pub owner_references: Vec<OwnerRef>,
    /// When it was made.
    pub creation_timestamp: Option<String>,
    /// When it is or was to be gone.
    pub deletion_timestamp: Option<String>,
    /// Seconds of grace within `deletion_timestamp`.
    pub deletion_grace_period_seconds: Option<i64>,
}

impl Meta {
    /// Whether it is being deleted.
    #[must_use]
    pub fn deleting(&self) -> bool {
        self.deletion_timestamp.is_some()
    }

    /// Whether it has a finalizer.
    #[must_use]
    pub fn has_finalizer(&self, finalizer: &str) -> bool {
        self.finalizers.iter().any(|f| f == finalizer)
    }

    /// The owner that is the controller.
    #[must_use]
    pub fn controller(&self) -> Option<&OwnerRef> {
        self.owner_references.iter().find(|o| o.controller)
    }
}

/// One of `metadata.ownerReferences`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OwnerRef {
    /// `batch/v1`.
    pub api_version: String,
    /// `Job`.
    pub kind: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// Whether it is the controller.
    pub controller: bool,
    /// Whether it holds up a foreground deletion of the owner.
    pub block_owner_deletion: bool,
}

impl OwnerRef {
    /// Whether it is of this kind, in whatever version.
    #[must_use]
    pub fn is_a(&self, kind: &Kind) -> bool {
        let group = self.api_version.split_once('/').map_or("", |(group, _)| group);
        self.kind == kind.kind && group == kind.group
    }
}

/// Any object, as far as `metadata` goes.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Any {
    /// Its metadata.
    pub metadata: Meta,
}

/// A condition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Condition {
    /// Type.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False`, `Unknown`.
    pub status: String,
    /// Reason.
    pub reason: String,
    /// Message.
    pub message: String,
    /// Last change of status.
    pub last_transition_time: Option<String>,
}

/// A Pod.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct PodView {
    /// Its metadata.
    pub metadata: Meta,
    /// Its spec.
    pub spec: PodSpecView,
    /// Its status.
    pub status: PodStatusView,
}

/// A Pod's spec.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodSpecView {
    /// The node it is bound to.
    pub node_name: String,
    /// Where it may and would rather run, as it is written.
    pub affinity: Value,
    /// Init containers.
    pub init_containers: Vec<InitView>,
}

/// An init container of a Pod's spec.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct InitView {
    /// Its name.
    pub name: String,
    /// `Always` makes it a sidecar.
    pub restart_policy: String,
}

impl InitView {
    /// Whether it runs beside the containers.
    #[must_use]
    pub fn is_sidecar(&self) -> bool {
        self.restart_policy == "Always"
    }
}

/// A Pod's status.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodStatusView {
    /// Phase.
    pub phase: String,
    /// Why it has that phase, in one word.
    pub reason: String,
    /// Conditions.
    pub conditions: Vec<Condition>,
    /// Init containers.
    pub init_container_statuses: Vec<ContainerView>,
    /// Containers.
    pub container_statuses: Vec<ContainerView>,
}

/// A container's status.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerView {
    /// Its name.
    pub name: String,
    /// How often it was restarted.
    pub restart_count: i32,
    /// Its state.
    pub state: StateView,
}

/// A container's state.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct StateView {
    /// Set once it has ended.
    pub terminated: Option<TerminatedView>,
}

/// How a container ended.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TerminatedView {
    /// What its first process returned.
    pub exit_code: i32,
    /// When.
    pub finished_at: Option<String>,
}

impl PodView {
    /// Succeeded or Failed.
    #[must_use]
    pub fn finished(&self) -> bool {
        phase::is_finished(&self.status.phase)
    }

    /// Neither finished nor being deleted (`controller.IsPodActive`).
    #[must_use]
    pub fn active(&self) -> bool {
        phase::is_active(&self.status.phase, self.metadata.deleting())
    }

    /// Being deleted and not finished (`controller.IsPodTerminating`).
    #[must_use]
    pub fn terminating(&self) -> bool {
        phase::is_terminating(&self.status.phase, self.metadata.deleting())
    }

    /// Condition Ready is True.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.condition("Ready").is_some_and(|c| c.status == "True")
    }

    /// When condition Ready last changed.
    #[must_use]
    pub fn ready_since(&self) -> Option<&str> {
        self.condition("Ready")?.last_transition_time.as_deref()
    }

    /// A condition by its type.
    #[must_use]
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|c| c.kind == kind)
    }

    /// When it ended, by the best evidence there is: all containers' ends, the end of readiness, the start of its
    /// deletion, its creation.
    #[must_use]
    pub fn finish_time(&self) -> Timestamp {
        let ends: Option<Vec<Timestamp>> = self
            .status
            .container_statuses
            .iter()
            .map(|c| time(c.state.terminated.as_ref()?.finished_at.as_deref()))
            .collect();
        let unready = || {
            let ready = self.condition("Ready").filter(|c| c.status == "False")?;
            time(ready.last_transition_time.as_deref())
        };
        let deletion = || {
            let grace = self.metadata.deletion_grace_period_seconds.unwrap_or(0).max(0);
            let at = time(self.metadata.deletion_timestamp.as_deref())?;
            Some(at - std::time::Duration::from_secs(grace.unsigned_abs()))
        };
        ends.and_then(|all| all.into_iter().max())
            .or_else(unready)
            .or_else(deletion)
            .or_else(|| time(self.metadata.creation_timestamp.as_deref()))
            .unwrap_or_default()
    }
}

/// A time that the API has accepted before; `None` if absent.
#[must_use]
pub fn time(text: Option<&str>) -> Option<Timestamp> {
    text.and_then(|t| Timestamp::parse(t).ok())
}
