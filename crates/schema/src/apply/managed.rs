//! `metadata.managedFields`: who owns which fields.
//!
//! Invariant: entries are unique by manager, operation, subresource and, of updates, version; none is empty.
//! Deliberately absent: conversion between versions of a group: an entry of another version is kept as it is.

use serde_json::{Value, json};

use super::set::Set;

/// How many update entries an object keeps before the oldest are merged.
const MAX_UPDATES: usize = 10;
const ANCIENT: &str = "ancient-changes";

/// One entry.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) manager: String,
    pub(super) applied: bool,
    pub(super) api_version: String,
    pub(super) subresource: String,
    pub(super) time: Option<String>,
    pub(super) set: Set,
}

impl Entry {
    pub(super) fn same_owner(&self, other: &Entry) -> bool {
        self.manager == other.manager
            && self.applied == other.applied
            && self.subresource == other.subresource
            && (self.applied || self.api_version == other.api_version)
    }

    /// As a conflict names it: `"m" with subresource "status" using v1`. Its time is no part of the name.
    pub(super) fn shown(&self) -> String {
        let mut out = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            out += &format!(" with subresource {:?}", self.subresource);
        }
        if !self.applied {
            out += &format!(" using {}", self.api_version);
        }
        out
    }
}

/// Whether a client asks to forget all owners: `[]` or `[{}]`.
pub(super) fn is_reset(managed: &Value) -> bool {
    managed.as_array().is_some_and(|list| match list.as_slice() {
        [] => true,
        [only] => only.as_object().is_some_and(serde_json::Map::is_empty),
        _ => false,
    })
}

/// Reads the entries of an object; `None` if they are malformed.
pub(super) fn read(object: &Value) -> Option<Vec<Entry>> {
    let Some(list) = object["metadata"].get("managedFields") else { return Some(Vec::new()) };
    list.as_array()?.iter().map(read_entry).collect()
}

fn read_entry(entry: &Value) -> Option<Entry> {
    let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let applied = match text("operation").as_str() {
        "Apply" => true,
        "Update" => false,
        _ => return None,
    };
    if !["", "FieldsV1"].contains(&text("fieldsType").as_str()) {
        return None;
    }
    let set = match entry.get("fieldsV1") {
        Some(fields) => Set::from_fields(fields)?,
        None => Set::default(),
    };
    Some(Entry {
        manager: text("manager"),
        applied,
        api_version: text("apiVersion"),
        subresource: text("subresource"),
        time: entry.get("time").and_then(Value::as_str).map(str::to_owned),
        set,
    })
}

/// Writes the entries into an object, sorted and capped.
pub(super) fn write(mut entries: Vec<Entry>, object: &mut Value) {
    entries.retain(|e| !e.set.is_empty());
    cap(&mut entries);
    entries.sort_by(|a, b| {
        (!a.applied, &a.time, &a.manager, &a.api_version, &a.subresource).cmp(&(
            !b.applied,
            &b.time,
            &b.manager,
            &b.api_version,
            &b.subresource,
        ))
    });
    let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    if entries.is_empty() {
        meta.remove("managedFields");
        return;
    }
    meta.insert("managedFields".to_owned(), entries.iter().map(written).collect());
}

fn written(entry: &Entry) -> Value {
    let mut out = json!({
        "manager": entry.manager,
        "operation": if entry.applied { "Apply" } else { "Update" },
        "apiVersion": entry.api_version,
        "fieldsType": "FieldsV1",
        "fieldsV1": entry.set.to_fields(),
    });
    if let Some(time) = &entry.time {
        out["time"] = time.as_str().into();
    }
    if !entry.subresource.is_empty() {
        out["subresource"] = entry.subresource.as_str().into();
    }
    out
}

/// Merges the oldest update entries, per version, into one of `ancient-changes`.
fn cap(entries: &mut Vec<Entry>) {
    let mut updates: Vec<Entry> = entries.iter().filter(|e| !e.applied).cloned().collect();
    if updates.len() <= MAX_UPDATES {
        return;
    }
    updates.sort_by(|a, b| (&a.time, &a.manager).cmp(&(&b.time, &b.manager)));
    let mut kept: Vec<Entry> = entries.iter().filter(|e| e.applied).cloned().collect();
    let mut buckets: Vec<Entry> = Vec::new();
    let mut left = updates.len();
    for mut entry in updates {
        if left <= MAX_UPDATES {
            kept.push(entry);
            continue;
        }
        match buckets.iter_mut().find(|b| b.api_version == entry.api_version) {
            Some(bucket) => {
                bucket.set.union(&entry.set);
                bucket.time = entry.time;
                left -= 1;
            }
            None => {
                entry.manager = ANCIENT.to_owned();
                entry.subresource = String::new();
                buckets.push(entry);
            }
        }
    }
    kept.extend(buckets);
    *entries = kept;
}
