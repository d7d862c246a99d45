//! What the node knows of its Pods, and the basic figures of `/stats/summary` (`stats/v1alpha1`).
//!
//! Absent: network, filesystem, volume and swap figures, io and pressure.

use std::time::{SystemTime, UNIX_EPOCH};

use base::time::Timestamp;
use runtime::{ContainerState, Stats};
use serde_json::{Value, json};

use crate::handle::{NodeHandle, PodEntry};

/// A PodList of all Pods, or of those with a running container, reduced to these containers.
pub(super) fn list(node: &NodeHandle, running: bool) -> Value {
    let mut items = Vec::new();
    for entry in node.pods() {
        if running {
            items.extend(running_pod(&entry));
            continue;
        }
        let mut item = serde_json::to_value(&*entry.pod).unwrap_or_default();
        item["apiVersion"] = json!("v1");
        item["kind"] = json!("Pod");
        items.push(item);
    }
    json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})
}

fn running_pod(entry: &PodEntry) -> Option<Value> {
    let alive: Vec<Value> = entry
        .containers
        .values()
        .flatten()
        .filter(|c| c.state == ContainerState::Running)
        .map(|c| json!({"name": c.name, "image": c.image, "resources": {}}))
        .collect();
    let meta = &entry.pod.metadata;
    (!alive.is_empty()).then(|| {
        json!({
            "metadata": {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid},
            "spec": {"containers": alive},
            "status": {},
        })
    })
}

pub(super) async fn summary(node: &NodeHandle) -> Value {
    let now = Timestamp::from_epoch(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
    let mut pods = Vec::new();
    for entry in node.pods() {
        let (mut containers, mut sum) = (Vec::new(), Stats::default());
        for container in entry.containers.values().filter_map(|all| all.first()) {
            if container.state != ContainerState::Running {
                continue;
            }
            // One that just ended has no figures.
            let Ok(stats) = node.runtime().stats(&container.id).await else { continue };
            sum.cpu_usage_ns += stats.cpu_usage_ns;
            sum.memory_usage += stats.memory_usage;
            sum.memory_working_set += stats.memory_working_set;
            sum.memory_rss += stats.memory_rss;
            sum.pids += stats.pids;
            let mut one = figures(now, &stats);
            one["name"] = json!(container.name);
            one["startTime"] = json!(from_nanos(container.started_at).rfc3339());
            containers.push(one);
        }
        let meta = &entry.pod.metadata;
        let mut pod = figures(now, &sum);
        pod["podRef"] = json!({"name": meta.name, "namespace": meta.namespace, "uid": meta.uid});
        pod["startTime"] = json!(entry.pod.status.as_ref().and_then(|s| s.start_time.as_ref()));
        pod["containers"] = json!(containers);
        pod["process_stats"] = json!({"process_count": sum.pids});
        pods.push(pod);
    }
    json!({"node": {"nodeName": node.node_name()}, "pods": pods})
}

fn figures(now: Timestamp, stats: &Stats) -> Value {
    json!({
        "cpu": {"time": now.rfc3339(), "usageCoreNanoSeconds": stats.cpu_usage_ns},
        "memory": {
            "time": now.rfc3339(),
            "usageBytes": stats.memory_usage,
            "workingSetBytes": stats.memory_working_set,
            "rssBytes": stats.memory_rss,
        },
    })
}

fn from_nanos(nanos: i64) -> Timestamp {
    Timestamp::from_seconds(nanos.div_euclid(1_000_000_000))
}
