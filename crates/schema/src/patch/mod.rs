//! The three client patches: JSON patch (RFC 6902), merge patch (RFC 7386), strategic merge patch.
//!
//! Invariant: the original is never changed; the result is not yet canonical: run it through
//! [`crate::decode::normalise`]. Deliberately absent: server-side apply.

mod operations;
mod order;
mod strategic;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use crate::decode::json::{self, Node};
use crate::types::TypeRef;

/// A patched value.
#[derive(Debug, Clone, PartialEq)]
pub struct Patched {
    /// The new value.
    pub value: Value,
    /// Repeated (of JSON patch operations also unknown) fields in the patch itself, as fieldValidation reports them.
    pub problems: Vec<String>,
}

/// Why a patch was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// 413 `RequestEntityTooLarge`.
    #[error("The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {0}")]
    TooManyOperations(usize),
    /// 400 `BadRequest`.
    #[error("{0}")]
    Malformed(String),
    /// 422 without details, whose message upstream replaces by `the server rejected our request due to an error in our
    /// request`: an operation that failed, lists of lists.
    #[error("{0}")]
    Failed(String),
    /// 500 without a reason, as upstream gives for the rest, e.g. a list item without its merge key.
    #[error("{0}")]
    Internal(String),
}

/// Most operations of a JSON patch.
pub const MAX_OPERATIONS: usize = 10_000;
/// Most bytes that the copy operations of one JSON patch may add (`JSONPatchMaxCopyBytes`).
pub const MAX_COPIED: usize = 3 * 1024 * 1024;

/// Applies an RFC 6902 patch. As upstream's library: negative indices count from the end, the whole document cannot be
/// replaced, and a test of a missing member against null holds.
///
/// # Errors
/// See [`PatchError`].
pub fn json_patch(original: &Value, patch: &[u8]) -> Result<Patched, PatchError> {
    operations::apply(original, patch)
}

/// Applies an RFC 7386 patch.
///
/// # Errors
/// See [`PatchError`].
pub fn merge_patch(original: &Value, patch: &[u8]) -> Result<Patched, PatchError> {
    let (patch, problems) = patch_object(patch, "error decoding patch: ")?;
    let mut value = original.clone();
    merge(&mut value, Value::Object(patch));
    Ok(Patched { value, problems })
}

/// Applies a strategic merge patch by the type's merge keys.
///
/// # Errors
/// See [`PatchError`].
pub fn strategic_merge_patch(original: &Value, patch: &[u8], ty: TypeRef<'_>) -> Result<Patched, PatchError> {
    let (patch, problems) = patch_object(patch, "")?;
    let original = match original {
        Value::Object(map) => map.clone(),
        _ => Map::new(),
    };
    let value = Value::Object(strategic::merge_map(original, patch, Some(ty))?);
    Ok(Patched { value, problems })
}

fn patch_object(bytes: &[u8], prefix: &str) -> Result<(Map<String, Value>, Vec<String>), PatchError> {
    let node = json::parse(bytes).map_err(|e| PatchError::Malformed(format!("{prefix}{e}")))?;
    let problems = json::duplicates(&node);
    match node {
        Node::Null => Ok((Map::new(), problems)),
        object @ Node::Object(_) => match object.into_value() {
            Value::Object(map) => Ok((map, problems)),
            _ => Ok((Map::new(), problems)),
        },
        other => Err(PatchError::Malformed(format!(
            "{prefix}json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            other.kind()
        ))),
    }
}

/// RFC 7386.
fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(map) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            map.remove(&key);
        } else {
            merge(map.entry(key).or_insert(Value::Null), value);
        }
    }
}
