//! [`Answer`]: what a call was answered, in the form that is asked for and in no other.
//!
//! Invariant: whoever only wants to know that a call was done, or which revision it made, costs no parsing and no copy.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Status;

/// An object, a list, or a `Status`.
pub struct Answer {
    body: Body,
    head: Option<Head>,
}

enum Body {
    Value(Value),
    Json(Bytes),
    /// Bytes that are put together when they are asked for.
    Later(Box<dyn FnOnce() -> Bytes + Send + Sync>),
}

/// What of an answer's metadata is asked most.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    /// Name; empty for lists.
    pub name: Arc<str>,
    /// resourceVersion as a number; 0 where there is none.
    pub revision: u64,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Answer");
        match &self.body {
            Body::Value(value) => shown.field("value", value).finish(),
            Body::Json(bytes) => shown.field("json", bytes).finish(),
            Body::Later(_) => shown.field("head", &self.head).finish_non_exhaustive(),
        }
    }
}

impl From<Value> for Answer {
    fn from(value: Value) -> Self {
        Self { body: Body::Value(value), head: None }
    }
}

impl Answer {
    /// JSON as it came.
    #[must_use]
    pub fn json(bytes: Bytes) -> Self {
        Self { body: Body::Json(bytes), head: None }
    }

    /// JSON that can be made, of an object whose head is known.
    #[must_use]
    pub fn later(head: Head, make: impl FnOnce() -> Bytes + Send + Sync + 'static) -> Self {
        Self { body: Body::Later(Box::new(make)), head: Some(head) }
    }

    /// Its JSON.
    #[must_use]
    pub fn bytes(self) -> Bytes {
        match self.body {
            Body::Value(value) => value.to_string().into(),
            Body::Json(bytes) => bytes,
            Body::Later(make) => make(),
        }
    }

    /// As a value.
    ///
    /// # Errors
    /// If it is no JSON.
    pub fn value(self) -> Result<Value, Status> {
        match self.body {
            Body::Value(value) => Ok(value),
            Body::Json(bytes) => serde_json::from_slice(&bytes).map_err(Status::internal),
            Body::Later(make) => serde_json::from_slice(&make()).map_err(Status::internal),
        }
    }

    /// As a type; what the type does not know is dropped.
    ///
    /// # Errors
    /// If it does not fit.
    pub fn typed<T: DeserializeOwned>(self) -> Result<T, Status> {
        match self.body {
            Body::Value(value) => serde_json::from_value(value).map_err(Status::internal),
            Body::Json(bytes) => serde_json::from_slice(&bytes).map_err(Status::internal),
            Body::Later(make) => serde_json::from_slice(&make()).map_err(Status::internal),
        }
    }

    /// Its head; empty where it has none.
    #[must_use]
    pub fn head(&self) -> Head {
        match (&self.head, &self.body) {
            (Some(head), _) => head.clone(),
            (None, Body::Value(value)) => Head::of(&value["metadata"]),
            (None, Body::Json(bytes)) => Head::read(bytes),
            (None, Body::Later(_)) => Head::default(),
        }
    }
}

impl Head {
    fn of(metadata: &Value) -> Self {
        let text = |field: &str| metadata[field].as_str().unwrap_or_default();
        Self { name: text("name").into(), revision: text("resourceVersion").parse().unwrap_or(0) }
    }

    /// Of JSON, of which nothing but this is kept.
    fn read(json: &[u8]) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Whole {
            metadata: Meta,
        }
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct Meta {
            name: String,
            resource_version: String,
        }
        let read: Whole = serde_json::from_slice(json).unwrap_or_default();
        let revision = read.metadata.resource_version.parse().unwrap_or(0);
        Self { name: read.metadata.name.into(), revision }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_form_says_the_same() {
        let object = json!({"kind": "Foo", "metadata": {"name": "a", "resourceVersion": "7"}, "x": [1, 2]});
        let text: Bytes = object.to_string().into();
        let head = Head { name: "a".into(), revision: 7 };
        let forms: [fn(Value, Bytes, Head) -> Answer; 3] = [
            |value, _, _| value.into(),
            |_, text, _| Answer::json(text),
            |_, text, head| Answer::later(head, move || text),
        ];
        for form in forms {
            let answer = || form(object.clone(), text.clone(), head.clone());
            assert_eq!(answer().head(), head);
            assert_eq!(answer().bytes(), text);
            assert_eq!(answer().value().expect("JSON"), object);
            assert_eq!(answer().typed::<Value>().expect("JSON"), object);
        }
        assert_eq!(Answer::from(json!({"status": "Success"})).head(), Head::default());
        assert!(Answer::json("{".into()).value().is_err());
    }

    #[test]
    fn nothing_is_made_that_is_not_asked_for() {
        let answer = Answer::later(Head { name: "a".into(), revision: 7 }, || panic!("nobody asked"));
        assert_eq!(answer.head().revision, 7);
    }
}
