//! An in-memory API for tests: just enough of storing, deleting and waking for controllers to be watched at work.
//!
//! Invariant: reads and wake-ups show every write at once, in order. Absent: validation, authorization, defaults.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use client::{
    Call, Delta, Deltas, Facts, Gvr, Object, Objects, Options, PatchType, Snapshot, Snapshots, Status,
    Target, Verb, Want, Watch,
};
use controllers::{Config, SystemClock};
use kinds::workload::index;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

type Key = (String, String, String);

#[derive(Default)]
struct State {
    objects: BTreeMap<Key, Value>,
    /// Every change: the key and the object before and after.
    log: Vec<(Key, Option<Object>, Option<Object>)>,
    made: u64,
    /// Who made which calls: `(user, verb, resource)`.
    callers: Vec<(String, &'static str, String)>,
}

/// The cluster; clones share it.
#[derive(Clone)]
pub(crate) struct Cluster {
    state: Arc<Mutex<State>>,
    revision: Arc<watch::Sender<u64>>,
}

/// The cluster as one user sees it.
struct As {
    cluster: Cluster,
    user: String,
}

/// A position in the log.
struct Cursor {
    cluster: Cluster,
    gvrs: Vec<String>,
    at: usize,
    first: Vec<Delta>,
}

fn key(target: &Target) -> Key {
    (target.gvr.resource.clone(), target.namespace.clone(), target.name.clone())
}

fn facts(object: &Value) -> Facts {
    let facts = Facts::of_metadata(object.to_string().as_bytes()).unwrap();
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
    let mut keys = index::orphan_keys(namespace, &facts);
    if object["spec"]["selector"].is_object() {
        keys.push(index::claimant_key(namespace, &index::label_selector(object)));
    }
    facts.with_keys(keys)
}

fn patched(old: &Value, kind: PatchType, patch: &[u8], gvr: &Gvr) -> Value {
    let row = kinds::built_in().by_resource(&gvr.group, &gvr.version, &gvr.resource).unwrap();
    let ty = kinds::schema::root(&row.group, &row.version, &row.kind).unwrap();
    let result = match kind {
        PatchType::Strategic => kinds::patch::strategic_merge_patch(old, patch, ty),
        _ => kinds::patch::merge_patch(old, patch),
    };
    result.unwrap().value
}

impl Cluster {
    pub(crate) fn new() -> Self {
        Self { state: Arc::default(), revision: Arc::new(watch::Sender::new(1)) }
    }

    /// Controllers and scheduler on this cluster, until the token is cancelled.
    pub(crate) fn start(&self, holder: &str) -> (CancellationToken, tokio::task::JoinHandle<()>) {
        let token = CancellationToken::new();
        let cluster = self.clone();
        let config = Config {
            snapshots: Arc::new(self.clone()),
            connect: Arc::new(move |user| Arc::new(As { cluster: cluster.clone(), user: user.into() })),
            ca_pem: "PEM".into(),
            holder: holder.into(),
            controllers: true,
            scheduler: true,
            clock: Arc::new(SystemClock),
            scheduling: Arc::new(Default::default),
        };
        (token.clone(), tokio::spawn(controllers::run(config, token)))
    }

    /// A call as the administrator.
    pub(crate) async fn admin(
        &self,
        resource: &str,
        namespace: &str,
        name: &str,
        sub: &str,
        verb: Verb,
    ) -> Value {
        let gvr = gvr(resource);
        let target = Target { gvr, namespace: namespace.into(), name: name.into(), subresource: sub.into() };
        let user = As { cluster: self.clone(), user: "admin".into() };
        user.call(Call { target, verb, options: Options::default() }).await.unwrap()
    }

    pub(crate) async fn create(&self, resource: &str, object: Value) -> Value {
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        self.admin(resource, &namespace, "", "", Verb::Create(object)).await
    }

    pub(crate) async fn patch(&self, resource: &str, namespace: &str, name: &str, patch: Value) -> Value {
        let verb = Verb::Patch(PatchType::Merge, Bytes::from(patch.to_string()));
        self.admin(resource, namespace, name, "", verb).await
    }

    pub(crate) async fn delete(&self, resource: &str, namespace: &str, name: &str, options: Value) {
        self.admin(resource, namespace, name, "", Verb::Delete(Some(options))).await;
    }

    pub(crate) fn find(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        self.state().objects.get(&(resource.into(), namespace.into(), name.into())).cloned()
    }

    pub(crate) fn all(&self, resource: &str, namespace: &str) -> Vec<Value> {
        let state = self.state();
        let mine = |k: &&Key| k.0 == resource && (namespace.is_empty() || k.1 == namespace);
        state.objects.keys().filter(mine).map(|k| state.objects[k].clone()).collect()
    }

    pub(crate) fn callers(&self) -> Vec<(String, &'static str, String)> {
        self.state().callers.clone()
    }

    /// `reason: message` of all events about objects of a name that starts so, in the order they were made.
    pub(crate) fn events(&self, about: &str) -> Vec<String> {
        let mut found: Vec<(u64, String)> = self
            .all("events", "")
            .iter()
            .filter(|e| e["involvedObject"]["name"].as_str().unwrap().starts_with(about))
            .map(|e| {
                let text = format!("{}: {}", e["reason"].as_str().unwrap(), e["message"].as_str().unwrap());
                (e["metadata"]["uid"].as_str().unwrap()[4..].parse().unwrap(), text)
            })
            .collect();
        found.sort();
        found.into_iter().map(|(_, text)| text).collect()
    }

    /// Waits until `test` gives something; looks again after each write.
    pub(crate) async fn until<T>(&self, what: &str, mut test: impl FnMut(&Self) -> Option<T>) -> T {
        let mut changes = self.revision.subscribe();
        let wait = async {
            loop {
                changes.borrow_and_update();
                if let Some(found) = test(self) {
                    return found;
                }
                changes.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(Duration::from_secs(20), wait).await {
            Ok(found) => found,
            Err(_) => panic!("waited in vain: {what}\n{:#?}", self.state().objects),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store(&self, state: &mut State, key: &Key, mut object: Value) -> Value {
        let revision = state.log.len() + 2;
        object["metadata"]["resourceVersion"] = json!(revision.to_string());
        let before = state.objects.get(key).map(|old| self::object(key, old));
        state.log.push((key.clone(), before, Some(self::object(key, &object))));
        state.objects.insert(key.clone(), object.clone());
        self.revision.send_replace(revision as u64);
        object
    }

    fn remove(&self, state: &mut State, key: &Key) {
        if let Some(gone) = state.objects.remove(key) {
            state.log.push((key.clone(), Some(object(key, &gone)), None));
            self.revision.send_replace(state.log.len() as u64 + 1);
        }
    }

    fn make(&self, target: &Target, mut object: Value) -> Result<Value, Status> {
        let mut state = self.state();
        let namespace = state.objects.get(&("namespaces".into(), String::new(), target.namespace.clone()));
        if namespace.is_some_and(|n| n["metadata"]["deletionTimestamp"].is_string()) {
            let status = Status::forbidden("", &target.gvr.resource, "", "because it is being terminated");
            return Err(status.with_cause(kinds::status::Cause::new("NamespaceTerminating", "", "")));
        }
        state.made += 1;
        let made = state.made;
        let meta = &mut object["metadata"];
        if meta["name"].is_null() {
            meta["name"] = json!(format!("{}{made:05}", meta["generateName"].as_str().unwrap()));
        }
        meta["uid"] = json!(format!("uid-{made}"));
        meta["creationTimestamp"] = json!("2024-01-01T00:00:00Z");
        let key = (
            target.gvr.resource.clone(),
            target.namespace.clone(),
            meta["name"].as_str().unwrap().to_owned(),
        );
        if target.gvr.resource == "pods" {
            if object["spec"]["schedulerName"].is_null() {
                object["spec"]["schedulerName"] = json!("default-scheduler");
            }
            object["status"] = json!({"phase": "Pending"});
        }
        if target.gvr.resource == "namespaces" {
            object["spec"] = json!({"finalizers": ["kubernetes"]});
        }
        if state.objects.contains_key(&key) {
            return Err(Status::already_exists("", &key.0, &key.2));
        }
        Ok(self.store(&mut state, &key, object))
    }

    fn change(&self, target: &Target, edit: impl FnOnce(&Value) -> Value) -> Result<Value, Status> {
        let mut state = self.state();
        let key = key(target);
        let old = state.objects.get(&key).cloned().ok_or_else(|| Status::not_found("", &key.0, &key.2))?;
        let mut new = edit(&old);
        let given = &new["metadata"]["resourceVersion"];
        if given.is_string() && *given != old["metadata"]["resourceVersion"] {
            return Err(Status::modified("", &key.0, &key.2));
        }
        if target.subresource == "status" {
            let status = new["status"].take();
            new = old.clone();
            new["status"] = status;
        } else if target.subresource == "finalize" {
            let finalizers = new["spec"]["finalizers"].take();
            new = old.clone();
            new["spec"]["finalizers"] = finalizers;
        }
        new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
        if new == old {
            return Ok(old);
        }
        let new = self.store(&mut state, &key, new);
        if removable(&new) {
            self.remove(&mut state, &key);
        }
        Ok(new)
    }

    fn begin_delete(&self, target: &Target, options: &Value) -> Result<Value, Status> {
        let mut state = self.state();
        let key = key(target);
        let mut object =
            state.objects.get(&key).cloned().ok_or_else(|| Status::not_found("", &key.0, &key.2))?;
        let wanted = &options["preconditions"]["uid"];
        if wanted.is_string() && *wanted != object["metadata"]["uid"] {
            return Err(Status::conflict("", &key.0, &key.2, "uid"));
        }
        let mut finalizers = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        match options["propagationPolicy"].as_str() {
            Some("Foreground") => finalizers.push(json!("foregroundDeletion")),
            Some("Orphan") => finalizers.push(json!("orphan")),
            _ => {}
        }
        let scheduled = object["spec"]["nodeName"].is_string() && options["gracePeriodSeconds"] != 0;
        let over = matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        object["metadata"]["finalizers"] = json!(finalizers);
        if !object["metadata"]["deletionTimestamp"].is_string() || options["gracePeriodSeconds"] == 0 {
            object["metadata"]["deletionTimestamp"] = json!("2024-01-01T00:00:30Z");
            let grace = if key.0 == "pods" && scheduled && !over { 30 } else { 0 };
            object["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        }
        let object = self.store(&mut state, &key, object);
        if removable(&object) {
            self.remove(&mut state, &key);
        }
        Ok(object)
    }

    fn bind(&self, target: &Target, binding: &Value) -> Result<Value, Status> {
        let mut pod = target.clone();
        pod.subresource.clear();
        self.change(&pod, |old| {
            let mut new = old.clone();
            new["spec"]["nodeName"] = binding["target"]["name"].clone();
            new["status"]["conditions"] = json!([{"type": "PodScheduled", "status": "True"}]);
            new
        })?;
        Ok(json!({"kind": "Status", "status": "Success"}))
    }
}

/// Deleted, and nothing holds it.
fn removable(object: &Value) -> bool {
    let empty = |list: &Value| list.as_array().is_none_or(Vec::is_empty);
    let meta = &object["metadata"];
    meta["deletionTimestamp"].is_string()
        && empty(&meta["finalizers"])
        && empty(&object["spec"]["finalizers"])
        && meta["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
}

#[async_trait]
impl Objects for As {
    async fn call(&self, call: Call) -> Result<Value, Status> {
        let target = &call.target;
        let verb = match &call.verb {
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Create(_) => "create",
            Verb::Update(_) => "update",
            Verb::Patch(..) => "patch",
            Verb::Delete(_) => "delete",
            Verb::DeleteCollection(_) => "deletecollection",
        };
        let resource = format!("{}/{}", target.gvr.resource, target.subresource);
        self.cluster.state().callers.push((self.user.clone(), verb, resource.trim_end_matches('/').into()));
        match &call.verb {
            Verb::Get => {
                let found = self.cluster.find(&target.gvr.resource, &target.namespace, &target.name);
                found.ok_or_else(|| Status::not_found("", &target.gvr.resource, &target.name))
            }
            Verb::List => Ok(json!({"items": self.cluster.all(&target.gvr.resource, &target.namespace)})),
            Verb::Create(body) if target.subresource == "binding" => self.cluster.bind(target, body),
            Verb::Create(body) => self.cluster.make(target, body.clone()),
            Verb::Update(body) => self.cluster.change(target, |_| body.clone()),
            Verb::Patch(kind, patch) => {
                self.cluster.change(target, |old| patched(old, *kind, patch, &target.gvr))
            }
            Verb::Delete(options) => {
                self.cluster.begin_delete(target, options.as_ref().unwrap_or(&Value::Null))
            }
            Verb::DeleteCollection(options) => {
                for object in self.cluster.all(&target.gvr.resource, &target.namespace) {
                    let mut one = target.clone();
                    one.name = object["metadata"]["name"].as_str().unwrap().into();
                    self.cluster.begin_delete(&one, options.as_ref().unwrap_or(&Value::Null))?;
                }
                Ok(json!({"items": []}))
            }
        }
    }

    async fn watch(&self, _: Target, _: Options) -> Result<Box<dyn Watch>, Status> {
        Err(Status::internal("controllers never watch"))
    }
}

fn object(key: &Key, value: &Value) -> Object {
    let revision = value["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    Object {
        namespace: key.1.as_str().into(),
        name: key.2.as_str().into(),
        revision,
        json: value.to_string().into(),
        facts: facts(value).into(),
    }
}

#[async_trait]
impl Snapshots for Cluster {
    fn snapshot(&self, wants: &[Want]) -> Snapshot {
        let state = self.state();
        let set = |want: &Want| {
            let first = (want.gvr.resource.clone(), want.namespace.clone(), String::new());
            let range = state.objects.range((Bound::Included(first), Bound::Unbounded));
            let mine =
                |k: &Key| k.0 == want.gvr.resource && (want.namespace.is_empty() || k.1 == want.namespace);
            range.take_while(|(k, _)| mine(k)).map(|(k, v)| object(k, v)).collect()
        };
        Snapshot { revision: state.log.len() as u64 + 1, sets: wants.iter().map(set).collect() }
    }

    fn get(&self, gvr: &Gvr, namespace: &str, name: &str) -> Option<Object> {
        let key = (gvr.resource.clone(), namespace.to_owned(), name.to_owned());
        self.state().objects.get(&key).map(|value| object(&key, value))
    }

    fn indexed(&self, gvr: &Gvr, keys: &[&str]) -> Vec<Object> {
        let want = Want { gvr: gvr.clone(), namespace: String::new() };
        let mut all = self.snapshot(&[want]).sets.remove(0);
        all.retain(|object| keys.iter().any(|key| object.facts.has_key(key)));
        all
    }

    async fn wait_for(&self, revision: u64) {
        self.revision.subscribe().wait_for(|now| *now >= revision).await.unwrap();
    }

    async fn barrier(&self) -> Result<(), Status> {
        Ok(())
    }

    fn deltas(&self, gvrs: &[Gvr]) -> Box<dyn Deltas> {
        let gvrs: Vec<String> = gvrs.iter().map(|g| g.resource.clone()).collect();
        let state = self.state();
        let present = state.objects.iter().filter(|(k, _)| gvrs.contains(&k.0));
        let first = present.map(|(k, v)| delta(k, None, Some(object(k, v)))).collect();
        Box::new(Cursor { cluster: self.clone(), at: state.log.len(), gvrs, first })
    }
}

fn gvr(resource: &str) -> Gvr {
    let group = HashMap::from([("jobs", "batch"), ("leases", "coordination.k8s.io")]);
    Gvr::new(group.get(resource).copied().unwrap_or_default(), "v1", resource)
}

fn delta(key: &Key, before: Option<Object>, after: Option<Object>) -> Delta {
    Delta::new(Arc::new(gvr(&key.0)), before, after, 0).unwrap()
}

#[async_trait]
impl Deltas for Cursor {
    async fn next(&mut self) -> Vec<Delta> {
        if !self.first.is_empty() {
            return std::mem::take(&mut self.first);
        }
        let mut changes = self.cluster.revision.subscribe();
        loop {
            changes.borrow_and_update();
            let found: Vec<Delta> = {
                let state = self.cluster.state();
                let new = &state.log[self.at..];
                self.at = state.log.len();
                new.iter()
                    .filter(|(k, ..)| self.gvrs.contains(&k.0))
                    .map(|(k, before, after)| delta(k, before.clone(), after.clone()))
                    .collect()
            };
            if !found.is_empty() {
                return found;
            }
            changes.changed().await.unwrap();
        }
    }
}
