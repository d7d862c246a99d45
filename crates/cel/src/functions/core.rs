//! Operators, conversions and sizes.

use std::cmp::Ordering;

use ::base64::Engine as _;
use ::base64::engine::general_purpose::STANDARD;

use super::{Done, Function, Meter, lists, quantities, time};
use crate::Error;
use crate::types::Type;
use crate::value::{Opaque, Value, whole};

pub(super) fn find(name: &str) -> Option<Function> {
    Some(match name {
        "!_" => not,
        "-_" => negate,
        "_+_" => add,
        "_-_" => subtract,
        "_*_" => |_, args| numbers(args, i64::checked_mul, u64::checked_mul, |a, b| a * b),
        "_/_" => divide,
        "_%_" => remainder,
        "_==_" => |meter, args| same(meter, args).map(Value::Bool),
        "_!=_" => |meter, args| same(meter, args).map(|same| Value::Bool(!same)),
        "_<_" => |meter, args| order(meter, args, Ordering::is_lt),
        "_<=_" => |meter, args| order(meter, args, Ordering::is_le),
        "_>_" => |meter, args| order(meter, args, Ordering::is_gt),
        "_>=_" => |meter, args| order(meter, args, Ordering::is_ge),
        "@in" => is_in,
        "_[_]" => index,
        "_[?_]" => index_or_none,
        "size" => size,
        "type" => |_, args| Ok(Value::Type(args[0].ty())),
        "dyn" => |_, args| Ok(args[0].clone()),
        "bool" => to_bool,
        "bytes" => to_bytes,
        "double" => to_double,
        "int" => to_int,
        "uint" => to_uint,
        "string" => to_string,
        _ => return None,
    })
}

fn not<'a>(_: &mut Meter, args: &[Value<'a>]) -> Done<'a> {
    match args {
        [Value::Bool(value)] => Ok(Value::Bool(!value)),
        _ => Err(Error::no_overload()),
    }
}

fn overflow(of: &Value<'_>) -> Error {
    Error::new(match of {
        Value::Uint(_) => "unsigned integer overflow",
        Value::Duration(_) => "duration overflow",
        Value::Timestamp(_) => "timestamp overflow",
        _ => "integer overflow",
    })
}

fn negate<'a>(_: &mut Meter, args: &[Value<'a>]) -> Done<'a> {
    match args {
        [Value::Int(n)] => n.checked_neg().map(Value::Int).ok_or_else(|| overflow(&args[0])),
        [Value::Double(n)] => Ok(Value::Double(-n)),
        _ => Err(Error::no_overload()),
    }
}

fn numbers<'a>(
    args: &[Value<'a>],
    int: fn(i64, i64) -> Option<i64>,
    uint: fn(u64, u64) -> Option<u64>,
    double: fn(f64, f64) -> f64,
) -> Done<'a> {
    match args {
        [Value::Int(a), Value::Int(b)] => int(*a, *b).map(Value::Int),
        [Value::Uint(a), Value::Uint(b)] => uint(*a, *b).map(Value::Uint),
        [Value::Double(a), Value::Double(b)] => Some(Value::Double(double(*a, *b))),
        _ => return Err(Error::no_overload()),
    }
    .ok_or_else(|| overflow(&args[0]))
}

fn add<'a>(meter: &mut Meter, args: &[Value<'a>]) -> Done<'a> {
    match args {
        [Value::Text(a), Value::Text(b)] => {
            meter.characters(a.len() + b.len())?;
            Ok(Value::text(format!("{a}{b}")))
        }
        [Value::Bytes(a), Value::Bytes(b)] => {
            meter.characters(a.len() + b.len())?;
            Ok(Value::bytes([&**a, &**b].concat()))
        }
        [Value::Duration(_) | Value::Timestamp(_), _] => time::add(args),
        [a, b] if a.size().is_some() => {
            let (Some(mut all), Some(more)) = (a.items(), b.items()) else {
                return Err(Error::no_overload());
            };
            meter.elements(all.len() + more.len())?;
            all.extend(more);
            Ok(Value::list(all))
        }
        _ => numbers(args, i64::checked_add, u64::checked_add, |a, b| a + b),
    }
}

fn subtract<'a>(_: &mut Meter, args: &[Value<'a>]) -> Done<'a> {
    match args {
        [Value::Duration(_) | Value::Timestamp(_), _] => time::subtract(args),
        _ => numbers(args, i64::checked_sub, u64::checked_sub, |a, b| a - b),
    }
}

fn divide<'a>(_: &mut Meter, args: &[Value<'a>]) -> Done<'a> {
    if matches!(args, [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)]) {
        return Err(Error::new("division by zero"));
    }
    numbers(args, i64::checked_div, u64::checked_div, |a, b| a / b)
}

fn remainder<'a>(_: &mut Meter, args: &[Value<'a>]) -> Done<'a> {
    match args {
        [Value::Int(_), Value::Int(0)] | [Value::Uint(_), Value::Uint(0)] => {
            Err(Error::new("modulus by zero"))
        }
        [Value::Double(_), _] => Err(Error::no_overload()),
        _ => numbers(args, i64::checked_rem, u64::checked_rem, |a, b| a % b),
    }
}

/// How much of two values is gone through to compare them.
fn compared(meter: &mut Meter, args: &[Value<'_>]) -> Result<(), Error> {
    let (Some(a), Some(b)) = (args[0].size(), args[1].size()) else { return Ok(()) };
    match &args[0] {
        Value::Text(_) | Value::Bytes(_) => meter.characters(a.min(b)),
        _ => meter.elements(a.min(b)),
    }
}

fn same(meter: &mut Meter, args: &[Value<'_>]) -> Result<bool, Error> {
    compared(meter, args)?;
    Ok(args[0].equals(&args[1]))
}

fn order<'a>(meter: &mut Meter, args: &[Value<'a>], fits: fn(Ordering) -> bool) -> Done<'a> {
    compared(meter, args)?;
    let comparable = args.iter().all(|a| matches!(a, Value::Int(_) | Value::Uint(_) | Value::Double(_)));
    match args[0].compare(&args[1]) {
        Some(order) => Ok(Value::Bool(fits(order))),
        // Of what is no number nothing is more or less.
        None if comparable => Ok(Value::Bool(false)),
        None => Err(Error::no_overload()),
    }
}

fn is_in<'a>(meter: &mut Meter, args: &[Value<'a>]) -> Done<'a> {
    let [wanted, of] = args else { return Err(Error::no_overload()) };
    if let Some(items) = of.items() {
        meter.elements(items.len())?;
        return Ok(Value::Bool(items.iter().any(|item| item.equals(wanted))));
    }
    match of {
        Value::Map(_) | Value::Fields(..) | Value::Made(..) => Ok(Value::Bool(of.get(wanted).is_some())),
        _ => Err(Error::no_overload()),
    }
}

/// What stands at an index or under a key; `Ok(None)` where nothing does.
fn at<'a>(of: &Value<'a>, key: &Value<'a>) -> Result<Option<Value<'a>>, Error> {
    match of {
        Value::List(_) | Value::Items(..) => {
            let at = match key {
                Value::Int(n) => Some(*n),
                Value::Uint(n) => i64::try_from(*n).ok(),
                Value::Double(n) => whole(*n),
                _ => None,
            };
            let Some(at) = at else { return Err(Error::no_overload()) };
            Ok(usize::try_from(at).ok().and_then(|at| of.item(at)))
        }
        Value::Map(_) | Value::Fields(..) | Value::Made(..) => Ok(of.get(key)),
        _ => Err(Error::no_overload()),
    }
}

fn index<'a>(meter: &mut Meter, args: &[Value<'a>]) -> Done<'a> {
    let [of, key] = args else { return Err(Error::no_overload()) };
    if matches!(of, Value::Optional(_)) {
        return index_or_none(meter, args);
    }
    let words = if of.items().is_some() { "index out of bounds" } else { "no such key" };
    at(of, key)?.ok_or_else(|| Error::new(format!("{words}: {key}")))
}

fn index_or_none<'a>(_: &mut Meter, args: &[Value<'a>]) -> Done<'a> {
    let [of, key] = args else { return Err(Error::no_overload()) };
    let found = match of {
        Value::Optional(None) => None,
        Value::Optional(Some(of)) => at(of, key)?,
        of => at(of, key)?,
    };
    Ok(lists::optional(found))
}

fn size<'a>(meter: &mut Meter, args: &[Value<'a>]) -> Done<'a> {
    let size = args[0].size().ok_or_else(Error::no_overload)?;
    if matches!(args[0], Value::Text(_)) {
        meter.characters(size)?;
    }
    i64::try_from(size).map(Value::Int).map_err(|_| Error::new("integer overflow"))
}

pub(super) fn conversion(from: &Value<'_>, to: &Type) -> Error {
    Error::new(format!("type conversion error from '{}' to '{}'", from.ty().name(), to.name()))
}

fn to_bool<'a>(_: &mut Meter, args: &[Value<'a>]) -> Done<'a> {
    match &args[0] {
        Value::Bool(value) => Ok(Value::Bool(*value)),
        Value::Text(text) => match &**text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
            _ => Err(conversion(&args[0], &Type::Bool)),
        },
        _ => Err(Error::no_overload()),
    }
}

fn to_bytes<'a>(meter: &mut Meter, args: &[Value<'a>]) -> Done<'a> {
    match &args[0] {
        Value::Bytes(_) => Ok(args[0].clone()),
        Value::Text(text) => {
            meter.characters(text.len())?;
            Ok(Value::bytes(text.as_bytes().to_vec()))
        }
        _ => Err(Error::no_overload()),
    }
}

fn to_double<'a>(_: &mut Meter, args: &[Value<'a>]) -> Done<'a> {
    let double = match &args[0] {
        Value::Double(n) => Some(*n),
        // As every language rounds what is too exact.
        Value::Int(n) => n.to_string().parse().ok(),
        Value::Uint(n) => n.to_string().parse().ok(),
        Value::Text(text) => text.parse().ok(),
        _ => return Err(Error::no_overload()),
    };
    double.map(Value::Double).ok_or_else(|| conversion(&args[0], &Type::Double))
}

fn to_int<'a>(_: &mut Meter, args: &[Value<'a>]) -> Done<'a> {
    let overflow = || Error::new("integer overflow");
    Ok(Value::Int(match &args[0] {
        Value::Int(n) => *n,
        Value::Uint(n) => i64::try_from(*n).map_err(|_| overflow())?,
        Value::Double(n) => whole(n.trunc()).ok_or_else(overflow)?,
        Value::Text(text) => text.parse().map_err(|_| conversion(&args[0], &Type::Int))?,
        Value::Timestamp(at) => at.as_second(),
        Value::Duration(span) => i64::try_from(span.as_nanos()).map_err(|_| overflow())?,
        _ => return Err(Error::no_overload()),
    }))
}

fn to_uint<'a>(_: &mut Meter, args: &[Value<'a>]) -> Done<'a> {
    let overflow = || Error::new("unsigned integer overflow");
    Ok(Value::Uint(match &args[0] {
        Value::Uint(n) => *n,
        Value::Int(n) => u64::try_from(*n).map_err(|_| overflow())?,
        Value::Double(n) => whole(n.trunc()).and_then(|n| u64::try_from(n).ok()).ok_or_else(overflow)?,
        Value::Text(text) => text.parse().map_err(|_| conversion(&args[0], &Type::Uint))?,
        _ => return Err(Error::no_overload()),
    }))
}

fn to_string<'a>(meter: &mut Meter, args: &[Value<'a>]) -> Done<'a> {
    if let Value::Text(text) = &args[0] {
        meter.characters(text.len())?;
        return Ok(args[0].clone());
    }
    text_of(&args[0]).map(Value::text)
}

/// What `string` makes of a value.
pub(crate) fn text_of(value: &Value<'_>) -> Result<String, Error> {
    Ok(match value {
        Value::Text(text) => text.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Int(n) => n.to_string(),
        Value::Uint(n) => n.to_string(),
        Value::Double(n) => number_text(*n),
        Value::Bytes(bytes) => String::from_utf8(bytes.to_vec())
            .map_err(|_| Error::new("invalid UTF-8 in bytes, cannot convert to string"))?,
        Value::Timestamp(at) => at.to_string(),
        Value::Duration(span) => format!("{}s", number_text(span.as_secs_f64())),
        Value::Opaque(Opaque::Quantity(quantity)) => quantities::text(*quantity),
        Value::Opaque(opaque @ (Opaque::Ip(_) | Opaque::Cidr(..))) => opaque.to_string(),
        _ => return Err(Error::no_overload()),
    })
}

/// A double as Go's shortest form has it.
pub(crate) fn number_text(n: f64) -> String {
    if n.is_nan() {
        return "NaN".into();
    }
    if n.is_infinite() {
        return if n > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    if n == 0.0 || (1e-4..1e21).contains(&n.abs()) {
        return n.to_string();
    }
    let text = format!("{n:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |rest| ('-', rest));
    format!("{digits}e{sign}{exponent:0>2}")
}

/// The bytes that base64 stands for.
pub(crate) fn base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}
