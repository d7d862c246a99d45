//! A short name for a Pod template (`controller.ComputeHash`): FNV-1a of it in letters that make no words.
//!
//! Invariants: the same template has the same hash whatever the order of its keys; the result may be in names and in
//! labels. The bytes hashed are ours (upstream hashes Go's printed structs), so hashes differ from upstream's.

use base::names::fnv1a_32;
use serde_json::Value;

/// Neither vowels nor digits that look like them (`rand.SafeEncodeString`).
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// The hash, at most ten letters. `collisions` tells apart templates of one hash.
#[must_use]
pub fn template(template: &Value, collisions: Option<i32>) -> String {
    let mut bytes = Vec::new();
    write(&mut bytes, template);
    if let Some(collisions) = collisions {
        bytes.extend(collisions.to_le_bytes());
    }
    let decimal = fnv1a_32(&bytes).to_string();
    decimal.bytes().map(|b| char::from(LETTERS[usize::from(b) % LETTERS.len()])).collect()
}

/// The JSON with its keys in order.
fn write(bytes: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            bytes.push(b'{');
            for key in keys {
                bytes.extend(Value::String(key.clone()).to_string().bytes());
                bytes.push(b':');
                write(bytes, &map[key]);
                bytes.push(b',');
            }
            bytes.push(b'}');
        }
        Value::Array(list) => {
            bytes.push(b'[');
            for item in list {
                write(bytes, item);
                bytes.push(b',');
            }
            bytes.push(b']');
        }
        plain => bytes.extend(plain.to_string().bytes()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn stable_legal_and_different() {
        let one = json!({"spec": {"a": 1, "b": [true, "x"]}});
        let same: Value = serde_json::from_str(r#"{"spec": {"b": [true, "x"], "a": 1}}"#).unwrap();
        let hash = template(&one, None);
        // Names of what is stored depend on it.
        assert_eq!(hash, template(&same, None));
        assert!(hash.len() <= 10 && hash.bytes().all(|b| LETTERS.contains(&b)), "{hash}");
        let others = [
            template(&one, Some(1)),
            template(&one, Some(2)),
            template(&json!({"spec": {"a": 1, "b": ["x", true]}}), None),
            template(&json!({"spec": {"a": 1, "b": "[true,x,]"}}), None),
        ];
        assert!(!others.contains(&hash), "{others:?}");
    }
}
