//! A ReplicaSet on the real API server: whose Pods are whose.

use bytes::Bytes;
use client::{Gvr, PatchType, Verb};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use serde_json::{Value, json};
use sim::cluster::{Cluster, Running};
use sim::talk::{Feed, call, json_of};

const SET: &str = "
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: web}
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: 'busybox:1.36'}]}
";

fn is_owned(pod: &Value) -> bool {
    pod["metadata"]["ownerReferences"][0]["name"] == "web"
}

#[tokio::test(start_paused = true)]
async fn adopts_what_it_selects_and_releases_what_it_does_not() {
    let (cluster, pods) = (Cluster::start().await, Gvr::of::<Pod>());
    let admin = cluster.admin();
    let loops = Running::start(controllers::Config { scheduler: false, ..cluster.loops() });
    Feed::open(&admin, &Gvr::of::<ServiceAccount>(), "").await.until(|_, _| true).await;
    let sets = Gvr::new("apps", "v1", "replicasets");
    call(&admin, &sets, "", "", Verb::Create(json_of(SET))).await.unwrap();
    let mut watch = Feed::open(&admin, &pods, "").await;
    let first = watch.until(|_, p| is_owned(p)).await["metadata"]["name"].as_str().unwrap().to_owned();
    let patch = |patch: Value| Verb::Patch(PatchType::Merge, Bytes::from(patch.to_string()));
    let is_first = |p: &Value| p["metadata"]["name"] == first.as_str();
    // Orphaned by hand: taken back.
    let orphaned = patch(json!({"metadata": {"ownerReferences": null}}));
    call(&admin, &pods, &first, "", orphaned).await.unwrap();
    watch.until(|_, p| is_first(p) && !is_owned(p)).await;
    watch.until(|_, p| is_first(p) && is_owned(p)).await;
    // Other labels: let go, and replaced.
    let other = patch(json!({"metadata": {"labels": {"app": "other"}}}));
    call(&admin, &pods, &first, "", other).await.unwrap();
    watch.until(|_, p| is_first(p) && !is_owned(p)).await;
    watch.until(|_, p| !is_first(p) && is_owned(p)).await;
    loops.stop().await;
}
