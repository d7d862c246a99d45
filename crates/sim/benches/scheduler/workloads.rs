//! The workloads of upstream's scheduler benchmark (`test/integration/scheduler_perf`) in their sizes of v1.36.

use serde_json::{Value, json};

use super::cluster::SPECIAL;

const HOSTNAME: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";

pub(crate) struct Workload {
    pub(crate) name: &'static str,
    /// Pods a second that should be reached.
    pub(crate) reach: u32,
    pub(crate) nodes: usize,
    /// Each node by its number.
    pub(crate) node: fn(usize) -> Value,
    /// There is one node besides that some Pods ask for.
    pub(crate) special_node: bool,
    /// What is there before: in how many namespaces, how many Pods in each, which.
    pub(crate) before: &'static [Before],
    pub(crate) measured: (usize, fn() -> Value),
    /// What happens beside it.
    pub(crate) churn: Option<Churn>,
}

/// In how many namespaces, how many Pods in each, which.
pub(crate) type Before = (usize, usize, fn() -> Value);

#[derive(Clone, Copy)]
pub(crate) enum Churn {
    /// Such Pods come.
    Add(fn() -> Value),
    /// Pods that were there go.
    Remove,
}

const PLAIN: Workload = Workload {
    name: "SchedulingBasic",
    reach: 3_000,
    nodes: 5_000,
    node: plain_node,
    special_node: false,
    before: &[(1, 1_000, default)],
    measured: (10_000, default),
    churn: None,
};

/// All of them.
pub(crate) const ALL: &[Workload] = &[
    PLAIN,
    Workload {
        name: "SchedulingNodeAffinity",
        reach: 2_500,
        node: zone1,
        before: &[(1, 5_000, node_affinity)],
        measured: (10_000, node_affinity),
        ..PLAIN
    },
    Workload {
        name: "TopologySpreading",
        reach: 1_500,
        node: three_zones,
        before: &[(1, 5_000, default)],
        measured: (5_000, || spread("DoNotSchedule")),
        ..PLAIN
    },
    Workload {
        name: "PreferredTopologySpreading",
        reach: 1_500,
        node: three_zones,
        before: &[(1, 5_000, default)],
        measured: (5_000, || spread("ScheduleAnyway")),
        ..PLAIN
    },
    Workload {
        name: "SchedulingPodAffinity",
        reach: 1_000,
        node: zone1,
        before: &[(1, 5_000, affinity)],
        measured: (5_000, affinity),
        ..PLAIN
    },
    Workload {
        name: "SchedulingPodAntiAffinity",
        reach: 1_000,
        before: &[(1, 1_000, anti_affinity)],
        measured: (2_000, anti_affinity),
        ..PLAIN
    },
    Workload {
        name: "SchedulingPreferredPodAffinity",
        reach: 1_000,
        before: &[(1, 5_000, preferred_affinity)],
        measured: (5_000, preferred_affinity),
        ..PLAIN
    },
    Workload {
        name: "SchedulingPreferredPodAntiAffinity",
        reach: 1_000,
        before: &[(1, 5_000, preferred_anti_affinity)],
        measured: (5_000, preferred_anti_affinity),
        ..PLAIN
    },
    Workload {
        name: "RequiredAntiAffinityWithNSSelector",
        reach: 500,
        nodes: 6_000,
        before: &[(100, 40, anti_affinity_by_namespace)],
        measured: (2_000, anti_affinity_by_namespace),
        ..PLAIN
    },
    Workload {
        name: "PreemptionAsync",
        reach: 1_500,
        before: &[(1, 20_000, || sized("900m", "low"))],
        measured: (5_000, default),
        churn: Some(Churn::Add(|| sized("3", "high"))),
        ..PLAIN
    },
    Workload {
        name: "Unschedulable",
        reach: 2_000,
        before: &[(1, 100, default)],
        churn: Some(Churn::Add(|| sized("9", "high"))),
        ..PLAIN
    },
    Workload {
        name: "SchedulingDaemonset",
        reach: 3_000,
        nodes: 15_000,
        special_node: true,
        before: &[],
        measured: (30_000, daemon),
        ..PLAIN
    },
    Workload {
        name: "SchedulingWhileGated",
        reach: 3_000,
        nodes: 1,
        node: roomy_node,
        before: &[(2, 10_000, gated), (1, 20_000, light)],
        measured: (20_000, light),
        churn: Some(Churn::Remove),
        ..PLAIN
    },
];

/// A node of four CPUs with labels.
fn node(labels: &[(&str, &str)]) -> Value {
    let labels: serde_json::Map<String, Value> =
        labels.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
    let amounts = json!({"cpu": "4", "memory": "32Gi", "pods": "110"});
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"labels": labels},
        "status": {"capacity": amounts, "allocatable": amounts,
            "conditions": [{"type": "Ready", "status": "True"}], "phase": "Running"}})
}

pub(crate) fn plain_node(i: usize) -> Value {
    node(&[(HOSTNAME, &format!("node-{i}"))])
}

fn zone1(i: usize) -> Value {
    node(&[(HOSTNAME, &format!("node-{i}")), (ZONE, "zone1")])
}

fn three_zones(i: usize) -> Value {
    node(&[(HOSTNAME, &format!("node-{i}")), (ZONE, &format!("moon-{}", i % 3 + 1))])
}

/// A node for more Pods than any other.
pub(crate) fn roomy_node(i: usize) -> Value {
    let mut node = plain_node(i);
    node["status"]["allocatable"]["pods"] = json!("90000");
    node["status"]["capacity"]["pods"] = json!("90000");
    node
}

fn pod(labels: &Value, more: &Value) -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": labels}, "spec": {"containers": [{
        "name": "pause", "image": "registry.k8s.io/pause:3.10.1", "ports": [{"containerPort": 80}],
        "resources": {"requests": {"cpu": "100m", "memory": "500Mi"}, "limits": {"cpu": "100m", "memory": "500Mi"}}}]}});
    for (key, value) in more.as_object().into_iter().flatten() {
        pod["spec"][key] = value.clone();
    }
    pod
}

fn default() -> Value {
    pod(&json!({}), &json!({}))
}

/// Without requests.
pub(crate) fn light() -> Value {
    let mut pod = default();
    pod["spec"]["containers"][0]["resources"] = json!({});
    pod
}

fn gated() -> Value {
    let mut pod = light();
    pod["spec"]["schedulingGates"] = json!([{"name": "test.k8s.io/hold"}]);
    pod
}

fn sized(cpu: &str, priority: &str) -> Value {
    let mut pod =
        pod(&json!({}), &json!({"priorityClassName": priority, "terminationGracePeriodSeconds": 0}));
    pod["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": cpu, "memory": "500Mi"}});
    pod
}

fn node_affinity() -> Value {
    let terms =
        json!([{"matchExpressions": [{"key": ZONE, "operator": "In", "values": ["zone1", "zone2"]}]}]);
    pod(
        &json!({}),
        &json!({"affinity": {"nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}}),
    )
}

fn daemon() -> Value {
    let terms = json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [SPECIAL]}]}]);
    let mut pod = light();
    pod["spec"]["affinity"] = json!({"nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}});
    pod
}

fn spread(when: &str) -> Value {
    pod(
        &json!({"color": "blue"}),
        &json!({"topologySpreadConstraints": [{"maxSkew": 5, "topologyKey": ZONE,
        "whenUnsatisfiable": when, "labelSelector": {"matchLabels": {"color": "blue"}}}]}),
    )
}

/// Pods of one colour, near each other or apart.
fn coloured(color: &str, kind: &str, key: &str, preferred: bool) -> Value {
    let term = json!({"topologyKey": key, "namespaces": ["sched-1", "sched-0"],
        "labelSelector": {"matchLabels": {"color": color}}});
    let rules = match preferred {
        true => {
            json!({"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": term}]})
        }
        false => json!({"requiredDuringSchedulingIgnoredDuringExecution": [term]}),
    };
    pod(&json!({"color": color}), &json!({"affinity": {kind: rules}}))
}

fn affinity() -> Value {
    coloured("blue", "podAffinity", ZONE, false)
}

fn anti_affinity() -> Value {
    coloured("green", "podAntiAffinity", HOSTNAME, false)
}

fn preferred_affinity() -> Value {
    coloured("red", "podAffinity", HOSTNAME, true)
}

fn preferred_anti_affinity() -> Value {
    coloured("yellow", "podAntiAffinity", HOSTNAME, true)
}

fn anti_affinity_by_namespace() -> Value {
    let term = json!({"topologyKey": HOSTNAME, "labelSelector": {"matchLabels": {"color": "green"}},
        "namespaceSelector": {"matchLabels": {"team": "devops"}}});
    pod(
        &json!({"color": "green"}),
        &json!({"affinity": {"podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [term]}}}),
    )
}
