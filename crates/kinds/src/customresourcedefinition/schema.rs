//! What makes a schema structural (`apiextensions-apiserver/pkg/apiserver/schema`), in upstream's words.
//!
//! Absent: rules inside of `allOf`, `anyOf`, `oneOf` and `not` but that they name no type, defaults of embedded resources.

use schema::custom::CustomType;
use serde_json::Value;

use crate::field::{ErrorList, Path};
use crate::value::{entries, is_set, is_true, items, text};

const TYPES: &[&str] = &["array", "boolean", "integer", "number", "object", "string"];
/// Fields of a schema that are not understood.
const FORBIDDEN: &[(&str, &str)] = &[
    ("$ref", "$ref is not supported"),
    ("definitions", "definitions is not supported"),
    ("dependencies", "dependencies is not supported"),
    ("id", "id is not supported"),
    ("patternProperties", "patternProperties is not supported"),
    ("additionalItems", "additionalItems is not supported"),
];

/// Checks a version's schema.
pub(super) fn check(errors: &mut ErrorList, path: &Path<'_>, schema: &Value) {
    let before = errors.len();
    match text(&schema["type"]) {
        "" => errors.required(&path.child("type"), "must not be empty at the root"),
        "object" => {}
        other => errors.invalid(&path.child("type"), other, "must be object at the root"),
    }
    if is_set(&schema["additionalProperties"]) {
        errors.forbidden(&path.child("additionalProperties"), "must not be used at the root");
    }
    let only = |name: &str| matches!(name, "name" | "generateName");
    if entries(&schema["properties"]["metadata"]["properties"]).any(|(name, _)| !only(name)) {
        let why = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        let properties = path.child("properties");
        errors.forbidden(&properties.key("metadata"), why);
    }
    if errors.len() == before {
        node(errors, path, schema, true);
    }
    if errors.len() == before
        && let Err(error) = CustomType::new(["", "", ""], schema)
    {
        errors.invalid(path, error.path, error.what);
    }
    if errors.len() == before {
        super::rules::check(errors, path, schema);
    }
}

fn node(errors: &mut ErrorList, path: &Path<'_>, schema: &Value, root: bool) {
    if let Some((field, why)) = FORBIDDEN.iter().find(|(field, _)| is_set(&schema[*field])) {
        errors.forbidden(&path.child(field), *why);
        return;
    }
    let free = is_true(&schema["x-kubernetes-preserve-unknown-fields"]);
    let mixed = is_true(&schema["x-kubernetes-int-or-string"]);
    if is_set(&schema["x-kubernetes-preserve-unknown-fields"]) && !free {
        let at = path.child("x-kubernetes-preserve-unknown-fields");
        errors.invalid(&at, false, "must be true or undefined");
    }
    match text(&schema["type"]) {
        "" if !free && !mixed && !root => {
            errors.required(&path.child("type"), "must not be empty for specified object fields");
        }
        "" => {}
        known if TYPES.contains(&known) => {}
        other => errors.not_supported(&path.child("type"), other, TYPES),
    }
    if is_true(&schema["uniqueItems"]) {
        let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.forbidden(&path.child("uniqueItems"), why);
    }
    list(errors, path, schema);
    for combination in ["allOf", "anyOf", "oneOf"] {
        let at = path.child(combination);
        for (i, one) in items(&schema[combination]).iter().enumerate().filter(|_| !mixed) {
            if is_set(&one["type"]) {
                let inner = at.index(i);
                errors.forbidden(&inner.child("type"), "must be empty to be structural");
            }
        }
    }
    let properties = path.child("properties");
    for (name, property) in entries(&schema["properties"]) {
        let head = root && matches!(name, "metadata" | "apiVersion" | "kind");
        if !head {
            node(errors, &properties.key(name), property, false);
        }
    }
    if schema["additionalProperties"].is_object() {
        node(errors, &path.child("additionalProperties"), &schema["additionalProperties"], false);
    }
    if schema["items"].is_object() {
        node(errors, &path.child("items"), &schema["items"], false);
    }
    default(errors, path, schema);
}

fn list(errors: &mut ErrorList, path: &Path<'_>, schema: &Value) {
    if text(&schema["type"]) == "array" && !is_set(&schema["items"]) {
        errors.required(&path.child("items"), "must be specified");
    }
    let (kind, keys) =
        (text(&schema["x-kubernetes-list-type"]), items(&schema["x-kubernetes-list-map-keys"]));
    let at = path.child("x-kubernetes-list-map-keys");
    match kind {
        "" | "atomic" | "set" => {}
        "map" if keys.is_empty() => {
            errors.required(&at, "must not be empty if x-kubernetes-list-type is map");
        }
        "map" => {
            let known = |key: &Value| is_set(&schema["items"]["properties"][text(key)]);
            if !keys.iter().all(known) {
                let why = "entries must all be names of item properties";
                errors.invalid(&at, schema["x-kubernetes-list-map-keys"].clone(), why);
            }
        }
        other => {
            errors.not_supported(&path.child("x-kubernetes-list-type"), other, &["atomic", "set", "map"])
        }
    }
}

/// A default must be valid where it stands.
fn default(errors: &mut ErrorList, path: &Path<'_>, schema: &Value) {
    let given = &schema["default"];
    if !is_set(given) {
        return;
    }
    if let Ok(rules) = schema::validation::Rules::structural(schema) {
        errors.extend(rules.validate_at(path.child("default"), given, None));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn structural_or_not() {
        let check = |schema: Value| {
            let mut errors = ErrorList::default();
            super::check(&mut errors, &Path::new("s"), &schema);
            errors.to_string()
        };
        let field = |a: Value| check(json!({"type": "object", "properties": {"a": a}}));
        for (got, want) in [
            (check(json!({"type": "object"})), "[]"),
            (check(json!({})), "s.type: Required value: must not be empty at the root"),
            (check(json!({"type": "array"})), "s.type: Invalid value: \"array\": must be object at the root"),
            (
                field(json!({"type": "foo"})),
                "s.properties[a].type: Unsupported value: \"foo\": supported values: \"array\", \"boolean\", \
                 \"integer\", \"number\", \"object\", \"string\"",
            ),
            (
                field(json!({})),
                "s.properties[a].type: Required value: must not be empty for specified object fields",
            ),
            (field(json!({"type": "array"})), "s.properties[a].items: Required value: must be specified"),
            (field(json!({"$ref": "#/x"})), "s.properties[a].$ref: Forbidden: $ref is not supported"),
            (field(json!({"type": "string", "default": "x"})), "[]"),
        ] {
            assert_eq!(got, want);
        }
    }
}
