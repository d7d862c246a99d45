//! Reading and editing JSON objects without ceremony.
//!
//! Invariant: what is absent, null or of another type reads as empty, as Go's zero values do; structure is checked
//! before anything here runs.

use serde_json::{Map, Value};

/// The text, or empty.
pub fn text(v: &Value) -> &str {
    v.as_str().unwrap_or_default()
}

/// The number, or 0.
pub fn int(v: &Value) -> i64 {
    v.as_i64().unwrap_or_default()
}

/// Whether it is `true`.
pub fn is_true(v: &Value) -> bool {
    v.as_bool().unwrap_or_default()
}

/// Whether there is anything.
pub fn is_set(v: &Value) -> bool {
    !v.is_null()
}

/// The items of a list, or none.
pub fn items(v: &Value) -> &[Value] {
    v.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The entries of a map, or none.
pub fn entries(v: &Value) -> impl Iterator<Item = (&str, &Value)> {
    v.as_object().into_iter().flatten().map(|(k, v)| (k.as_str(), v))
}

/// Number of items or entries.
pub fn size(v: &Value) -> usize {
    match v {
        Value::Array(list) => list.len(),
        Value::Object(map) => map.len(),
        _ => 0,
    }
}

/// Whether nothing, or nothing in it: Go's `omitempty`.
pub fn is_empty(v: &Value) -> bool {
    match v {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

/// As Go's `%v` prints a decoded value: `map[a:1 b:[x y]]`.
pub fn as_go(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "<nil>".to_owned(),
        Value::Array(items) => format!("[{}]", items.iter().map(as_go).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let pairs: Vec<String> = map.iter().map(|(k, v)| format!("{k}:{}", as_go(v))).collect();
            format!("map[{}]", pairs.join(" "))
        }
        scalar => scalar.to_string(),
    }
}

/// Whether two values are equal when absent, null and empty collections count as the same (`equality.Semantic`).
pub fn same(a: &Value, b: &Value) -> bool {
    let nothing =
        |v: &Value| v.is_null() || (matches!(v, Value::Array(_) | Value::Object(_)) && size(v) == 0);
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            x.iter().all(|(k, v)| same(v, y.get(k).unwrap_or(&Value::Null)))
                && y.iter().all(|(k, v)| x.contains_key(k) || nothing(v))
        }
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(v, w)| same(v, w)),
        _ => a == b || (nothing(a) && nothing(b)),
    }
}

/// The map at `key`, made if absent; an object only.
pub fn child<'a>(v: &'a mut Value, key: &str) -> &'a mut Value {
    if !v.is_object() {
        *v = Value::Object(Map::new());
    }
    let slot = v.as_object_mut().expect("made above").entry(key).or_insert(Value::Null);
    if slot.is_null() {
        *slot = Value::Object(Map::new());
    }
    slot
}

/// The value at `key` if it is there and not null.
pub fn get_mut<'a>(v: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    v.as_object_mut()?.get_mut(key).filter(|v| !v.is_null())
}

/// The items of the list at `key`.
pub fn items_mut<'a>(v: &'a mut Value, key: &str) -> impl Iterator<Item = &'a mut Value> {
    v.as_object_mut().and_then(|m| m.get_mut(key)).and_then(Value::as_array_mut).into_iter().flatten()
}

/// Sets `key` if it is absent, null or the empty text.
pub fn default_to(v: &mut Value, key: &str, to: impl Into<Value>) {
    if let Some(map) = v.as_object_mut() {
        let slot = map.entry(key).or_insert(Value::Null);
        if slot.is_null() || slot.as_str() == Some("") {
            *slot = to.into();
        }
    }
}

/// Sets `key` if it is absent or null: where the empty text is a value of its own.
pub fn default_missing(v: &mut Value, key: &str, to: impl Into<Value>) {
    if !is_set(&v[key])
        && let Some(map) = v.as_object_mut()
    {
        map.insert(key.to_owned(), to.into());
    }
}

/// Sets `key` if it is absent, null or 0.
pub fn default_number(v: &mut Value, key: &str, to: i64) {
    if let Some(map) = v.as_object_mut() {
        let slot = map.entry(key).or_insert(Value::Null);
        if slot.is_null() || slot.as_i64() == Some(0) {
            *slot = to.into();
        }
    }
}

/// Copies `key` from `old`, or removes it where `old` has none.
pub fn keep(new: &mut Value, old: &Value, key: &str) {
    if let Some(map) = new.as_object_mut() {
        match old.get(key) {
            Some(v) => drop(map.insert(key.to_owned(), v.clone())),
            None => drop(map.remove(key)),
        }
    }
}

/// Removes `key`.
pub fn remove(v: &mut Value, key: &str) {
    if let Some(map) = v.as_object_mut() {
        map.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sameness_ignores_empty_collections_only() {
        for (a, b, want) in [
            (json!({}), json!({"a": null, "b": [], "c": {}}), true),
            (json!({"a": ""}), json!({}), false),
            (json!({"a": [1]}), json!({"a": [1]}), true),
            (json!({"a": {"b": []}}), json!({"a": {}}), true),
            (json!({"a": 0}), json!({}), false),
        ] {
            assert_eq!(same(&a, &b), want, "{a} {b}");
            assert_eq!(same(&b, &a), want, "{b} {a}");
        }
    }
}
