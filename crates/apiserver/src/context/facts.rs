//! Which facts the store reads out of objects: those of the metadata, the kind's selectable fields, its index keys, and
//! those by which who is controlled and who controls find each other.
//!
//! Invariant: of a kind that has neither fields nor keys only the metadata is parsed. Absent: what
//! the facts are for, and fields of kinds that are not built in, which offer none yet.

use std::sync::Arc;

use base::Facts;
use base::facts::field_key;
use kinds::Kind;
use kinds::workload::index;
use serde_json::Value;
use store::ReadFacts;

use crate::context::object;

/// What a store of this API server's objects is opened with.
#[must_use]
pub fn read_facts() -> ReadFacts {
    ReadFacts::new(read)
}

/// The kind whose form is stored in a key's bucket.
fn stored_kind(key: &str) -> Option<&'static Arc<Kind>> {
    let (bucket, _) = key.split_once('/')?;
    kinds::built_in().iter().find(|kind| *kind.bucket == *bucket && object::is_native(kind))
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
    let Some(strategy) = stored_kind(key).map(|kind| &kind.strategy) else { return Ok(facts) };
    let (namespace, name) = object::split_key(key);
    let mut all = if strategy.is_claimed() { index::orphan_keys(namespace, &facts) } else { Vec::new() };
    if strategy.is_selected() {
        all.extend(index::label_keys(namespace, &facts));
    }
    let (fields, keys, selector) = (strategy.selectable_fields(), strategy.index_keys(), strategy.selector());
    if fields.is_empty() && keys.is_none() && selector.is_none() {
        return Ok(if all.is_empty() { facts } else { facts.with_keys(all) });
    }
    let obj: Value = serde_json::from_slice(json)?;
    all.extend(keys.into_iter().flat_map(|keys| keys(namespace, name, &obj)));
    all.extend(selector.map(|read| index::claimant_key(namespace, &read(&obj))));
    all.extend(strategy.indexed_fields().iter().map(|field| field_key(field, &strategy.field(&obj, field))));
    let fields = fields.iter().map(|field| ((*field).into(), strategy.field(&obj, field)));
    Ok(facts.with_fields(fields).with_keys(all))
}

#[cfg(test)]
mod tests {
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
