//! Which node may read what because a Pod bound to it says so: an index, kept from the Pods' events.
//!
//! Invariants: an answer is as fresh as the store at the moment of the question, because the events since the last one
//! are taken in first; no question parses a Pod that it or an earlier one has already taken in. A mirror Pod relates
//! its node to itself only, or a node could write itself rights. Absent: claims' volumes and their Secrets, until those
//! kinds are served.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use serde::Deserialize;
use serde_json::Value;
use store::{Entry, Event, RangeQuery, Store, StoreError, Watcher};

use crate::admission::MIRROR;
use crate::object;

/// The index beside a store.
pub(super) struct Relations {
    store: Arc<dyn Store>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    index: Index,
    /// `None` before the first question and after a lost position: everything is taken in anew.
    cursor: Option<Box<dyn Watcher>>,
}

impl Relations {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, state: Mutex::default() }
    }

    /// Whether a Pod bound to the node is that object or names it. `plural` is of the core group.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub(super) fn has(
        &self,
        node: &str,
        plural: &str,
        namespace: &str,
        name: &str,
    ) -> Result<bool, StoreError> {
        // Nothing panics while it holds the lock.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.catch_up(self.store.as_ref())?;
        Ok(state.index.has(node, &format!("{plural}/{namespace}/{name}")))
    }
}

impl State {
    fn catch_up(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        while let Some(cursor) = &mut self.cursor {
            // Only what is there already; a dropped future loses nothing.
            match cursor.next().now_or_never() {
                Some(Ok(events)) => events.iter().for_each(|event| self.index.take(event)),
                Some(Err(error)) => {
                    tracing::debug!(%error, "the relations of nodes are read anew");
                    self.cursor = None;
                }
                None => return Ok(()),
            }
        }
        let kind = &*kinds::pod::KIND;
        let page = store.range(&RangeQuery { prefix: &object::prefix(kind, ""), ..RangeQuery::default() })?;
        self.cursor = Some(store.watch(&kind.bucket, page.revision)?);
        self.index = Index::default();
        page.entries.iter().for_each(|entry| self.index.put(entry));
        Ok(())
    }
}

/// What of a Pod says who may read what; the status, its largest part, is skipped.
#[derive(Deserialize)]
struct Bound {
    #[serde(default)]
    metadata: BoundMeta,
    #[serde(default)]
    spec: Value,
}

#[derive(Default, Deserialize)]
struct BoundMeta {
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// A bound Pod's edges.
struct Edges {
    node: Arc<str>,
    /// `PLURAL/NAMESPACE/NAME`, the Pod itself among them, each once.
    objects: Vec<Arc<str>>,
}

#[derive(Default)]
struct Index {
    /// By the Pod's key.
    pods: HashMap<Arc<str>, Edges>,
    /// How many of a node's Pods name an object.
    nodes: HashMap<Arc<str>, HashMap<Arc<str>, usize>>,
}

impl Index {
    fn has(&self, node: &str, object: &str) -> bool {
        self.nodes.get(object).is_some_and(|nodes| nodes.contains_key(node))
    }

    fn take(&mut self, event: &Event) {
        if event.deleted {
            self.remove(&event.entry.key);
        } else {
            self.put(&event.entry);
        }
    }

    fn put(&mut self, entry: &Entry) {
        self.remove(&entry.key);
        let Some(edges) = edges(entry) else { return };
        for object in &edges.objects {
            *self.nodes.entry(object.clone()).or_default().entry(edges.node.clone()).or_default() += 1;
        }
        self.pods.insert(entry.key.clone(), edges);
    }

    fn remove(&mut self, key: &str) {
        let Some(edges) = self.pods.remove(key) else { return };
        for object in &edges.objects {
            let Some(nodes) = self.nodes.get_mut(object) else { continue };
            if let Some(count) = nodes.get_mut(&edges.node) {
                *count -= 1;
                if *count == 0 {
                    nodes.remove(&edges.node);
                }
            }
            if nodes.is_empty() {
                self.nodes.remove(object);
            }
        }
    }
}

/// `None` for a Pod without a node.
fn edges(entry: &Entry) -> Option<Edges> {
    let pod: Bound =
        serde_json::from_slice(&entry.value).expect("the store holds what this crate serialized");
    let node = pod.spec["nodeName"].as_str().filter(|n| !n.is_empty())?;
    let (namespace, name) = object::split_key(&entry.key);
    let mut objects = vec![format!("pods/{namespace}/{name}")];
    if !pod.metadata.annotations.contains_key(MIRROR) {
        let named = kinds::pod::references::of(&pod.spec);
        objects.extend(named.iter().map(|r| format!("{}/{namespace}/{}", r.plural, r.name)));
        let claims = kinds::pod::references::ephemeral_claims(name, &pod.spec);
        objects.extend(claims.iter().map(|c| format!("persistentvolumeclaims/{namespace}/{c}")));
    }
    objects.sort_unstable();
    objects.dedup();
    Some(Edges { node: node.into(), objects: objects.into_iter().map(Arc::from).collect() })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;

    fn event(name: &str, node: &str, secret: &str, annotations: Value) -> Event {
        let value = json!({"metadata": {"annotations": annotations}, "status": {"phase": "Running"},
            "spec": {"nodeName": node, "serviceAccountName": "a", "imagePullSecrets": [{"name": secret}],
                "volumes": [{"name": "e", "ephemeral": {}}, {"name": "s", "secret": {"secretName": secret}}]}});
        let entry = Entry {
            key: format!("pods/n/{name}").into(),
            revision: 1,
            value: Bytes::from(value.to_string()),
            protobuf: std::sync::OnceLock::new(),
        };
        Event { entry: Arc::new(entry), previous: None, deleted: false }
    }

    #[test]
    fn edges_come_and_go_with_their_pods() {
        let mut index = Index::default();
        let plain = json!({});
        let check = |index: &Index, wanted: &[(&str, &str)]| {
            for object in ["secrets/n/s", "secrets/n/t", "pods/n/p", "serviceaccounts/n/a"] {
                for node in ["n1", "n2"] {
                    assert_eq!(index.has(node, object), wanted.contains(&(node, object)), "{node} {object}");
                }
            }
        };
        index.take(&event("p", "", "s", plain.clone()));
        check(&index, &[]);
        index.take(&event("p", "n1", "s", plain.clone()));
        index.take(&event("q", "n1", "s", plain.clone()));
        let all = [("n1", "secrets/n/s"), ("n1", "pods/n/p"), ("n1", "serviceaccounts/n/a")];
        check(&index, &all);
        assert!(index.has("n1", "persistentvolumeclaims/n/p-e"));
        index.take(&event("p", "n1", "t", plain.clone()));
        check(&index, &[&all[..], &[("n1", "secrets/n/t")]].concat());
        let gone = |name| Event { deleted: true, ..event(name, "n1", "s", plain.clone()) };
        index.take(&gone("q"));
        check(&index, &[("n1", "secrets/n/t"), all[1], all[2]]);
        index.take(&event("p", "n2", "t", json!({MIRROR: "h"})));
        check(&index, &[("n2", "pods/n/p")]);
        index.take(&gone("p"));
        assert!(index.nodes.is_empty() && index.pods.is_empty());
    }
}
