//! What a change of one Pod costs API server, controllers and scheduler together does not depend on how many other Pods its
//! namespace holds. Counted in allocations of all threads, so this program has one test. `FLAT_PODS` says how many
//! others, 5,000 if it does not.
//!
//! The ReplicaSet that is looked at has a budget. Half of the others are another ReplicaSet's, half are nobody's; all are on the same node.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use client::{Gvr, Objects, PatchType, Verb};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use serde_json::{Value, json};
use sim::cluster::{Cluster, Running};
use sim::node::Node;
use sim::talk::{Feed, call};
use store::{Expect, Op, Write};

#[global_allocator]
static ALLOCATOR: counting::Allocator = counting::Allocator;

/// How often each thing is done.
const TIMES: u64 = 10;

struct World {
    cluster: Cluster,
    admin: Arc<dyn Objects>,
    loops: Running,
    /// The Pods of the Job and of the ReplicaSet that are looked at.
    own: [String; 2],
}

fn spec() -> Value {
    json!({"restartPolicy": "Always", "containers": [{"name": "c", "image": "busybox:1.36"}]})
}

fn set(name: &str, replicas: usize) -> Value {
    let labels = json!({ "app": name });
    json!({"metadata": {"name": name}, "spec": {"replicas": replicas, "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": spec()}}})
}

fn sets() -> Gvr {
    Gvr::new("apps", "v1", "replicasets")
}

/// Everything that follows from what happened is done: the paused clock moves only when every task waits.
async fn rest() {
    tokio::time::sleep(Duration::from_millis(100)).await;
}

impl World {
    async fn with(others: usize) -> Self {
        let cluster = Cluster::start().await;
        let admin = cluster.admin();
        Node::register(&cluster.node("n1"), "n1").await.unwrap();
        let room = json!({"cpu": "4", "memory": "8Gi", "pods": "1000000"});
        let status = json!({"status": {"capacity": room, "allocatable": room}}).to_string();
        let patch = Verb::Patch(PatchType::Merge, Bytes::from(status));
        call(&admin, &Gvr::new("", "v1", "nodes"), "n1", "status", patch).await.unwrap();
        let loops = Running::start(cluster.loops());
        Feed::open(&admin, &Gvr::of::<ServiceAccount>(), "").await.until(|_, _| true).await;
        let mut template = json!({"spec": spec()});
        template["spec"]["restartPolicy"] = json!("Never");
        let job = json!({"metadata": {"name": "j"}, "spec": {"template": template}});
        call(&admin, &Gvr::new("batch", "v1", "jobs"), "", "", Verb::Create(job)).await.unwrap();
        call(&admin, &sets(), "", "", Verb::Create(set("web", 1))).await.unwrap();
        let budget = json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 0, "selector": {"matchLabels": {"app": "web"}}}});
        let budgets = Gvr::new("policy", "v1", "poddisruptionbudgets");
        call(&admin, &budgets, "", "", Verb::Create(budget)).await.unwrap();
        let mut own = Vec::new();
        for owner in ["j", "web"] {
            let mut pods = Feed::open(&admin, &Gvr::of::<Pod>(), "").await;
            let its = |p: &Value| p["metadata"]["ownerReferences"][0]["name"] == owner;
            let pod = pods.until(|_, p| its(p) && p["spec"]["nodeName"].is_string()).await;
            own.push(pod["metadata"]["name"].as_str().unwrap().to_owned());
        }
        loops.stop().await;
        crowd(&cluster, &admin, &own[1], others).await;
        let loops = Running::start(cluster.loops());
        // A lease that was given back is taken at once; the rest of the start is done a minute later.
        tokio::time::sleep(Duration::from_secs(60)).await;
        Self { cluster, admin, loops, own: own.try_into().unwrap() }
    }

    /// What its kubelet says of a Pod.
    async fn report(&self, pod: &str, ready: bool) {
        let status = if ready { "True" } else { "False" };
        let conditions = json!([{"type": "Ready", "status": status}]);
        let patch = json!({"status": {"phase": "Running", "conditions": conditions}}).to_string();
        let verb = Verb::Patch(PatchType::Strategic, Bytes::from(patch));
        call(&self.cluster.node("n1"), &Gvr::of::<Pod>(), pod, "status", verb).await.unwrap();
        rest().await;
    }

    /// A Pod that is nobody's comes and goes.
    async fn visit(&self) {
        let pod = json!({"metadata": {"name": "visitor", "labels": {"app": "nobody"}}, "spec": spec()});
        call(&self.admin, &Gvr::of::<Pod>(), "", "", Verb::Create(pod)).await.unwrap();
        rest().await;
        self.remove("visitor").await;
    }

    async fn remove(&self, pod: &str) {
        let at_once = Verb::Delete(Some(json!({"gracePeriodSeconds": 0})));
        call(&self.admin, &Gvr::of::<Pod>(), pod, "", at_once).await.unwrap();
        rest().await;
    }

    /// Allocations for: changes of the Job's Pod, changes of the ReplicaSet's, Pods of nobody that come and go, one of the
    /// ReplicaSet that is replaced.
    async fn costs(&self) -> [u64; 4] {
        let mut costs = [0; 4];
        for turn in 0..=TIMES {
            let mut spent = [0; 4];
            for (pod, spent) in self.own.iter().zip(&mut spent) {
                let before = counting::everywhere();
                self.report(pod, turn % 2 == 0).await;
                *spent = counting::everywhere() - before;
            }
            let before = counting::everywhere();
            self.visit().await;
            spent[2] = counting::everywhere() - before;
            // The first round makes what is made once.
            if turn > 0 {
                costs.iter_mut().zip(spent).for_each(|(cost, spent)| *cost += spent);
            }
        }
        self.check().await;
        let before = counting::everywhere();
        self.remove(&self.own[1]).await;
        costs[3] = counting::everywhere() - before;
        assert_eq!(self.ready().await["status"]["readyReplicas"], Value::Null);
        costs
    }

    /// The ReplicaSet.
    async fn ready(&self) -> Value {
        call(&self.admin, &sets(), "web", "", Verb::Get).await.unwrap()
    }

    /// The last report was heard.
    async fn check(&self) {
        assert_eq!(self.ready().await["status"]["readyReplicas"], json!(1));
        let job = call(&self.admin, &Gvr::new("batch", "v1", "jobs"), "j", "", Verb::Get).await.unwrap();
        assert_eq!(job["status"]["ready"], json!(1));
    }
}

/// So many more Pods, straight into the store: as the given one is, under other names and with other owners.
async fn crowd(cluster: &Cluster, admin: &Arc<dyn Objects>, like: &str, others: usize) {
    let owner = call(admin, &sets(), "", "", Verb::Create(set("crowd", others / 2))).await.unwrap();
    let entry = cluster.store.get(&format!("pods/default/{like}")).unwrap();
    let mut value: Value = serde_json::from_slice(&entry.value).unwrap();
    value["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    for n in 0..others {
        let mut pod = value.clone();
        let mut metadata = pod.as_object_mut().unwrap().remove("metadata").unwrap();
        metadata["name"] = format!("p{n}").into();
        metadata["uid"] = format!("u{n}").into();
        if n < others / 2 {
            metadata["labels"] = json!({"app": "crowd"});
            let reference = &mut metadata["ownerReferences"][0];
            (reference["name"], reference["uid"]) = (json!("crowd"), owner["metadata"]["uid"].clone());
        } else {
            metadata["labels"] = json!({"app": "other", "n": n.to_string()});
            metadata["ownerReferences"] = json!([]);
        }
        let json = format!("{{\"metadata\":{metadata},{}", &pod.to_string()[1..]);
        let key = format!("pods/default/p{n}").into();
        let write = Write { key, expect: Expect::Absent, op: Op::Put(json.into()) };
        cluster.store.commit(write).await.unwrap();
    }
}

/// In a world of its own, whose time is paused.
fn costs(others: usize) -> [u64; 4] {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap().block_on(async {
        let world = World::with(others).await;
        let costs = world.costs().await;
        world.loops.stop().await;
        costs
    })
}

#[test]
fn no_change_of_a_pod_grows_with_the_others() {
    let many = std::env::var("FLAT_PODS").map_or(5_000, |text| text.parse().unwrap());
    let (few, crowded) = (costs(10), costs(many));
    println!("beside 10 Pods: {few:?}, beside {many}: {crowded:?}");
    let names = ["a Job's Pod", "a ReplicaSet's Pod", "a Pod of nobody", "a replaced Pod"];
    for ((name, few), many) in names.iter().zip(few).zip(crowded) {
        assert!(counting::is_flat(few, many), "{name}: {few} allocations beside few, {many} beside many");
    }
}
