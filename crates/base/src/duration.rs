//! Durations as text: the short human form of the Age columns (`k8s.io/apimachinery/pkg/util/duration`) and Go's
//! `time.Duration` form (`1m30s`), which `metav1.Duration` fields use.
//!
//! Invariant: `parse_go(format_go(d)) == d`. Absent: units above hours, as in Go.

use std::fmt::Write as _;

const SECOND: i64 = 1_000_000_000;

/// `90s`, `5m3s`, `3d4h`: the age of something that is `seconds` old. More than a second in the future is `<invalid>`.
#[must_use]
pub fn human(seconds: i64) -> String {
    let pair = |big: i64, b: char, small: i64, s: char| {
        if small == 0 { format!("{big}{b}") } else { format!("{big}{b}{small}{s}") }
    };
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    match () {
        () if seconds < -1 => "<invalid>".into(),
        () if seconds < 0 => "0s".into(),
        () if seconds < 120 => format!("{seconds}s"),
        () if minutes < 10 => pair(minutes, 'm', seconds % 60, 's'),
        () if minutes < 180 => format!("{minutes}m"),
        () if hours < 8 => pair(hours, 'h', minutes % 60, 'm'),
        () if hours < 48 => format!("{hours}h"),
        () if hours < 24 * 8 => pair(hours / 24, 'd', hours % 24, 'h'),
        () if hours < 24 * 365 * 2 => format!("{}d", hours / 24),
        () if hours < 24 * 365 * 8 => pair(hours / 24 / 365, 'y', hours / 24 % 365, 'd'),
        () => format!("{}y", hours / 24 / 365),
    }
}

/// Go's `Duration.String()` of a number of nanoseconds: `1h0m0s`, `1.5s`, `250ms`, `0s`.
#[must_use]
pub fn format_go(nanos: i64) -> String {
    let magnitude = nanos.unsigned_abs();
    let sign = if nanos < 0 { "-" } else { "" };
    let fraction = |unit: u64, digits: usize| {
        let text = format!("{}.{:0digits$}", magnitude / unit, magnitude % unit);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match magnitude {
        0 => return "0s".into(),
        1..1000 => return format!("{sign}{magnitude}ns"),
        1000..1_000_000 => return format!("{sign}{}µs", fraction(1000, 3)),
        1_000_000..1_000_000_000 => return format!("{sign}{}ms", fraction(1_000_000, 6)),
        _ => {}
    }
    let second = SECOND.unsigned_abs();
    let (hours, minutes) = (magnitude / second / 3600, magnitude / second / 60 % 60);
    let rest = magnitude % (60 * second);
    let mut text = String::from(sign);
    if hours > 0 {
        write!(text, "{hours}h").expect("a String takes everything");
    }
    if hours > 0 || minutes > 0 {
        write!(text, "{minutes}m").expect("a String takes everything");
    }
    let seconds = format!("{}.{:09}", rest / second, rest % second);
    text + seconds.trim_end_matches('0').trim_end_matches('.') + "s"
}

/// A text that `time.ParseDuration` refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("time: {problem} {text:?}")]
pub struct ParseError {
    /// The text.
    pub text: String,
    /// Go's words, e.g. `invalid duration`.
    pub problem: &'static str,
}

/// Go's `time.ParseDuration`, in nanoseconds.
///
/// # Errors
/// If the text is not a signed sequence of decimal numbers with units, or does not fit.
pub fn parse_go(text: &str) -> Result<i64, ParseError> {
    let error = |problem| ParseError { text: text.into(), problem };
    let invalid = || error("invalid duration");
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(|| error("missing unit in duration"))?;
        let (number, after) = rest.split_at(end);
        if number.is_empty() {
            return Err(invalid());
        }
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let unit: i128 = match &after[..unit_end] {
            "ns" => 1,
            "us" | "µs" | "μs" => 1000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(error("unknown unit in duration")),
        };
        total += scaled(number, unit).ok_or_else(invalid)?;
        rest = &after[unit_end..];
    }
    i64::try_from(if negative { -total } else { total }).map_err(|_| invalid())
}

fn scaled(number: &str, unit: i128) -> Option<i128> {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && part.is_empty()) || part.contains('.') || whole.len() > 19 {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let part = &part[..part.len().min(18)];
    let digits: i128 = if part.is_empty() { 0 } else { part.parse().ok()? };
    let scale = 10i128.pow(u32::try_from(part.len()).ok()?);
    Some(whole * unit + digits * unit / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn human_ages() {
        for (seconds, text) in [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (303, "5m3s"),
            (600, "10m"),
            (179 * 60, "179m"),
            (3 * 3600, "3h"),
            (3 * 3600 + 240, "3h4m"),
            (8 * 3600 + 59, "8h"),
            (47 * 3600, "47h"),
            (48 * 3600, "2d"),
            (76 * 3600, "3d4h"),
            (8 * 86_400, "8d"),
            (729 * 86_400, "729d"),
            (730 * 86_400, "2y"),
            (733 * 86_400, "2y3d"),
            (8 * 365 * 86_400, "8y"),
        ] {
            assert_eq!(human(seconds), text);
        }
    }

    #[test]
    fn go_durations() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1100, "1.1µs"),
            (2_200_000, "2.2ms"),
            (90 * SECOND, "1m30s"),
            (3600 * SECOND, "1h0m0s"),
            (SECOND + SECOND / 2, "1.5s"),
            (-300 * SECOND, "-5m0s"),
        ] {
            assert_eq!(format_go(nanos), text);
            assert_eq!(parse_go(text), Ok(nanos));
        }
        assert_eq!(parse_go("1h15m30.918s"), Ok(4_530_918_000_000));
        assert_eq!(parse_go(".5s"), Ok(SECOND / 2));
        for bad in ["", "-", "3", ".s", "1x", "1.2.3s", "9999999h"] {
            assert!(parse_go(bad).is_err(), "{bad}");
        }
    }
}
