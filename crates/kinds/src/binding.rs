//! Binding: a request to bind a Pod to a node; never stored.

use serde_json::Value;

use crate::field::{ErrorList, Path};
use crate::kind::{CREATE_ONLY, Kind, Strategy};
use crate::value::text;

/// The row.
pub static KIND: Kind = Kind {
    group: "",
    version: "v1",
    kind: "Binding",
    plural: "bindings",
    singular: "binding",
    short_names: &[],
    categories: &[],
    namespaced: true,
    subresources: &[],
    verbs: CREATE_ONLY,
    bucket: "",
    storage_version_hash: "",
    create_on_update: false,
    unconditional_update: false,
    delete_returns_object: false,
    strategy: &Binding,
};

/// Its behaviour.
#[derive(Debug)]
pub struct Binding;

impl Strategy for Binding {
    fn validate(&self, obj: &Value) -> ErrorList {
        let mut errors = ErrorList::default();
        let (target, path) = (&obj["target"], Path::new("target"));
        if !matches!(text(&target["kind"]), "" | "Node") {
            errors.not_supported(&path.child("kind"), target["kind"].clone(), &["Node", "<empty>"]);
        }
        if text(&target["name"]).is_empty() {
            errors.required(&path.child("name"), "");
        }
        errors
    }
}
