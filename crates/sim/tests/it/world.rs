//! A cluster under one test's hand: the real API server, controllers and scheduler, and nodes that are objects only; what
//! their kubelets would say and do, the test does.
//!
//! Invariant: waiting is on the store, with a ceiling in simulated time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use client::{Answer, Call, Gvr, Objects, Options, PatchType, Snapshots, Target, Verb, Want};
use serde_json::{Value, json};
use sim::cluster::{Cluster, Running};
use sim::node::Node;

const CEILING: Duration = Duration::from_secs(900);

pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) admin: Arc<dyn Objects>,
    reads: Arc<dyn Snapshots>,
    loops: Option<Running>,
}

/// The resource of a built-in kind.
fn gvr(resource: &str) -> Gvr {
    let kind = kinds::built_in().stored().find(|k| k.plural == resource);
    let kind = kind.unwrap_or_else(|| panic!("no {resource}"));
    Gvr::new(&kind.group, &kind.version, &kind.plural)
}

pub(crate) fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

pub(crate) fn pod(name: &str, cpu: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}]}})
}

impl World {
    /// With one node of 4 CPUs, `n1`.
    pub(crate) async fn start() -> Self {
        let world = Self::at_rest().await.running("sim");
        world.node("n1", "4").await;
        world.until("the account", |w| w.find("serviceaccounts", "default", "default")).await;
        world
    }

    /// Without controllers.
    pub(crate) async fn at_rest() -> Self {
        let cluster = Cluster::start().await;
        Self { admin: cluster.admin(), reads: cluster.server.snapshots(), cluster, loops: None }
    }

    pub(crate) fn running(mut self, holder: &str) -> Self {
        let config = controllers::Config { holder: holder.to_owned(), ..self.cluster.loops() };
        self.loops = Some(Running::start(config));
        self
    }

    pub(crate) async fn stop(mut self) -> Self {
        self.loops.take().unwrap().stop().await;
        self
    }

    pub(crate) async fn node(&self, name: &str, cpu: &str) {
        Node::register(&self.cluster.node(name), name).await.unwrap();
        let room = json!({"cpu": cpu, "memory": "8Gi", "pods": "110"});
        let status = json!({"status": {"capacity": room, "allocatable": room}});
        self.call("nodes", "", name, "status", merge(&status)).await;
    }

    pub(crate) async fn call(
        &self,
        resource: &str,
        namespace: &str,
        name: &str,
        subresource: &str,
        verb: Verb,
    ) -> Value {
        let target = Target {
            gvr: gvr(resource),
            namespace: namespace.into(),
            name: name.into(),
            subresource: subresource.into(),
        };
        let answer = self.admin.call(Call { target, verb, options: Options::default() }).await;
        let answer = answer.and_then(Answer::value);
        answer.unwrap_or_else(|status| panic!("{resource} {namespace}/{name}: {status}"))
    }

    pub(crate) async fn create(&self, resource: &str, object: Value) -> Value {
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        self.call(resource, &namespace, "", "", Verb::Create(object)).await
    }

    /// Changes an object of the default namespace.
    pub(crate) async fn patch(&self, resource: &str, name: &str, patch: Value) -> Value {
        self.call(resource, "default", name, "", merge(&patch)).await
    }

    /// What a kubelet says of a Pod.
    pub(crate) async fn says(&self, pod: &str, phase: &str) {
        let ready = if phase == "Running" { "True" } else { "False" };
        let status = json!({"phase": phase, "conditions": [{"type": "Ready", "status": ready}]});
        let patch = Verb::Patch(PatchType::Strategic, Bytes::from(json!({ "status": status }).to_string()));
        self.call("pods", "default", pod, "status", patch).await;
    }

    pub(crate) async fn delete(&self, resource: &str, name: &str, options: Value) {
        let namespace = if resource == "namespaces" || resource == "nodes" { "" } else { "default" };
        let options = Some(options).filter(|o| !o.is_null());
        self.call(resource, namespace, name, "", Verb::Delete(options)).await;
    }

    /// What a kubelet does with a Pod that is being deleted.
    pub(crate) async fn ends(&self, name: &str) {
        let asked = |w: &Self| {
            w.find("pods", "default", name).filter(|p| p["metadata"]["deletionTimestamp"].is_string())
        };
        self.until("a Pod to be deleted", asked).await;
        self.delete("pods", name, json!({"gracePeriodSeconds": 0})).await;
    }

    pub(crate) fn find(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        self.reads.get(&gvr(resource), namespace, name).map(|object| object.parse().unwrap())
    }

    pub(crate) fn is_gone(&self, resource: &str, name: &str) -> Option<()> {
        let namespace = if resource == "namespaces" { "" } else { "default" };
        self.find(resource, namespace, name).is_none().then_some(())
    }

    pub(crate) fn all(&self, resource: &str, namespace: &str) -> Vec<Value> {
        let want = Want { gvr: gvr(resource), namespace: namespace.to_owned() };
        let sets = self.reads.snapshot(&[want]).sets;
        sets.iter().flatten().map(|object| object.parse().unwrap()).collect()
    }

    /// `reason: message` of all events about objects of a name that starts so, in the order in which they were made.
    pub(crate) fn events(&self, about: &str) -> Vec<String> {
        let mut found: Vec<(u64, String)> = self
            .all("events", "")
            .iter()
            .filter(|e| e["involvedObject"]["name"].as_str().unwrap().starts_with(about))
            .map(|e| {
                let text = format!("{}: {}", e["reason"].as_str().unwrap(), e["message"].as_str().unwrap());
                (e["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap(), text)
            })
            .collect();
        found.sort();
        found.into_iter().map(|(_, text)| text).collect()
    }

    /// Waits until `test` gives something; looks again after each write.
    pub(crate) async fn until<T>(&self, what: &str, test: impl Fn(&Self) -> Option<T>) -> T {
        let wait = async {
            loop {
                let next = self.cluster.store.revision() + 1;
                if let Some(found) = test(self) {
                    return found;
                }
                self.cluster.store.wait_for(next).await;
            }
        };
        match tokio::time::timeout(CEILING, wait).await {
            Ok(found) => found,
            Err(_) => panic!("waited in vain: {what}\n{:#?}", self.all("pods", "")),
        }
    }

    /// A Pod of the default namespace that is bound.
    pub(crate) async fn bound_pod(&self) -> Value {
        let bound =
            |w: &Self| w.all("pods", "default").into_iter().find(|p| p["spec"]["nodeName"].is_string());
        self.until("a bound Pod", bound).await
    }
}

fn merge(patch: &Value) -> Verb {
    Verb::Patch(PatchType::Merge, Bytes::from(patch.to_string()))
}
