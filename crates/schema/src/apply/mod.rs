//! Server-side apply, and the ownership of fields that every write tracks in `metadata.managedFields`.
//!
//! Invariant: a write changes ownership of exactly the fields it changes; an apply owns exactly the fields it names.
//! Deliberately absent: conversion between versions.

mod last_applied;
mod managed;
mod set;
#[cfg(test)]
mod tests;
mod typed;

use serde_json::{Map, Value};

use crate::status::Cause;
use crate::types::TypeRef;
use managed::Entry;
use set::Set;
use typed::{Difference, Place};

/// Who writes, and how.
#[derive(Debug, Clone, Copy)]
pub struct Write<'a> {
    /// `fieldManager`, or the first part of the User-Agent.
    pub manager: &'a str,
    /// Version of the request, e.g. `apps/v1`.
    pub api_version: &'a str,
    /// Kind of the request's object; of a subresource's, where that has a kind of its own.
    pub kind: &'a str,
    /// `status` and so on; empty for the object itself.
    pub subresource: &'a str,
    /// Now, RFC 3339 in whole seconds; empty if it is not told.
    pub time: &'a str,
    /// Dotted paths of fields that this endpoint resets, which are therefore not owned through it: `status` on the
    /// object itself, `spec` on its status.
    pub reset: &'a [&'a str],
}

/// Why an apply failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// 400.
    #[error("{0}")]
    BadRequest(String),
    /// 500: the configuration does not fit the type.
    #[error("{0}")]
    Untyped(String),
    /// 409 with these causes; see [`crate::Status::apply_conflict`].
    #[error("{message}")]
    Conflict {
        /// The whole message.
        message: String,
        /// One cause per field.
        causes: Vec<Cause>,
    },
}

/// Fields that nobody owns.
const UNOWNED: &[&[&str]] = &[
    &["f:apiVersion"],
    &["f:kind"],
    &["f:metadata"],
    &["f:metadata", "f:name"],
    &["f:metadata", "f:namespace"],
    &["f:metadata", "f:creationTimestamp"],
    &["f:metadata", "f:selfLink"],
    &["f:metadata", "f:uid"],
    &["f:metadata", "f:clusterName"],
    &["f:metadata", "f:generation"],
    &["f:metadata", "f:managedFields"],
    &["f:metadata", "f:resourceVersion"],
];

impl Write<'_> {
    fn entry(&self, applied: bool, set: Set) -> Entry {
        Entry {
            manager: self.manager.to_owned(),
            applied,
            api_version: self.api_version.to_owned(),
            subresource: self.subresource.to_owned(),
            time: (!self.time.is_empty()).then(|| self.time.to_owned()),
            set,
        }
    }

    /// Takes out of a set what nobody owns, and what this endpoint resets.
    fn strip(&self, set: &mut Set) {
        strip_unowned(set);
        self.strip_reset(set);
    }

    fn strip_reset(&self, set: &mut Set) {
        for path in self.reset {
            let elements: Vec<String> = path.split('.').map(|p| format!("f:{p}")).collect();
            set.remove_below(&elements.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }

    fn difference(&self, old: &Value, new: &Value, ty: TypeRef<'_>) -> Difference {
        let mut out = Difference::default();
        typed::compare(Some(old), Some(new), Place::root(ty), &mut Vec::new(), &mut out);
        for set in [&mut out.added, &mut out.modified, &mut out.removed] {
            self.strip(set);
        }
        out
    }
}

fn strip_unowned(set: &mut Set) {
    for path in UNOWNED {
        set.remove(path);
    }
}

/// Sets `metadata.managedFields` of an object about to be stored by a create, update or (other) patch. `old` is the
/// stored object, `None` on create; `new` is complete (defaults, admission). As upstream, an object without owners is not
/// tracked until somebody applies, except from its creation on; `[]` or `[{}]` in `new` forgets all owners.
pub fn track(old: Option<&Value>, new: &mut Value, ty: TypeRef<'_>, write: &Write<'_>) {
    let empty = zero(ty);
    let live = old.unwrap_or(&empty);
    let given = new["metadata"].get("managedFields").cloned();
    let reset = write.subresource.is_empty() && given.as_ref().is_some_and(managed::is_reset);
    let from_request =
        if write.subresource.is_empty() { managed::read(new).filter(|e| !e.is_empty()) } else { None };
    let mut entries = match from_request {
        _ if reset => Vec::new(),
        Some(entries) => entries,
        None => managed::read(live).unwrap_or_default(),
    };
    if entries.is_empty() && old.is_some() {
        managed::write(entries, new);
        return;
    }
    take_over(&mut entries, live, new, ty, write);
    managed::write(entries, new);
}

/// An object in which nothing is set: what Go prints of it is nobody's.
fn zero(ty: TypeRef<'_>) -> Value {
    crate::decode::normalise(Value::Object(Map::new()), ty)
        .map_or_else(|_| Value::Object(Map::new()), |d| d.value)
}

/// Gives the fields that changed to the writer.
fn take_over(entries: &mut Vec<Entry>, live: &Value, new: &Value, ty: TypeRef<'_>, write: &Write<'_>) {
    let difference = write.difference(live, new, ty);
    let mut taken = difference.added;
    taken.union(&difference.modified);
    for entry in entries.iter_mut() {
        entry.set.subtract(&taken);
        entry.set.subtract(&difference.removed);
    }
    if taken.is_empty() {
        return;
    }
    let mut own = write.entry(false, taken);
    if let Some(at) = entries.iter().position(|e| e.same_owner(&own)) {
        own.set.union(&entries[at].set);
        entries.remove(at);
    }
    entries.push(own);
}

/// Applies a configuration, as parsed and nothing more (see [`crate::decode::parse`]), to the stored object (`None`:
/// create). The result carries its new `managedFields` and still needs [`crate::decode::normalise`] and defaults; it
/// must not be given to [`track`] again.
///
/// # Errors
/// See [`ApplyError`]. With `force` there are no conflicts.
pub fn apply(
    live: Option<&Value>,
    config: &Value,
    ty: TypeRef<'_>,
    write: &Write<'_>,
    force: bool,
) -> Result<Value, ApplyError> {
    check(config, ty, write)?;
    let empty = Value::Object(Map::new());
    let there = live.is_some();
    let live = live.unwrap_or(&empty);
    let mut entries = managed::read(live).unwrap_or_default();
    if entries.is_empty() && live.as_object().is_some_and(|m| !m.is_empty()) {
        let first = Write { manager: "before-first-apply", ..*write };
        take_over(&mut entries, &empty, live, ty, &first);
    }
    let mut live = live.clone();
    if let Some(meta) = live.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.remove("managedFields");
    }
    let place = Place::root(ty);
    let mut new = typed::merge(Some(&live), Some(config), place);
    let mut set = Set::default();
    typed::set_of(config, place, &mut set);
    write.strip_reset(&mut set);
    let mut own = write.entry(true, set);
    let last = entries.iter().position(|e| e.same_owner(&own)).map(|at| entries.remove(at));
    if let Some(last) = &last {
        // What nobody owns still keeps the fields around it: `metadata` stays while it holds a name.
        prune(&mut new, &last.set, &own.set, &entries, place);
    }
    strip_unowned(&mut own.set);
    let difference = write.difference(&live, &new, ty);
    let mut changed = difference.added;
    changed.union(&difference.modified);
    if !force {
        let mut contested = changed.clone();
        contested.subtract(&last_applied::unchanged(&live, ty, write.manager, write.api_version));
        let owner = |e: &&Entry| e.api_version == write.api_version;
        let conflicts = entries.iter().filter(owner).map(|e| (e, e.set.intersection(&contested)));
        let conflicts: Vec<(&Entry, Set)> = conflicts.filter(|(_, set)| !set.is_empty()).collect();
        if !conflicts.is_empty() {
            return Err(conflict(conflicts));
        }
    }
    for entry in &mut entries {
        entry.set.subtract(&changed);
        entry.set.subtract(&difference.removed);
    }
    // An apply that changes nothing but who owns what leaves its time as it was.
    if there && live == new {
        own.time = last.and_then(|last| last.time);
    }
    entries.push(own);
    if new["metadata"].is_null() {
        new["metadata"] = empty;
    }
    last_applied::keep_in_step(&mut new, config, write.manager);
    managed::write(entries, &mut new);
    Ok(new)
}

fn check(config: &Value, ty: TypeRef<'_>, write: &Write<'_>) -> Result<(), ApplyError> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let version = text(&config["apiVersion"]);
    let kind = text(&config["kind"]);
    // Go prints the empty group's name too.
    let group_version = if version.contains('/') { version.clone() } else { format!("/{version}") };
    if (version.as_str(), kind.as_str()) != (write.api_version, write.kind) {
        return Err(ApplyError::BadRequest(format!("invalid object type: {group_version}, Kind={kind}")));
    }
    let meta = &config["metadata"];
    if meta.get("managedFields").is_some_and(|m| !m.is_null()) {
        return Err(ApplyError::BadRequest("metadata.managedFields must be nil".to_owned()));
    }
    let mut errors = Vec::new();
    typed::errors(config, Place::root(ty), "", &mut errors);
    if errors.is_empty() {
        return Ok(());
    }
    let list = match errors.as_slice() {
        [one] => one.clone(),
        many => format!("errors:\n  {}", many.join("\n  ")),
    };
    let (namespace, name) = (text(&meta["namespace"]), text(&meta["name"]));
    let place = if namespace.is_empty() { format!("/{name}") } else { format!("{namespace}/{name}") };
    Err(ApplyError::Untyped(format!(
        "failed to create typed patch object ({place}; {group_version}, Kind={kind}): {list}"
    )))
}

/// Takes out what the applier set last time and nobody sets any more.
fn prune(new: &mut Value, last: &Set, now: &Set, others: &[Entry], place: Place<'_>) {
    let mut owned = now.clone();
    for entry in others {
        owned.union(&entry.set);
    }
    let mut there = Set::default();
    typed::set_of(new, place, &mut there);
    let mut gone =
        typed::with_named_fields(&there, place).intersection(&typed::with_named_fields(last, place));
    gone.subtract(&typed::with_named_fields(&owned, place));
    typed::remove(new, &gone, place);
}

fn conflict(mut conflicts: Vec<(&Entry, Set)>) -> ApplyError {
    conflicts.sort_by_key(|(entry, _)| entry.shown());
    let mut causes = Vec::new();
    let mut lines = Vec::new();
    for (entry, set) in &conflicts {
        lines.push(format!("conflicts with {}:", entry.shown()));
        for path in set.paths() {
            lines.push(format!("- {path}"));
            causes.push(Cause {
                reason: "FieldManagerConflict".to_owned(),
                message: format!("conflict with {}", entry.shown()),
                field: path,
            });
        }
    }
    let message = match causes.as_slice() {
        [one] => format!("Apply failed with 1 conflict: {}: {}", one.message, one.field),
        many => format!("Apply failed with {} conflicts: {}", many.len(), lines.join("\n")),
    };
    ApplyError::Conflict { message, causes }
}

/// Whether two objects differ in nothing but the times of their `managedFields`.
#[must_use]
pub fn same_but_times(old: &Value, new: &Value) -> bool {
    let without_times = |object: &Value| {
        let mut object = object.clone();
        if let Some(entries) = object.pointer_mut("/metadata/managedFields").and_then(Value::as_array_mut) {
            for entry in entries.iter_mut().filter_map(Value::as_object_mut) {
                entry.remove("time");
            }
        }
        object
    };
    without_times(old) == without_times(new)
}
