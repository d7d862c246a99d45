//! Quarantine: what a damaged row becomes when the log is read. A stand-in names the object and says what is wrong, so
//! that one unreadable value neither stops the start nor is lost from sight; like any object it can be replaced or
//! deleted.
//!
//! Invariant: as much of the metadata as can be read is kept (owners and UID above all: what belongs to the object
//! must not look abandoned), everything else is absent and the annotation [`UNREADABLE`] says so; typed readers refuse
//! it. Absent: any repair; the row stays as it is until the object is written or deleted.

use base::facts::UNREADABLE;
use serde::Deserialize as _;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

/// Why a value is no JSON.
pub(crate) fn damage(value: &[u8]) -> Option<serde_json::Error> {
    serde_json::from_slice::<IgnoredAny>(value).err()
}

/// A value in the place of one that cannot be read.
pub(crate) fn stand_in(key: &str, value: &[u8], why: &str) -> Vec<u8> {
    let mut metadata = metadata(value).unwrap_or_default();
    let mut parts = key.rsplit('/');
    let name = parts.next().unwrap_or_default();
    metadata.insert("name".into(), name.into());
    // BUCKET/NAMESPACE/NAME, or BUCKET/NAME.
    if let (Some(namespace), Some(_)) = (parts.next(), parts.next()) {
        metadata.insert("namespace".into(), namespace.into());
    }
    let annotations = metadata.entry("annotations").or_insert_with(|| Value::Object(Map::new()));
    if !annotations.is_object() {
        *annotations = Value::Object(Map::new());
    }
    annotations[UNREADABLE] = why.into();
    metadata.remove("resourceVersion");
    let metadata = Value::Object(metadata);
    format!("{{\"metadata\":{metadata}}}").into_bytes()
}

/// The metadata at the beginning of a value, if the damage is behind it.
fn metadata(value: &[u8]) -> Option<Map<String, Value>> {
    let rest = value.strip_prefix(b"{\"metadata\":")?;
    Map::deserialize(&mut serde_json::Deserializer::from_slice(rest)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_read_is_kept() {
        let damaged = br#"{"metadata":{"name":"p","namespace":"a","uid":"u","labels":{"x":"y"}},"spec":{"#;
        let why = damage(damaged).unwrap().to_string();
        let made: Value = serde_json::from_slice(&stand_in("pods/a/p", damaged, &why)).unwrap();
        let meta = &made["metadata"];
        assert_eq!(
            (&meta["uid"], &meta["labels"]["x"], &meta["namespace"]),
            (&"u".into(), &"y".into(), &"a".into())
        );
        assert!(meta["annotations"][UNREADABLE].as_str().unwrap().contains("EOF"), "{made}");
        assert!(made.get("spec").is_none());
    }

    #[test]
    fn the_key_names_it_where_nothing_else_does() {
        for (key, name, namespace) in [("nodes/n1", "n1", None), ("jobs.batch/a/j", "j", Some("a"))] {
            for value in [&b"\0\0"[..], b"{\"metadata\":{\"na", b"{\"metadata\":{\"annotations\":3}}x"] {
                let made = stand_in(key, value, "why");
                assert!(crate::splice::is_canonical(&made));
                let made: Value = serde_json::from_slice(&made).unwrap();
                assert_eq!(made["metadata"]["name"], name);
                assert_eq!(made["metadata"]["namespace"].as_str(), namespace);
                assert_eq!(made["metadata"]["annotations"][UNREADABLE], "why");
            }
        }
    }

    #[test]
    fn what_is_well_is_left_alone() {
        assert!(damage(br#"{"metadata":{"name":"p"},"data":{"a":"b"}}"#).is_none());
    }
}
