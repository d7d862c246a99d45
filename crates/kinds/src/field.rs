//! Field errors as upstream words them (`k8s.io/apimachinery/pkg/util/validation/field`).

use serde_json::Value;

use crate::status::Cause;

/// The type of an error; its display is the middle part of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorType {
    /// `Required value`.
    Required,
    /// `Invalid value`.
    Invalid,
    /// `Invalid value`, of the wrong JSON type.
    TypeInvalid,
    /// `Unsupported value`.
    NotSupported,
    /// `Duplicate value`.
    Duplicate,
    /// `Not found`.
    NotFound,
    /// `Forbidden`.
    Forbidden,
    /// `Too long`.
    TooLong,
    /// `Too short`.
    TooShort,
    /// `Too many`.
    TooMany,
    /// `Too few`.
    TooFew,
    /// `Internal error`.
    Internal,
}

/// One error at one path.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldError {
    /// Type.
    pub kind: ErrorType,
    /// `spec.containers[0].name`.
    pub field: String,
    /// The offending value; `Null` prints as `null`.
    pub value: Value,
    /// Detail, may be empty.
    pub detail: String,
}

/// All errors of an object, in the order found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ErrorList(pub Vec<FieldError>);

impl ErrorList {
    /// The causes of a 422.
    #[must_use]
    pub fn causes(&self) -> Vec<Cause> {
        Vec::new()
    }
}
