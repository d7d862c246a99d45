//! What expressions compute with.
//!
//! Invariant: JSON is not copied: it is looked into as far as an expression asks, and read by its declared type where there
//! is one. Numbers of different types are equal when they are the same number. Absent: functions.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value as Json};

use crate::Error;
pub use crate::functions::opaque::Opaque;
use crate::types::Type;

/// A value.
#[derive(Debug, Clone)]
pub enum Value<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number with a sign.
    Int(i64),
    /// A number without a sign.
    Uint(u64),
    /// A number with a point.
    Double(f64),
    /// Text.
    Text(Cow<'a, str>),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// A span of time.
    Duration(SignedDuration),
    /// A point in time.
    Timestamp(Timestamp),
    /// A list that was made.
    List(Arc<[Self]>),
    /// A map that was made, in the order in which it was.
    Map(Arc<[(Self, Self)]>),
    /// An object that was made, by the name of its type.
    Made(Arc<str>, Arc<[(String, Self)]>),
    /// A list in JSON, and the type of its elements.
    Items(&'a [Json], Type),
    /// An object in JSON, and its own type.
    Fields(&'a Map<String, Json>, Type),
    /// What may be missing.
    Optional(Option<Arc<Self>>),
    /// A type.
    Type(Type),
    /// What only functions look into.
    Opaque(Opaque),
}

impl<'a> Value<'a> {
    /// Text.
    pub fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self::Text(text.into())
    }

    /// Bytes.
    #[must_use]
    pub fn bytes(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }

    /// A list.
    #[must_use]
    pub fn list(of: Vec<Self>) -> Self {
        Self::List(of.into())
    }

    /// One that is there.
    #[must_use]
    pub fn some(self) -> Self {
        Self::Optional(Some(Arc::new(self)))
    }

    /// JSON as a value of this type; what is of another type is read as what it is.
    #[must_use]
    pub fn of_json(json: &'a Json, ty: &Type) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => match (ty, number.as_i64(), number.as_u64(), number.as_f64()) {
                (Type::Double, _, _, Some(value)) => Self::Double(value),
                (_, Some(value), ..) => Self::Int(value),
                (_, _, Some(value), _) => Self::Uint(value),
                (Type::Int, _, _, Some(value)) => whole(value).map_or(Self::Double(value), Self::Int),
                (_, _, _, value) => Self::Double(value.unwrap_or(f64::NAN)),
            },
            Json::String(text) => of_text(text, ty),
            Json::Array(items) => Self::Items(items, ty.inner()),
            Json::Object(fields) => match ty {
                Type::Object(_) | Type::Map(..) => Self::Fields(fields, ty.clone()),
                _ => Self::Fields(fields, Type::Dyn),
            },
        }
    }

    /// JSON without a schema.
    #[must_use]
    pub fn any(json: &'a Json) -> Self {
        Self::of_json(json, &Type::Dyn)
    }

    /// The value in JSON.
    ///
    /// # Errors
    /// What JSON cannot say.
    pub fn to_json(&self) -> Result<Json, Error> {
        let failed = || Error::new(format!("{} cannot be said in JSON", self.ty().name()));
        Ok(match self {
            Self::Null => Json::Null,
            Self::Bool(value) => Json::Bool(*value),
            Self::Int(value) => (*value).into(),
            Self::Uint(value) => (*value).into(),
            Self::Double(value) => (*value).into(),
            Self::Text(text) => Json::from(&**text),
            Self::List(items) => Json::Array(items.iter().map(Self::to_json).collect::<Result<_, _>>()?),
            Self::Items(items, _) => Json::Array(items.to_vec()),
            Self::Fields(fields, _) => Json::Object((*fields).clone()),
            Self::Map(entries) => {
                let entry = |(key, value): &(Self, Self)| match key {
                    Self::Text(key) => Ok((key.to_string(), value.to_json()?)),
                    _ => Err(failed()),
                };
                Json::Object(entries.iter().map(entry).collect::<Result<_, _>>()?)
            }
            Self::Made(_, fields) => {
                let field = |(name, value): &(String, Self)| Ok((name.clone(), value.to_json()?));
                Json::Object(fields.iter().map(field).collect::<Result<_, Error>>()?)
            }
            Self::Optional(Some(value)) => value.to_json()?,
            Self::Duration(_) | Self::Timestamp(_) => Json::from(crate::functions::core::text_of(self)?),
            _ => return Err(failed()),
        })
    }

    /// Its type, as far as the value tells it.
    #[must_use]
    pub fn ty(&self) -> Type {
        match self {
            Self::Null => Type::Null,
            Self::Bool(_) => Type::Bool,
            Self::Int(_) => Type::Int,
            Self::Uint(_) => Type::Uint,
            Self::Double(_) => Type::Double,
            Self::Text(_) => Type::String,
            Self::Bytes(_) => Type::Bytes,
            Self::Duration(_) => Type::Duration,
            Self::Timestamp(_) => Type::Timestamp,
            Self::List(_) | Self::Items(..) => Type::list(Type::Dyn),
            Self::Fields(_, ty @ Type::Object(_)) => ty.clone(),
            Self::Map(_) | Self::Fields(..) => Type::Map(Type::Dyn.into(), Type::Dyn.into()),
            Self::Made(name, _) => Type::object(name, Vec::new()),
            Self::Optional(_) => Type::optional(Type::Dyn),
            Self::Type(_) => Type::Type(Type::Dyn.into()),
            Self::Opaque(opaque) => opaque.ty(),
        }
    }

    /// How many elements, entries, characters or bytes it has.
    #[must_use]
    pub fn size(&self) -> Option<usize> {
        Some(match self {
            Self::Text(text) => text.chars().count(),
            Self::Bytes(bytes) => bytes.len(),
            Self::List(items) => items.len(),
            Self::Items(items, _) => items.len(),
            Self::Map(entries) => entries.len(),
            Self::Fields(fields, _) => fields.len(),
            Self::Made(_, fields) => fields.len(),
            _ => return None,
        })
    }

    /// The elements of a list.
    #[must_use]
    pub fn items(&self) -> Option<Vec<Self>> {
        match self {
            Self::List(items) => Some(items.to_vec()),
            Self::Items(items, ty) => Some(items.iter().map(|json| Self::of_json(json, ty)).collect()),
            _ => None,
        }
    }

    /// The element of a list there.
    #[must_use]
    pub fn item(&self, at: usize) -> Option<Self> {
        match self {
            Self::List(items) => items.get(at).cloned(),
            Self::Items(items, ty) => items.get(at).map(|json| Self::of_json(json, ty)),
            _ => None,
        }
    }

    /// The entries of a map.
    #[must_use]
    pub fn entries(&self) -> Option<Vec<(Self, Self)>> {
        match self {
            Self::Map(entries) => Some(entries.to_vec()),
            Self::Fields(fields, ty) => {
                let inner = |key: &str| match ty {
                    Type::Object(object) => {
                        object.fields.values().find(|f| f.json == key).map_or(Type::Dyn, |f| f.ty.clone())
                    }
                    other => other.inner(),
                };
                let entry = |(key, json): (&'a String, &'a Json)| {
                    (Self::text(key.as_str()), Self::of_json(json, &inner(key)))
                };
                Some(fields.iter().map(entry).collect())
            }
            Self::Made(_, fields) => {
                Some(fields.iter().map(|(name, value)| (Self::text(name.clone()), value.clone())).collect())
            }
            _ => None,
        }
    }

    /// The value of a map under a key, or of an object's field; `None` where there is none.
    #[must_use]
    pub fn get(&self, key: &Self) -> Option<Self> {
        match (self, key) {
            (Self::Fields(..), Self::Text(name)) => self.field(name),
            (Self::Map(entries), _) => {
                entries.iter().find(|(k, _)| k.equals(key)).map(|(_, value)| value.clone())
            }
            (Self::Made(_, fields), Self::Text(name)) => {
                fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone())
            }
            _ => None,
        }
    }

    /// The same by name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<Self> {
        match self {
            Self::Fields(fields, Type::Object(object)) => {
                let field = object.fields.get(name)?;
                fields.get(&field.json).map(|json| Self::of_json(json, &field.ty))
            }
            Self::Fields(fields, ty) => fields.get(name).map(|json| Self::of_json(json, &ty.inner())),
            Self::Map(_) | Self::Made(..) => self.get(&Value::text(name.to_owned())),
            _ => None,
        }
    }

    /// Whether two values are the same.
    #[must_use]
    pub fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::Duration(a), Self::Duration(b)) => a == b,
            (Self::Timestamp(a), Self::Timestamp(b)) => a == b,
            (Self::Type(a), Self::Type(b)) => a.name() == b.name(),
            (Self::Opaque(a), Self::Opaque(b)) => a == b,
            (Self::Optional(a), Self::Optional(b)) => match (a, b) {
                (None, None) => true,
                (Some(a), Some(b)) => a.equals(b),
                _ => false,
            },
            (Self::List(_) | Self::Items(..), Self::List(_) | Self::Items(..)) => {
                let (a, b) = (self.items().unwrap_or_default(), other.items().unwrap_or_default());
                a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a.equals(b))
            }
            (
                Self::Map(_) | Self::Fields(..) | Self::Made(..),
                Self::Map(_) | Self::Fields(..) | Self::Made(..),
            ) => {
                let entries = self.entries().unwrap_or_default();
                other.size() == Some(entries.len())
                    && other.entries().is_some_and(|others| {
                        entries
                            .iter()
                            .all(|(key, value)| others.iter().any(|(k, v)| k.equals(key) && v.equals(value)))
                    })
            }
            _ => self.number().is_some() && compare_numbers(self, other) == Some(Ordering::Equal),
        }
    }

    /// Which comes first, of two that have an order.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::Text(a), Self::Text(b)) => Some(a.cmp(b)),
            (Self::Bytes(a), Self::Bytes(b)) => Some(a.cmp(b)),
            (Self::Duration(a), Self::Duration(b)) => Some(a.cmp(b)),
            (Self::Timestamp(a), Self::Timestamp(b)) => Some(a.cmp(b)),
            _ => compare_numbers(self, other),
        }
    }

    fn number(&self) -> Option<Number> {
        match self {
            Self::Int(n) => Some(Number::Whole(i128::from(*n))),
            Self::Uint(n) => Some(Number::Whole(i128::from(*n))),
            Self::Double(n) => Some(Number::Point(*n)),
            _ => None,
        }
    }
}

enum Number {
    Whole(i128),
    Point(f64),
}

fn compare_numbers(a: &Value<'_>, b: &Value<'_>) -> Option<Ordering> {
    match (a.number()?, b.number()?) {
        (Number::Whole(a), Number::Whole(b)) => Some(a.cmp(&b)),
        (Number::Point(a), Number::Point(b)) => a.partial_cmp(&b),
        (Number::Whole(a), Number::Point(b)) => with_point(a, b),
        (Number::Point(a), Number::Whole(b)) => with_point(b, a).map(Ordering::reverse),
    }
}

/// Compares exactly: a whole number may be greater than what a double tells apart.
fn with_point(a: i128, b: f64) -> Option<Ordering> {
    if b.is_nan() {
        return None;
    }
    // Beyond this nothing is whole in 64 bits.
    if b.abs() > 4e19 {
        return Some(if b > 0.0 { Ordering::Less } else { Ordering::Greater });
    }
    #[expect(clippy::cast_possible_truncation, reason = "within the bounds that were just checked")]
    let floor = b.floor() as i128;
    Some(a.cmp(&floor).then(if b > b.floor() { Ordering::Less } else { Ordering::Equal }))
}

/// A double that is a whole number of 64 bits.
#[expect(clippy::cast_possible_truncation, reason = "within the bounds that are checked")]
pub(crate) fn whole(value: f64) -> Option<i64> {
    (value.fract() == 0.0 && value.abs() < 9.2e18).then_some(value as i64)
}

fn of_text<'a>(text: &'a str, ty: &Type) -> Value<'a> {
    let typed = match ty {
        Type::Timestamp => crate::functions::time::timestamp(text).map(Value::Timestamp),
        Type::Duration => crate::functions::time::duration(text).map(Value::Duration),
        Type::Bytes => crate::functions::core::base64(text).map(Value::bytes),
        _ => None,
    };
    typed.unwrap_or(Value::Text(Cow::Borrowed(text)))
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Uint(value) => write!(f, "{value}"),
            Self::Double(value) => f.write_str(&crate::functions::core::number_text(*value)),
            Self::Text(text) => f.write_str(text),
            Self::Type(ty) => f.write_str(&ty.name()),
            Self::Duration(_) | Self::Timestamp(_) => {
                f.write_str(&crate::functions::core::text_of(self).map_err(|_| fmt::Error)?)
            }
            Self::Opaque(opaque) => write!(f, "{opaque}"),
            other => f.write_str(&other.ty().name()),
        }
    }
}
