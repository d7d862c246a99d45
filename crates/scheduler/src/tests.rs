//! Nodes and Pods as the API writes them in, the placement or the event's text out.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};

use super::*;

mod affinity;
mod configuration;
mod extenders;
mod scores;
mod whole;

fn node(name: &str, change: impl FnOnce(&mut Value)) -> NodeInfo {
    let mut value = json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "n": "3"}},
        "spec": {},
        "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "ephemeral-storage": "10Gi", "pods": "3"}},
    });
    change(&mut value);
    NodeInfo::new(Arc::new(NodeFacts::new(&serde_json::from_value::<Node>(value).unwrap())))
}

fn pod(spec: &Value) -> PodInfo {
    let mut value =
        json!({"metadata": {"name": "p", "namespace": "d"}, "spec": {"containers": [{"name": "c"}]}});
    for (key, part) in spec.as_object().unwrap() {
        value["spec"][key] = part.clone();
    }
    PodInfo::new(&serde_json::from_value::<Pod>(value).unwrap())
}

fn requesting(requests: &Value) -> PodInfo {
    pod(&json!({"containers": [{"name": "c", "resources": {"requests": requests}}]}))
}

/// The world with these nodes and what runs on them.
fn world(nodes: Vec<NodeInfo>) -> Snapshot {
    let mut cache = Cache::default();
    for node in nodes {
        cache.set_node(&node.name, Some(NodeFacts::clone(&node.facts)));
        for (index, pod) in node.pods.iter().enumerate() {
            let uid = format!("{}-{index}", node.name);
            let placed = PodInfo {
                uid: uid.as_str().into(),
                name: uid.as_str().into(),
                node_name: node.name.clone(),
                ..PodInfo::clone(pod)
            };
            cache.set_pod(
                &(placed.namespace.clone(), placed.name.clone()),
                Some((placed, PodState::default())),
            );
        }
    }
    let mut snapshot = Snapshot::default();
    cache.refresh(&mut snapshot);
    snapshot
}

fn message(pod: &PodInfo, nodes: Vec<NodeInfo>) -> String {
    let world = world(nodes);
    let mut memory = Memory { dice: Dice::new(1), next: 0 };
    match decide(&Profile::default(), pod, None, &world, &mut memory) {
        Outcome::Place(position) => format!("-> {}", world.nodes()[position].name),
        Outcome::Refuse { room: Room::At(nomination), diagnosis, post } => {
            let victims: Vec<&str> = nomination.victims.iter().map(|v| &*v.name).collect();
            format!("{} => {} without {}", diagnosis.message(&post), nomination.node, victims.join(" "))
        }
        Outcome::Refuse { diagnosis, post, .. } => diagnosis.message(&post),
    }
}

const HOPELESS: &str = "no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.";
const NO_VICTIMS: &str = "no new claims to deallocate, preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.";

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn one_node_and_its_refusals() {
    let plain = || node("n1", |_| {});
    let cordoned = || node("n1", |n| n["spec"]["unschedulable"] = json!(true));
    let tainted = |effect: &str| {
        let taint = json!([{"key": "k", "value": "v", "effect": effect}]);
        node("n1", |n| n["spec"]["taints"] = taint)
    };
    let busy = || {
        let mut busy = plain();
        busy.add_pod(Arc::new(pod(
            &json!({"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}],
            "resources": {"requests": {"cpu": "1500m"}}}]}),
        )));
        busy
    };
    let hopeless = |text: &str| format!("0/1 nodes are available: 1 {text}. {HOPELESS}");
    let no_victims = |text: &str| format!("0/1 nodes are available: 1 {text}. {NO_VICTIMS}");
    let fits = || "-> n1".to_owned();
    let affinity = |terms: Value| json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}});
    let mismatch = "node(s) didn't match Pod's node affinity/selector";
    let ports = |ip: &str, port: i32| json!({"containers": [{"name": "c", "ports": [{"containerPort": 1, "hostIP": ip, "hostPort": port}]}]});
    for (name, have, want) in [
        ("nothing asked", message(&pod(&json!({})), vec![plain()]), fits()),
        ("exact fit", message(&requesting(&json!({"cpu": "2", "memory": "4Gi"})), vec![plain()]), fits()),
        (
            "cpu beyond the node",
            message(&requesting(&json!({"cpu": "3"})), vec![plain()]),
            hopeless("Insufficient cpu"),
        ),
        (
            "cpu taken",
            message(&requesting(&json!({"cpu": "1"})), vec![busy()]),
            no_victims("Insufficient cpu"),
        ),
        (
            "two resources",
            message(&requesting(&json!({"cpu": "3", "memory": "5Gi"})), vec![plain()]),
            hopeless("Insufficient cpu, 1 Insufficient memory"),
        ),
        (
            "extended",
            message(&requesting(&json!({"example.com/gpu": "1"})), vec![plain()]),
            hopeless("Insufficient example.com/gpu"),
        ),
        (
            "scratch space",
            message(&requesting(&json!({"ephemeral-storage": "11Gi"})), vec![plain()]),
            hopeless("Insufficient ephemeral-storage"),
        ),
        ("cordoned", message(&pod(&json!({})), vec![cordoned()]), hopeless("node(s) were unschedulable")),
        (
            "cordon tolerated",
            message(
                &pod(
                    &json!({"tolerations": [{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}]}),
                ),
                vec![cordoned()],
            ),
            fits(),
        ),
        (
            "taint",
            message(&pod(&json!({})), vec![tainted("NoSchedule")]),
            hopeless("node(s) had untolerated taint(s)"),
        ),
        (
            "execute taint",
            message(&pod(&json!({})), vec![tainted("NoExecute")]),
            hopeless("node(s) had untolerated taint(s)"),
        ),
        ("soft taint", message(&pod(&json!({})), vec![tainted("PreferNoSchedule")]), fits()),
        (
            "tolerated",
            message(
                &pod(&json!({"tolerations": [{"key": "k", "value": "v", "effect": "NoSchedule"}]})),
                vec![tainted("NoSchedule")],
            ),
            fits(),
        ),
        (
            "other value",
            message(&pod(&json!({"tolerations": [{"key": "k", "value": "w"}]})), vec![tainted("NoSchedule")]),
            hopeless("node(s) had untolerated taint(s)"),
        ),
        (
            "all tolerated",
            message(&pod(&json!({"tolerations": [{"operator": "Exists"}]})), vec![tainted("NoExecute")]),
            fits(),
        ),
        (
            "selector",
            message(&pod(&json!({"nodeSelector": {"disk": "ssd"}})), vec![plain()]),
            hopeless(mismatch),
        ),
        ("selected", message(&pod(&json!({"nodeSelector": {"n": "3"}})), vec![plain()]), fits()),
        (
            "affinity number",
            message(
                &pod(&affinity(
                    json!([{"matchExpressions": [{"key": "n", "operator": "Gt", "values": ["3"]}]}]),
                )),
                vec![plain()],
            ),
            hopeless(mismatch),
        ),
        (
            "second term",
            message(
                &pod(&affinity(json!([{"matchExpressions": [{"key": "x", "operator": "Exists"}]},
                    {"matchExpressions": [{"key": "n", "operator": "In", "values": ["3"]}]}]))),
                vec![plain()],
            ),
            fits(),
        ),
        ("empty term", message(&pod(&affinity(json!([{}]))), vec![plain()]), hopeless(mismatch)),
        (
            "another node's name",
            message(
                &pod(&affinity(
                    json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n2"]}]}]),
                )),
                vec![plain()],
            ),
            hopeless("node(s) didn't satisfy plugin(s) [NodeAffinity]"),
        ),
        (
            "port taken",
            message(&pod(&ports("", 80)), vec![busy()]),
            no_victims("node(s) didn't have free ports for the requested pod ports"),
        ),
        (
            "port on one address",
            message(&pod(&ports("10.0.0.1", 80)), vec![busy()]),
            no_victims("node(s) didn't have free ports for the requested pod ports"),
        ),
        ("other port", message(&pod(&ports("", 81)), vec![busy()]), fits()),
        (
            "node name",
            message(&pod(&json!({"nodeName": "n2"})), vec![plain()]),
            hopeless("node(s) didn't match the requested node name"),
        ),
        ("no nodes", message(&pod(&json!({})), vec![]), "no nodes available to schedule pods".into()),
    ] {
        assert_eq!(have, want, "{name}");
    }
}

#[test]
fn counts_are_per_reason_and_sorted() {
    let mut full = node("n3", |_| {});
    for _ in 0..3 {
        full.add_pod(Arc::new(pod(&json!({}))));
    }
    let tainted = node("n2", |n| n["spec"]["taints"] = json!([{"key": "a", "effect": "NoSchedule"}]));
    let mut wanting = requesting(&json!({"cpu": "2500m"}));
    let nodes = vec![node("n1", |_| {}), tainted, full];
    assert_eq!(
        message(&wanting, nodes.clone()),
        "0/3 nodes are available: 1 Too many pods, 1 node(s) had untolerated taint(s), 2 Insufficient cpu. no new \
         claims to deallocate, preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    );
    wanting.never_preempts = true;
    assert!(message(&wanting, nodes).ends_with("2 Insufficient cpu. no new claims to deallocate, preemption: not eligible due to preemptionPolicy=Never."));
}

#[test]
fn requests_add_up() {
    let gi = 1 << 30;
    let r = |cpu: &str, memory: &str| json!({"requests": {"cpu": cpu, "memory": memory}});
    for (name, spec, cpu, memory) in [
        (
            "containers",
            json!({"containers": [{"name": "a", "resources": r("1", "1Gi")}, {"name": "b", "resources": r("500m", "1Gi")}]}),
            1500,
            2 * gi,
        ),
        (
            "greater init container",
            json!({"containers": [{"name": "a", "resources": r("1", "1Gi")}], "initContainers": [{"name": "i", "resources": r("2", "512Mi")}]}),
            2000,
            gi,
        ),
        (
            "sidecar before init container",
            json!({"containers": [{"name": "a", "resources": r("1", "1Gi")}], "initContainers": [
                {"name": "s", "restartPolicy": "Always", "resources": r("1", "1Gi")}, {"name": "i", "resources": r("2", "512Mi")}]}),
            3000,
            2 * gi,
        ),
        (
            "overhead",
            json!({"containers": [{"name": "a", "resources": r("1", "1Gi")}], "overhead": {"cpu": "250m"}}),
            1250,
            gi,
        ),
        ("of the Pod", json!({"containers": [{"name": "a"}], "resources": r("3", "2Gi")}), 3000, 2 * gi),
    ] {
        let info = pod(&spec);
        assert_eq!((info.requests.milli_cpu, info.requests.memory), (cpu, memory), "{name}");
    }
    assert_eq!(pod(&json!({})).nonzero, NonZero { milli_cpu: 100, memory: 200 << 20 });
}

#[test]
fn prefers() {
    let mut busy = node("a", |_| {});
    busy.add_pod(Arc::new(requesting(&json!({"cpu": "1", "memory": "2Gi"}))));
    let soft = node("a", |n| n["spec"]["taints"] = json!([{"key": "k", "effect": "PreferNoSchedule"}]));
    let term = json!({"weight": 5, "preference": {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["b"]}]}});
    let liking_b = pod(
        &json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [term]}}}),
    );
    for (name, pod, first) in [
        ("the emptier node", pod(&json!({})), busy),
        ("no soft taint", pod(&json!({})), soft),
        ("its own preference", liking_b, node("a", |_| {})),
    ] {
        assert_eq!(message(&pod, vec![first, node("b", |_| {})]), "-> b", "{name}");
    }
}
