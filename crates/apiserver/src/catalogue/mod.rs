//! What the kinds that are served look like from outside: which of them a path names, and the documents of discovery.
//!
//! Invariant: derived from a `kinds::Catalogue` alone. Absent: who changes the catalogue (`facade::custom`).

pub(crate) mod discovery;
pub(crate) mod lookup;
