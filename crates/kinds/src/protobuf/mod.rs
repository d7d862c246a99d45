//! Kubernetes' protobuf, both ways, by the schema table: bytes ↔ JSON values.
//!
//! Invariant: what one direction writes, the other reads back the same. Deliberately absent: `Table` (upstream has no
//! protobuf form either).

use serde_json::Value;

use crate::schema::TypeRef;

/// The media type.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
/// The first four bytes of every body.
pub const MAGIC: [u8; 4] = *b"k8s\0";

/// `runtime.Unknown`, the envelope of every body.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Envelope<'a> {
    /// `v1`, `apps/v1`; may be empty.
    pub api_version: String,
    /// `Pod`; may be empty.
    pub kind: String,
    /// The message itself.
    pub raw: &'a [u8],
    /// Empty for protobuf.
    pub content_type: String,
}

/// Bytes that are not such a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ProtoError(pub String);

/// Opens the envelope.
///
/// # Errors
/// No magic, or a malformed `Unknown`.
pub fn open(_bytes: &[u8]) -> Result<Envelope<'_>, ProtoError> {
    Err(ProtoError(String::new()))
}

/// A whole body as a JSON value, with apiVersion and kind; run it through [`crate::decode::normalise`].
///
/// # Errors
/// Malformed.
pub fn to_value(_envelope: &Envelope<'_>, _ty: TypeRef<'_>) -> Result<Value, ProtoError> {
    Err(ProtoError(String::new()))
}

/// A JSON value with apiVersion and kind as a whole body, envelope included.
///
/// # Errors
/// The type has no protobuf form, or the value does not fit it.
pub fn from_value(_value: &Value, _ty: TypeRef<'_>) -> Result<Vec<u8>, ProtoError> {
    Err(ProtoError(String::new()))
}

/// A watch frame: four bytes of length, then an enveloped `WatchEvent` around an enveloped object.
#[must_use]
pub fn watch_frame(_event_type: &str, _enveloped_object: &[u8]) -> Vec<u8> {
    Vec::new()
}
