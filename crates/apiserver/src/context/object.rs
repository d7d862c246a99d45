//! Objects between their forms: stored bytes, wire bytes, JSON value.
//!
//! Invariant: the stored form begins with `{"metadata":{` and holds neither apiVersion, kind nor resourceVersion; the
//! wire form is the stored bytes with apiVersion and kind put in front, never parsed. Kinds whose stored form belongs
//! to another served version (events.k8s.io) are the one exception: they are converted.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base::Timestamp;
use bytes::{BufMut, Bytes, BytesMut};
use kinds::Kind;
use kinds::rules::phase::is_finished;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use store::{Entry, Op};

/// The wall clock.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_epoch(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// The key of one object.
pub(crate) fn key(kind: &Kind, namespace: &str, name: &str) -> Arc<str> {
    if kind.namespaced {
        format!("{}/{namespace}/{name}", kind.bucket).into()
    } else {
        format!("{}/{name}", kind.bucket).into()
    }
}

/// The prefix of a collection; an empty namespace is all of them.
pub(crate) fn prefix(kind: &Kind, namespace: &str) -> String {
    if kind.namespaced && !namespace.is_empty() {
        format!("{}/{namespace}/", kind.bucket)
    } else {
        format!("{}/", kind.bucket)
    }
}

/// Namespace (may be empty) and name of a key.
pub(crate) fn split_key(key: &str) -> (&str, &str) {
    let rest = key.split_once('/').map_or(key, |(_, rest)| rest);
    rest.split_once('/').unwrap_or(("", rest))
}

/// Whether the stored form is this kind's own served form.
pub(crate) fn is_native(kind: &Kind) -> bool {
    kind.stored_as.is_none()
}

/// `{"kind":"Pod","apiVersion":"v1",` or, without a head (items of lists), `{`, before the stored bytes.
fn spliced(kind: &Kind, value: &[u8]) -> Bytes {
    let head = format!("{{\"kind\":\"{}\",\"apiVersion\":\"{}\",", kind.kind, kind.api_version());
    let mut out = BytesMut::with_capacity(head.len() + value.len());
    out.put_slice(head.as_bytes());
    out.put_slice(&value[1..]);
    out.freeze()
}

/// The JSON of one object as a GET answers it.
pub(crate) fn wire(kind: &Kind, value: &Bytes) -> Bytes {
    if is_native(kind) { spliced(kind, value) } else { Bytes::from(parse(kind, value).to_string()) }
}

/// The JSON of one object inside a list: built-in items carry no kind and apiVersion.
pub(crate) fn wire_item(kind: &Kind, value: &Bytes) -> Bytes {
    if is_native(kind) {
        return value.clone();
    }
    let mut parsed = parse(kind, value);
    if let Some(map) = parsed.as_object_mut() {
        map.remove("kind");
        map.remove("apiVersion");
    }
    Bytes::from(parsed.to_string())
}

/// Stored bytes (with resourceVersion) as a value of the served version, with apiVersion and kind.
pub(crate) fn parse(kind: &Kind, value: &[u8]) -> Value {
    let mut parsed: Value =
        serde_json::from_slice(value).expect("the store holds what this crate serialized");
    if !is_native(kind) {
        kind.strategy.from_stored(&mut parsed);
    }
    set_type(&mut parsed, kind);
    parsed
}

/// Sets apiVersion and kind.
pub(crate) fn set_type(value: &mut Value, kind: &Kind) {
    if let Some(map) = value.as_object_mut() {
        map.insert("kind".into(), kind.kind.as_str().into());
        map.insert("apiVersion".into(), kind.api_version().into());
    }
}

/// The stored form of a value of the served version.
pub(crate) fn stored(kind: &Kind, value: &Value) -> Bytes {
    if is_native(kind) {
        return written(value);
    }
    let mut value = value.clone();
    kind.strategy.to_stored(&mut value);
    written(&value)
}

/// An object without what the store adds or the key says, metadata first.
fn written(value: &Value) -> Bytes {
    let mut out = Vec::with_capacity(1024);
    out.extend_from_slice(b"{\"metadata\":{");
    let meta = value.get("metadata").and_then(Value::as_object);
    put_fields(&mut out, meta, &["resourceVersion", "selfLink"]);
    out.push(b'}');
    let rest = value.as_object().filter(|map| map.keys().any(|field| !APART.contains(&field.as_str())));
    if rest.is_some() {
        out.push(b',');
        put_fields(&mut out, rest, APART);
    }
    out.push(b'}');
    Bytes::from(out)
}

/// What is written first, or not at all.
const APART: &[&str] = &["metadata", "apiVersion", "kind"];

/// The fields of a map but these, with commas between them.
fn put_fields(out: &mut Vec<u8>, map: Option<&Map<String, Value>>, without: &[&str]) {
    let mut first = true;
    for (field, value) in map.into_iter().flatten().filter(|(field, _)| !without.contains(&field.as_str())) {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        put_text(out, field);
        out.push(b':');
        put_value(out, value);
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a Vec takes everything and a text is JSON");
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    serde_json::to_writer(out, value).expect("a Vec takes everything and a Value has only text keys");
}

/// Stored bytes without their `resourceVersion`, for comparing with a new stored form.
pub(crate) fn without_revision(entry: &Entry) -> Bytes {
    let head = format!("{{\"metadata\":{{\"resourceVersion\":\"{}\"", entry.revision);
    let rest = &entry.value[head.len()..];
    let rest = rest.strip_prefix(b",").unwrap_or(rest);
    let mut out = BytesMut::with_capacity(entry.value.len());
    out.put_slice(b"{\"metadata\":{");
    out.put_slice(rest);
    out.freeze()
}

/// The entry's bytes with another resourceVersion: what a watcher sees of an object that ceased to match.
pub(crate) fn with_revision(entry: &Entry, revision: u64) -> Bytes {
    let head = format!("{{\"metadata\":{{\"resourceVersion\":\"{}\"", entry.revision);
    let mut out = BytesMut::with_capacity(entry.value.len() + 8);
    out.put_slice(format!("{{\"metadata\":{{\"resourceVersion\":\"{revision}\"").as_bytes());
    out.put_slice(&entry.value[head.len()..]);
    out.freeze()
}

/// `metadata` as it stands, unparsed.
pub(crate) fn raw_metadata(value: &[u8]) -> &serde_json::value::RawValue {
    #[derive(Deserialize)]
    struct Raw<'a> {
        #[serde(borrow)]
        metadata: &'a serde_json::value::RawValue,
    }
    let raw: Raw<'_> = serde_json::from_slice(value).expect("the store holds what this crate serialized");
    raw.metadata
}

/// Text at a field of metadata, empty if absent.
pub(crate) fn meta<'a>(obj: &'a Value, field: &str) -> &'a str {
    obj["metadata"][field].as_str().unwrap_or_default()
}

/// Whether an object names the version that it is about; `0` is none (upstream: `ObjectResourceVersion`).
pub(crate) fn asks_version(obj: &Value) -> bool {
    !matches!(meta(obj, "resourceVersion"), "" | "0")
}

/// `metadata` for change; made if absent.
pub(crate) fn meta_mut(obj: &mut Value) -> &mut Map<String, Value> {
    if !obj.is_object() {
        *obj = json!({});
    }
    let map = obj.as_object_mut().expect("made above");
    let slot = map.entry("metadata").or_insert_with(|| json!({}));
    if !slot.is_object() {
        *slot = json!({});
    }
    slot.as_object_mut().expect("made above")
}

/// Finalizers.
pub(crate) fn finalizers(obj: &Value) -> Vec<&str> {
    obj["metadata"]["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// Whether deletion has begun.
pub(crate) fn is_deleting(obj: &Value) -> bool {
    obj["metadata"]["deletionTimestamp"].is_string()
}

/// Writes `bytes`, the stored form of `obj`: what is about to free something may spend the store's reserve.
pub(crate) fn put(kind: &Kind, obj: &Value, bytes: Bytes) -> Op {
    if ends(kind, obj) { Op::Ending(bytes) } else { Op::Put(bytes) }
}

/// Whether an object is on its way out: being deleted, or a Pod that has ended or is being evicted.
fn ends(kind: &Kind, obj: &Value) -> bool {
    let ended = || obj["status"]["phase"].as_str().is_some_and(is_finished);
    let evicted = || {
        let mut conditions = obj["status"]["conditions"].as_array().into_iter().flatten();
        conditions.any(|c| c["type"] == "DisruptionTarget" && c["status"] == "True")
    };
    is_deleting(obj) || (kind.is(&kinds::pod::KIND) && (ended() || evicted()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(revision: u64, value: &str) -> Entry {
        let key = "configmaps/a/b".into();
        Entry::new(key, revision, Bytes::from(value.to_owned()), &crate::read_facts())
    }

    #[test]
    fn what_may_spend_the_reserve() {
        let target = json!([{"type": "DisruptionTarget", "status": "True"}]);
        for (kind, object, want) in [
            ("Pod", json!({"metadata": {"finalizers": ["a"]}, "status": {"phase": "Running"}}), false),
            ("Pod", json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}), true),
            ("Pod", json!({"metadata": {}, "status": {"phase": "Failed"}}), true),
            ("Pod", json!({"metadata": {}, "status": {"conditions": target}}), true),
            ("ConfigMap", json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}), true),
            ("Namespace", json!({"metadata": {}, "status": {"phase": "Failed"}}), false),
        ] {
            let kind = kinds::built_in().by_kind("v1", kind).unwrap();
            let op = put(kind, &object, stored(kind, &object));
            assert_eq!(op.may_spend_reserve(), want, "{object}");
        }
    }

    #[test]
    fn forms_agree() {
        let kind = kinds::built_in().by_kind("v1", "ConfigMap").unwrap();
        let object = json!({"kind": "ConfigMap", "apiVersion": "v1", "data": {"k": "v"},
            "metadata": {"name": "b", "namespace": "a", "resourceVersion": "7"}});
        let bytes = stored(kind, &object);
        assert_eq!(&bytes[..], br#"{"metadata":{"name":"b","namespace":"a"},"data":{"k":"v"}}"#);
        let spliced =
            entry(7, r#"{"metadata":{"resourceVersion":"7","name":"b","namespace":"a"},"data":{"k":"v"}}"#);
        assert_eq!(without_revision(&spliced), bytes);
        assert_eq!(parse(kind, &spliced.value), object);
        let again: Value = serde_json::from_slice(&wire(kind, &spliced.value)).unwrap();
        assert_eq!(again, object);
        assert!(with_revision(&spliced, 12).starts_with(br#"{"metadata":{"resourceVersion":"12","name""#));
        assert_eq!(
            raw_metadata(&spliced.value).get(),
            r#"{"resourceVersion":"7","name":"b","namespace":"a"}"#
        );
        assert_eq!(split_key("configmaps/a/b"), ("a", "b"));
        assert_eq!(split_key("nodes/n"), ("", "n"));
    }
}
