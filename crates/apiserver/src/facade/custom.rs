//! Serves the kinds of CustomResourceDefinitions: follows the definitions, swaps the catalogue, tells their status, and
//! empties what is deleted.
//!
//! Invariants: a kind is served before its definition says so; a definition goes only when no object of it is left; what a
//! definition says is decided in `kinds`, here it is only done. A turn is level-triggered: it reads all definitions anew.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use client::{Answer, Call, Gvr, Identity, Objects, Options, Status, Target, Verb};
use kinds::customresourcedefinition::{self as definition, resource};
use kinds::rules::deletion::{Deletion, Propagation};
use kinds::{Kind, with_custom};
use serde_json::Value;
use store::{Entry, Interest, RangeQuery};

use super::server::Server;
use crate::context::object;

/// How soon it is looked again whether deleted objects, which may have finalizers, are gone.
const AGAIN: Duration = Duration::from_millis(200);

/// Follows the definitions until the server stops.
pub(crate) async fn run(server: Arc<Server>) {
    let mut closing = server.closing();
    let mut definitions = Definitions::new(&server);
    let kind = &*definition::KIND;
    loop {
        let query = RangeQuery { prefix: &object::prefix(kind, ""), ..RangeQuery::default() };
        let from = server.store().range(&query).map(|page| page.revision);
        let watcher =
            from.and_then(|revision| server.store().watch(&[Interest::whole(&kind.bucket)], revision));
        let mut watcher = match watcher {
            Ok(watcher) => watcher,
            Err(error) => {
                tracing::error!(%error, "custom resources are not followed");
                return;
            }
        };
        loop {
            let pending = definitions.turn().await;
            let again = async {
                if pending { tokio::time::sleep(AGAIN).await } else { std::future::pending().await }
            };
            tokio::select! {
                _ = closing.wait_for(|closing| *closing) => return,
                events = watcher.next() => if events.is_err() { break },
                () = again => {}
            }
        }
    }
}

/// All objects of a kind.
fn entries(server: &Server, kind: &Kind) -> Vec<Arc<Entry>> {
    let (_, sets) = server.store().read(&[&kind.bucket]);
    sets.iter().flat_map(|set| set.prefix("")).cloned().collect()
}

/// A definition's UID and generation.
type Made = (String, i64);

/// The definitions and what was made of them.
pub(crate) struct Definitions {
    server: Arc<Server>,
    api: Arc<dyn Objects>,
    /// By name: which definition it was made of, and its kinds.
    made: HashMap<String, (Made, Vec<Arc<Kind>>)>,
}

impl Definitions {
    /// Nothing made yet.
    pub(crate) fn new(server: &Arc<Server>) -> Self {
        let groups = vec!["system:masters".into()];
        let identity = Identity { name: "system:apiserver".into(), groups, ..Identity::default() };
        let api = server.objects(identity, "kube-apiserver");
        Self { server: server.clone(), api, made: HashMap::new() }
    }

    /// One look at all definitions; whether objects are left that should go.
    pub(crate) async fn turn(&mut self) -> bool {
        let entries = entries(&self.server, &definition::KIND);
        let mut all: Vec<Value> =
            entries.iter().map(|e| object::parse(&definition::KIND, &e.value)).collect();
        // Who has its names keeps them.
        all.sort_by_key(|crd| !definition::is_established(crd));
        let now = self.server.services().now().rfc3339();
        let (mut served, mut told) = (Vec::new(), Vec::new());
        for crd in &mut all {
            let others = with_custom(0, served.iter().cloned());
            if let Some(new) = definition::establish(crd, &others, &now).filter(|_| !object::is_deleting(crd))
            {
                crd.clone_from(&new);
                told.push(new);
            }
            if definition::is_established(crd) {
                served.extend(self.kinds(crd));
            }
        }
        self.made.retain(|name, _| all.iter().any(|crd| object::meta(crd, "name") == name));
        self.server.services().serve_custom(served);
        for crd in told {
            self.tell(crd).await;
        }
        let mut pending = false;
        for crd in all.iter().filter(|crd| object::is_deleting(crd) && definition::is_established(crd)) {
            if self.empty(crd).await {
                self.tell(definition::complete(crd, &now)).await;
            } else {
                pending = true;
            }
        }
        pending
    }

    /// The kinds of a definition; those made before if it is the same.
    fn kinds(&mut self, crd: &Value) -> Vec<Arc<Kind>> {
        let name = object::meta(crd, "name").to_owned();
        let generation = crd["metadata"]["generation"].as_i64().unwrap_or(0);
        let version = (object::meta(crd, "uid").to_owned(), generation);
        if let Some((_, kinds)) = self.made.get(&name).filter(|(made, _)| *made == version) {
            return kinds.clone();
        }
        let kinds = resource::kinds(crd).unwrap_or_else(|error| {
            tracing::error!(%error, name, "a stored definition cannot be served");
            Vec::new()
        });
        self.made.insert(name, (version, kinds.clone()));
        kinds
    }

    /// Writes a definition's status; another write that came first wakes the next turn.
    async fn tell(&self, crd: Value) {
        let name = object::meta(&crd, "name").to_owned();
        let target = Target { subresource: "status".into(), ..target(&definition::KIND, "", &name) };
        if let Err(status) = self.call(target, Verb::Update(crd)).await
            && !status.is("Conflict")
            && !status.is("NotFound")
        {
            tracing::warn!(%status, name, "the status of a definition");
        }
    }

    /// Deletes a definition's objects; whether none is left.
    async fn empty(&self, crd: &Value) -> bool {
        let kinds = self.made.get(object::meta(crd, "name")).map_or(&[][..], |(_, kinds)| kinds);
        let Some(kind) = kinds.first() else { return true };
        let left = || entries(&self.server, kind);
        for entry in left() {
            let found = object::parse(kind, &entry.value);
            if object::is_deleting(&found) {
                continue;
            }
            let target = target(kind, object::meta(&found, "namespace"), object::meta(&found, "name"));
            let options = Deletion::of(object::meta(&found, "uid")).then(Propagation::Background).body();
            if let Err(status) = self.call(target, Verb::Delete(Some(options))).await {
                tracing::debug!(%status, "an object of a deleted definition");
            }
        }
        left().is_empty()
    }

    async fn call(&self, target: Target, verb: Verb) -> Result<Answer, Status> {
        self.api.call(Call { target, verb, options: Options::default() }).await
    }
}

fn target(kind: &Kind, namespace: &str, name: &str) -> Target {
    let gvr = Gvr::new(&kind.group, &kind.version, &kind.plural);
    Target { gvr, namespace: namespace.into(), name: name.into(), subresource: String::new() }
}
