//! How many Pods a second the scheduler binds: `scheduler [--scale N] [WORKLOAD…]` prints one line for each workload.
//! `cargo xtask bench scheduler` builds and starts it.
//!
//! After those, `Deployment` and `GarbageCollection` are what controllers cost.
//!
//! Invariants: API server, store and scheduler are the real ones, in this process; nodes are objects that nobody answers
//! for. A time begins with the first measured Pod's creation and ends when the last is seen bound. Absent: HTTP, a verdict
//! by exit code.

mod cluster;
mod controllers;
mod workloads;

use std::io::Write as _;
use std::time::{Duration, Instant};

use cluster::Cluster;
use serde_json::Value;
use workloads::{ALL, Churn, Workload};

/// How often churn adds a Pod.
const CHURN: Duration = Duration::from_millis(200);
/// The longest that one workload may take.
const CEILING: Duration = Duration::from_secs(600);

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|a| a != "--bench");
    let (mut scale, mut wanted) = (1, Vec::new());
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--scale" => {
                scale = arguments.next().and_then(|n| n.parse().ok()).expect("--scale wants a number");
            }
            _ => wanted.push(argument),
        }
    }
    say(&format!(
        "{:<32} {:>7} {:>7} {:>9} {:>9} {:>11}",
        "workload", "nodes", "Pods", "Pods/s", "reach", "CPU ms/Pod"
    ));
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|w| w == name);
    for workload in ALL.iter().filter(|w| is_wanted(w.name)) {
        run(workload.name, measure(workload, scale));
    }
    for work in controllers::ALL.iter().filter(|w| is_wanted(w.name)) {
        run(work.name, controllers::measure(work, scale));
    }
}

/// Runs one measurement on a runtime of its own and says what came of it.
fn run(name: &str, measuring: impl Future<Output = String>) {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build().expect("threads");
    let measured = runtime.block_on(async { tokio::time::timeout(CEILING, measuring).await });
    say(&measured.unwrap_or_else(|_| format!("{name:<32} not done after {CEILING:?}")));
}

fn say(line: &str) {
    // Who does not listen misses nothing that matters to anybody else.
    let _ = writeln!(std::io::stdout(), "{line}");
}

async fn measure(workload: &Workload, scale: usize) -> String {
    let cluster = Cluster::start(false).await;
    let nodes = (workload.nodes / scale).max(1);
    for namespace in ["default", "sched-0", "sched-1"] {
        cluster.namespace(namespace).await;
    }
    cluster.priorities().await;
    cluster.nodes(nodes, workload.node).await;
    if workload.special_node {
        cluster.node(&workloads::roomy_node(0), cluster::SPECIAL).await;
    }
    for (namespaces, count, pod) in workload.before {
        let count = (count / scale).max(1);
        for i in 0..*namespaces {
            let namespace = if *namespaces == 1 { "sched-0".to_owned() } else { format!("init-{i}") };
            cluster.namespace(&namespace).await;
            cluster.pods(&namespace, "before", count, &pod()).await;
        }
    }
    let count = (workload.measured.0 / scale).max(1);
    let done = cluster.bound("measured", count);
    let churn = workload.churn.map(|churn| churning(&cluster, churn));
    let pod = (workload.measured.1)();
    let (start, cpu) = (Instant::now(), cpu_time());
    tokio::join!(cluster.create("sched-1", "measured", count, &pod), done);
    let (took, cpu) = (start.elapsed(), cpu_time() - cpu);
    if let Some(churn) = churn {
        churn.abort();
    }
    cluster.stop().await;
    let pods = u32::try_from(count).unwrap_or(u32::MAX);
    format!(
        "{:<32} {nodes:>7} {count:>7} {:>9.0} {:>9} {:>11.3}",
        workload.name,
        f64::from(pods) / took.as_secs_f64(),
        workload.reach,
        cpu.as_secs_f64() * 1e3 / f64::from(pods),
    )
}

/// Adds or removes Pods beside the measured ones.
fn churning(cluster: &Cluster, churn: Churn) -> tokio::task::JoinHandle<()> {
    let admin = cluster.admin();
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(CHURN);
        for i in 0.. {
            ticks.tick().await;
            match churn {
                Churn::Add(pod) => {
                    let pod: Value = pod();
                    cluster::create_one(&*admin, "sched-0", &format!("churn-{i}"), &pod).await;
                }
                Churn::Remove => {
                    for j in 0..10 {
                        cluster::delete_one(&*admin, "sched-0", &format!("before-{}", i * 10 + j)).await;
                    }
                }
            }
        }
    })
}

/// What this process has used of the CPUs.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("/proc");
    let after = stat.rsplit(')').next().unwrap_or_default();
    let ticks =
        |i: usize| after.split_whitespace().nth(i).and_then(|n| n.parse::<u64>().ok()).unwrap_or_default();
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}
