//! Which facts the store reads out of objects: those of the metadata, the kind's selectable fields, its index keys, and
//! those by which who is controlled and who controls find each other.
//!
//! Invariants: of a kind that has neither fields nor keys only the metadata is parsed; what whoever writes an object knows of it
//! is what its bytes would say. Absent: what the facts are for, and fields of kinds that are not built in, which offer none yet.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use base::Facts;
use base::facts::field_key;
use kinds::workload::index;
use kinds::{Kind, Strategy};
use serde_json::Value;
use store::{Entry, ReadFacts, Store, StoreError, Write};

use crate::context::object;

/// What a store of this API server's objects is opened with.
#[must_use]
pub fn read_facts() -> ReadFacts {
    ReadFacts::new(read)
}

/// The kind whose form is stored in a key's bucket.
fn stored_kind(key: &str) -> Option<&'static Arc<Kind>> {
    static BY_BUCKET: LazyLock<HashMap<&str, &Arc<Kind>>> = LazyLock::new(|| {
        let mut found = HashMap::new();
        for kind in kinds::built_in().iter().filter(|kind| object::is_native(kind)) {
            found.entry(&*kind.bucket).or_insert(kind);
        }
        found
    });
    BY_BUCKET.get(key.split_once('/')?.0).copied()
}

/// The facts of an object of this kind whose stored form is about to be written, if that is its own form.
pub(crate) fn of(kind: &Kind, key: &str, obj: &Value) -> Option<Facts> {
    let facts = || Facts::of_parsed(&obj["metadata"]);
    object::is_native(kind).then(|| match stored_kind(key) {
        Some(kind) => complete(&*kind.strategy, key, facts(), obj),
        None => facts(),
    })
}

/// Commits a write with the facts of what it stores, if they are known.
pub(crate) async fn commit(
    store: &dyn Store,
    write: Write,
    facts: Option<Facts>,
) -> Result<Arc<Entry>, StoreError> {
    match facts {
        Some(facts) => store.commit_known(write, facts).await,
        None => store.commit(write).await,
    }
}

fn read(key: &str, json: &[u8]) -> Facts {
    match try_read(key, json) {
        Ok(facts) => facts,
        Err(error) => {
            tracing::error!(%error, key, "a stored object cannot be read: no selector and no index has it");
            Facts::default()
        }
    }
}

fn try_read(key: &str, json: &[u8]) -> Result<Facts, serde_json::Error> {
    let facts = Facts::of_metadata(json)?;
    let Some(kind) = stored_kind(key) else { return Ok(facts) };
    let strategy = &*kind.strategy;
    let asks_more = !strategy.selectable_fields().is_empty()
        || strategy.index_keys().is_some()
        || strategy.selector().is_some();
    let obj = if asks_more { serde_json::from_slice(json)? } else { Value::Null };
    Ok(complete(strategy, key, facts, &obj))
}

/// Adds what a kind tells of its own to what the metadata says.
fn complete(strategy: &dyn Strategy, key: &str, facts: Facts, obj: &Value) -> Facts {
    let (namespace, name) = object::split_key(key);
    let mut all = if strategy.is_claimed() { index::orphan_keys(namespace, &facts) } else { Vec::new() };
    if strategy.is_selected() {
        all.extend(index::label_keys(namespace, &facts));
    }
    all.extend(strategy.index_keys().into_iter().flat_map(|keys| keys(namespace, name, obj)));
    all.extend(strategy.selector().map(|read| index::claimant_key(namespace, &read(obj))));
    all.extend(strategy.indexed_fields().iter().map(|field| field_key(field, &strategy.field(obj, field))));
    let fields =
        strategy.selectable_fields().iter().map(|field| ((*field).into(), strategy.field(obj, field)));
    facts.with_fields(fields).with_keys(all)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn of_kinds_with_and_without_fields() {
        let pod = br#"{"metadata":{"name":"p","namespace":"n","labels":{"a":"b"}},
            "spec":{"nodeName":"n1","volumes":[{"name":"v","configMap":{"name":"c"}}]},"status":{"phase":"Running"}}"#;
        let facts = read("pods/n/p", pod);
        assert_eq!((facts.field("status.phase"), facts.field("spec.nodeName")), ("Running", "n1"));
        assert_eq!((facts.field("status.podIP"), facts.label("a")), ("", Some("b")));
        assert!(facts.has_key("spec.nodeName=n1") && facts.has_key("configmaps=n/c/n1"));
        let facts = read("configmaps/n/c", br#"{"metadata":{"name":"c"},"data":{"k":"v"}}"#);
        assert_eq!(facts, Facts::default());
        assert_eq!(read("pods/n/p", b"{\"metadata\":{"), Facts::default());
    }

    #[test]
    fn what_is_about_to_be_written_is_not_read_again() {
        let pod = json!({"metadata": {"name": "p", "namespace": "n", "labels": {"a": "b"}, "ownerReferences": [
            {"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "u", "controller": true}]},
            "spec": {"nodeName": "n1", "volumes": [{"name": "v", "secret": {"secretName": "s"}}]},
            "status": {"phase": "Running"}});
        let set = json!({"metadata": {"name": "r", "namespace": "n", "uid": "x"},
            "spec": {"selector": {"matchLabels": {"a": "b"}}}, "status": {"replicas": 2}});
        let other = json!({"metadata": {"name": "o", "finalizers": ["f"]}});
        for (version, kind, bucket, object) in [
            ("v1", "Pod", "pods/n/p", &pod),
            ("v1", "ReplicationController", "replicationcontrollers/n/r", &set),
            ("apps/v1", "ReplicaSet", "replicasets.apps/n/r", &set),
            ("v1", "Event", "events/n/o", &other),
            ("v1", "ConfigMap", "configmaps/n/o", &other),
            ("v1", "Node", "nodes/o", &other),
            ("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets.policy/n/r", &set),
        ] {
            let kind = kinds::built_in().by_kind(version, kind).unwrap();
            let want = read(bucket, &object::stored(kind, object));
            assert_eq!(of(kind, bucket, object), Some(want), "{bucket}");
        }
        let shown = kinds::built_in().by_resource("events.k8s.io", "v1", "events").unwrap();
        assert_eq!(of(shown, "events/n/o", &other), None, "its stored form is another's");
    }

    /// The fields of an Event are the same under the names of either group.
    #[test]
    fn of_a_kind_with_two_forms() {
        let facts = read(
            "events/n/e",
            br#"{"metadata":{"name":"e"},"reason":"R","reportingComponent":"c","involvedObject":{"kind":"Pod"}}"#,
        );
        let kind = kinds::built_in().by_resource("events.k8s.io", "v1", "events").unwrap();
        for (field, want) in
            [("reason", "R"), ("reportingController", "c"), ("regarding.kind", "Pod"), ("type", "")]
        {
            assert_eq!(facts.field(&kind.strategy.stored_field(field)), want, "{field}");
        }
    }
}
