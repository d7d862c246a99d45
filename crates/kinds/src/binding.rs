//! Binding: a request to bind a Pod to a node; never stored.

use serde_json::Value;

use crate::field::{ErrorList, Path};
use crate::kind::{Kind, Row, Strategy};
use crate::value::text;

/// The row.
pub static KIND: Row =
    Row::new(|| Kind::new(["", "v1"], ["Binding", "bindings"], Binding).answered().build());

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
