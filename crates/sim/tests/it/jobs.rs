//! Jobs: to their end, with every Pod counted once; whose Pods are whose.

use serde_json::{Value, json};

use crate::world::{World, name};

fn job(name: &str, spec: &Value) -> Value {
    let mut job = json!({"metadata": {"name": name, "namespace": "default"}, "spec": {"backoffLimit": 0,
        "template": {"spec": {"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never"}}}});
    for (key, value) in spec.as_object().unwrap() {
        job["spec"][key] = value.clone();
    }
    job
}

fn has_condition(object: &Value, kind: &str) -> bool {
    let holds = |c: &Value| c["type"] == kind && c["status"] == "True";
    object["status"]["conditions"].as_array().is_some_and(|all| all.iter().any(holds))
}

fn is_owned(pod: &Value) -> bool {
    pod["metadata"]["ownerReferences"].as_array().is_some_and(|owners| owners.len() == 1)
}

fn is_tracked(pod: &Value) -> bool {
    pod["metadata"]["finalizers"].as_array().is_some_and(|all| !all.is_empty())
}

#[tokio::test(start_paused = true)]
async fn runs_to_its_end_and_lives_as_long_as_it_may() {
    let world = World::start().await;
    world.create("jobs", job("hello", &json!({"ttlSecondsAfterFinished": 0}))).await;
    let pod = world.bound_pod().await;
    assert!(name(&pod).starts_with("hello-"));
    world.says(name(&pod), "Running").await;
    let counted = |w: &World| {
        let status = w.find("jobs", "default", "hello")?["status"].take();
        (status["ready"] == 1 && status["active"] == 1).then_some(())
    };
    world.until("a ready Pod in the Job's status", counted).await;
    world.says(name(&pod), "Succeeded").await;
    // The time to live ends with the Job, and its Pod goes with it.
    let gone = |w: &World| (w.all("jobs", "").is_empty() && w.all("pods", "").is_empty()).then_some(());
    world.until("no Job, no Pod", gone).await;
    let told = [
        format!("SuccessfulCreate: Created pod: {}", name(&pod)),
        format!("Scheduled: Successfully assigned default/{} to n1", name(&pod)),
        "Completed: Job completed".to_owned(),
    ];
    world.until("its events", |w| (w.events("hello") == told).then_some(())).await;
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn fails_and_counts_every_pod_once() {
    let world = World::start().await;
    world.create("jobs", job("bad", &json!({"parallelism": 3, "completions": 3}))).await;
    let three = |w: &World| {
        let bound = |p: &Value| p["spec"]["nodeName"].is_string();
        Some(w.all("pods", "default")).filter(|pods| pods.len() == 3 && pods.iter().all(bound))
    };
    let pods = world.until("three bound Pods", three).await;
    world.says(name(&pods[0]), "Failed").await;
    for pod in &pods[1..] {
        world.ends(name(pod)).await;
    }
    let failed = |w: &World| w.find("jobs", "default", "bad").filter(|j| has_condition(j, "Failed"));
    let status = world.until("Failed", failed).await["status"].take();
    assert_eq!((&status["failed"], &status["active"]), (&json!(3), &Value::Null));
    assert_eq!(status["conditions"][0]["type"], "FailureTarget");
    assert_eq!(status["conditions"][1]["reason"], "BackoffLimitExceeded");
    // No Pod too many, though nothing but the snapshots says what was made.
    world
        .until("its last event", |w| w.events("bad").last().filter(|e| e.contains("BackoffLimit")).cloned())
        .await;
    let made = world.events("bad").iter().filter(|e| e.starts_with("SuccessfulCreate")).count();
    assert_eq!(made, 3);
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn adopts_what_it_selects_and_releases_what_it_does_not() {
    let world = World::start().await;
    world.create("jobs", job("j", &json!({}))).await;
    let first = world.bound_pod().await;
    // Orphaned by hand: taken back.
    world.patch("pods", name(&first), json!({"metadata": {"ownerReferences": null}})).await;
    world.until("adoption", |w| w.find("pods", "default", name(&first)).filter(is_owned)).await;
    // Other labels: let go, with nothing of the Job left on it, and replaced.
    let uid = "batch.kubernetes.io/controller-uid";
    world.patch("pods", name(&first), json!({"metadata": {"labels": {uid: "x"}}})).await;
    let free = |w: &World| w.find("pods", "default", name(&first)).filter(|p| !is_owned(p) && !is_tracked(p));
    world.until("release", free).await;
    world.until("a replacement", |w| (w.all("pods", "default").len() == 2).then_some(())).await;
    world.stop().await;
}

#[tokio::test(start_paused = true)]
async fn its_pods_outlive_it_uncounted_if_they_are_to() {
    let world = World::start().await;
    world.create("jobs", job("j", &json!({}))).await;
    let pod = world.bound_pod().await;
    world.delete("jobs", "j", json!({"propagationPolicy": "Orphan"})).await;
    world.until("no Job", |w| w.is_gone("jobs", "j")).await;
    let free = |w: &World| w.find("pods", "default", name(&pod)).filter(|p| !is_owned(p) && !is_tracked(p));
    world.until("a Pod of its own", free).await;
    world.stop().await;
}
