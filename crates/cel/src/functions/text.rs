//! Text and patterns. Positions are counted in characters.

use std::fmt::Write as _;

use regex::{Regex, RegexBuilder};

use super::core::number_text;
use super::{Done, Function, Meter};
use crate::Error;
use crate::value::Value;

pub(super) fn find(name: &str) -> Option<Function> {
    Some(match name {
        "matches" => |meter, args| {
            let (text, pattern) = two(args)?;
            charge(meter, text, pattern)?;
            Ok(Value::Bool(compiled(pattern)?.is_match(text)))
        },
        "contains" => |meter, args| {
            let (text, part) = two(args)?;
            meter.characters(text.len())?;
            Ok(Value::Bool(text.contains(part)))
        },
        "startsWith" => |meter, args| {
            let (text, part) = two(args)?;
            meter.characters(part.len())?;
            Ok(Value::Bool(text.starts_with(part)))
        },
        "endsWith" => |meter, args| {
            let (text, part) = two(args)?;
            meter.characters(part.len())?;
            Ok(Value::Bool(text.ends_with(part)))
        },
        "find" => |meter, args| {
            let (text, pattern) = two(args)?;
            charge(meter, text, pattern)?;
            let found = compiled(pattern)?.find(text).map_or("", |found| found.as_str());
            Ok(Value::text(found.to_owned()))
        },
        "findAll" => find_all,
        "charAt" => char_at,
        "lowerAscii" => |meter, args| changed(meter, args, |text| text.to_ascii_lowercase()),
        "upperAscii" => |meter, args| changed(meter, args, |text| text.to_ascii_uppercase()),
        "trim" => |meter, args| changed(meter, args, |text| text.trim().to_owned()),
        "strings.quote" => |meter, args| changed(meter, args, |text| format!("{text:?}")),
        "jsonpatch.escapeKey" => {
            |meter, args| changed(meter, args, |text| text.replace('~', "~0").replace('/', "~1"))
        }
        "replace" => replace,
        "split" => split,
        "substring" => substring,
        "join" => join,
        "format" => format,
        _ => return None,
    })
}

fn one<'v>(args: &'v [Value<'_>]) -> Result<&'v str, Error> {
    match args.first() {
        Some(Value::Text(text)) => Ok(text),
        _ => Err(Error::no_overload()),
    }
}

fn two<'v>(args: &'v [Value<'_>]) -> Result<(&'v str, &'v str), Error> {
    match args {
        [Value::Text(a), Value::Text(b), ..] => Ok((a, b)),
        _ => Err(Error::no_overload()),
    }
}

fn number(args: &[Value<'_>], at: usize) -> Result<Option<i64>, Error> {
    match args.get(at) {
        None => Ok(None),
        Some(Value::Int(n)) => Ok(Some(*n)),
        Some(_) => Err(Error::no_overload()),
    }
}

/// What a search of a pattern costs at most.
fn charge(meter: &mut Meter, text: &str, pattern: &str) -> Result<(), Error> {
    let (text, pattern) = ((text.len() + 1).div_ceil(10), pattern.len().div_ceil(4));
    meter.elements(text.saturating_mul(pattern.max(1)))
}

/// No pattern takes more memory than this.
const MOST: usize = 1 << 20;

pub(crate) fn compiled(pattern: &str) -> Result<Regex, Error> {
    let built = RegexBuilder::new(pattern).size_limit(MOST).dfa_size_limit(MOST).build();
    built.map_err(|why| {
        let why = why.to_string();
        let last = why.lines().last().unwrap_or_default().trim_start_matches("error: ");
        Error::new(format!("error parsing regexp: {last}: `{pattern}`"))
    })
}

fn changed<'a>(meter: &mut Meter, args: &[Value<'a>], to: fn(&str) -> String) -> Done<'a> {
    let text = one(args)?;
    meter.characters(text.len())?;
    Ok(Value::text(to(text)))
}

fn find_all<'a>(meter: &mut Meter, args: &[Value<'a>]) -> Done<'a> {
    let (text, pattern) = two(args)?;
    charge(meter, text, pattern)?;
    let most = number(args, 2)?.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
    let pattern = compiled(pattern)?;
    let found = pattern.find_iter(text).take(most).map(|found| Value::text(found.as_str().to_owned()));
    Ok(Value::list(found.collect()))
}

fn char_at<'a>(_: &mut Meter, args: &[Value<'a>]) -> Done<'a> {
    let (text, at) = (one(args)?, number(args, 1)?.unwrap_or_default());
    let count = text.chars().count();
    match usize::try_from(at) {
        Ok(at) if at == count => Ok(Value::text("")),
        Ok(at) if at < count => Ok(Value::text(text.chars().nth(at).map(String::from).unwrap_or_default())),
        _ => Err(Error::new(format!("index out of range: {at}"))),
    }
}

/// `indexOf` and `lastIndexOf` of text.
pub(super) fn index_of<'a>(meter: &mut Meter, args: &[Value<'a>], last: bool) -> Done<'a> {
    let (text, part) = two(args)?;
    meter.characters(text.len())?;
    let (text, part): (Vec<char>, Vec<char>) = (text.chars().collect(), part.chars().collect());
    let start = number(args, 2)?;
    if let Some(start) = start
        && usize::try_from(start).map_or(true, |start| start > text.len())
    {
        return Err(Error::new(format!("index out of range: {start}")));
    }
    let start = start.and_then(|n| usize::try_from(n).ok());
    let is = |at: &usize| text.get(*at..at + part.len()) == Some(&part[..]);
    let found = if last {
        (0..=start.unwrap_or(text.len())).rev().find(is)
    } else {
        (start.unwrap_or(0)..=text.len()).find(is)
    };
    Ok(Value::Int(found.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1)))
}

fn replace<'a>(meter: &mut Meter, args: &[Value<'a>]) -> Done<'a> {
    let [Value::Text(text), Value::Text(from), Value::Text(to), ..] = args else {
        return Err(Error::no_overload());
    };
    let most = number(args, 3)?.and_then(|n| usize::try_from(n).ok());
    let grown = (text.len() + 1).saturating_mul(to.len() + 1);
    meter.characters(grown)?;
    Ok(Value::text(match most {
        Some(most) => text.replacen(&**from, to, most),
        None => text.replace(&**from, to),
    }))
}

fn split<'a>(meter: &mut Meter, args: &[Value<'a>]) -> Done<'a> {
    let (text, by) = two(args)?;
    meter.characters(text.len())?;
    let most = match number(args, 2)? {
        Some(0) => return Ok(Value::list(Vec::new())),
        most => most.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX),
    };
    let parts: Vec<String> = if by.is_empty() {
        let chars: Vec<char> = text.chars().collect();
        let alone = chars.len().min(most.saturating_sub(1));
        let mut parts: Vec<String> = chars[..alone].iter().map(char::to_string).collect();
        if alone < chars.len() {
            parts.push(chars[alone..].iter().collect());
        }
        parts
    } else {
        text.splitn(most, by).map(str::to_owned).collect()
    };
    Ok(Value::list(parts.into_iter().map(Value::text).collect()))
}

fn substring<'a>(meter: &mut Meter, args: &[Value<'a>]) -> Done<'a> {
    let text = one(args)?;
    meter.characters(text.len())?;
    let chars: Vec<char> = text.chars().collect();
    let bad = |n: i64| Error::new(format!("index out of range: {n}"));
    let from = number(args, 1)?.unwrap_or_default();
    let to = number(args, 2)?;
    let start = usize::try_from(from).ok().filter(|n| *n <= chars.len()).ok_or_else(|| bad(from))?;
    let end = match to {
        None => chars.len(),
        Some(to) => usize::try_from(to).ok().filter(|n| *n <= chars.len()).ok_or_else(|| bad(to))?,
    };
    let part = chars
        .get(start..end)
        .ok_or_else(|| Error::new(format!("invalid substring range. start: {start}, end: {end}")))?;
    Ok(Value::text(part.iter().collect::<String>()))
}

fn join<'a>(meter: &mut Meter, args: &[Value<'a>]) -> Done<'a> {
    let between = match args.get(1) {
        None => "",
        Some(Value::Text(text)) => text,
        Some(_) => return Err(Error::no_overload()),
    };
    let mut out = String::new();
    for (i, item) in args[0].items().ok_or_else(Error::no_overload)?.iter().enumerate() {
        let Value::Text(text) = item else { return Err(Error::no_overload()) };
        meter.characters(text.len() + between.len())?;
        if i > 0 {
            out += between;
        }
        out += text;
    }
    Ok(Value::text(out))
}

/// `'%s is %d'.format([a, b])`.
fn format<'a>(meter: &mut Meter, args: &[Value<'a>]) -> Done<'a> {
    let text = one(args)?;
    let values = args.get(1).and_then(Value::items).ok_or_else(Error::no_overload)?;
    meter.characters(text.len())?;
    let mut values = values.into_iter().enumerate();
    let (mut out, mut chars) = (String::new(), text.chars().peekable());
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        if chars.next_if_eq(&'%').is_some() {
            out.push('%');
            continue;
        }
        let mut precision = None;
        if chars.next_if_eq(&'.').is_some() {
            let mut digits = String::new();
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            precision = Some(
                digits
                    .parse::<usize>()
                    .map_err(|_| Error::new("could not parse formatting clause"))?
                    .min(100),
            );
        }
        let verb = chars.next().ok_or_else(|| Error::new("unexpected end of string"))?;
        let (at, value) = values.next().ok_or_else(|| {
            let at = out.len();
            Error::new(format!("index {at} out of range"))
        })?;
        let shown = clause(verb, precision, &value).ok_or_else(|| {
            let ty = value.ty().name();
            Error::new(format!(
                "error during formatting: unsupported clause %{verb} for argument {at} of type {ty}"
            ))
        })?;
        meter.characters(shown.len())?;
        out += &shown;
    }
    Ok(Value::text(out))
}

fn clause(verb: char, precision: Option<usize>, value: &Value<'_>) -> Option<String> {
    let digits = precision.unwrap_or(6);
    Some(match (verb, value) {
        ('s', _) => shown(value),
        ('d', Value::Int(n)) => n.to_string(),
        ('d', Value::Uint(n)) => n.to_string(),
        ('d', Value::Double(n)) if !n.is_finite() => number_text(*n),
        ('f', Value::Double(n)) => format!("{n:.digits$}"),
        ('f', Value::Int(n)) => format!("{n}.{}", "0".repeat(digits)),
        ('e', Value::Double(n)) => {
            let text = format!("{n:.digits$e}");
            let (mantissa, exponent) = text.split_once('e')?;
            let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |e| ('-', e));
            format!("{mantissa}e{sign}{exponent:0>2}")
        }
        ('b', Value::Int(n)) if *n < 0 => format!("-{:b}", n.unsigned_abs()),
        ('b', Value::Int(n)) => format!("{n:b}"),
        ('b', Value::Uint(n)) => format!("{n:b}"),
        ('b', Value::Bool(value)) => u8::from(*value).to_string(),
        ('o', Value::Int(n)) if *n < 0 => format!("-{:o}", n.unsigned_abs()),
        ('o', Value::Int(n)) => format!("{n:o}"),
        ('o', Value::Uint(n)) => format!("{n:o}"),
        ('x', _) => hex(value)?,
        ('X', _) => hex(value)?.to_uppercase(),
        _ => return None,
    })
}

fn hex(value: &Value<'_>) -> Option<String> {
    let of_bytes = |bytes: &[u8]| {
        bytes.iter().fold(String::new(), |mut out, byte| {
            let _ = write!(out, "{byte:02x}");
            out
        })
    };
    Some(match value {
        Value::Int(n) if *n < 0 => format!("-{:x}", n.unsigned_abs()),
        Value::Int(n) => format!("{n:x}"),
        Value::Uint(n) => format!("{n:x}"),
        Value::Text(text) => of_bytes(text.as_bytes()),
        Value::Bytes(bytes) => of_bytes(bytes),
        _ => return None,
    })
}

fn shown(value: &Value<'_>) -> String {
    if let Some(items) = value.items() {
        return format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", "));
    }
    if let Some(entries) = value.entries() {
        let mut parts: Vec<String> =
            entries.iter().map(|(key, value)| format!("{}: {}", shown(key), shown(value))).collect();
        parts.sort();
        return format!("{{{}}}", parts.join(", "));
    }
    match value {
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => other.to_string(),
    }
}
