//! Pods come to nodes: when one fits, and only those of this scheduler.

use client::Verb;
use serde_json::json;

use crate::world::{World, pod};

#[tokio::test(start_paused = true)]
async fn a_pod_waits_for_a_node_that_fits() {
    let world = World::start().await;
    let ready = |w: &World| {
        w.find("nodes", "", "n1")?["spec"]["taints"].as_array().is_none_or(Vec::is_empty).then_some(())
    };
    world.until("no taint", ready).await;
    world.create("pods", pod("big", "8")).await;
    let text = "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are \
                available: 1 Preemption is not helpful for scheduling.";
    let refused = |w: &World| {
        let conditions = w.find("pods", "default", "big")?["status"]["conditions"].as_array().cloned()?;
        let condition = conditions.into_iter().find(|c| c["type"] == "PodScheduled")?;
        (condition["reason"] == "Unschedulable" && condition["message"] == text).then_some(())
    };
    world.until("the condition", refused).await;
    let told = [format!("FailedScheduling: {text}")];
    world.until("the event", |w| (w.events("big") == told).then_some(())).await;
    world.node("n2", "16").await;
    assert_eq!(world.bound_pod().await["spec"]["nodeName"], "n2");
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn pods_of_another_scheduler_are_left_to_it() {
    let world = World::start().await;
    let mut foreign = pod("foreign", "2500m");
    foreign["spec"]["schedulerName"] = json!("other");
    world.create("pods", foreign).await;
    let mut gated = pod("gated", "1");
    gated["spec"]["schedulingGates"] = json!([{"name": "g"}]);
    world.create("pods", gated).await;
    world.create("pods", pod("ours", "1")).await;
    let node = |w: &World, name: &str| {
        w.find("pods", "default", name)?["spec"]["nodeName"].as_str().map(str::to_owned)
    };
    world.until("our Pod bound", |w| node(w, "ours")).await;
    assert_eq!((node(&world, "foreign"), node(&world, "gated")), (None, None));
    // The other scheduler binds through the same subresource; from then on its Pod takes room on the node.
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "foreign"},
        "target": {"apiVersion": "v1", "kind": "Node", "name": "n1"}});
    world.call("pods", "default", "foreign", "binding", Verb::Create(binding)).await;
    world.patch("pods", "gated", json!({"spec": {"schedulingGates": null}})).await;
    let refused = |w: &World| w.events("gated").first().filter(|e| e.contains("1 Insufficient cpu")).cloned();
    world.until("no room for the third", refused).await;
    world.stop().await;
}
