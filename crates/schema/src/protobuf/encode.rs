//! JSON value → message.
//!
//! Invariant: fields are written in the order of their numbers; absent members are not written. Deliberately absent:
//! zero values of fields that nobody set, which Go's encoder writes and every decoder implies.

use base::time::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::wire::{error, put_bytes, put_number, put_tag};
use super::{PROPS, ProtoError, WRAPPED_LISTS};
use crate::types::{FieldRef, Scalar, Shape, StructRef, TypeRef};

type Entry<'a> = (&'a [u16], FieldRef<'a>, &'a Value);

/// Writes an object's fields.
pub(super) fn object(
    map: &Map<String, Value>,
    ty: StructRef<'_>,
    out: &mut Vec<u8>,
) -> Result<(), ProtoError> {
    let mut entries: Vec<Entry<'_>> = Vec::with_capacity(map.len());
    for (name, value) in map {
        if let Some(field) = ty.field(name).filter(|f| !f.numbers().is_empty() && !value.is_null()) {
            entries.push((field.numbers(), field, value));
        }
    }
    entries.sort_by_key(|e| e.0);
    fields(&entries, ty, out)
}

/// Writes entries sorted by their numbers; those with a longer path share inlined messages.
fn fields(entries: &[Entry<'_>], ty: StructRef<'_>, out: &mut Vec<u8>) -> Result<(), ProtoError> {
    for group in entries.chunk_by(|a, b| a.0[0] == b.0[0]) {
        let (path, field, value) = group[0];
        if path.len() == 1 {
            let wrapped = WRAPPED_LISTS.contains(&(ty.go_name(), field.name()));
            field_value(path[0], value, field.ty(), wrapped, out)
                .map_err(|e| ProtoError(format!("{} in {}.{}", e.0, ty.go_name(), field.name())))?;
            continue;
        }
        let inner: Vec<Entry<'_>> = group.iter().map(|(path, f, v)| (&path[1..], *f, *v)).collect();
        let mut message = Vec::new();
        fields(&inner, ty, &mut message)?;
        put_bytes(path[0], &message, out);
    }
    Ok(())
}

fn field_value(
    number: u16,
    value: &Value,
    ty: TypeRef<'_>,
    wrapped: bool,
    out: &mut Vec<u8>,
) -> Result<(), ProtoError> {
    match (ty.shape(), value) {
        (Shape::List(item), Value::Array(items)) if wrapped => {
            let mut message = Vec::new();
            for v in items {
                field_value(1, v, item, false, &mut message)?;
            }
            put_bytes(number, &message, out);
        }
        (Shape::List(item), Value::Array(items)) => {
            for v in items {
                field_value(number, v, item, false, out)?;
            }
        }
        (Shape::Map(of), Value::Object(map)) => {
            for (key, v) in map {
                let mut entry = Vec::new();
                put_bytes(1, key.as_bytes(), &mut entry);
                // Lists as map values are messages of their own (`ExtraValue`).
                field_value(2, v, of, matches!(of.shape(), Shape::List(_)), &mut entry)?;
                put_bytes(number, &entry, out);
            }
        }
        (Shape::Struct(inner), Value::Object(map)) => {
            let mut message = Vec::new();
            object(map, inner, &mut message)?;
            put_bytes(number, &message, out);
        }
        (Shape::Scalar(kind), value) => scalar(number, value, kind, ty, out)?,
        (_, other) => return error(format!("cannot encode {other}")),
    }
    Ok(())
}

fn scalar(
    number: u16,
    value: &Value,
    kind: Scalar,
    ty: TypeRef<'_>,
    out: &mut Vec<u8>,
) -> Result<(), ProtoError> {
    let mut message = Vec::new();
    match (kind, value) {
        (Scalar::String, Value::String(text)) => {
            put_bytes(number, text.as_bytes(), out);
            return Ok(());
        }
        (Scalar::Bool, Value::Bool(b)) => {
            put_number(number, u64::from(*b), out);
            return Ok(());
        }
        (Scalar::Int32 | Scalar::Int64, Value::Number(n)) => {
            let n = n.as_i64().map_or_else(|| error("integer overflow"), Ok)?;
            put_number(number, n.cast_unsigned(), out);
            return Ok(());
        }
        (Scalar::Double, Value::Number(n)) => {
            put_tag(number, 1, out);
            out.extend(n.as_f64().unwrap_or_default().to_le_bytes());
            return Ok(());
        }
        (Scalar::Bytes, Value::String(text)) => {
            let bytes = STANDARD.decode(text).or_else(|e| error(e.to_string()))?;
            put_bytes(number, &bytes, out);
            return Ok(());
        }
        (Scalar::Time | Scalar::MicroTime, Value::String(text)) => time(text, &mut message)?,
        // The zero time, which as a map's value is printed.
        (Scalar::Time | Scalar::MicroTime, Value::Null) => {}
        (Scalar::Quantity, Value::String(text)) => put_bytes(1, text.as_bytes(), &mut message),
        (Scalar::IntOrString, Value::Number(n)) => {
            put_number(1, 0, &mut message);
            put_number(2, n.as_i64().unwrap_or_default().cast_unsigned(), &mut message);
            put_bytes(3, b"", &mut message);
        }
        (Scalar::IntOrString, Value::String(text)) => {
            put_number(1, 1, &mut message);
            put_number(2, 0, &mut message);
            put_bytes(3, text.as_bytes(), &mut message);
        }
        (Scalar::Raw | Scalar::Fields | Scalar::Json, value) => {
            put_bytes(1, value.to_string().as_bytes(), &mut message);
        }
        (Scalar::PropsOrArray | Scalar::PropsOrBool | Scalar::PropsOrStrings, value) => {
            props(value, kind, ty, &mut message)?;
        }
        (_, other) => return error(format!("cannot encode {other}")),
    }
    put_bytes(number, &message, out);
    Ok(())
}

fn time(text: &str, out: &mut Vec<u8>) -> Result<(), ProtoError> {
    let time = Timestamp::parse(text).or_else(|e| error(e.to_string()))?;
    let nanos = time.unix_nanos();
    let seconds = i64::try_from(nanos.div_euclid(1_000_000_000)).or_else(|_| error("time out of range"))?;
    let fraction = u64::try_from(nanos.rem_euclid(1_000_000_000)).expect("a remainder below a billion");
    put_number(1, seconds.cast_unsigned(), out);
    put_number(2, fraction, out);
    Ok(())
}

fn props(value: &Value, kind: Scalar, ty: TypeRef<'_>, out: &mut Vec<u8>) -> Result<(), ProtoError> {
    let props = ty.table().by_name(PROPS).map_or_else(|| error("no JSONSchemaProps"), Ok)?;
    let schema_number = if kind == Scalar::PropsOrBool { 2 } else { 1 };
    match (kind, value) {
        (_, Value::Object(_)) => {
            if kind == Scalar::PropsOrBool {
                put_number(1, 1, out);
            }
            field_value(schema_number, value, props, false, out)
        }
        (Scalar::PropsOrBool, Value::Bool(b)) => {
            put_number(1, u64::from(*b), out);
            Ok(())
        }
        (Scalar::PropsOrArray, Value::Array(items)) => {
            items.iter().try_for_each(|v| field_value(2, v, props, false, out))
        }
        (_, Value::Array(items)) => {
            items.iter().for_each(|v| put_bytes(2, v.as_str().unwrap_or_default().as_bytes(), out));
            Ok(())
        }
        (_, other) => error(format!("cannot encode {other}")),
    }
}
