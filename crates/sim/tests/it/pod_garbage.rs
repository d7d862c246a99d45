//! Pods that no kubelet will end.

use bytes::Bytes;
use client::{Gvr, PatchType, Verb};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use sim::talk::Feed;

use crate::world::{World, pod};

#[tokio::test(start_paused = true)]
async fn pods_of_a_lost_node_go_after_a_while() {
    let world = World::start().await;
    world.create("pods", pod("p", "1")).await;
    world.bound_pod().await;
    world.says("p", "Running").await;
    let begin = tokio::time::Instant::now();
    let mut pods = Feed::open(&world.admin, &Gvr::of::<Pod>(), "").await;
    world.delete("nodes", "n1", Value::Null).await;
    let lost = |_, pod: &Value| {
        let conditions = pod["status"]["conditions"].as_array();
        let why = conditions.and_then(|all| all.iter().find(|c| c["type"] == "DisruptionTarget"));
        pod["status"]["phase"] == "Failed" && why.is_some_and(|c| c["reason"] == "DeletionByPodGC")
    };
    pods.until(lost).await;
    world.until("no Pod", |w| w.is_gone("pods", "p")).await;
    assert!(begin.elapsed() >= std::time::Duration::from_secs(40));
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn pods_of_a_node_out_of_service_go_when_they_are_deleted() {
    let world = World::start().await;
    world.create("pods", pod("p", "1")).await;
    world.bound_pod().await;
    let down = json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}});
    let patch = |patch: Value| Verb::Patch(PatchType::Merge, Bytes::from(patch.to_string()));
    world.call("nodes", "", "n1", "status", patch(down)).await;
    world.delete("pods", "p", Value::Null).await;
    let taint =
        json!({"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"});
    world.call("nodes", "", "n1", "", patch(json!({"spec": {"taints": [taint]}}))).await;
    world.until("no Pod", |w| w.is_gone("pods", "p")).await;
    world.stop().await;
}
