//! What one event costs must not depend on how many other Pods there are. Counted, not timed.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use tokio::sync::mpsc;

use super::machine::{Album, Machine, Wire};
use crate::manager::Manager;
use crate::sources::Update;
use crate::{Config, Limits, Node};

#[global_allocator]
static ALLOCATOR: counting::Allocator = counting::Allocator;

struct World {
    machine: Arc<Machine>,
    updates: mpsc::Sender<Update>,
    node: Node,
    _dir: tempfile::TempDir,
}

fn pod(n: usize) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": format!("p{n:04}"), "namespace": "ns", "uid": format!("u-{n:04}"), "generation": 1},
        "spec": {"nodeName": "n1", "containers": [{
            "name": "c", "image": "i", "resources": {"requests": {"cpu": "1m", "memory": "1Ki"}}}]},
    }))
    .unwrap()
}

impl World {
    async fn with(pods: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine::new();
        let node = Node::new(Config {
            name: "n1".into(),
            data_dir: dir.path().into(),
            cgroup_root: "/x".into(),
            runtime: machine.clone(),
            images: Arc::new(Album),
            network: Arc::new(Wire),
            api: None,
            volumes_api: None,
            node_ips: vec!["192.0.2.9".parse().unwrap()],
            port: 0,
            labels: Default::default(),
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".into(),
            resolv_conf: None,
            own_ports: Vec::new(),
            limits: Limits { max_pods: 9999, ..Limits::default() },
            version: "v1".into(),
            seccomp_default: false,
        })
        .unwrap();
        let (updates, received) = mpsc::channel(16);
        let (over_in, over) = mpsc::channel(16);
        let manager = Manager::new(node.shared(), over_in);
        let events = machine.events.subscribe();
        tokio::spawn(async move { manager.run(received, over, events).await });
        let world = Self { machine, updates, node, _dir: dir };
        world.add(0..pods).await;
        world
    }

    /// New Pods, until they run.
    async fn add(&self, new: std::ops::Range<usize>) {
        for n in new.clone() {
            self.updates.send(Update::Pod(Arc::new(pod(n)))).await.unwrap();
        }
        rest().await;
        for n in new {
            let entry = self.node.handle().pod_by_uid(&format!("u-{n:04}")).unwrap();
            assert_eq!(entry.pod.status.as_ref().unwrap().phase.as_deref(), Some("Running"), "{entry:#?}");
        }
    }
}

/// Time stands still while anything is left to do: the paused clock moves only when every task waits.
async fn rest() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// Allocations for an event of a Pod that runs, and for a new Pod, beside so many others.
fn costs(pods: usize) -> (u64, u64) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().start_paused(true).build().unwrap().block_on(async {
        let world = World::with(pods).await;
        world.machine.wake("u-0000");
        rest().await;
        let before = counting::so_far();
        for _ in 0..20 {
            world.machine.wake("u-0000");
            rest().await;
        }
        let event = counting::so_far() - before;
        world.add(pods..pods + 1).await;
        (event, counting::so_far() - before - event)
    })
}

#[test]
fn work_per_event_does_not_grow_with_the_pods() {
    let (few, many) = (costs(1), costs(500));
    for (what, few, many) in [("events", few.0, many.0), ("a new Pod", few.1, many.1)] {
        assert!(counting::is_flat(few, many), "{what}: {few} allocations with one Pod, {many} with 500");
    }
}
