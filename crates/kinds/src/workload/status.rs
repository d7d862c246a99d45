//! A workload's status: numbers as the API writes them, and the write itself.
//!
//! Invariant: what is written is exactly what would be stored, so a status that says nothing new is not written again.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::kind::Kind;
use crate::plan::{Action, Write};
use crate::value::text;

/// A status in the making.
#[derive(Debug, Default)]
pub struct Status(Map<String, Value>);

impl Status {
    /// A number that is left out if it is zero.
    pub fn number(&mut self, field: &str, number: impl Into<i64>) {
        let number = number.into();
        if number != 0 {
            self.set(field, json!(number));
        }
    }

    /// A field as it is; nothing if it is null or an empty list.
    pub fn set(&mut self, field: &str, value: Value) {
        if !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty()) {
            self.0.insert(field.to_owned(), value);
        }
    }

    /// The write that makes it the object's status; nothing if it is already.
    #[must_use]
    pub fn write(self, kind: &Arc<Kind>, stored: &Value) -> Option<Write> {
        let status = Value::Object(self.0);
        if stored["status"] == status {
            return None;
        }
        let mut object = stored.clone();
        object["apiVersion"] = json!(kind.api_version());
        object["kind"] = json!(kind.kind);
        object["status"] = status;
        let meta = &stored["metadata"];
        let write = Write::new(kind, text(&meta["namespace"]), text(&meta["name"]), Action::Update(object));
        Some(write.through("status"))
    }
}
