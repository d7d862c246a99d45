//! What expressions see of a schema: its types, and how large its values may be (`apiserver/schema/cel/model`).
//!
//! Invariant: what a schema does not bound is bounded by the largest request.

use std::sync::Arc;

use cel::{Field, Fields, Object, Size, Type};
use serde_json::{Value, json};

use crate::value::{entries, is_set, is_true, items, text};

/// The largest request.
const REQUEST: u64 = 3 * 1024 * 1024;

/// The type of a schema's values and their size; `root` is where an object of the API begins.
pub(crate) fn declared(schema: &Value, root: bool) -> (Type, Size) {
    if is_true(&schema["x-kubernetes-int-or-string"]) {
        return (Type::Dyn, Size::most(REQUEST));
    }
    match text(&schema["type"]) {
        "object" => object(schema, root),
        "array" => {
            let (of, inner) = declared(&schema["items"], false);
            let most = (REQUEST - 2) / (least(&schema["items"]) + 1);
            (Type::list(of), Size::most(bound(schema, "maxItems", most)).of(inner))
        }
        "string" => string(schema),
        "boolean" => (Type::Bool, Size::most(1)),
        "integer" => (Type::Int, Size::most(1)),
        "number" => (Type::Double, Size::most(1)),
        _ => (Type::Dyn, Size::most(REQUEST)),
    }
}

fn bound(schema: &Value, field: &str, otherwise: u64) -> u64 {
    schema[field].as_u64().unwrap_or(otherwise)
}

fn string(schema: &Value) -> (Type, Size) {
    match text(&schema["format"]) {
        "byte" => (Type::Bytes, Size::most(bound(schema, "maxLength", REQUEST - 2))),
        "duration" => (Type::Duration, Size::most(32)),
        "date" | "date-time" => (Type::Timestamp, Size::most(32)),
        _ => {
            let known = items(&schema["enum"]).iter().map(|value| text(value).len()).max();
            let known = known.and_then(|most| u64::try_from(most).ok()).unwrap_or(REQUEST - 2);
            (Type::String, Size::most(bound(schema, "maxLength", known)))
        }
    }
}

fn object(schema: &Value, root: bool) -> (Type, Size) {
    let others = &schema["additionalProperties"];
    if others.is_object() {
        let (of, inner) = declared(others, false);
        let most = (REQUEST - 2) / (least(others) + 6);
        let mut size = Size::most(bound(schema, "maxProperties", most)).of(inner);
        size.key = Some(Arc::new(Size::most(REQUEST - 2)));
        return (Type::map(of), size);
    }
    let mut fields = Fields::new();
    let mut add = |name: &str, schema: &Value| {
        let Some(escaped) = escape(name) else { return };
        let (ty, size) = declared(schema, false);
        fields.insert(escaped, Field { json: name.to_owned(), ty, size });
    };
    let embedded = root || is_true(&schema["x-kubernetes-embedded-resource"]);
    for (name, property) in entries(&schema["properties"]) {
        if !(embedded && matches!(name, "apiVersion" | "kind" | "metadata")) {
            add(name, property);
        }
    }
    if embedded {
        let text = json!({"type": "string"});
        add("apiVersion", &text);
        add("kind", &text);
        let names = json!({"name": text, "generateName": text});
        add("metadata", &json!({"type": "object", "properties": names}));
    }
    let count = u64::try_from(fields.len()).unwrap_or(u64::MAX);
    (Type::Object(Arc::new(Object { name: "object".into(), fields })), Size::most(count))
}

/// How few bytes a value of the schema takes in JSON.
fn least(schema: &Value) -> u64 {
    if is_true(&schema["x-kubernetes-int-or-string"]) {
        return 1;
    }
    let bytes = match text(&schema["type"]) {
        "boolean" => 4,
        "integer" | "number" => 1,
        "object" => {
            let required = items(&schema["required"]).iter().map(text);
            let properties = &schema["properties"];
            let wanted = required.filter(|name| !is_set(&properties[*name]["default"]));
            let each =
                |name: &str| u64::try_from(name.len()).unwrap_or_default() + least(&properties[name]) + 3;
            let all: Vec<u64> = wanted.map(each).collect();
            2 + all.iter().sum::<u64>() + u64::try_from(all.len().saturating_sub(1)).unwrap_or_default()
        }
        _ => 2,
    };
    if is_true(&schema["nullable"]) { bytes.min(4) } else { bytes }
}

/// The name that expressions have for a property, if they can name it.
pub(crate) fn escape(name: &str) -> Option<String> {
    if matches!(name, "true" | "false" | "null" | "in") || cel::RESERVED.contains(&name) {
        return Some(format!("__{name}__"));
    }
    let mut out = String::new();
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("__") {
            out += "__underscores__";
            rest = after;
            continue;
        }
        match c {
            '.' => out += "__dot__",
            '-' => out += "__dash__",
            '/' => out += "__slash__",
            c if c.is_ascii_alphanumeric() || c == '_' => out.push(c),
            _ => return None,
        }
        rest = &rest[1..];
    }
    out.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_').then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_expressions() {
        for (name, want) in [
            ("plain", Some("plain")),
            ("a-b.c/d", Some("a__dash__b__dot__c__slash__d")),
            ("a__b", Some("a__underscores__b")),
            ("namespace", Some("__namespace__")),
            ("1a", None),
            ("a$", None),
            ("", None),
        ] {
            assert_eq!(escape(name).as_deref(), want, "{name}");
        }
    }

    #[test]
    fn sizes() {
        let schema = json!({"type": "array", "items": {"type": "string"}});
        assert_eq!(declared(&schema, false).1.max, (REQUEST - 2) / 3);
        let schema =
            json!({"type": "object", "maxProperties": 3, "additionalProperties": {"type": "integer"}});
        assert_eq!(declared(&schema, false).1.max, 3);
        let schema = json!({"type": "object", "required": ["ab"], "properties": {"ab": {"type": "boolean"}}});
        assert_eq!(least(&schema), 11);
    }
}
