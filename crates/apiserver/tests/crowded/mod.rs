//! A world for measuring what a request costs beside others: one node with ten Pods, and other nodes with fifty each, which
//! are in the same namespace, have a watcher each and use the same Secret. Invariant: nothing but what is asked for happens
//! while it is measured. Absent: how it is measured.

use std::sync::Arc;

use apiserver::{Config, Pki, Server};
use bytes::Bytes;
use client::{Answer, Call, Change, Gvr, Identity, Objects, Options, PatchType, Target, Verb, Watch};
use futures_util::future::join_all;
use serde_json::{Value, json};
use store::{Expect, Op, SqliteStore, Store, Write};

/// What the turns measure, in their order.
pub const WHAT: [&str; 4] =
    ["a status is written", "its event is told", "a Secret is read by a node", "a node's Pods are listed"];

/// Pods of the node that is looked at.
const OWN: usize = 10;
const PER_NODE: usize = 50;

/// An API server with a node that is looked at, beside others.
pub struct World {
    admin: Arc<dyn Objects>,
    node: Arc<dyn Objects>,
    watch: Box<dyn Watch>,
    _dir: tempfile::TempDir,
}

fn target(resource: &str, name: &str, subresource: &str) -> Target {
    Target {
        gvr: Gvr::new("", "v1", resource),
        namespace: "default".into(),
        name: name.into(),
        subresource: subresource.into(),
    }
}

async fn call(api: &dyn Objects, target: Target, verb: Verb, field_selector: &str) -> Value {
    let options = Options { field_selector: field_selector.into(), ..Options::default() };
    api.call(Call { target, verb, options }).await.and_then(Answer::value).unwrap()
}

fn pod(name: &str, node: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"app": "a"}}, "spec": {
        "nodeName": node, "volumes": [{"name": "v", "secret": {"secretName": "s"}}],
        "containers": [{"name": "c", "image": "busybox", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]}})
}

fn identity(name: &str, group: &str) -> Identity {
    Identity { name: name.into(), groups: vec![group.into()], ..Identity::default() }
}

impl World {
    /// A server in which the node has ten Pods and others have `others`, fifty each, each node with its watcher.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn with(others: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (path, options) = (dir.path().join("db"), store::Options::default());
        let store: Arc<dyn Store> = SqliteStore::open(&path, options, apiserver::read_facts()).unwrap();
        let pki = Pki::open(&dir.path().join("pki"), &[], &[]).unwrap();
        let server = Server::new(Config::new(store.clone(), pki));
        server.bootstrap().await.unwrap();
        let admin = server.objects(identity("admin", "system:masters"), "test");
        let node = server.objects(identity("system:node:n", "system:nodes"), "test");
        let account = json!({"metadata": {"name": "default"}});
        call(&*admin, target("serviceaccounts", "", ""), Verb::Create(account), "").await;
        call(&*admin, target("secrets", "", ""), Verb::Create(json!({"metadata": {"name": "s"}})), "").await;
        for n in 0..OWN {
            let own = pod(&format!("own{n}"), "n");
            call(&*admin, target("pods", "", ""), Verb::Create(own), "").await;
        }
        crowd(&store, others).await;
        for n in 0..others.div_ceil(PER_NODE) {
            let mut watch = watch(&*admin, &format!("spec.nodeName=n{n}")).await;
            tokio::spawn(async move { while watch.next().await.is_ok() {} });
        }
        let watch = watch(&*node, "spec.nodeName=n").await;
        Self { admin, node, watch, _dir: dir }
    }

    /// A status of the node's first Pod.
    async fn report(&self, turn: u64) {
        let patch = json!({"status": {"phase": "Running", "message": turn.to_string()}});
        let verb = Verb::Patch(PatchType::Strategic, Bytes::from(patch.to_string()));
        call(&*self.node, target("pods", "own0", "status"), verb, "").await;
    }

    /// One turn of: a status that is written, its event as the node's watcher gets it, a Secret read by the node, a list of the
    /// node's Pods. Returns what each took by `spent`, which only grows.
    ///
    /// # Panics
    /// If one of them does not answer.
    pub async fn turn(&mut self, turn: u64, spent: fn() -> u64) -> [u64; 4] {
        let start = spent();
        self.report(turn).await;
        let written = spent();
        assert_eq!(self.watch.next().await.unwrap().len(), 1);
        let told = spent();
        call(&*self.node, target("secrets", "s", ""), Verb::Get, "").await;
        let read = spent();
        let list = call(&*self.admin, target("pods", "", ""), Verb::List, "spec.nodeName=n").await;
        let listed = spent();
        assert_eq!(list["items"].as_array().unwrap().len(), OWN);
        [written - start, told - written, read - told, listed - read]
    }

    /// The sums of so many turns, after one that makes what is made once.
    pub async fn turns(&mut self, turns: u64, spent: fn() -> u64) -> [u64; 4] {
        let mut sums = [0; 4];
        for turn in 0..=turns {
            let spent = self.turn(turn, spent).await;
            if turn > 0 {
                sums.iter_mut().zip(spent).for_each(|(sum, spent)| *sum += spent);
            }
        }
        sums
    }
}

/// So many Pods of other nodes, straight into the store: as the node's own first one is, under other names.
async fn crowd(store: &Arc<dyn Store>, others: usize) {
    let own = store.get("pods/default/own0").unwrap();
    let mut value: Value = serde_json::from_slice(&own.value).unwrap();
    value["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    for chunk in (0..others).collect::<Vec<_>>().chunks(1000) {
        let writes = chunk.iter().map(|n| {
            let mut value = value.clone();
            value["metadata"]["name"] = format!("p{n}").into();
            value["metadata"]["uid"] = format!("u{n}").into();
            value["spec"]["nodeName"] = format!("n{}", n / PER_NODE).into();
            let metadata = value.as_object_mut().unwrap().remove("metadata").unwrap();
            let json = format!("{{\"metadata\":{metadata},{}", &value.to_string()[1..]);
            let key = format!("pods/default/p{n}").into();
            store.commit(Write { key, expect: Expect::Absent, op: Op::Put(json.into()) })
        });
        for written in join_all(writes).await {
            written.unwrap();
        }
    }
}

/// A watch that has told what is there.
async fn watch(api: &dyn Objects, field_selector: &str) -> Box<dyn Watch> {
    let options = Options { field_selector: field_selector.into(), ..Options::default() };
    let target = Target { namespace: String::new(), ..target("pods", "", "") };
    let mut watch = api.watch(target, options).await.unwrap();
    while watch.next().await.unwrap().last().unwrap().change != Change::Synced {}
    watch
}
