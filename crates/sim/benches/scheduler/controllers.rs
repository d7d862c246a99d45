//! What controllers cost in all: a Deployment over fake nodes that is made, rolled and deleted, and objects that garbage
//! collection removes.
//!
//! Invariant: what kubelets would say of Pods is said here, and is part of what is measured. Absent: the making of what is
//! collected.

use std::time::{Duration, Instant};

use bytes::Bytes;
use client::{Gvr, Objects, PatchType, Verb};
use serde_json::json;
use tokio::task::{JoinHandle, JoinSet};

use super::cluster::{self, Cluster, call, expect, target};
use super::{cpu_time, workloads};

const NODES: usize = 100;
const PODS: usize = 1000;
const OBJECTS: usize = 10_000;
/// How often a node says that it is there.
const HEARTBEAT: Duration = Duration::from_secs(10);
const NAMESPACE: &str = "sched-1";

/// A measurement: what it is called, what it may cost in CPU milliseconds for each object, what it does.
pub(crate) struct Work {
    pub(crate) name: &'static str,
    reach: f64,
    sort: Sort,
}

enum Sort {
    Rollout,
    Collection,
}

/// All of them.
pub(crate) const ALL: &[Work] = &[
    Work { name: "Deployment", reach: 2.0, sort: Sort::Rollout },
    Work { name: "GarbageCollection", reach: 1.0, sort: Sort::Collection },
];

/// Measures one; the line about it.
pub(crate) async fn measure(work: &Work, scale: usize) -> String {
    let cluster = Cluster::start(true).await;
    cluster.namespace(NAMESPACE).await;
    let (nodes, objects, took, cpu) = match work.sort {
        Sort::Rollout => rollout(&cluster, (NODES / scale).max(1), (PODS / scale).max(1)).await,
        Sort::Collection => collection(&cluster, (OBJECTS / scale).max(1)).await,
    };
    cluster.stop().await;
    let count = f64::from(u32::try_from(objects).unwrap_or(u32::MAX));
    format!(
        "{:<32} {nodes:>7} {objects:>7} {:>9.0} {:>6.1} ms {:>11.3}",
        work.name,
        count / took.as_secs_f64(),
        work.reach,
        cpu.as_secs_f64() * 1e3 / count,
    )
}

/// Nodes, objects, time and CPU time.
type Spent = (usize, usize, Duration, Duration);

/// Every Pod is made once and deleted once: those of the first template and those of the second.
async fn rollout(cluster: &Cluster, nodes: usize, pods: usize) -> Spent {
    cluster.nodes(nodes, workloads::plain_node).await;
    let (kubelets, heart) = (kubelets(cluster), heartbeats(cluster, nodes));
    let admin = cluster.admin();
    let deployments = || Gvr::new("apps", "v1", "deployments");
    let labels = json!({"app": "web"});
    let mut template = workloads::light();
    template["metadata"] = json!({"labels": labels});
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": pods, "selector": {"matchLabels": labels},
            "template": {"metadata": template["metadata"], "spec": template["spec"]}}});
    let (start, cpu) = (Instant::now(), cpu_time());
    let available = cluster.replicas("web", pods, 1);
    expect(call(&*admin, target(deployments(), NAMESPACE, ""), Verb::Create(deployment)).await, "");
    available.await;
    let rolled = cluster.replicas("web", pods, 2);
    let patch = json!({"spec": {"template": {"metadata": {"annotations": {"turn": "2"}}}}}).to_string();
    let patch = Verb::Patch(PatchType::Merge, Bytes::from(patch));
    expect(call(&*admin, target(deployments(), NAMESPACE, "web"), patch).await, "");
    rolled.await;
    expect(call(&*admin, target(deployments(), NAMESPACE, "web"), Verb::Delete(None)).await, "");
    cluster.none_left(Gvr::new("", "v1", "pods"), NAMESPACE, "web-").await;
    let spent = (nodes, 2 * pods, start.elapsed(), cpu_time() - cpu);
    kubelets.abort();
    heart.abort();
    spent
}

/// Objects of one owner, which is deleted.
async fn collection(cluster: &Cluster, objects: usize) -> Spent {
    let maps = || Gvr::new("", "v1", "configmaps");
    let admin = cluster.admin();
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owner"}});
    let made = call(&*admin, target(maps(), NAMESPACE, ""), Verb::Create(owner)).await;
    let uid = made.and_then(client::Answer::value).expect("an owner")["metadata"]["uid"].clone();
    cluster.each(objects, async |admin: &dyn Objects, i| {
        let owner = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}]);
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": format!("owned-{i}"), "ownerReferences": owner}, "data": {"number": i.to_string()}});
        expect(call(admin, target(maps(), NAMESPACE, ""), Verb::Create(map)).await, "");
    })
    .await;
    let (start, cpu) = (Instant::now(), cpu_time());
    expect(call(&*admin, target(maps(), NAMESPACE, "owner"), Verb::Delete(None)).await, "");
    cluster.none_left(maps(), NAMESPACE, "owned-").await;
    (0, objects, start.elapsed(), cpu_time() - cpu)
}

/// Says of every bound Pod that it is ready, and lets go of every deleted one.
fn kubelets(cluster: &Cluster) -> JoinHandle<()> {
    let pods = || Gvr::new("", "v1", "pods");
    let (mut deltas, admin) = (cluster.snapshots().deltas(&[pods()]), cluster.admin());
    tokio::spawn(async move {
        let mut tasks = JoinSet::new();
        loop {
            for delta in deltas.next().await {
                let Some(after) = delta.after else { continue };
                let before = delta.before.map(|b| b.facts);
                let (admin, name) = (admin.clone(), delta.name.clone());
                let node = |facts: &client::Facts| !facts.field("spec.nodeName").is_empty();
                if after.facts.deleting {
                    if before.is_none_or(|b| !b.deleting) {
                        tasks.spawn(async move { cluster::delete_one(&*admin, NAMESPACE, &name).await });
                    }
                } else if node(&after.facts) && !before.is_some_and(|b| node(&b)) {
                    tasks.spawn(async move {
                        let ready = json!([{"type": "Ready", "status": "True"}]);
                        let says = json!({"status": {"phase": "Running", "conditions": ready}}).to_string();
                        let mut target = target(pods(), NAMESPACE, &name);
                        target.subresource = "status".to_owned();
                        let patch = Verb::Patch(PatchType::Strategic, Bytes::from(says));
                        expect(call(&*admin, target, patch).await, "NotFound");
                    });
                }
            }
            while tasks.try_join_next().is_some() {}
        }
    })
}

/// Nodes that say nothing are given up.
fn heartbeats(cluster: &Cluster, nodes: usize) -> JoinHandle<()> {
    let admin = cluster.admin();
    tokio::spawn(async move {
        for beat in 1_u64.. {
            tokio::time::sleep(HEARTBEAT).await;
            let at = base::Timestamp::from_seconds(i64::try_from(beat).unwrap_or(i64::MAX)).rfc3339();
            let says = json!([{"type": "Ready", "status": "True", "lastHeartbeatTime": at}]);
            for i in 0..nodes {
                let mut target = target(Gvr::new("", "v1", "nodes"), "", &format!("node-{i}"));
                target.subresource = "status".to_owned();
                let patch = json!({"status": {"conditions": says}}).to_string();
                let verb = Verb::Patch(PatchType::Strategic, Bytes::from(patch));
                expect(call(&*admin, target, verb).await, "NotFound");
            }
        }
    })
}
