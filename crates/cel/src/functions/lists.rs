//! Lists, sets and what may be missing.

use std::cmp::Ordering;

use super::{Done, Function, Meter, text};
use crate::Error;
use crate::value::Value;

pub(super) fn find(name: &str, member: bool) -> Option<Function> {
    Some(match name {
        "isSorted" => is_sorted,
        "sum" => sum,
        "min" => |meter, args| extreme(meter, args, Ordering::Less, "min"),
        "max" => |meter, args| extreme(meter, args, Ordering::Greater, "max"),
        "indexOf" if member => |meter, args| match &args[0] {
            Value::Text(_) => text::index_of(meter, args, false),
            _ => position(meter, args, false),
        },
        "lastIndexOf" if member => |meter, args| match &args[0] {
            Value::Text(_) => text::index_of(meter, args, true),
            _ => position(meter, args, true),
        },
        "slice" => slice,
        "flatten" => flatten,
        "distinct" => distinct,
        "reverse" => |meter, args| {
            let mut items = items(meter, &args[0])?;
            items.reverse();
            Ok(Value::list(items))
        },
        "sort" => sort,
        "lists.range" => range,
        "sets.contains" => |meter, args| {
            let (a, b) = pair(meter, args)?;
            Ok(Value::Bool(holds(&a, &b)))
        },
        "sets.equivalent" => |meter, args| {
            let (a, b) = pair(meter, args)?;
            Ok(Value::Bool(holds(&a, &b) && holds(&b, &a)))
        },
        "sets.intersects" => |meter, args| {
            let (a, b) = pair(meter, args)?;
            Ok(Value::Bool(a.iter().any(|x| b.iter().any(|y| x.equals(y)))))
        },
        "optional.of" => |_, args| Ok(args[0].clone().some()),
        "optional.none" => |_, _| Ok(Value::Optional(None)),
        "optional.ofNonZeroValue" => {
            |_, args| Ok(if is_zero(&args[0]) { Value::Optional(None) } else { args[0].clone().some() })
        }
        "hasValue" => |_, args| match &args[0] {
            Value::Optional(value) => Ok(Value::Bool(value.is_some())),
            _ => Err(Error::no_overload()),
        },
        "value" => |_, args| match &args[0] {
            Value::Optional(Some(value)) => Ok((**value).clone()),
            Value::Optional(None) => Err(Error::new("optional.none() dereference")),
            _ => Err(Error::no_overload()),
        },
        "or" => |_, args| match &args[0] {
            Value::Optional(Some(_)) => Ok(args[0].clone()),
            Value::Optional(None) => Ok(args[1].clone()),
            _ => Err(Error::no_overload()),
        },
        "orValue" => |_, args| match &args[0] {
            Value::Optional(Some(value)) => Ok((**value).clone()),
            Value::Optional(None) => Ok(args[1].clone()),
            _ => Err(Error::no_overload()),
        },
        _ => return None,
    })
}

/// What may be missing.
pub(super) fn optional(value: Option<Value<'_>>) -> Value<'_> {
    Value::Optional(value.map(std::sync::Arc::new))
}

fn items<'a>(meter: &mut Meter, list: &Value<'a>) -> Result<Vec<Value<'a>>, Error> {
    meter.elements(list.size().unwrap_or_default())?;
    list.items().ok_or_else(Error::no_overload)
}

fn pair<'a>(meter: &mut Meter, args: &[Value<'a>]) -> Result<(Vec<Value<'a>>, Vec<Value<'a>>), Error> {
    let (a, b) = (args[0].size().unwrap_or_default(), args[1].size().unwrap_or_default());
    meter.elements(a.saturating_mul(b))?;
    Ok((items(meter, &args[0])?, items(meter, &args[1])?))
}

fn holds(all: &[Value<'_>], some: &[Value<'_>]) -> bool {
    some.iter().all(|wanted| all.iter().any(|item| item.equals(wanted)))
}

fn is_zero(value: &Value<'_>) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Int(n) => *n == 0,
        Value::Uint(n) => *n == 0,
        Value::Double(n) => *n == 0.0,
        Value::Duration(span) => span.is_zero(),
        Value::Optional(value) => value.is_none(),
        other => other.size() == Some(0),
    }
}

fn compared(a: &Value<'_>, b: &Value<'_>) -> Result<Ordering, Error> {
    a.compare(b).ok_or_else(Error::no_overload)
}

fn is_sorted<'a>(meter: &mut Meter, args: &[Value<'a>]) -> Done<'a> {
    let items = items(meter, &args[0])?;
    for two in items.windows(2) {
        if compared(&two[0], &two[1])?.is_gt() {
            return Ok(Value::Bool(false));
        }
    }
    Ok(Value::Bool(true))
}

fn sum<'a>(meter: &mut Meter, args: &[Value<'a>]) -> Done<'a> {
    let mut items = items(meter, &args[0])?.into_iter();
    // Of no elements the sum is zero, of whichever type: integers are equal to other numbers of the same size.
    let Some(mut total) = items.next() else { return Ok(Value::Int(0)) };
    let add = super::core::find("_+_").ok_or_else(Error::no_overload)?;
    for item in items {
        total = add(meter, &[total, item])?;
    }
    Ok(total)
}

fn extreme<'a>(meter: &mut Meter, args: &[Value<'a>], wanted: Ordering, name: &str) -> Done<'a> {
    let mut items = items(meter, &args[0])?.into_iter();
    let mut best = items.next().ok_or_else(|| Error::new(format!("{name} called on empty list")))?;
    for item in items {
        if compared(&item, &best)? == wanted {
            best = item;
        }
    }
    Ok(best)
}

fn position<'a>(meter: &mut Meter, args: &[Value<'a>], last: bool) -> Done<'a> {
    let [list, wanted] = args else { return Err(Error::no_overload()) };
    let items = items(meter, list)?;
    let is = |item: &Value<'_>| item.equals(wanted);
    let found = if last { items.iter().rposition(is) } else { items.iter().position(is) };
    Ok(Value::Int(found.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1)))
}

fn slice<'a>(meter: &mut Meter, args: &[Value<'a>]) -> Done<'a> {
    let [list, Value::Int(from), Value::Int(to)] = args else { return Err(Error::no_overload()) };
    let items = items(meter, list)?;
    let bad = || Error::new(format!("cannot slice({from}, {to}), list is length {}", items.len()));
    let (from, to) = (usize::try_from(*from).map_err(|_| bad())?, usize::try_from(*to).map_err(|_| bad())?);
    items.get(from..to).map(|part| Value::list(part.to_vec())).ok_or_else(bad)
}

fn flatten<'a>(meter: &mut Meter, args: &[Value<'a>]) -> Done<'a> {
    let mut out = Vec::new();
    for item in items(meter, &args[0])? {
        match item.size() {
            Some(_) if item.items().is_some() => out.extend(items(meter, &item)?),
            _ => out.push(item),
        }
    }
    Ok(Value::list(out))
}

fn distinct<'a>(meter: &mut Meter, args: &[Value<'a>]) -> Done<'a> {
    let count = args[0].size().unwrap_or_default();
    meter.elements(count.saturating_mul(count))?;
    let mut out: Vec<Value<'a>> = Vec::new();
    for item in items(meter, &args[0])? {
        if !out.iter().any(|seen| seen.equals(&item)) {
            out.push(item);
        }
    }
    Ok(Value::list(out))
}

fn sort<'a>(meter: &mut Meter, args: &[Value<'a>]) -> Done<'a> {
    let count = args[0].size().unwrap_or_default();
    meter.elements(count.saturating_mul(count))?;
    let mut items = items(meter, &args[0])?;
    for two in items.windows(2) {
        compared(&two[0], &two[1])?;
    }
    items.sort_by(|a, b| a.compare(b).unwrap_or(Ordering::Equal));
    Ok(Value::list(items))
}

fn range<'a>(meter: &mut Meter, args: &[Value<'a>]) -> Done<'a> {
    let [Value::Int(n)] = args else { return Err(Error::no_overload()) };
    meter.elements(usize::try_from(*n).unwrap_or_default())?;
    Ok(Value::list((0..*n).map(Value::Int).collect()))
}
