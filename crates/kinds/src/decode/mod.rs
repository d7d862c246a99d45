//! From a request body to a clean JSON value of a known type.
//!
//! Invariant: what comes out has only fields the type knows, with the types it says, in canonical form (quantities,
//! times, no nulls, no empty values that Go would not print). Deliberately absent: YAML of request bodies to JSON bytes is
//! only offered ([`yaml_to_json`]), not applied; a kind's own defaults and checks.

use serde_json::Value;

use crate::schema::TypeRef;

/// A decoded body.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The value, canonical.
    pub value: Value,
    /// `unknown field "spec.a[0].b"` and `duplicate field "spec.x"`, at most 100, in upstream's order.
    pub problems: Vec<String>,
}

/// A body that cannot be an object of the type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not JSON (or YAML).
    #[error("{0}")]
    Syntax(String),
    /// JSON of the wrong type, in the words of Go's `json`: `json: cannot unmarshal string into Go struct field
    /// ContainerPort.spec.containers.ports.containerPort of type int32`.
    #[error("{0}")]
    Type(String),
    /// Nested more deeply than [`MAX_DEPTH`].
    #[error("exceeded max depth")]
    Depth,
}

/// Nesting beyond this is refused.
pub const MAX_DEPTH: usize = 200;

impl DecodeError {
    /// The message of the 400: `Pod in version "v1" cannot be handled as a Pod: …`.
    #[must_use]
    pub fn message(&self, group_version: &str, kind: &str) -> String {
        cannot_handle(group_version, kind, &self.to_string())
    }
}

/// `KIND in version "GV" cannot be handled as a KIND: WHY`.
#[must_use]
pub fn cannot_handle(group_version: &str, kind: &str, why: &str) -> String {
    format!("{kind} in version \"{group_version}\" cannot be handled as a {kind}: {why}")
}

/// The message of the 400 that fieldValidation=Strict gives: `… strict decoding error: a, b`.
#[must_use]
pub fn strict_message(group_version: &str, kind: &str, problems: &[String]) -> String {
    cannot_handle(group_version, kind, &format!("strict decoding error: {}", problems.join(", ")))
}

/// `apiVersion` and `kind` of a JSON body, empty where absent, without reading the rest into memory.
///
/// # Errors
/// Not JSON, or not an object.
pub fn type_meta(_bytes: &[u8]) -> Result<(String, String), DecodeError> {
    Err(DecodeError::Depth)
}

/// Parses a JSON body, prunes it by the type, and makes it canonical.
///
/// # Errors
/// Malformed JSON, values of the wrong type, too deep.
pub fn decode(_bytes: &[u8], _ty: TypeRef<'_>) -> Result<Decoded, DecodeError> {
    Err(DecodeError::Depth)
}

/// The same for a value already in memory (a patched object, a transcoded protobuf body).
///
/// # Errors
/// Values of the wrong type.
pub fn normalise(_value: Value, _ty: TypeRef<'_>) -> Result<Decoded, DecodeError> {
    Err(DecodeError::Depth)
}

/// A YAML document as JSON bytes; duplicate keys are kept, so that [`decode`] reports them.
///
/// # Errors
/// Malformed YAML.
pub fn yaml_to_json(_text: &str) -> Result<Vec<u8>, DecodeError> {
    Err(DecodeError::Depth)
}
