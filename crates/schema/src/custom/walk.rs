//! Along a value by its structural schema: what it does not know goes, what is missing gets its default
//! (`apiextensions-apiserver/pkg/apiserver/schema/{pruning,defaulting}`).

use serde_json::{Map, Value};

use crate::value::{is_set, is_true};

/// Takes away what the schema does not know, each told as a problem.
pub(super) fn prune(value: &mut Value, schema: &Value, path: &str, problems: &mut Vec<String>) {
    match value {
        Value::Object(map) => prune_map(map, schema, path, problems),
        Value::Array(list) => {
            for (i, item) in list.iter_mut().enumerate() {
                prune(item, &schema["items"], &format!("{path}[{i}]"), problems);
            }
        }
        _ => {}
    }
}

fn prune_map(map: &mut Map<String, Value>, schema: &Value, path: &str, problems: &mut Vec<String>) {
    let rest = &schema["additionalProperties"];
    let keeps = is_true(&schema["x-kubernetes-preserve-unknown-fields"]) || is_true(rest);
    let embedded = is_true(&schema["x-kubernetes-embedded-resource"]);
    map.retain(|name, value| {
        let at = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let known = &schema["properties"][name.as_str()];
        if known.is_object() {
            prune(value, known, &at, problems);
        } else if rest.is_object() {
            prune(value, rest, &at, problems);
        } else if !(keeps || embedded && matches!(name.as_str(), "apiVersion" | "kind" | "metadata")) {
            problems.push(format!("unknown field {at:?}"));
            return false;
        }
        true
    });
}

/// Sets what is missing and has a default; null where the schema has no null counts as missing.
pub(super) fn default(value: &mut Value, schema: &Value) {
    match value {
        Value::Object(map) => {
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                if !is_true(&property["nullable"]) && map.get(name).is_some_and(Value::is_null) {
                    map.remove(name);
                }
                if is_set(&property["default"]) && !map.contains_key(name) {
                    map.insert(name.clone(), property["default"].clone());
                }
            }
            for (name, value) in map {
                let known = &schema["properties"][name.as_str()];
                default(value, if known.is_object() { known } else { &schema["additionalProperties"] });
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|item| default(item, &schema["items"])),
        _ => {}
    }
}
