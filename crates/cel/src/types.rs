//! The types that expressions are checked against.
//!
//! Invariant: a type is cheap to clone; it is written as cel-go writes it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::cost::Size;

/// A type.
#[derive(Debug, Clone, PartialEq)]
pub enum Type {
    /// Anything, known when it is evaluated.
    Dyn,
    /// The type of `null`.
    Null,
    /// `true` or `false`.
    Bool,
    /// 64 bits with a sign.
    Int,
    /// 64 bits without a sign.
    Uint,
    /// 64 bits with a point.
    Double,
    /// Unicode text.
    String,
    /// Bytes.
    Bytes,
    /// A span of time.
    Duration,
    /// A point in time.
    Timestamp,
    /// A list of one type.
    List(Arc<Type>),
    /// A map from one type to one type.
    Map(Arc<Type>, Arc<Type>),
    /// Something with named fields.
    Object(Arc<Object>),
    /// A value that may be missing.
    Optional(Arc<Type>),
    /// A type as a value.
    Type(Arc<Type>),
    /// A type that only functions look into, by its name.
    Opaque(&'static str),
    /// Whatever type it will turn out to be; in declarations and while they are matched.
    Param(usize),
}

/// The fields of an object by the names that expressions have for them.
pub type Fields = BTreeMap<String, Field>;

/// One field.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Its name in JSON.
    pub json: String,
    /// Its type.
    pub ty: Type,
    /// How large it may be.
    pub size: Size,
}

/// A type with named fields.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// As messages name it.
    pub name: String,
    /// Its fields.
    pub fields: Fields,
}

impl Type {
    /// A list of these.
    #[must_use]
    pub fn list(of: Self) -> Self {
        Self::List(Arc::new(of))
    }

    /// A map from text to these.
    #[must_use]
    pub fn map(of: Self) -> Self {
        Self::Map(Arc::new(Self::String), Arc::new(of))
    }

    /// One that may be missing.
    #[must_use]
    pub fn optional(of: Self) -> Self {
        Self::Optional(Arc::new(of))
    }

    /// An object of these fields, each as large as it likes.
    #[must_use]
    pub fn object(name: &str, fields: Vec<(&str, Self)>) -> Self {
        let field = |(name, ty): (&str, Self)| {
            (name.to_owned(), Field { json: name.to_owned(), ty, size: Size::default() })
        };
        let fields = fields.into_iter().map(field).collect();
        Self::Object(Arc::new(Object { name: name.to_owned(), fields }))
    }

    /// What a list or map holds, as far as it is known.
    pub(crate) fn inner(&self) -> Self {
        match self {
            Self::List(of) | Self::Map(_, of) | Self::Optional(of) => (**of).clone(),
            _ => Self::Dyn,
        }
    }

    /// The name that the type has as a value.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Null => "null_type".into(),
            Self::Duration => "google.protobuf.Duration".into(),
            Self::Timestamp => "google.protobuf.Timestamp".into(),
            Self::List(_) => "list".into(),
            Self::Map(..) => "map".into(),
            Self::Optional(_) => "optional_type".into(),
            Self::Type(_) => "type".into(),
            other => other.to_string(),
        }
    }

    pub(crate) fn is_dyn(&self) -> bool {
        matches!(self, Self::Dyn)
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dyn => f.write_str("dyn"),
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Uint => f.write_str("uint"),
            Self::Double => f.write_str("double"),
            Self::String => f.write_str("string"),
            Self::Bytes => f.write_str("bytes"),
            Self::Duration => f.write_str("duration"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::List(of) => write!(f, "list({of})"),
            Self::Map(key, value) => write!(f, "map({key}, {value})"),
            Self::Object(object) => f.write_str(&object.name),
            Self::Optional(of) => write!(f, "optional_type({of})"),
            Self::Type(of) => write!(f, "type({of})"),
            Self::Opaque(name) => f.write_str(name),
            Self::Param(n) => write!(f, "_var{n}"),
        }
    }
}
