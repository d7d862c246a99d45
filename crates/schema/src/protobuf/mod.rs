//! Kubernetes' protobuf, both ways, by the schema table: bytes ↔ JSON values.
//!
//! Invariant: what one direction writes, the other reads back the same. Deliberately absent: `Table` (upstream has no
//! protobuf form either).

mod encode;
mod parse;
#[cfg(test)]
mod tests;
pub(crate) mod wire;

use serde_json::Value;

use crate::types::TypeRef;
use wire::{Wire, put_bytes};

/// The media type.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
/// The first four bytes of every body.
pub const MAGIC: [u8; 4] = *b"k8s\0";

const PROPS: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";
/// Lists whose Go type has a name, which makes them messages of their own (`metav1.Verbs`).
const WRAPPED_LISTS: &[(&str, &str)] = &[("APIResource", "verbs")];

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

/// Bytes that are not such a message, or a value that has no such form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ProtoError(pub String);

/// Opens the envelope.
///
/// # Errors
/// No magic, or a malformed `Unknown`.
pub fn open(bytes: &[u8]) -> Result<Envelope<'_>, ProtoError> {
    let Some(mut bytes) = bytes.strip_prefix(&MAGIC) else {
        return Err(ProtoError(
            "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
                .to_owned(),
        ));
    };
    let mut out = Envelope::default();
    while !bytes.is_empty() {
        match wire::field(&mut bytes)? {
            (1, Wire::Bytes(mut meta)) => {
                while !meta.is_empty() {
                    match wire::field(&mut meta)? {
                        (1, Wire::Bytes(text)) => out.api_version = wire::text(text)?,
                        (2, Wire::Bytes(text)) => out.kind = wire::text(text)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(raw)) => out.raw = raw,
            (4, Wire::Bytes(text)) => out.content_type = wire::text(text)?,
            _ => {}
        }
    }
    Ok(out)
}

/// A whole body as a JSON value, with apiVersion and kind where the envelope has them; run it through
/// [`crate::decode::normalise`].
///
/// # Errors
/// Malformed, or of a type without a protobuf form.
pub fn to_value(envelope: &Envelope<'_>, ty: TypeRef<'_>) -> Result<Value, ProtoError> {
    let Some(ty) = ty.as_struct() else { return Err(ProtoError("not an object type".to_owned())) };
    let mut value = if envelope.content_type == "application/json" {
        crate::decode::json::parse(envelope.raw).map_err(|e| ProtoError(e.to_string()))?.into_value()
    } else {
        parse::object(envelope.raw, ty, 0)?
    };
    for (name, text) in [("apiVersion", &envelope.api_version), ("kind", &envelope.kind)] {
        if !text.is_empty() {
            value[name] = text.as_str().into();
        }
    }
    Ok(value)
}

/// A JSON value with apiVersion and kind as a whole body, envelope included.
///
/// # Errors
/// The value does not fit the type.
pub fn from_value(value: &Value, ty: TypeRef<'_>) -> Result<Vec<u8>, ProtoError> {
    let (Some(map), Some(ty)) = (value.as_object(), ty.as_struct()) else {
        return Err(ProtoError("only objects are protobuf messages".to_owned()));
    };
    let mut raw = Vec::new();
    encode::object(map, ty, &mut raw)?;
    let text = |name: &str| map.get(name).and_then(Value::as_str).unwrap_or_default();
    Ok(envelope(text("apiVersion"), text("kind"), &raw))
}

/// A list's body with these items, each a body of its own, given one without items, as [`from_value`] makes them.
///
/// # Errors
/// One of the bodies is none.
pub fn with_items(list: &[u8], items: &[impl AsRef<[u8]>]) -> Result<Vec<u8>, ProtoError> {
    let list = open(list)?;
    let size: usize = items.iter().map(|item| item.as_ref().len() + 8).sum();
    let mut raw = Vec::with_capacity(list.raw.len() + size);
    raw.extend_from_slice(list.raw);
    for item in items {
        put_bytes(2, open(item.as_ref())?.raw, &mut raw);
    }
    Ok(envelope(&list.api_version, &list.kind, &raw))
}

fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let mut meta = Vec::with_capacity(api_version.len() + kind.len() + 8);
    put_bytes(1, api_version.as_bytes(), &mut meta);
    put_bytes(2, kind.as_bytes(), &mut meta);
    let mut out = Vec::with_capacity(raw.len() + meta.len() + 24);
    out.extend(MAGIC);
    put_bytes(1, &meta, &mut out);
    put_bytes(2, raw, &mut out);
    put_bytes(3, b"", &mut out);
    put_bytes(4, b"", &mut out);
    out
}

/// A watch frame: four bytes of length, then a `WatchEvent` without envelope (upstream streams with its raw serializer)
/// whose object is an enveloped body, as [`from_value`] makes it.
#[must_use]
pub fn watch_frame(event_type: &str, enveloped_object: &[u8]) -> Vec<u8> {
    let mut object = Vec::with_capacity(enveloped_object.len() + 8);
    put_bytes(1, enveloped_object, &mut object);
    let mut event = Vec::with_capacity(object.len() + 24);
    put_bytes(1, event_type.as_bytes(), &mut event);
    put_bytes(2, &object, &mut event);
    let mut out = Vec::with_capacity(event.len() + 4);
    out.extend(u32::try_from(event.len()).expect("an event is below 4 GiB").to_be_bytes());
    out.extend(event);
    out
}
