//! Amounts and versions.

use std::cmp::Ordering;

use base::Quantity;

use super::Function;
use crate::Error;
use crate::value::{Opaque, Value};

const BAD: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

pub(super) fn find(name: &str) -> Option<Function> {
    Some(match name {
        "quantity" => |_, args| {
            let text = said(args)?;
            text.parse().map(of).map_err(|_| Error::new(BAD))
        },
        "isQuantity" => |_, args| Ok(Value::Bool(said(args)?.parse::<Quantity>().is_ok())),
        "sign" => |_, args| Ok(Value::Int(i64::from(quantity(args)?.sign()))),
        "isInteger" => |_, args| Ok(Value::Bool(integer(quantity(args)?).is_some())),
        "asInteger" => |_, args| {
            let whole = integer(quantity(args)?);
            whole.map(Value::Int).ok_or_else(|| Error::new("cannot convert value to integer"))
        },
        "asApproximateFloat" => |_, args| Ok(Value::Double(quantity(args)?.as_f64())),
        "add" => |_, args| Ok(of(quantity(args)? + amount(args)?)),
        "sub" => |_, args| Ok(of(quantity(args)? - amount(args)?)),
        "isLessThan" => |_, args| Ok(Value::Bool(order(args)?.is_lt())),
        "isGreaterThan" => |_, args| Ok(Value::Bool(order(args)?.is_gt())),
        "compareTo" => |_, args| {
            Ok(Value::Int(match order(args)? {
                Ordering::Less => -1,
                Ordering::Equal => 0,
                Ordering::Greater => 1,
            }))
        },
        "semver" => {
            |_, args| semver(said(args)?, loose(args)).map(|v| Value::Opaque(Opaque::Semver(v.into())))
        }
        "isSemver" => |_, args| Ok(Value::Bool(semver(said(args)?, loose(args)).is_ok())),
        "major" => |_, args| version(args).and_then(|v| number(v.0)),
        "minor" => |_, args| version(args).and_then(|v| number(v.1)),
        "patch" => |_, args| version(args).and_then(|v| number(v.2)),
        _ => return None,
    })
}

/// As it is written.
pub(super) fn text(quantity: Quantity) -> String {
    quantity.to_string()
}

fn of(quantity: Quantity) -> Value<'static> {
    Value::Opaque(Opaque::Quantity(quantity))
}

fn said<'v>(args: &'v [Value<'_>]) -> Result<&'v str, Error> {
    match args.first() {
        Some(Value::Text(text)) => Ok(text),
        _ => Err(Error::no_overload()),
    }
}

fn quantity(args: &[Value<'_>]) -> Result<Quantity, Error> {
    match args.first() {
        Some(Value::Opaque(Opaque::Quantity(quantity))) => Ok(*quantity),
        _ => Err(Error::no_overload()),
    }
}

fn integer(quantity: Quantity) -> Option<i64> {
    let whole = quantity.value();
    (Quantity::from_units(whole, quantity.format()) == quantity).then_some(whole)
}

fn amount(args: &[Value<'_>]) -> Result<Quantity, Error> {
    match args.get(1) {
        Some(Value::Opaque(Opaque::Quantity(quantity))) => Ok(*quantity),
        Some(Value::Int(n)) => Ok(Quantity::from_units(*n, quantity(args)?.format())),
        _ => Err(Error::no_overload()),
    }
}

fn order(args: &[Value<'_>]) -> Result<Ordering, Error> {
    match args {
        [Value::Opaque(Opaque::Quantity(a)), Value::Opaque(Opaque::Quantity(b))] => Ok(a.cmp(b)),
        [Value::Opaque(Opaque::Semver(a)), Value::Opaque(Opaque::Semver(b))] => {
            Ok((a.0, a.1, a.2).cmp(&(b.0, b.1, b.2)).then_with(|| before(&a.3, &b.3)))
        }
        _ => Err(Error::no_overload()),
    }
}

type Version = (u64, u64, u64, String, String);

fn version<'v>(args: &'v [Value<'_>]) -> Result<&'v Version, Error> {
    match args.first() {
        Some(Value::Opaque(Opaque::Semver(version))) => Ok(version),
        _ => Err(Error::no_overload()),
    }
}

fn number(n: u64) -> Result<Value<'static>, Error> {
    i64::try_from(n).map(Value::Int).map_err(|_| Error::new("integer overflow"))
}

fn loose(args: &[Value<'_>]) -> bool {
    matches!(args.get(1), Some(Value::Bool(true)))
}

/// A version of semver.org 2.0; a loose one may lack parts, and have a `v` before and zeros in front.
fn semver(text: &str, loose: bool) -> Result<Version, Error> {
    let bad = |why: &str| Error::new(format!("{why}: {text:?}"));
    let rest = if loose { text.trim().trim_start_matches(['v', 'V']) } else { text };
    let (rest, build) = rest.split_once('+').map_or((rest, ""), |(rest, build)| (rest, build));
    let (core, pre) = rest.split_once('-').map_or((rest, ""), |(core, pre)| (core, pre));
    if rest.ends_with('-') || text.ends_with('+') {
        return Err(bad("Invalid character(s) found"));
    }
    let mut parts: Vec<&str> = core.split('.').collect();
    while loose && parts.len() < 3 {
        parts.push("0");
    }
    let [major, minor, patch] = parts[..] else {
        return Err(Error::new("No Major.Minor.Patch elements found"));
    };
    let part = |part: &str| {
        if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad("Invalid character(s) found in version number"));
        }
        if part.len() > 1 && part.starts_with('0') && !loose {
            return Err(bad("Version number must not contain leading zeroes"));
        }
        part.parse::<u64>().map_err(|_| bad("Version number is too large"))
    };
    let words = |words: &str, leading: bool| {
        words.is_empty()
            || words.split('.').all(|word| {
                let digits = word.bytes().all(|b| b.is_ascii_digit());
                !word.is_empty()
                    && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                    && (leading || !digits || word.len() == 1 || !word.starts_with('0'))
            })
    };
    if !words(pre, loose) || !words(build, true) {
        return Err(bad("Invalid character(s) found in prerelease or build metadata"));
    }
    Ok((part(major)?, part(minor)?, part(patch)?, pre.to_owned(), build.to_owned()))
}

/// Which of two is earlier by what comes before the version: nothing is the latest.
fn before(a: &str, b: &str) -> Ordering {
    match (a.is_empty(), b.is_empty()) {
        (true, true) => return Ordering::Equal,
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    let (mut left, mut right) = (a.split('.'), b.split('.'));
    loop {
        let order = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(a), Some(b)) => match (a.parse::<u64>(), b.parse::<u64>()) {
                (Ok(a), Ok(b)) => a.cmp(&b),
                (Ok(_), Err(_)) => Ordering::Less,
                (Err(_), Ok(_)) => Ordering::Greater,
                (Err(_), Err(_)) => a.cmp(b),
            },
        };
        if order.is_ne() {
            return order;
        }
    }
}
