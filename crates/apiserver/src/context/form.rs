//! What objects are read by: the schema of built-in types, the definition of custom ones.
//!
//! Invariant: what leaves here is pruned and canonical. Absent: bodies and their formats (`generic::body`), defaults that
//! depend on other fields, which are the kind's.

use client::Status;
use kinds::custom::CustomType;
use kinds::decode::{DecodeError, Decoded};
use kinds::schema::TypeRef;
use kinds::{Kind, decode, schema};
use serde_json::Value;

/// See the head of the file.
#[derive(Clone, Copy)]
pub(crate) enum Form<'k> {
    Built(TypeRef<'k>),
    Custom(&'k CustomType),
}

impl<'k> Form<'k> {
    /// That of a kind.
    pub(crate) fn of(kind: &'k Kind) -> Result<Self, Status> {
        match &kind.custom {
            Some(custom) => Ok(Self::Custom(custom)),
            None => schema_of(kind).map(Self::Built),
        }
    }

    /// That of an object which is of the kind, or is the body of one of its subresources and says of what type.
    pub(crate) fn of_object(kind: &'k Kind, obj: &Value) -> Result<Self, Status> {
        let text = |field: &str| obj[field].as_str().unwrap_or_default();
        let (said, name) = (text("apiVersion"), text("kind"));
        if (said, name) == (&kind.api_version(), &kind.kind) {
            return Self::of(kind);
        }
        let (group, version) = said.split_once('/').unwrap_or(("", said));
        schema_named(group, version, name).map(Self::Built)
    }

    /// Reads JSON.
    pub(crate) fn decode(self, bytes: &[u8]) -> Result<Decoded, DecodeError> {
        match self {
            Self::Built(ty) => decode::decode(bytes, ty),
            Self::Custom(ty) => ty.decode(bytes),
        }
    }

    /// The same of a value.
    pub(crate) fn normalise(self, value: Value) -> Result<Decoded, DecodeError> {
        match self {
            Self::Built(ty) => decode::normalise(value, ty),
            Self::Custom(ty) => ty.normalise(value),
        }
    }
}

/// An object that was put together (by a patch, by apply) in the form of its kind's type.
pub(crate) fn normalise(kind: &Kind, value: Value) -> Result<Decoded, Status> {
    Form::of(kind)?.normalise(value).map_err(|e| Status::bad_request(e.to_string()))
}

/// The schema of a kind.
pub(crate) fn schema_of(kind: &Kind) -> Result<TypeRef<'_>, Status> {
    kind.ty().ok_or_else(|| Status::internal(format!("no schema for {} {}", kind.api_version(), kind.kind)))
}

/// The schema of a type.
pub(crate) fn schema_named(group: &str, version: &str, kind: &str) -> Result<TypeRef<'static>, Status> {
    schema::root(group, version, kind)
        .ok_or_else(|| Status::internal(format!("no schema for {group}/{version} {kind}")))
}

/// `group/version`, or `version` of the core group.
pub(crate) fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}
