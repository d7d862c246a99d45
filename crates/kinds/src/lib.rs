//! Everything about each API kind: defaults, validation, table columns, update strategy, reconcile.
//!
//! Invariants: pure (no clock, no I/O, no randomness: they are arguments); one static table of kinds is the only list.
//! Deliberately absent: storage, HTTP, what several kinds do together (admission), and
//! what names no kind (`schema`).

pub mod binding;
pub mod configmap;
pub mod event;
pub mod job;
pub mod kind;
pub mod lease;
pub mod meta;
pub mod namespace;
pub mod node;
pub mod openapi;
pub mod plan;
pub mod pod;
pub mod pod_security;
pub mod podtemplate;
pub mod review;
pub mod runtimeclass;
pub mod secret;
pub mod serviceaccount;
#[cfg(test)]
mod tests;
pub mod view;

use ::schema::value;
pub use ::schema::{apply, columns, decode, field, names, patch, protobuf, status, types as schema};
pub use field::{ErrorList, ErrorType, FieldError, Path};
pub use kind::{Column, Endpoint, Kind, NameRule, Strategy, Subresource};
pub use status::Status;

/// The table of kinds: groups in the order discovery lists them, core first; plurals in alphabetical order.
pub static KINDS: &[&Kind] = &[
    &binding::KIND,
    &configmap::KIND,
    &event::KIND,
    &namespace::KIND,
    &node::KIND,
    &pod::KIND,
    &podtemplate::KIND,
    &secret::KIND,
    &serviceaccount::KIND,
    &event::EVENTS_KIND,
    &review::SELF_SUBJECT_REVIEW,
    &review::TOKEN_REVIEW,
    &review::LOCAL_SUBJECT_ACCESS_REVIEW,
    &review::SELF_SUBJECT_ACCESS_REVIEW,
    &review::SELF_SUBJECT_RULES_REVIEW,
    &review::SUBJECT_ACCESS_REVIEW,
    &job::KIND,
    &lease::KIND,
    &runtimeclass::KIND,
];

/// The kind served at a path.
#[must_use]
pub fn by_resource(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    KINDS.iter().copied().find(|k| k.group == group && k.version == version && k.plural == plural)
}

/// The kind of a manifest.
#[must_use]
pub fn by_kind(api_version: &str, kind: &str) -> Option<&'static Kind> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    KINDS.iter().copied().find(|k| k.group == group && k.version == version && k.kind == kind)
}
