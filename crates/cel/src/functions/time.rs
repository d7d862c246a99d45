//! Spans and points in time.

use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp, Zoned};

use super::core::conversion;
use super::{Done, Function, Meter};
use crate::Error;
use crate::types::Type;
use crate::value::Value;

pub(super) fn find(name: &str) -> Option<Function> {
    Some(match name {
        "duration" => |_, args| match &args[0] {
            Value::Duration(_) => Ok(args[0].clone()),
            Value::Int(nanos) => Ok(Value::Duration(SignedDuration::from_nanos(*nanos))),
            Value::Text(text) => {
                duration(text).map(Value::Duration).ok_or_else(|| conversion(&args[0], &Type::Duration))
            }
            _ => Err(Error::no_overload()),
        },
        "timestamp" => |_, args| match &args[0] {
            Value::Timestamp(_) => Ok(args[0].clone()),
            Value::Int(seconds) => Timestamp::from_second(*seconds)
                .map(Value::Timestamp)
                .map_err(|_| Error::new("timestamp overflow")),
            Value::Text(text) => {
                timestamp(text).map(Value::Timestamp).ok_or_else(|| conversion(&args[0], &Type::Timestamp))
            }
            _ => Err(Error::no_overload()),
        },
        "getFullYear" => |_, args| part(args, |at| i64::from(at.year())),
        "getMonth" => |_, args| part(args, |at| i64::from(at.month()) - 1),
        "getDayOfYear" => |_, args| part(args, |at| i64::from(at.day_of_year()) - 1),
        "getDayOfMonth" => |_, args| part(args, |at| i64::from(at.day()) - 1),
        "getDate" => |_, args| part(args, |at| i64::from(at.day())),
        "getDayOfWeek" => |_, args| part(args, |at| i64::from(at.weekday().to_sunday_zero_offset())),
        "getHours" => |meter, args| of_either(meter, args, |at| i64::from(at.hour()), |span| span.as_hours()),
        "getMinutes" => {
            |meter, args| of_either(meter, args, |at| i64::from(at.minute()), |span| span.as_mins())
        }
        "getSeconds" => {
            |meter, args| of_either(meter, args, |at| i64::from(at.second()), |span| span.as_secs())
        }
        "getMilliseconds" => |meter, args| {
            of_either(meter, args, |at| i64::from(at.millisecond()), |span| i64::from(span.subsec_millis()))
        },
        _ => return None,
    })
}

fn of_either<'a>(
    _: &mut Meter,
    args: &[Value<'a>],
    at: fn(&Zoned) -> i64,
    of: fn(&SignedDuration) -> i64,
) -> Done<'a> {
    match args {
        [Value::Duration(span)] => Ok(Value::Int(of(span))),
        _ => part(args, at),
    }
}

fn part<'a>(args: &[Value<'a>], of: fn(&Zoned) -> i64) -> Done<'a> {
    let (at, zone) = match args {
        [Value::Timestamp(at)] => (at, TimeZone::UTC),
        [Value::Timestamp(at), Value::Text(zone)] => (at, self::zone(zone)?),
        _ => return Err(Error::no_overload()),
    };
    Ok(Value::Int(of(&at.to_zoned(zone))))
}

/// `UTC`, `Europe/Berlin`, `+01:30`.
fn zone(name: &str) -> Result<TimeZone, Error> {
    let bad = || Error::new(format!("unknown time zone {name}"));
    let Some((hours, minutes)) = name.split_once(':') else {
        return if name == "UTC" { Ok(TimeZone::UTC) } else { TimeZone::get(name).map_err(|_| bad()) };
    };
    let sign = if hours.starts_with('-') { -1 } else { 1 };
    let hours: i32 = hours.trim_start_matches(['+', '-']).parse().map_err(|_| bad())?;
    let minutes: i32 = minutes.parse().map_err(|_| bad())?;
    let seconds = hours.checked_mul(3600).and_then(|h| h.checked_add(minutes.checked_mul(60)?));
    let offset = seconds.and_then(|s| Offset::from_seconds(sign * s).ok()).ok_or_else(bad)?;
    Ok(offset.to_time_zone())
}

/// A point in time of RFC 3339.
pub(crate) fn timestamp(text: &str) -> Option<Timestamp> {
    // jiff reads more than the standard has; a `T` and a zone are asked for here.
    text.contains(['T', 't']).then(|| text.parse().ok()).flatten()
}

/// A span as Go writes it: `1h30m`, `-1.5s`.
pub(crate) fn duration(text: &str) -> Option<SignedDuration> {
    let (negative, mut rest) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    if rest == "0" {
        return Some(SignedDuration::ZERO);
    }
    let mut nanos: i128 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let unit: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || whole.len() > 18 {
            return None;
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        nanos += whole * unit;
        let digits: String = fraction.chars().take(15).collect();
        if !digits.is_empty() {
            let parsed: i128 = digits.parse().ok()?;
            nanos += parsed * unit / 10_i128.pow(u32::try_from(digits.len()).ok()?);
        }
        rest = tail;
    }
    let nanos = i64::try_from(if negative { -nanos } else { nanos }).ok()?;
    Some(SignedDuration::from_nanos(nanos))
}

pub(super) fn add<'a>(args: &[Value<'a>]) -> Done<'a> {
    match args {
        [Value::Duration(a), Value::Duration(b)] => {
            a.checked_add(*b).map(Value::Duration).ok_or_else(|| Error::new("duration overflow"))
        }
        [Value::Timestamp(at), Value::Duration(span)] | [Value::Duration(span), Value::Timestamp(at)] => {
            at.checked_add(*span).map(Value::Timestamp).map_err(|_| Error::new("timestamp overflow"))
        }
        _ => Err(Error::no_overload()),
    }
}

pub(super) fn subtract<'a>(args: &[Value<'a>]) -> Done<'a> {
    match args {
        [Value::Duration(a), Value::Duration(b)] => {
            a.checked_sub(*b).map(Value::Duration).ok_or_else(|| Error::new("duration overflow"))
        }
        [Value::Timestamp(at), Value::Duration(span)] => {
            at.checked_sub(*span).map(Value::Timestamp).map_err(|_| Error::new("timestamp overflow"))
        }
        [Value::Timestamp(a), Value::Timestamp(b)] => Ok(Value::Duration(a.duration_since(*b))),
        _ => Err(Error::no_overload()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        for (text, nanos) in [
            ("1h30m", Some(5_400_000_000_000)),
            ("-1.5s", Some(-1_500_000_000)),
            ("0", Some(0)),
            ("300ms", Some(300_000_000)),
            ("", None),
            ("1", None),
            ("1x", None),
            (".s", None),
        ] {
            assert_eq!(duration(text).map(|d| d.as_nanos()), nanos, "{text}");
        }
    }
}
