//! Message → JSON value.
//!
//! Invariant: unknown numbers are skipped, as every protobuf decoder does; nesting is bounded. Deliberately absent:
//! canonical form (`decode::normalise` drops what Go writes although it is empty).

use base::time::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::wire::{Wire, error, field, text, varint};
use super::{PROPS, ProtoError, WRAPPED_LISTS};
use crate::decode::MAX_DEPTH;
use crate::types::{FieldRef, Scalar, Shape, StructRef, TypeRef};

/// Reads an object's fields.
pub(super) fn object(bytes: &[u8], ty: StructRef<'_>, depth: usize) -> Result<Value, ProtoError> {
    let mut out = Map::new();
    fields(bytes, ty, &mut Vec::new(), depth, &mut out)?;
    Ok(Value::Object(out))
}

enum Target<'a> {
    Field(FieldRef<'a>),
    Inlined,
    Unknown,
}

fn target<'a>(ty: StructRef<'a>, path: &[u16]) -> Target<'a> {
    let mut out = Target::Unknown;
    for candidate in ty.fields() {
        let numbers = candidate.numbers();
        if numbers == path {
            return Target::Field(candidate);
        }
        if numbers.starts_with(path) {
            out = Target::Inlined;
        }
    }
    out
}

fn fields(
    mut bytes: &[u8],
    ty: StructRef<'_>,
    path: &mut Vec<u16>,
    depth: usize,
    out: &mut Map<String, Value>,
) -> Result<(), ProtoError> {
    if depth > MAX_DEPTH {
        return error("exceeded max depth");
    }
    while !bytes.is_empty() {
        let (number, wire) = field(&mut bytes)?;
        let Ok(number) = u16::try_from(number) else { continue };
        path.push(number);
        match (target(ty, path), wire) {
            (Target::Field(f), wire) => {
                let wrapped = WRAPPED_LISTS.contains(&(ty.go_name(), f.name()));
                let place = out.entry(f.name()).or_insert(Value::Null);
                value(wire, f.ty(), wrapped, depth + 1, place)
                    .map_err(|e| ProtoError(format!("{} in {}.{}", e.0, ty.go_name(), f.name())))?;
            }
            (Target::Inlined, Wire::Bytes(inner)) => fields(inner, ty, path, depth + 1, out)?,
            (Target::Inlined, _) => {
                return error(format!("wrong wireType for field {number} of {}", ty.go_name()));
            }
            (Target::Unknown, _) => {}
        }
        path.pop();
    }
    Ok(())
}

fn list(place: &mut Value) -> &mut Vec<Value> {
    if !place.is_array() {
        *place = json!([]);
    }
    place.as_array_mut().expect("just made a list")
}

/// Reads one occurrence of a field into its place: lists and maps grow, others are set.
fn value(
    wire: Wire<'_>,
    ty: TypeRef<'_>,
    wrapped: bool,
    depth: usize,
    place: &mut Value,
) -> Result<(), ProtoError> {
    match (ty.shape(), wire) {
        (Shape::List(item), Wire::Bytes(mut message)) if wrapped => {
            let items = list(place);
            while !message.is_empty() {
                let (number, wire) = field(&mut message)?;
                if number == 1 {
                    let mut new = Value::Null;
                    value(wire, item, false, depth + 1, &mut new)?;
                    items.push(new);
                }
            }
        }
        (Shape::List(item), wire) => {
            let packed = matches!(item.as_scalar(), Some(Scalar::Bool | Scalar::Int32 | Scalar::Int64));
            let items = list(place);
            if let (true, Wire::Bytes(mut all)) = (packed, wire) {
                while !all.is_empty() {
                    let mut new = Value::Null;
                    value(Wire::Varint(varint(&mut all)?), item, false, depth + 1, &mut new)?;
                    items.push(new);
                }
                return Ok(());
            }
            let mut new = Value::Null;
            value(wire, item, false, depth + 1, &mut new)?;
            items.push(new);
        }
        (Shape::Map(of), Wire::Bytes(mut entry)) => {
            let (mut key, mut new) = (String::new(), zero(of));
            while !entry.is_empty() {
                match field(&mut entry)? {
                    (1, Wire::Bytes(bytes)) => key = text(bytes)?,
                    (2, wire) => value(wire, of, matches!(of.shape(), Shape::List(_)), depth + 1, &mut new)?,
                    _ => {}
                }
            }
            if !place.is_object() {
                *place = json!({});
            }
            place.as_object_mut().expect("just made an object").insert(key, new);
        }
        (Shape::Struct(inner), Wire::Bytes(bytes)) => {
            if !place.is_object() {
                *place = json!({});
            }
            let map = place.as_object_mut().expect("just made an object");
            fields(bytes, inner, &mut Vec::new(), depth, map)?;
        }
        (Shape::Scalar(kind), wire) => *place = scalar(wire, kind, ty, depth)?,
        _ => return error("wrong wireType"),
    }
    Ok(())
}

/// What a map entry without a value means.
fn zero(ty: TypeRef<'_>) -> Value {
    match ty.shape() {
        Shape::Scalar(Scalar::String | Scalar::Bytes) => json!(""),
        Shape::List(_) => json!([]),
        Shape::Struct(_) => json!({}),
        _ => Value::Null,
    }
}

fn scalar(wire: Wire<'_>, kind: Scalar, ty: TypeRef<'_>, depth: usize) -> Result<Value, ProtoError> {
    Ok(match (kind, wire) {
        (Scalar::String, Wire::Bytes(bytes)) => text(bytes)?.into(),
        (Scalar::Bytes, Wire::Bytes(bytes)) => STANDARD.encode(bytes).into(),
        (Scalar::Bool, Wire::Varint(n)) => (n != 0).into(),
        (Scalar::Int64, Wire::Varint(n)) => n.cast_signed().into(),
        (Scalar::Int32, Wire::Varint(n)) => low_half(n).into(),
        (Scalar::Double, Wire::Fixed64(bits)) => f64::from_bits(bits).into(),
        (Scalar::Time | Scalar::MicroTime, Wire::Bytes(bytes)) => time(bytes, kind)?,
        (Scalar::Quantity, Wire::Bytes(bytes)) => match member(bytes, 1)? {
            Some(text) if !text.is_empty() => super::wire::text(text)?.into(),
            _ => "0".into(),
        },
        (Scalar::IntOrString, Wire::Bytes(bytes)) => int_or_string(bytes)?,
        (Scalar::Raw | Scalar::Fields | Scalar::Json, Wire::Bytes(bytes)) => match member(bytes, 1)? {
            Some(json) if !json.is_empty() => {
                crate::decode::json::parse(json).map_err(|e| ProtoError(e.to_string()))?.into_value()
            }
            _ => Value::Null,
        },
        (Scalar::PropsOrArray | Scalar::PropsOrBool | Scalar::PropsOrStrings, Wire::Bytes(bytes)) => {
            props(bytes, kind, ty, depth)?
        }
        _ => return error("wrong wireType"),
    })
}

/// Two's complement of the low 32 bits, as `int32` lies on the wire.
fn low_half(n: u64) -> i32 {
    let [a, b, c, d, ..] = n.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}

/// The last bytes field with this number.
fn member(mut bytes: &[u8], wanted: u64) -> Result<Option<&[u8]>, ProtoError> {
    let mut out = None;
    while !bytes.is_empty() {
        if let (number, Wire::Bytes(inner)) = field(&mut bytes)?
            && number == wanted
        {
            out = Some(inner);
        }
    }
    Ok(out)
}

fn time(mut bytes: &[u8], kind: Scalar) -> Result<Value, ProtoError> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let (mut seconds, mut nanos) = (0, 0);
    while !bytes.is_empty() {
        match field(&mut bytes)? {
            (1, Wire::Varint(n)) => seconds = n.cast_signed(),
            (2, Wire::Varint(n)) => nanos = u32::try_from(n).unwrap_or_default().min(999_999_999),
            _ => {}
        }
    }
    // The zero time of Go, year 1.
    if seconds == -62_135_596_800 && nanos == 0 {
        return Ok(Value::Null);
    }
    let time = Timestamp { nanos, ..Timestamp::from_seconds(seconds) };
    Ok(if kind == Scalar::MicroTime { time.rfc3339_micro() } else { time.rfc3339() }.into())
}

fn int_or_string(mut bytes: &[u8]) -> Result<Value, ProtoError> {
    let (mut is_text, mut number, mut string) = (false, 0, String::new());
    while !bytes.is_empty() {
        match field(&mut bytes)? {
            (1, Wire::Varint(n)) => is_text = n != 0,
            (2, Wire::Varint(n)) => number = low_half(n),
            (3, Wire::Bytes(inner)) => string = text(inner)?,
            _ => {}
        }
    }
    Ok(if is_text { string.into() } else { number.into() })
}

fn props(mut bytes: &[u8], kind: Scalar, ty: TypeRef<'_>, depth: usize) -> Result<Value, ProtoError> {
    let Some(props) = ty.table().by_name(PROPS).and_then(TypeRef::as_struct) else {
        return error("no JSONSchemaProps");
    };
    let schema_number = if kind == Scalar::PropsOrBool { 2 } else { 1 };
    let (mut schema, mut allows, mut items) = (None, false, Vec::new());
    while !bytes.is_empty() {
        match field(&mut bytes)? {
            (number, Wire::Bytes(inner)) if number == schema_number => {
                schema = Some(object(inner, props, depth + 1)?)
            }
            (1, Wire::Varint(n)) => allows = n != 0,
            (2, Wire::Bytes(inner)) if kind == Scalar::PropsOrArray => {
                items.push(object(inner, props, depth + 1)?)
            }
            (2, Wire::Bytes(inner)) => items.push(text(inner)?.into()),
            _ => {}
        }
    }
    Ok(match (schema, kind) {
        (Some(schema), _) => schema,
        (None, Scalar::PropsOrBool) => allows.into(),
        (None, _) => items.into(),
    })
}
