//! The three client patches: JSON patch (RFC 6902), merge patch (RFC 7386), strategic merge patch.
//!
//! Invariant: the original is never changed; the result is not yet canonical: run it through
//! [`crate::decode::normalise`]. Deliberately absent: server-side apply.

use serde_json::Value;

use crate::schema::TypeRef;

/// A patched value.
#[derive(Debug, Clone, PartialEq)]
pub struct Patched {
    /// The new value.
    pub value: Value,
    /// Duplicate fields in the patch itself.
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
    /// 422: a JSON patch operation that failed (`the server rejected our request due to an error in our request`).
    #[error("{0}")]
    Failed(String),
    /// 422 `Invalid`: the patch does not fit the type.
    #[error("{0}")]
    Unprocessable(String),
}

/// Most operations of a JSON patch.
pub const MAX_OPERATIONS: usize = 10_000;

/// Applies an RFC 6902 patch.
///
/// # Errors
/// See [`PatchError`].
pub fn json_patch(_original: &Value, _patch: &[u8]) -> Result<Patched, PatchError> {
    Err(PatchError::TooManyOperations(0))
}

/// Applies an RFC 7386 patch.
///
/// # Errors
/// See [`PatchError`].
pub fn merge_patch(_original: &Value, _patch: &[u8]) -> Result<Patched, PatchError> {
    Err(PatchError::TooManyOperations(0))
}

/// Applies a strategic merge patch by the type's merge keys.
///
/// # Errors
/// See [`PatchError`].
pub fn strategic_merge_patch(
    _original: &Value,
    _patch: &[u8],
    _ty: TypeRef<'_>,
) -> Result<Patched, PatchError> {
    Err(PatchError::TooManyOperations(0))
}
