//! A node that falls silent: it is unknown, its Pods are not ready, and go after their time; those of the living stay.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use client::{Gvr, PatchType, Verb};
use controllers::Clock as _;
use k8s_openapi::api::core::v1::{Node as ApiNode, Pod, ServiceAccount};
use serde_json::{Value, json};
use sim::cluster::{Cluster, Running};
use sim::node::{Node, SharedHost};
use sim::seed::Dice;
use sim::talk::{Feed, call};
use tokio_util::sync::CancellationToken;

fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    let all = object["status"]["conditions"].as_array();
    all.and_then(|all| all.iter().find(|c| c["type"] == kind)).unwrap_or(&Value::Null)
}

fn has_taint(node: &Value, effect: &str) -> bool {
    let key = "node.kubernetes.io/unreachable";
    let all = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    all.iter().any(|t| t["key"] == key && t["effect"] == effect)
}

#[tokio::test(start_paused = true)]
async fn pods_of_a_silent_node_go_after_their_time() {
    let (cluster, pods) = (Cluster::start().await, Gvr::of::<Pod>());
    let admin = cluster.admin();
    let start = cluster.clock.now();
    for name in ["alive", "silent"] {
        Node::register(&cluster.node(name), name).await.unwrap();
    }
    let host = SharedHost::new(Arc::new(|_, _, _| None));
    let alive = Node::new("alive", cluster.node("alive"), host, cluster.clock, Dice::new(1, "alive"));
    let alive = tokio::spawn(alive.run(CancellationToken::new()));
    let loops = Running::start(controllers::Config { scheduler: false, ..cluster.loops() });
    Feed::open(&admin, &Gvr::of::<ServiceAccount>(), "").await.until(|_, _| true).await;
    for (name, node) in [("stays", "alive"), ("goes", "silent")] {
        let pod = json!({"metadata": {"name": name}, "spec": {"nodeName": node,
            "containers": [{"name": "c", "image": "busybox:1.36"}]}});
        call(&admin, &pods, "", "", Verb::Create(pod)).await.unwrap();
    }
    let status = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
    let patch = Verb::Patch(PatchType::Merge, Bytes::from(status.to_string()));
    call(&cluster.node("silent"), &pods, "goes", "status", patch).await.unwrap();
    let passed = || cluster.clock.now().since(start);
    let mut nodes = Feed::open(&admin, &Gvr::of::<ApiNode>(), "").await;
    let is_silent = |n: &Value| n["metadata"]["name"] == "silent";
    let unknown = nodes.until(|_, n| is_silent(n) && condition(n, "Ready")["status"] == "Unknown").await;
    assert_eq!(condition(&unknown, "Ready")["reason"], "NodeStatusUnknown");
    assert!(passed() >= Duration::from_secs(40) && passed() < Duration::from_secs(50), "{:?}", passed());
    let mut watch = Feed::open(&admin, &pods, "").await;
    let is_going = |p: &Value| p["metadata"]["name"] == "goes";
    watch.until(|_, p| is_going(p) && condition(p, "Ready")["status"] == "False").await;
    nodes.until(|_, n| is_silent(n) && has_taint(n, "NoSchedule") && has_taint(n, "NoExecute")).await;
    assert!(passed() < Duration::from_secs(60), "{:?}", passed());
    let doomed = watch.until(|_, p| is_going(p) && p["metadata"]["deletionTimestamp"].is_string()).await;
    assert_eq!(condition(&doomed, "DisruptionTarget")["reason"], "DeletionByTaintManager");
    assert!(passed() > Duration::from_secs(340) && passed() < Duration::from_secs(370), "{:?}", passed());
    let stays = call(&admin, &pods, "stays", "", Verb::Get).await.unwrap();
    assert!(stays["metadata"]["deletionTimestamp"].is_null());
    loops.stop().await;
    alive.abort();
}
