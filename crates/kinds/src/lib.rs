//! Everything about each API kind: schema, defaults, validation, table columns, update strategy, reconcile.
//!
//! Invariants: pure (no clock, no I/O, no randomness: they are arguments); one static table of kinds is the only list.
//! Deliberately absent: storage, HTTP, what several kinds do together (admission).

pub mod field;
pub mod kind;
pub mod status;

pub use field::{ErrorList, ErrorType, FieldError};
pub use kind::{Column, Endpoint, Kind, NameRule, Strategy, Subresource};
pub use status::Status;

/// The table of kinds, core group first.
pub static KINDS: &[&Kind] = &[];

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
