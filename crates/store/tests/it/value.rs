//! Values for tests: canonical objects that carry their own check, so that a torn one is noticed.

use std::fmt::Write as _;

use base::Facts;
use bytes::Bytes;
use store::{Entry, Expect, Op, ReadFacts, Revision, Write};

fn filler(number: u64, bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 20);
    let mut state = number;
    while text.len() < bytes {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        write!(text, "{state:x}").unwrap();
    }
    text.truncate(bytes);
    text
}

/// An object that stands for a number and has about this many bytes.
pub(crate) fn sized(number: u64, bytes: usize) -> Bytes {
    format!(r#"{{"metadata":{{"generation":{number}}},"size":{bytes},"data":"{}"}}"#, filler(number, bytes))
        .into()
}

/// A small object that stands for a number.
pub(crate) fn object(number: u64) -> Bytes {
    sized(number, 10)
}

/// The number that an entry stands for; panics if the entry is torn or not spliced with its own revision.
pub(crate) fn number_of(entry: &Entry) -> u64 {
    let json: serde_json::Value = serde_json::from_slice(&entry.value).expect("JSON");
    let number = json["metadata"]["generation"].as_u64().expect("a number");
    let size = json["size"].as_u64().expect("a size");
    assert_eq!(json["data"].as_str(), Some(&*filler(number, usize::try_from(size).unwrap())), "torn");
    assert_eq!(json["metadata"]["resourceVersion"].as_str(), Some(&*entry.revision.to_string()));
    assert!(entry.value.starts_with(br#"{"metadata":{"resourceVersion":""#));
    number
}

pub(crate) fn put(key: &str, number: u64, expect: Expect) -> Write {
    Write { key: key.into(), expect, op: Op::Put(object(number)) }
}

pub(crate) fn delete(key: &str, revision: Revision) -> Write {
    Write { key: key.into(), expect: Expect::Revision(revision), op: Op::Delete(None) }
}

/// The index key of the objects whose number leaves this rest when it is divided by three.
pub(crate) fn third(rest: u64) -> String {
    format!("third={rest}")
}

/// Reads the metadata, and indexes by [`third`].
pub(crate) fn facts() -> ReadFacts {
    ReadFacts::new(|_, json| {
        let facts = Facts::of_metadata(json).unwrap_or_default();
        let number = serde_json::from_slice(json)
            .ok()
            .and_then(|v: serde_json::Value| v["metadata"]["generation"].as_u64());
        facts.with_keys(number.map(|number| third(number % 3)).into_iter().collect())
    })
}
