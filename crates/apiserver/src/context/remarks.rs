//! What is said beside an answer: `Warning` headers for the client, notes for the auditor.
//!
//! Invariant: texts are distinct and in the order in which they were said. A panic while one is added leaves the others.
//! Absent: how they are sent (`http::respond`, `audit`).

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The remarks of one call.
#[derive(Debug, Default)]
pub(crate) struct Remarks {
    warnings: Mutex<Vec<String>>,
    notes: Mutex<BTreeMap<String, String>>,
}

fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Remarks {
    /// Adds a `Warning` header.
    pub(crate) fn warn(&self, text: impl Into<String>) {
        let (text, mut warnings) = (text.into(), held(&self.warnings));
        if !warnings.contains(&text) {
            warnings.push(text);
        }
    }

    /// Tells the auditor.
    pub(crate) fn note(&self, key: String, text: String) {
        held(&self.notes).insert(key, text);
    }

    /// All warnings so far.
    pub(crate) fn warnings(&self) -> Vec<String> {
        held(&self.warnings).clone()
    }

    /// All notes so far; upstream's audit annotations.
    pub(crate) fn notes(&self) -> BTreeMap<String, String> {
        held(&self.notes).clone()
    }
}
