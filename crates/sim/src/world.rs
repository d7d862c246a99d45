//! One world of one seed: Jobs, workloads and Pods come and go while everything that can fail does; then it calms down, must come to
//! rest, and its whole history is judged.
//!
//! Invariant: what happens is decided by the seed; the only waits are on the store and on simulated time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use apiserver::{Config, Pki, Server};
use bytes::Bytes;
use client::{Gvr, Objects, PatchType, Verb};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, Running, system_identity};
use crate::faults::{Calm, Drowsy, Faulty, Rates};
use crate::history::History;
use crate::lag::LaggingStore;
use crate::machine::{Exit, Script};
use crate::node::{Node, SharedHost};
use crate::seed::Dice;
use crate::talk::{Feed, call};

/// How long a world may take to come to rest, in simulated time. Back-offs of failing Pods reach minutes.
const CEILING: Duration = Duration::from_secs(4 * 3600);
/// How late the controllers' view may be, in milliseconds.
const LAG: u64 = 300;
const RATES: Rates = Rates { refuse: 60, lose: 30, cut: 80 };
const NODES: [&str; 2] = ["n1", "n2"];

/// What a world came to.
#[derive(Debug)]
pub struct Report {
    /// Rules broken.
    pub violations: Vec<String>,
    /// See [`History::fingerprint`].
    pub fingerprint: u64,
    /// Pods that there ever were.
    pub pods: usize,
}

/// Runs the world of a seed. In one that is not `honest` the controllers are told that they see their own writes when
/// they do not: a broken world, which must be noticed.
///
/// # Panics
/// If a part does.
#[must_use]
pub fn run(seed: u64, honest: bool, pki: &Arc<Pki>) -> Report {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(async {
        let mut world = World::begin(seed, honest, pki.clone()).await;
        world.live().await;
        let rest = world.rest().await;
        let history = world.end().await;
        let mut violations = history.violations();
        violations.extend(rest.err());
        Report { violations, fingerprint: history.fingerprint(), pods: history.pods() }
    })
}

/// A node's machine and its present process.
struct Machine {
    name: &'static str,
    host: SharedHost,
    process: Option<JoinHandle<()>>,
}

struct World {
    seed: u64,
    dice: Dice,
    calm: Calm,
    cluster: Cluster,
    admin: Arc<dyn Objects>,
    /// What the controllers read: another server's view.
    view: Arc<Server>,
    machines: Vec<Machine>,
    loops: Option<Running>,
    /// How many processes there were, for their names.
    processes: u32,
    made: u32,
    deleted: BTreeSet<String>,
}

impl World {
    async fn begin(seed: u64, honest: bool, pki: Arc<Pki>) -> Self {
        let cluster = Cluster::seeded(seed, pki.clone()).await;
        let lagging = LaggingStore::follow(cluster.store.clone(), LAG, Dice::new(seed, "lag"), honest);
        let view = Server::new(Config::new(lagging, pki));
        let machine =
            |name| Machine { name, host: SharedHost::new(script(Dice::new(seed, name))), process: None };
        let mut world = Self {
            seed,
            dice: Dice::new(seed, "world"),
            calm: Calm::default(),
            admin: cluster.admin(),
            cluster,
            view,
            machines: NODES.map(machine).into(),
            loops: None,
            processes: 0,
            made: 0,
            deleted: BTreeSet::new(),
        };
        for name in NODES {
            Node::register(&world.cluster.node(name), name).await.expect("a fresh API takes nodes");
        }
        world.start_everything();
        // Without its account the namespace takes no Pods, and the controllers that make it may soon be dead.
        Feed::open(&world.admin, &Gvr::of::<ServiceAccount>(), "").await.until(|_, _| true).await;
        world
    }

    /// A stream of chance for a process that begins.
    fn stream(&mut self, what: &str) -> Dice {
        self.processes += 1;
        Dice::new(self.seed, &format!("{what} {}", self.processes))
    }

    fn start_everything(&mut self) {
        for index in 0..self.machines.len() {
            if self.machines[index].process.is_none() {
                self.start_node(index);
            }
        }
        if self.loops.is_none() {
            self.start_loops();
        }
    }

    fn start_node(&mut self, index: usize) {
        let name = self.machines[index].name;
        let (calls, actions) = (self.stream(name), self.stream(name));
        let api = Faulty::wrap(self.cluster.node(name), calls, RATES, self.calm.clone());
        let node = Node::new(name, api, self.machines[index].host.clone(), self.cluster.clock, actions);
        self.machines[index].process = Some(tokio::spawn(node.run(CancellationToken::new())));
    }

    fn start_loops(&mut self) {
        let (server, calm, seed) = (self.cluster.server.clone(), self.calm.clone(), self.seed);
        let wakes = self.stream("wakes");
        let process = self.processes;
        let connect = move |user: &str| {
            let dice = Dice::new(seed, &format!("{user} {process}"));
            Faulty::wrap(server.objects(system_identity(user), user), dice, RATES, calm.clone())
        };
        let snapshots = Drowsy::wrap(self.view.snapshots(), wakes);
        let config = controllers::Config { snapshots, connect: Arc::new(connect), ..self.cluster.loops() };
        self.loops = Some(Running::start(config));
    }

    /// The user's and the faults' doings.
    async fn live(&mut self) {
        for _ in 0..self.dice.within(1..=3) {
            self.make_job().await;
        }
        for _ in 0..self.dice.within(0..=2) {
            self.make_workload().await;
        }
        if self.dice.chance(250) {
            self.make_budget().await;
        }
        for _ in 0..self.dice.within(8..=24) {
            tokio::time::sleep(self.dice.millis(10..=3000)).await;
            match self.dice.within(0..=9) {
                0 => self.delete_pod().await,
                1 if self.dice.chance(500) => self.delete_pod().await,
                1 => self.evict_pod().await,
                2 => self.delete_job().await,
                3 => self.make_job().await,
                4 if self.dice.chance(700) => self.change_workload().await,
                4 => self.make_pod().await,
                5 | 6 => self.kill_node().await,
                7 => self.kill_loops().await,
                8 => self.stop_loops().await,
                _ => self.start_everything(),
            }
        }
    }

    /// Nothing fails any more; waits until nothing is left to do.
    async fn rest(&mut self) -> Result<(), String> {
        self.calm.begin();
        self.start_everything();
        let settled = async {
            while !self.is_at_rest() {
                let next = self.cluster.store.revision() + 1;
                self.cluster.store.wait_for(next).await;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let settled = tokio::time::timeout(CEILING, settled).await;
        settled.map_err(|_| "the world never came to rest".to_owned())
    }

    /// No deletion and no Job is under way, and machines have nothing that the API does not.
    fn is_at_rest(&self) -> bool {
        let pods = self.all("pods/");
        let jobs = self.all("jobs.batch/");
        let deleting = |o: &Value| o["metadata"]["deletionTimestamp"].is_string();
        let ended = |j: &Value| {
            let conditions = j["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions.iter().any(|c| matches!(c["type"].as_str(), Some("Complete" | "Failed")))
        };
        let known: BTreeSet<&str> = pods.iter().filter_map(|p| p["metadata"]["uid"].as_str()).collect();
        let hosts_clean = self
            .machines
            .iter()
            .all(|m| m.host.lock().machine.pods().all(|uid| known.contains(uid.as_str())));
        let settled = |(_, resource, bucket): &(&str, &str, &str)| {
            self.all(bucket).iter().all(|object| workloads::is_settled(resource, object, &pods))
        };
        // What is not evicted after all is found out after two minutes.
        let is_told = |budget: &Value| {
            let well = |p: &&Value| {
                let ready = |c: &Value| c["type"] == "Ready" && c["status"] == "True";
                p["metadata"]["labels"]["app"] == "d"
                    && p["status"]["conditions"].as_array().is_some_and(|all| all.iter().any(ready))
            };
            budget["status"]["disruptedPods"].is_null()
                && budget["status"]["currentHealthy"] == pods.iter().filter(well).count()
        };
        hosts_clean
            && self.all("poddisruptionbudgets.policy/").iter().all(is_told)
            && workloads::KINDS.iter().all(settled)
            && !pods.iter().chain(&jobs).any(deleting)
            && jobs.iter().all(ended)
    }

    async fn end(&mut self) -> History {
        let mut history = History::read(&self.cluster.store).await;
        history.deleted = std::mem::take(&mut self.deleted);
        for machine in &self.machines {
            history.starts.append(&mut machine.host.lock().machine.starts);
        }
        for index in 0..self.machines.len() {
            self.end_node(index).await;
        }
        self.kill_loops().await;
        history
    }

    fn all(&self, prefix: &str) -> Vec<Value> {
        let page = self.cluster.store.range(&store::RangeQuery { prefix, ..store::RangeQuery::default() });
        let parse = |entry: &Arc<store::Entry>| serde_json::from_slice(&entry.value).expect("JSON");
        page.expect("the newest revision").entries.iter().map(parse).collect()
    }

    async fn make_job(&mut self) {
        self.made += 1;
        let completions = self.dice.within(1..=5);
        let mode = if self.dice.chance(500) { "Indexed" } else { "NonIndexed" };
        let policy = if self.dice.chance(500) { "Never" } else { "OnFailure" };
        let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": format!("j{}", self.made)},
            "spec": {"parallelism": self.dice.within(1..=3), "completions": completions, "completionMode": mode,
                "backoffLimit": 1000, "template": {"spec": {"restartPolicy": policy,
                    "containers": [{"name": "c", "image": "busybox:1.36"}]}}}});
        self.make("batch", "jobs", job).await;
    }

    async fn make_workload(&mut self) {
        self.made += 1;
        let (gvr, made) = workloads::new(&self.dice, self.made);
        self.make(&gvr.group, &gvr.resource, made).await;
    }

    /// Another template or number of Pods of what there is.
    async fn change_workload(&mut self) {
        let at = usize::try_from(self.dice.within(0..=3)).unwrap_or(0);
        let (group, resource, bucket) = workloads::KINDS[at];
        let Some((name, _)) = self.pick(bucket) else { return };
        let patch = workloads::change(&self.dice, resource);
        let patch = Verb::Patch(PatchType::Merge, Bytes::from(patch.to_string()));
        drop(call(&self.admin, &Gvr::new(group, "v1", resource), &name, "", patch).await);
    }

    /// For the Pods of Deployments.
    async fn make_budget(&mut self) {
        let least = self.dice.within(0..=2);
        let budget = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"},
            "spec": {"minAvailable": least, "selector": {"matchLabels": {"app": "d"}}}});
        self.make("policy", "poddisruptionbudgets", budget).await;
    }

    async fn make_pod(&mut self) {
        self.made += 1;
        let pod = json!({"metadata": {"name": format!("p{}", self.made)},
            "spec": {"containers": [{"name": "c", "image": "busybox:1.36"}]}});
        self.make("", "pods", pod).await;
    }

    async fn make(&self, group: &str, resource: &str, object: Value) {
        let made = call(&self.admin, &Gvr::new(group, "v1", resource), "", "", Verb::Create(object)).await;
        made.unwrap_or_else(|status| panic!("{resource}: {status}"));
    }

    /// One of what there is.
    fn pick(&self, prefix: &str) -> Option<(String, String)> {
        let all = self.all(prefix);
        let index = self.dice.within(0..=all.len().max(1) as u64 - 1);
        let meta = &all.get(usize::try_from(index).ok()?)?["metadata"];
        Some((meta["name"].as_str()?.to_owned(), meta["uid"].as_str()?.to_owned()))
    }

    async fn delete_pod(&mut self) {
        let Some((name, uid)) = self.pick("pods/") else { return };
        self.deleted.insert(uid);
        // It may have gone meanwhile.
        drop(call(&self.admin, &Gvr::of::<Pod>(), &name, "", Verb::Delete(None)).await);
    }

    async fn evict_pod(&mut self) {
        let Some((name, uid)) = self.pick("pods/") else { return };
        let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
        let evicted = call(&self.admin, &Gvr::of::<Pod>(), &name, "eviction", Verb::Create(eviction)).await;
        // It may have gone meanwhile, or its budget may allow no disruption.
        if evicted.is_ok() {
            self.deleted.insert(uid);
        }
    }

    async fn delete_job(&mut self) {
        let Some((name, _)) = self.pick("jobs.batch/") else { return };
        let policy = if self.dice.chance(500) { "Foreground" } else { "Background" };
        let options = Verb::Delete(Some(json!({"propagationPolicy": policy})));
        drop(call(&self.admin, &Gvr::new("batch", "v1", "jobs"), &name, "", options).await);
    }

    async fn kill_node(&mut self) {
        let index = usize::try_from(self.dice.within(0..=1)).unwrap_or(0);
        self.end_node(index).await;
        if self.dice.chance(500) {
            self.start_node(index);
        }
    }

    async fn end_node(&mut self, index: usize) {
        let Some(process) = self.machines[index].process.take() else { return };
        process.abort();
        if let Err(ended) = process.await {
            assert!(ended.is_cancelled(), "the node panicked: {ended}");
        }
    }

    async fn kill_loops(&mut self) {
        if let Some(loops) = self.loops.take() {
            loops.kill().await;
        }
        if self.dice.chance(700) {
            self.start_loops();
        }
    }

    async fn stop_loops(&mut self) {
        if let Some(loops) = self.loops.take() {
            loops.stop().await;
        }
        self.start_loops();
    }
}

/// Pods of Jobs end after a while, one in six badly; others run until they are stopped.
fn script(dice: Dice) -> Script {
    Arc::new(move |pod, _, _| {
        let owners = pod.metadata.owner_references.as_ref()?;
        if owners.iter().any(|o| o.kind != "Job") {
            return None;
        }
        Some(Exit { after: dice.millis(50..=8000), code: i32::from(dice.chance(160)) })
    })
}

#[cfg(test)]
mod tests;
mod workloads;
