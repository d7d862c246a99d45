//! From a request body to a clean JSON value of a known type.
//!
//! Invariant: what comes out has only fields the type knows, with the types it says, in canonical form (quantities,
//! times, no nulls, no empty values that Go would not print, and those that it would). Deliberately absent: a kind's own
//! defaults and checks, and the limit on a body's size, which the reader of the body keeps.

pub(crate) mod json;
#[cfg(test)]
mod tests;
mod walk;
mod yaml;

use serde_json::Value;

use crate::types::TypeRef;

/// A decoded body.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The value, canonical.
    pub value: Value,
    /// `unknown field "spec.a[0].b"` and `duplicate field "spec.x"`, at most 100, in document order.
    pub problems: Vec<String>,
}

/// A body that cannot be an object of the type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not JSON, in the words of Go's `json`.
    #[error("{0}")]
    Syntax(String),
    /// Not YAML.
    #[error("yaml: {0}")]
    Yaml(String),
    /// JSON of the wrong type, in the words of Go's `json`: `json: cannot unmarshal string into Go struct field
    /// ContainerPort.spec.containers.ports.containerPort of type int32`.
    #[error("{0}")]
    Type(String),
    /// Nested more deeply than [`MAX_DEPTH`].
    #[error("exceeded max depth")]
    Depth,
}

/// Most problems reported of one body.
pub const MAX_PROBLEMS: usize = 100;
/// Nesting beyond this is refused.
pub const MAX_DEPTH: usize = 256;

impl DecodeError {
    /// The message of the 400 (`transformDecodeError`). `version` is without the group; `body` is quoted in part where
    /// it is not JSON at all.
    #[must_use]
    pub fn message(&self, version: &str, kind: &str, body: &[u8]) -> String {
        match self {
            Self::Syntax(why) => format!(
                "the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse \
                 error: {why} ({})",
                summary(body)
            ),
            Self::Yaml(_) => format!(
                "the object provided is unrecognized (must be of type {kind}): {self} ({})",
                summary(body)
            ),
            Self::Type(_) | Self::Depth => cannot_handle(version, kind, &self.to_string()),
        }
    }
}

/// `KIND in version "V" cannot be handled as a KIND: WHY`; the version is without the group.
#[must_use]
pub fn cannot_handle(version: &str, kind: &str, why: &str) -> String {
    format!("{kind} in version \"{version}\" cannot be handled as a {kind}: {why}")
}

/// The message of the 400 that fieldValidation=Strict gives: `… strict decoding error: a, b`.
#[must_use]
pub fn strict_message(version: &str, kind: &str, problems: &[String]) -> String {
    cannot_handle(version, kind, &format!("strict decoding error: {}", problems.join(", ")))
}

/// The first bytes of a body, as text if it looks like JSON, else in hex.
fn summary(body: &[u8]) -> String {
    const SHOWN: usize = 30;
    let head = &body[..body.len().min(SHOWN)];
    let more = if body.len() > SHOWN { " ..." } else { "" };
    match body.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(head)),
        Some(_) => format!("{}{more}", head.iter().map(|b| format!("{b:02x}")).collect::<String>()),
    }
}

/// `apiVersion` and `kind` of a JSON body, empty where absent.
///
/// # Errors
/// Not JSON, or the two are not strings.
pub fn type_meta(bytes: &[u8]) -> Result<(String, String), DecodeError> {
    let mut out = (String::new(), String::new());
    let json::Node::Object(entries) = json::parse(bytes)? else {
        let what = match bytes.iter().find(|b| !b.is_ascii_whitespace()) {
            Some(b'[') => "array",
            Some(b'"') => "string",
            Some(b't' | b'f') => "bool",
            Some(b'n') => return Ok(out),
            _ => "number",
        };
        let why = format!(
            "json: cannot unmarshal {what} into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}"
        );
        return Err(DecodeError::Syntax(why));
    };
    for (key, value) in entries {
        let place = match key.as_ref() {
            "apiVersion" => &mut out.0,
            "kind" => &mut out.1,
            _ => continue,
        };
        match value {
            json::Node::String(text) => *place = text.into_owned(),
            json::Node::Null => {}
            _ => {
                return Err(DecodeError::Syntax(format!(
                    "json: cannot unmarshal {key} into Go value of type string"
                )));
            }
        }
    }
    Ok(out)
}

/// Parses a JSON body and nothing more: no type, no canonical form. The problems are repeated keys.
///
/// # Errors
/// Malformed JSON, too deep.
pub fn parse(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    let node = json::parse(bytes)?;
    let problems = json::duplicates(&node);
    Ok(Decoded { value: node.into_value(), problems })
}

/// Parses a JSON body, prunes it by the type, and makes it canonical.
///
/// # Errors
/// Malformed JSON, values of the wrong type, too deep.
pub fn decode(bytes: &[u8], ty: TypeRef<'_>) -> Result<Decoded, DecodeError> {
    walk::walk(json::parse(bytes)?, ty)
}

/// The same for a value already in memory (a patched object, a transcoded protobuf body).
///
/// # Errors
/// Values of the wrong type.
pub fn normalise(value: Value, ty: TypeRef<'_>) -> Result<Decoded, DecodeError> {
    walk::walk(json::Node::from_value(value), ty)
}

/// A YAML document as JSON bytes for [`decode`].
///
/// # Errors
/// Malformed YAML.
pub fn yaml_to_json(text: &str) -> Result<Vec<u8>, DecodeError> {
    yaml::to_json(text)
}
