//! What scaling reads of an autoscaler, of the Scale of its target and of the Pods that it counts.
//!
//! Invariant: read-only, parsed from what the API answered; amounts are thousandths, as metrics are compared.

use std::collections::BTreeMap;

use base::{Quantity, Timestamp};
use serde::Deserialize;
use serde_json::Value;

use crate::view::{Condition, Meta, time};

/// An autoscaler, in the form of autoscaling/v2.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct HpaView {
    /// Its metadata.
    pub metadata: Meta,
    /// Its spec.
    pub spec: SpecView,
}

/// Its spec.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SpecView {
    /// What is scaled.
    pub scale_target_ref: TargetRef,
    pub(super) min_replicas: Option<i32>,
    pub(super) max_replicas: i32,
    /// By what.
    pub metrics: Vec<MetricSpec>,
    pub(super) behavior: Option<Behavior>,
}

/// What is scaled.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TargetRef {
    /// `apps/v1`.
    pub api_version: String,
    /// `Deployment`.
    pub kind: String,
    /// Name.
    pub name: String,
}

/// One metric; the field of its type is set.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MetricSpec {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) resource: ResourceSource,
    pub(super) container_resource: ResourceSource,
    pub(super) pods: NamedSource,
    pub(super) object: NamedSource,
    pub(super) external: NamedSource,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ResourceSource {
    pub(super) name: String,
    pub(super) container: String,
    pub(super) target: Target,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct NamedSource {
    pub(super) described_object: Value,
    pub(super) metric: Metric,
    pub(super) target: Target,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Metric {
    pub(super) name: String,
    pub(super) selector: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Target {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) value: Option<String>,
    pub(super) average_value: Option<String>,
    pub(super) average_utilization: Option<i32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Behavior {
    pub(super) scale_up: Rules,
    pub(super) scale_down: Rules,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Rules {
    pub(super) stabilization_window_seconds: Option<u64>,
    pub(super) select_policy: String,
    pub(super) policies: Vec<Policy>,
    pub(super) tolerance: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Policy {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) value: i32,
    pub(super) period_seconds: u64,
}

/// The Scale of the target.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ScaleView {
    /// What is wished.
    pub spec: ScaleNumber,
    /// What is there.
    pub status: ScaleStatus,
}

/// What a Scale wishes.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ScaleNumber {
    /// How many.
    pub replicas: i32,
}

/// What a Scale says is there.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ScaleStatus {
    /// How many.
    pub replicas: i32,
    /// What selects them, as text.
    pub selector: String,
}

/// A Pod that is counted.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct CountedPod {
    pub(super) metadata: Meta,
    spec: PodSpec,
    pub(super) status: PodStatus,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PodSpec {
    containers: Vec<Container>,
    init_containers: Vec<Container>,
    resources: Resources,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Container {
    name: String,
    restart_policy: String,
    resources: Resources,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Resources {
    requests: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PodStatus {
    pub(super) phase: String,
    start_time: Option<String>,
    conditions: Vec<Condition>,
}

/// A text of the API in thousandths; what is no quantity is nothing.
pub(super) fn milli(text: &str) -> i64 {
    text.parse::<Quantity>().map_or(0, |q| q.milli_value())
}

impl Resources {
    fn of(&self, name: &str) -> Option<i64> {
        self.requests.get(name).map(|text| milli(text))
    }
}

impl CountedPod {
    pub(super) fn started(&self) -> Option<Timestamp> {
        time(self.status.start_time.as_deref())
    }

    /// The condition `Ready`.
    pub(super) fn readiness(&self) -> Option<&Condition> {
        self.status.conditions.iter().find(|c| c.kind == "Ready")
    }

    pub(super) fn is_ready(&self) -> bool {
        self.readiness().is_some_and(|c| c.status == "True")
    }

    /// What it asks for of a resource, as a whole or in the containers of that name.
    pub(super) fn request(&self, resource: &str, container: &str) -> Result<i64, String> {
        if container.is_empty() && !self.spec.resources.requests.is_empty() {
            let own = self.containers().filter_map(|c| c.resources.of(resource)).sum();
            return Ok(self.spec.resources.of(resource).unwrap_or(own));
        }
        let wanted = self.containers().filter(|c| container.is_empty() || c.name == container);
        wanted
            .map(|c| {
                let (name, pod) = (&c.name, &self.metadata.name);
                let missing = || format!("missing request for {resource} in container {name} of Pod {pod}");
                c.resources.of(resource).ok_or_else(missing)
            })
            .sum()
    }

    /// Those that run as long as the Pod does.
    fn containers(&self) -> impl Iterator<Item = &Container> {
        let sidecars = self.spec.init_containers.iter().filter(|c| c.restart_policy == "Always");
        self.spec.containers.iter().chain(sidecars)
    }
}
