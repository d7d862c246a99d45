//! The figures of `/stats/summary` (`stats/v1alpha1`) and `/metrics/resource` (Prometheus' text format).
//!
//! Absent: network, filesystem, volume and swap figures, io and pressure.

use std::fmt::Write as _;

use base::time::Timestamp;
use kinds::metrics::Figure;
use runtime::Stats;
use serde_json::{Value, json};

use crate::clock;
use crate::handle::NodeHandle;
use crate::usage::{self, Machine, Pod};

/// The content type of the text format.
pub(super) const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `/stats/summary`.
pub(super) async fn summary(node: &NodeHandle) -> Value {
    let now = clock::timestamp().rfc3339();
    let (machine, pods) = usage::measure(node).await;
    let pods: Vec<Value> = pods.iter().map(|pod| of_pod(&now, pod)).collect();
    let mut of_node = json!({"nodeName": node.node_name()});
    if let Some(machine) = machine {
        of_node["cpu"] = cpu(&now, machine.cpu, machine.figure.as_ref());
        of_node["memory"] = json!({"time": now, "availableBytes": machine.available, "usageBytes": machine.used,
            "workingSetBytes": machine.working_set});
    }
    json!({"node": of_node, "pods": pods})
}

fn of_pod(now: &str, pod: &Pod) -> Value {
    let (mut containers, mut sum, mut rate) = (Vec::new(), Stats::default(), Some(Figure::default()));
    for container in &pod.containers {
        add(&mut sum, &container.stats);
        rate = rate.zip(container.figure.as_ref()).map(|(mut sum, more)| {
            sum.cpu_nanos += more.cpu_nanos;
            sum
        });
        let mut one = figures(now, &container.stats, container.figure.as_ref());
        one["name"] = json!(container.status.name);
        one["startTime"] = json!(from_nanos(container.status.started_at).rfc3339());
        containers.push(one);
    }
    let meta = &pod.entry.pod.metadata;
    let mut made = figures(now, &sum, rate.as_ref());
    made["podRef"] = json!({"name": meta.name, "namespace": meta.namespace, "uid": meta.uid});
    made["startTime"] = json!(pod.entry.pod.status.as_ref().and_then(|s| s.start_time.as_ref()));
    made["containers"] = json!(containers);
    made["process_stats"] = json!({"process_count": sum.pids});
    made
}

fn add(sum: &mut Stats, more: &Stats) {
    sum.cpu_usage_ns += more.cpu_usage_ns;
    sum.memory_usage += more.memory_usage;
    sum.memory_working_set += more.memory_working_set;
    sum.memory_rss += more.memory_rss;
    sum.pids += more.pids;
}

fn cpu(now: &str, used: u64, rate: Option<&Figure>) -> Value {
    let mut cpu = json!({"time": now, "usageCoreNanoSeconds": used});
    if let Some(rate) = rate {
        cpu["usageNanoCores"] = json!(rate.cpu_nanos);
    }
    cpu
}

fn figures(now: &str, stats: &Stats, rate: Option<&Figure>) -> Value {
    json!({
        "cpu": cpu(now, stats.cpu_usage_ns, rate),
        "memory": {
            "time": now,
            "usageBytes": stats.memory_usage,
            "workingSetBytes": stats.memory_working_set,
            "rssBytes": stats.memory_rss,
        },
    })
}

fn from_nanos(nanos: i64) -> Timestamp {
    Timestamp::from_seconds(nanos.div_euclid(1_000_000_000))
}

/// `/metrics/resource`.
pub(super) async fn exposition(node: &NodeHandle) -> String {
    let (machine, pods) = usage::measure(node).await;
    written(machine.as_ref(), &pods, clock::now().0 / 1_000_000)
}

/// Series by name, in alphabetical order; `at` is in milliseconds.
fn written(machine: Option<&Machine>, pods: &[Pod], at: i64) -> String {
    let mut out = String::new();
    let mut family = |name: &str, kind: &str, series: Vec<(String, f64, bool)>| {
        if series.is_empty() {
            return;
        }
        // A String takes everything.
        let _ = writeln!(out, "# TYPE {name} {kind}");
        for (labels, value, dated) in series {
            let time = if dated { format!(" {at}") } else { String::new() };
            let _ = writeln!(out, "{name}{labels} {value}{time}");
        }
    };
    type Read = fn(&Stats) -> f64;
    let (cpu, memory): (Read, Read) = (|s| seconds(s.cpu_usage_ns), |s| bytes(s.memory_working_set));
    let of_containers = |read: Read| {
        let all = pods.iter().flat_map(|pod| pod.containers.iter().map(move |c| (pod, c)));
        all.map(|(pod, c)| (labels(pod, Some(&c.status.name)), read(&c.stats), true)).collect()
    };
    let of_pods = |read: Read| {
        let sum = |pod: &Pod| pod.containers.iter().map(|c| read(&c.stats)).sum();
        pods.iter().map(|pod| (labels(pod, None), sum(pod), true)).collect()
    };
    let of_machine = |value: &dyn Fn(&Machine) -> f64| {
        machine.iter().map(|machine| (String::new(), value(machine), true)).collect()
    };
    let started = || {
        let all = pods.iter().flat_map(|pod| pod.containers.iter().map(move |c| (pod, c)));
        all.map(|(pod, c)| {
            let nanos = u64::try_from(c.status.started_at).unwrap_or(0);
            (labels(pod, Some(&c.status.name)), seconds(nanos), false)
        })
        .collect()
    };
    family("container_cpu_usage_seconds_total", "counter", of_containers(cpu));
    family("container_memory_working_set_bytes", "gauge", of_containers(memory));
    family("container_start_time_seconds", "gauge", started());
    family("node_cpu_usage_seconds_total", "counter", of_machine(&|m| seconds(m.cpu)));
    family("node_memory_working_set_bytes", "gauge", of_machine(&|m| bytes(m.working_set)));
    family("pod_cpu_usage_seconds_total", "counter", of_pods(cpu));
    family("pod_memory_working_set_bytes", "gauge", of_pods(memory));
    let failed = f64::from(u8::from(machine.is_none()));
    family("resource_scrape_error", "gauge", vec![(String::new(), failed, false)]);
    out
}

/// Names are DNS names: none needs to be escaped.
fn labels(pod: &Pod, container: Option<&str>) -> String {
    let meta = &pod.entry.pod.metadata;
    let (namespace, name) = (meta.namespace.as_deref().unwrap_or(""), meta.name.as_deref().unwrap_or(""));
    let container = container.map_or_else(String::new, |name| format!("container=\"{name}\","));
    format!("{{{container}namespace=\"{namespace}\",pod=\"{name}\"}}")
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus' numbers are floats")]
fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus' numbers are floats")]
fn bytes(count: u64) -> f64 {
    count as f64
}
