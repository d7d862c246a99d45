//! Small projections of Pods and Nodes: what filters and scores read, and nothing else.
//!
//! Invariant: [`NodeInfo`] counts every Pod bound to the node that has not finished, a deleting one included. Absent:
//! requests kept in status by an in-place resize (the spec's count).

use std::collections::BTreeMap;

use base::Quantity;
use k8s_openapi::api::core::v1::{Container, Node, Pod, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

use crate::affinity::{NodeAffinity, PreferredTerms};

/// What upstream counts for a container without a request when it scores (never when it filters): 100m and 200 MiB.
const DEFAULT_MILLI_CPU: i64 = 100;
const DEFAULT_MEMORY: i64 = 200 * 1024 * 1024;

/// Amounts: thousandths of a CPU, bytes, and whole extended resources.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resources {
    /// Thousandths of a CPU.
    pub milli_cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes.
    pub ephemeral_storage: i64,
    /// Extended resources and hugepages by name.
    pub scalar: BTreeMap<String, i64>,
}

impl Resources {
    /// From a resource list; texts that are no quantities count as nothing (the API refuses them).
    #[must_use]
    pub fn from_list(list: Option<&BTreeMap<String, Text>>) -> Self {
        let mut total = Self::default();
        for (name, amount) in list.into_iter().flatten() {
            let Ok(amount) = amount.0.parse::<Quantity>() else { continue };
            match name.as_str() {
                "cpu" => total.milli_cpu = amount.milli_value(),
                "memory" => total.memory = amount.value(),
                "ephemeral-storage" => total.ephemeral_storage = amount.value(),
                "pods" => {}
                _ => {
                    total.scalar.insert(name.clone(), amount.value());
                }
            }
        }
        total
    }

    /// Adds amount by amount.
    pub fn add(&mut self, other: &Self) {
        self.combine(other, i64::saturating_add);
    }

    /// Keeps the greater of each amount.
    pub fn raise_to(&mut self, other: &Self) {
        self.combine(other, i64::max);
    }

    /// Whether every amount is zero.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Self { scalar: self.scalar.clone(), ..Self::default() }
            && self.scalar.values().all(|v| *v == 0)
    }

    fn combine(&mut self, other: &Self, op: fn(i64, i64) -> i64) {
        self.milli_cpu = op(self.milli_cpu, other.milli_cpu);
        self.memory = op(self.memory, other.memory);
        self.ephemeral_storage = op(self.ephemeral_storage, other.ephemeral_storage);
        for (name, amount) in &other.scalar {
            let mine = self.scalar.entry(name.clone()).or_default();
            *mine = op(*mine, *amount);
        }
    }
}

/// A port on the node's own addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// `0.0.0.0` for all.
    pub ip: String,
    /// `TCP`, `UDP`, `SCTP`.
    pub protocol: String,
    /// Port.
    pub port: i32,
}

impl HostPort {
    /// Whether both cannot be had at once.
    #[must_use]
    pub fn conflicts(&self, other: &Self) -> bool {
        let any = |ip: &str| ip == "0.0.0.0" || ip == "::";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || any(&self.ip) || any(&other.ip))
    }
}

/// A node's taint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taint {
    /// Key.
    pub key: String,
    /// Value, may be empty.
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule`, `NoExecute`.
    pub effect: String,
}

/// A Pod's toleration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Toleration {
    /// Empty with `Exists` tolerates every key.
    pub key: String,
    /// `Exists`, `Equal` (also if empty), `Lt`, `Gt`.
    pub operator: String,
    /// Value.
    pub value: String,
    /// Empty is every effect.
    pub effect: String,
}

impl Toleration {
    /// Whether this toleration covers the taint (`v1.Toleration.ToleratesTaint`).
    #[must_use]
    pub fn covers(&self, taint: &Taint) -> bool {
        let fits = |mine: &str, theirs: &str| mine.is_empty() || mine == theirs;
        if !fits(&self.effect, &taint.effect) || !fits(&self.key, &taint.key) {
            return false;
        }
        let numbers = || Some((self.value.parse::<i64>().ok()?, taint.value.parse::<i64>().ok()?));
        match self.operator.as_str() {
            "Exists" => true,
            "" | "Equal" => self.value == taint.value,
            "Lt" => numbers().is_some_and(|(mine, theirs)| theirs < mine),
            "Gt" => numbers().is_some_and(|(mine, theirs)| theirs > mine),
            _ => false,
        }
    }
}

/// A node and what runs on it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NodeInfo {
    /// Name.
    pub name: String,
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
    /// Sum of the requests of its Pods.
    pub used: Resources,
    /// The same for scoring, where a container without a request counts as something.
    pub used_nonzero: (i64, i64),
    /// How many Pods it has.
    pub pods: i64,
    /// Host ports its Pods hold.
    pub ports: Vec<HostPort>,
}

impl NodeInfo {
    /// A node without its Pods.
    #[must_use]
    pub fn new(node: &Node) -> Self {
        let spec = node.spec.as_ref();
        let list = node.status.as_ref().and_then(|s| s.allocatable.as_ref());
        let taints = spec.and_then(|s| s.taints.as_deref()).unwrap_or_default();
        Self {
            name: node.metadata.name.clone().unwrap_or_default(),
            labels: node.metadata.labels.clone().unwrap_or_default(),
            taints: taints
                .iter()
                .map(|t| Taint {
                    key: t.key.clone(),
                    value: t.value.clone().unwrap_or_default(),
                    effect: t.effect.clone(),
                })
                .collect(),
            unschedulable: spec.and_then(|s| s.unschedulable).unwrap_or_default(),
            allocatable: Resources::from_list(list),
            max_pods: list
                .and_then(|l| l.get("pods"))
                .and_then(|q| q.0.parse::<Quantity>().ok())
                .map_or(0, |q| q.value()),
            ..Self::default()
        }
    }

    /// Counts a Pod that is bound, or about to be bound, to this node.
    pub fn add_pod(&mut self, pod: &PodInfo) {
        self.pods += 1;
        self.used.add(&pod.requests);
        self.used_nonzero.0 += pod.nonzero.0;
        self.used_nonzero.1 += pod.nonzero.1;
        self.ports.extend(pod.ports.iter().cloned());
    }
}

/// What a Pod asks for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PodInfo {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// `spec.nodeName`: bound, or asking for that node.
    pub node_name: String,
    /// `spec.schedulerName`.
    pub scheduler_name: String,
    /// `spec.priority`.
    pub priority: i32,
    /// `preemptionPolicy: Never`.
    pub never_preempts: bool,
    /// Has scheduling gates.
    pub gated: bool,
    /// Succeeded or Failed: holds nothing on its node.
    pub finished: bool,
    /// Sum of the requests.
    pub requests: Resources,
    /// (milli CPU, memory) for scoring.
    pub nonzero: (i64, i64),
    /// Host ports.
    pub ports: Vec<HostPort>,
    /// `spec.nodeSelector`.
    pub node_selector: BTreeMap<String, String>,
    /// Required node affinity.
    pub affinity: Option<NodeAffinity>,
    /// Preferred node affinity.
    pub preferred: PreferredTerms,
    /// Tolerations.
    pub tolerations: Vec<Toleration>,
}

impl PodInfo {
    /// What scheduling needs of a Pod.
    #[must_use]
    pub fn new(pod: &Pod) -> Self {
        let empty = PodSpec::default();
        let spec = pod.spec.as_ref().unwrap_or(&empty);
        let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref()).unwrap_or_default();
        let node_affinity = spec.affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
        let text = |t: &Option<String>| t.clone().unwrap_or_default();
        Self {
            namespace: text(&pod.metadata.namespace),
            name: text(&pod.metadata.name),
            uid: text(&pod.metadata.uid),
            node_name: text(&spec.node_name),
            scheduler_name: text(&spec.scheduler_name),
            priority: spec.priority.unwrap_or_default(),
            never_preempts: spec.preemption_policy.as_deref() == Some("Never"),
            gated: spec.scheduling_gates.as_ref().is_some_and(|g| !g.is_empty()),
            finished: matches!(phase, "Succeeded" | "Failed"),
            requests: requests(spec),
            nonzero: nonzero_requests(spec),
            ports: host_ports(spec),
            node_selector: spec.node_selector.clone().unwrap_or_default(),
            affinity: node_affinity.and_then(NodeAffinity::required),
            preferred: node_affinity.map(PreferredTerms::new).unwrap_or_default(),
            tolerations: spec
                .tolerations
                .iter()
                .flatten()
                .map(|t| Toleration {
                    key: text(&t.key),
                    operator: text(&t.operator),
                    value: text(&t.value),
                    effect: text(&t.effect),
                })
                .collect(),
        }
    }
}

fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

fn container_requests(container: &Container) -> Resources {
    Resources::from_list(container.resources.as_ref().and_then(|r| r.requests.as_ref()))
}

/// Containers and sidecars together, or the greatest moment of initialisation; then the Pod's own requests and overhead
/// (`k8s.io/component-helpers/resource.PodRequests`).
fn aggregate(spec: &PodSpec, of: impl Fn(&Container) -> Resources) -> Resources {
    let mut total = Resources::default();
    for container in &spec.containers {
        total.add(&of(container));
    }
    let (mut sidecars, mut initial) = (Resources::default(), Resources::default());
    for container in spec.init_containers.iter().flatten() {
        let mut moment = of(container);
        if is_sidecar(container) {
            total.add(&moment);
            sidecars.add(&moment);
            moment = sidecars.clone();
        } else {
            moment.add(&sidecars);
        }
        initial.raise_to(&moment);
    }
    total.raise_to(&initial);
    if let Some(pod_level) = spec.resources.as_ref().and_then(|r| r.requests.as_ref()) {
        let whole = Resources::from_list(Some(pod_level));
        if pod_level.contains_key("cpu") {
            total.milli_cpu = whole.milli_cpu;
        }
        if pod_level.contains_key("memory") {
            total.memory = whole.memory;
        }
        for (name, amount) in whole.scalar {
            total.scalar.insert(name, amount);
        }
    }
    total.add(&Resources::from_list(spec.overhead.as_ref()));
    total
}

fn requests(spec: &PodSpec) -> Resources {
    aggregate(spec, container_requests)
}

fn nonzero_requests(spec: &PodSpec) -> (i64, i64) {
    let total = aggregate(spec, |container| {
        let mut amount = container_requests(container);
        let given = container.resources.as_ref().and_then(|r| r.requests.as_ref());
        if !given.is_some_and(|g| g.contains_key("cpu")) {
            amount.milli_cpu = DEFAULT_MILLI_CPU;
        }
        if !given.is_some_and(|g| g.contains_key("memory")) {
            amount.memory = DEFAULT_MEMORY;
        }
        amount
    });
    (total.milli_cpu, total.memory)
}

fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let sidecars = spec.init_containers.iter().flatten().filter(|c| is_sidecar(c));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|c| c.ports.iter().flatten());
    ports
        .filter_map(|p| {
            let port = p.host_port.filter(|port| *port > 0)?;
            let ip = p.host_ip.clone().filter(|ip| !ip.is_empty()).unwrap_or_else(|| "0.0.0.0".into());
            Some(HostPort { ip, protocol: p.protocol.clone().unwrap_or_else(|| "TCP".into()), port })
        })
        .collect()
}
