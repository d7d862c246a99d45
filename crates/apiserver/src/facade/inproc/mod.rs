//! The API without HTTP: [`handle`] is what one identity may do, [`view`] what is read beside the store, [`deltas`] what
//! changes there.
//!
//! Invariant: only [`handle`] writes, and what it does passes the path of every request. Absent: identities of readers;
//! whoever is given a view may see everything.

mod deltas;
mod handle;
mod view;

pub(crate) use handle::Handle;
pub(crate) use view::View;

use client::Object;
use kinds::Kind;
use store::Entry;

use crate::context::object;

/// A stored version as readers in the process see it.
fn as_object(kind: &Kind, entry: &Entry) -> Object {
    let (namespace, name) = object::split_key(&entry.key);
    Object {
        namespace: namespace.into(),
        name: name.into(),
        revision: entry.revision,
        json: object::wire_item(kind, &entry.value),
        facts: entry.facts().clone(),
    }
}
