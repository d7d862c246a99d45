//! RFC 6902, with the corners of upstream's library (`evanphx/json-patch` v4).
//!
//! Invariant: all operations or none. Deliberately absent: operations on the whole document, as there.

use serde_json::Value;

use super::{MAX_COPIED, MAX_OPERATIONS, PatchError, Patched};
use crate::decode::json::{self, Node};

struct Operation {
    op: String,
    path: Option<String>,
    from: Option<String>,
    value: Option<Value>,
}

pub(super) fn apply(original: &Value, patch: &[u8]) -> Result<Patched, PatchError> {
    let malformed = |why: String| PatchError::Malformed(format!("error decoding patch: {why}"));
    let node = json::parse(patch).map_err(|e| malformed(e.to_string()))?;
    let mut problems = json::duplicates(&node);
    let items = match node {
        Node::Array(items) => items,
        Node::Null => Vec::new(),
        other => {
            let what = other.kind();
            return Err(malformed(format!(
                "json: cannot unmarshal {what} into Go value of type []handlers.jsonPatchOp"
            )));
        }
    };
    if items.len() > MAX_OPERATIONS {
        return Err(PatchError::TooManyOperations(items.len()));
    }
    let mut value = original.clone();
    let mut operations = Vec::with_capacity(items.len());
    for (at, item) in items.into_iter().enumerate() {
        operations.push(read(item, at, &mut problems).map_err(malformed)?);
    }
    let mut copied = 0;
    for operation in operations {
        run(&mut value, operation, &mut copied).map_err(PatchError::Failed)?;
    }
    let problems = problems.into_iter().map(|p| format!("json patch {p}")).collect();
    Ok(Patched { value, problems })
}

fn read(node: Node<'_>, at: usize, problems: &mut Vec<String>) -> Result<Operation, String> {
    let Node::Object(entries) = node else {
        return Err(format!(
            "json: cannot unmarshal {} into Go value of type handlers.jsonPatchOp",
            node.kind()
        ));
    };
    let mut out = Operation { op: String::new(), path: None, from: None, value: None };
    for (key, value) in entries {
        let text = |value: Node<'_>| match value {
            Node::String(text) => Ok(text.into_owned()),
            other => Err(format!(
                "json: cannot unmarshal {} into Go struct field jsonPatchOp.{key} of type string",
                other.kind()
            )),
        };
        match key.as_ref() {
            "op" => out.op = text(value)?,
            "path" => out.path = Some(text(value)?),
            "from" => out.from = Some(text(value)?),
            "value" => out.value = Some(value.into_value()),
            other => problems.push(format!("unknown field \"[{at}].{other}\"")),
        }
    }
    Ok(out)
}

/// `copied` counts the bytes of all copies so far, since copies of copies grow without end.
fn run(doc: &mut Value, operation: Operation, copied: &mut usize) -> Result<(), String> {
    let Operation { op, path, from, value } = operation;
    let path = path.ok_or_else(|| format!("{op} operation failed to decode path: missing value"))?;
    let given = || value.clone().unwrap_or(Value::Null);
    match op.as_str() {
        "add" => add(doc, &path, given(), "add"),
        "remove" => remove(doc, &path, "remove").map(drop),
        "replace" => {
            let (parent, key) = parent(doc, &path).ok_or_else(|| missing("replace", "path", &path))?;
            match parent {
                // A member that is not there is set all the same, as upstream's library does.
                Value::Object(map) => drop(map.insert(key, given())),
                list => *member(list, &key).ok_or_else(|| missing("replace", "key", &path))? = given(),
            }
            Ok(())
        }
        "move" => {
            let from = from.ok_or("move operation failed to decode from: missing value")?;
            let value = remove(doc, &from, "move")?;
            add(doc, &path, value, "move")
        }
        "copy" => {
            let from = from.ok_or("copy operation failed to decode from: missing value")?;
            let (parent, key) = parent(doc, &from).ok_or_else(|| missing("copy", "from path", &from))?;
            let found = member(parent, &key).map(|v| v.clone());
            let value = match found {
                None if parent.is_array() => return Err(missing("copy", "from path", &from)),
                found => found.unwrap_or(Value::Null),
            };
            *copied += value.to_string().len();
            if *copied > MAX_COPIED {
                return Err(format!(
                    "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the \
                     limit {MAX_COPIED}"
                ));
            }
            add(doc, &path, value, "copy")
        }
        "test" => {
            let (parent, key) = parent(doc, &path).ok_or_else(|| missing("test", "path", &path))?;
            let found = member(parent, &key).map_or(Value::Null, |v| v.clone());
            if found == given() { Ok(()) } else { Err(format!("testing value {path} failed: test failed")) }
        }
        other => Err(format!("Unexpected kind: {other}")),
    }
}

fn missing(op: &str, what: &str, path: &str) -> String {
    format!("{op} operation does not apply: doc is missing {what}: {path}: missing value")
}

/// The container a pointer leads to, and the last part.
fn parent<'v>(doc: &'v mut Value, path: &str) -> Option<(&'v mut Value, String)> {
    let mut parts: Vec<String> =
        path.strip_prefix('/')?.split('/').map(|p| p.replace("~1", "/").replace("~0", "~")).collect();
    let last = parts.pop()?;
    let mut here = doc;
    for part in parts {
        here = member(here, &part)?;
    }
    (here.is_object() || here.is_array()).then_some((here, last))
}

fn member<'v>(container: &'v mut Value, key: &str) -> Option<&'v mut Value> {
    match container {
        Value::Object(map) => map.get_mut(key),
        Value::Array(items) => {
            let at = index(key, items.len()).ok()?;
            items.get_mut(at)
        }
        _ => None,
    }
}

/// An index below `len`, counted from the end if negative.
fn index(key: &str, len: usize) -> Result<usize, String> {
    let n: i64 = key.parse().map_err(|_| format!("value was not a proper array index: '{key}'"))?;
    let at = if n < 0 { n + i64::try_from(len).unwrap_or(i64::MAX) } else { n };
    usize::try_from(at)
        .ok()
        .filter(|at| *at < len)
        .ok_or_else(|| format!("Unable to access invalid index: {n}: invalid index referenced"))
}

fn add(doc: &mut Value, path: &str, value: Value, op: &str) -> Result<(), String> {
    let place = if op == "add" { "path" } else { "destination path" };
    let (container, key) = parent(doc, path).ok_or_else(|| missing(op, place, path))?;
    match container {
        Value::Object(map) => {
            map.insert(key, value);
        }
        Value::Array(items) if key == "-" => items.push(value),
        Value::Array(items) => {
            let at =
                index(&key, items.len() + 1).map_err(|e| format!("error in {op} for path: '{path}': {e}"))?;
            items.insert(at, value);
        }
        _ => return Err(missing(op, place, path)),
    }
    Ok(())
}

fn remove(doc: &mut Value, path: &str, op: &str) -> Result<Value, String> {
    let (container, key) = parent(doc, path).ok_or_else(|| missing(op, "path", path))?;
    let removed = match container {
        Value::Object(map) => {
            map.remove(&key).ok_or_else(|| format!("Unable to remove nonexistent key: {key}: missing value"))
        }
        Value::Array(items) => index(&key, items.len()).map(|at| items.remove(at)),
        _ => Err("missing value".to_owned()),
    };
    removed.map_err(|e| format!("error in {op} for path: '{path}': {e}"))
}
