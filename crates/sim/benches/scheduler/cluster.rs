//! The API server, the store and the scheduler, in this process and in real time.

use std::sync::Arc;

use apiserver::{Pki, Server};
use client::{Call, Gvr, Identity, Objects, Options, PatchType, Snapshots, Status, Target, Verb};
use serde_json::{Value, json};
use store::{SqliteStore, Store};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How many objects are made at once.
const AT_ONCE: usize = 16;
/// The name of the one node that is not like the others.
pub(crate) const SPECIAL: &str = "special";

pub(crate) struct Cluster {
    server: Arc<Server>,
    store: Arc<SqliteStore>,
    stop: CancellationToken,
    loops: JoinHandle<()>,
    _dir: TempDir,
}

impl Cluster {
    /// With controllers, if they are wanted.
    pub(crate) async fn start(controllers: bool) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let pki = Pki::open(&dir.path().join("pki"), &[], &[]).expect("keys");
        let path = dir.path().join("store.db");
        let store =
            SqliteStore::open(&path, store::Options::default(), apiserver::read_facts()).expect("a store");
        let shared: Arc<dyn Store> = store.clone();
        let server = Server::new(apiserver::Config::new(shared, pki.clone()));
        server.bootstrap().await.expect("the first objects");
        let stop = CancellationToken::new();
        let api = server.clone();
        let config = controllers::Config {
            snapshots: server.snapshots(),
            connect: Arc::new(move |user| api.objects(system_identity(user), "kube-scheduler")),
            ca_pem: pki.ca_pem().to_owned(),
            // Nobody asks for certificates or ranges here.
            sign: Arc::new(|_| Err("nothing is signed here".to_owned())),
            cluster_cidr: None,
            holder: "bench".to_owned(),
            controllers,
            scheduler: true,
            clock: Arc::new(controllers::SystemClock),
            scheduling: Arc::new(scheduler::Settings::default),
        };
        let loops = tokio::spawn(controllers::run(config, stop.clone()));
        Self { server, store, stop, loops, _dir: dir }
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.loops.await.expect("the scheduler ends");
        self.store.close().await.expect("the store closes");
    }

    pub(crate) fn admin(&self) -> Arc<dyn Objects> {
        self.server.objects(identity("bench", "system:masters"), "bench")
    }

    pub(crate) fn snapshots(&self) -> Arc<dyn Snapshots> {
        self.server.snapshots()
    }

    /// A namespace with its account, if it is not there.
    pub(crate) async fn namespace(&self, name: &str) {
        let labels = json!({"team": "devops"});
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        let admin = self.admin();
        for (resource, namespace, object) in
            [("namespaces", "", namespace), ("serviceaccounts", name, account)]
        {
            let target = target(Gvr::new("", "v1", resource), namespace, "");
            expect(call(&*admin, target, Verb::Create(object)).await, "AlreadyExists");
        }
    }

    /// The classes `high` and `low`.
    pub(crate) async fn priorities(&self) {
        for (name, value) in [("high", 10), ("low", -10)] {
            let class = json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
                "metadata": {"name": name}, "value": value});
            let target = target(Gvr::new("scheduling.k8s.io", "v1", "priorityclasses"), "", "");
            expect(call(&*self.admin(), target, Verb::Create(class)).await, "AlreadyExists");
        }
    }

    /// So many nodes, as `node` makes each by its number.
    pub(crate) async fn nodes(&self, count: usize, node: fn(usize) -> Value) {
        let each = |i: usize| {
            let admin = self.admin();
            async move { make_node(&*admin, &node(i), &format!("node-{i}")).await }
        };
        all(count, each).await;
    }

    pub(crate) async fn node(&self, node: &Value, name: &str) {
        make_node(&*self.admin(), node, name).await;
    }

    /// Pods that are bound, or wait behind a gate, when this returns.
    pub(crate) async fn pods(&self, namespace: &str, prefix: &str, count: usize, pod: &Value) {
        let gated = pod["spec"]["schedulingGates"].is_array();
        let bound = self.bound_in(namespace, prefix, if gated { 0 } else { count });
        tokio::join!(self.create(namespace, prefix, count, pod), bound);
    }

    pub(crate) async fn create(&self, namespace: &str, prefix: &str, count: usize, pod: &Value) {
        let each = |i: usize| {
            let (admin, name) = (self.admin(), format!("{prefix}-{i}"));
            async move { create_one(&*admin, namespace, &name, pod).await }
        };
        all(count, each).await;
    }

    /// Returns once so many Pods of this prefix are bound.
    pub(crate) fn bound(&self, prefix: &'static str, count: usize) -> impl Future<Output = ()> + use<> {
        self.bound_in("sched-1", prefix, count)
    }

    /// Does something for each number below `count` as the administrator, some at once.
    pub(crate) async fn each(&self, count: usize, act: impl AsyncFn(&dyn Objects, usize)) {
        let act = &act;
        let one = |i: usize| {
            let admin = self.admin();
            async move { act(&*admin, i).await }
        };
        all(count, one).await;
    }

    /// Returns once all replicas of a Deployment's generation are available, and no others are there.
    pub(crate) fn replicas(
        &self,
        name: &'static str,
        count: usize,
        generation: u64,
    ) -> impl Future<Output = ()> + use<> {
        let mut deltas = self.snapshots().deltas(&[Gvr::new("apps", "v1", "deployments")]);
        async move {
            loop {
                for delta in deltas.next().await {
                    let Some(after) = delta.after.filter(|after| *after.name == *name) else { continue };
                    let object: Value = after.parse().expect("a Deployment");
                    let status = |field: &str| object["status"][field].as_u64().unwrap_or_default();
                    let counts = ["replicas", "updatedReplicas", "availableReplicas"];
                    let all = counts.iter().all(|field| usize::try_from(status(field)) == Ok(count));
                    if all && status("observedGeneration") == generation {
                        return;
                    }
                }
            }
        }
    }

    /// Returns once there is no object of a name that begins so.
    pub(crate) async fn none_left(&self, gvr: Gvr, namespace: &str, prefix: &str) {
        let mut deltas = self.snapshots().deltas(&[gvr]);
        let mut left = std::collections::HashSet::new();
        loop {
            for delta in deltas.next().await {
                if *delta.namespace == *namespace && delta.name.starts_with(prefix) {
                    match delta.after {
                        Some(_) => left.insert(delta.name),
                        None => left.remove(&delta.name),
                    };
                }
            }
            if left.is_empty() {
                return;
            }
        }
    }

    fn bound_in(&self, namespace: &str, prefix: &str, count: usize) -> impl Future<Output = ()> + use<> {
        let mut deltas = self.snapshots().deltas(&[Gvr::new("", "v1", "pods")]);
        let (namespace, prefix) = (namespace.to_owned(), format!("{prefix}-"));
        async move {
            let mut missing = count;
            while missing > 0 {
                for delta in deltas.next().await {
                    let ours = *delta.namespace == *namespace && delta.name.starts_with(&prefix);
                    let is_bound = |object: &Option<client::Object>| {
                        object.as_ref().is_some_and(|o| contains(&o.json, b"\"nodeName\":\""))
                    };
                    if ours && is_bound(&delta.after) && !is_bound(&delta.before) {
                        missing = missing.saturating_sub(1);
                    }
                }
            }
        }
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn identity(user: &str, group: &str) -> Identity {
    let groups = vec![group.to_owned(), "system:authenticated".to_owned()];
    Identity { name: user.to_owned(), groups, ..Identity::default() }
}

pub(crate) fn target(gvr: Gvr, namespace: &str, name: &str) -> Target {
    Target { gvr, namespace: namespace.into(), name: name.into(), subresource: String::new() }
}

pub(crate) async fn call(api: &dyn Objects, target: Target, verb: Verb) -> Result<client::Answer, Status> {
    api.call(Call { target, verb, options: Options::default() }).await
}

pub(crate) fn expect(result: Result<client::Answer, Status>, harmless: &str) {
    if let Err(status) = result {
        assert!(status.is(harmless), "{}", status.message);
    }
}

/// A part of the control plane, with the groups that upstream gives it.
fn system_identity(user: &str) -> Identity {
    let mut identity = identity(user, "system:authenticated");
    if let Some(account) = user.strip_prefix("system:serviceaccount:") {
        let namespace = account.split(':').next().unwrap_or_default();
        let groups = ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
        identity.groups.extend(groups);
    }
    identity
}

/// Makes a Node and takes away the taint that every new one gets.
async fn make_node(api: &dyn Objects, node: &Value, name: &str) {
    let mut node = node.clone();
    node["metadata"]["name"] = json!(name);
    let gvr = || Gvr::new("", "v1", "nodes");
    expect(call(api, target(gvr(), "", ""), Verb::Create(node)).await, "");
    let patch = json!({"spec": {"taints": null}}).to_string();
    expect(call(api, target(gvr(), "", name), Verb::Patch(PatchType::Merge, patch.into())).await, "");
}

pub(crate) async fn create_one(api: &dyn Objects, namespace: &str, name: &str, pod: &Value) {
    let mut pod = pod.clone();
    pod["metadata"]["name"] = json!(name);
    let target = target(Gvr::new("", "v1", "pods"), namespace, "");
    expect(call(api, target, Verb::Create(pod)).await, "");
}

pub(crate) async fn delete_one(api: &dyn Objects, namespace: &str, name: &str) {
    let target = target(Gvr::new("", "v1", "pods"), namespace, name);
    let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0});
    expect(call(api, target, Verb::Delete(Some(options))).await, "NotFound");
}

/// Does something for each number below `count`, some at once.
async fn all<F: Future<Output = ()>>(count: usize, each: impl Fn(usize) -> F) {
    let next = std::cell::Cell::new(0);
    let worker = || async {
        while next.get() < count {
            let i = next.replace(next.get() + 1);
            each(i).await;
            tokio::task::coop::consume_budget().await;
        }
    };
    futures_util::future::join_all((0..AT_ONCE).map(|_| worker())).await;
}
