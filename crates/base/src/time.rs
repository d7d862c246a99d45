//! Time as a value: [`Timestamp`] is wall-clock time for objects, [`Instant`] is monotonic time for timers.
//!
//! Invariant: formatting and parsing follow RFC 3339 as `metav1.Time` (whole seconds, `Z`) and `metav1.MicroTime` (six
//! digits) do. Absent: the clock itself, time zones other than a numeric offset on input, leap seconds.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

const DAY: i64 = 86_400;
const NANOS: u32 = 1_000_000_000;

/// Wall-clock time since the Unix epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub seconds: i64,
    /// Nanoseconds within the second, below 1e9.
    pub nanos: u32,
}

/// Monotonic time, in nanoseconds since an arbitrary start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub u64);

/// A text that is not an RFC 3339 time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("parsing time {text:?} as RFC 3339: {problem}")]
pub struct ParseError {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl Timestamp {
    /// Whole seconds since the epoch.
    #[must_use]
    pub const fn from_seconds(seconds: i64) -> Self {
        Self { seconds, nanos: 0 }
    }

    /// From a duration since the epoch, as `SystemTime::duration_since(UNIX_EPOCH)` gives it.
    #[must_use]
    pub fn from_epoch(since: Duration) -> Self {
        Self { seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nanos: since.subsec_nanos() }
    }

    /// Nanoseconds since the epoch.
    #[must_use]
    pub fn unix_nanos(self) -> i128 {
        i128::from(self.seconds) * i128::from(NANOS) + i128::from(self.nanos)
    }

    /// The same time without its fraction, which is what a stored `metav1.Time` keeps.
    #[must_use]
    pub const fn whole(self) -> Self {
        Self { seconds: self.seconds, nanos: 0 }
    }

    /// `2024-01-02T03:04:05Z`.
    #[must_use]
    pub fn rfc3339(self) -> String {
        let (year, month, day) = civil(self.seconds.div_euclid(DAY));
        let (hour, minute, second) = clock(self.seconds.rem_euclid(DAY));
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }

    /// `2024-01-02T03:04:05.000006Z`, as `metav1.MicroTime`.
    #[must_use]
    pub fn rfc3339_micro(self) -> String {
        let whole = self.rfc3339();
        format!("{}.{:06}Z", whole.trim_end_matches('Z'), self.nanos / 1000)
    }

    /// `2024-01-02T03:04:05.000000006Z`, always nine digits, as container log lines and CRI use it.
    #[must_use]
    pub fn rfc3339_nano(self) -> String {
        let whole = self.rfc3339();
        format!("{}.{:09}Z", whole.trim_end_matches('Z'), self.nanos)
    }

    /// Parses RFC 3339 with any number of fraction digits and any numeric offset.
    ///
    /// # Errors
    /// If the text is anything else.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        parse(text).map_err(|problem| ParseError { text: text.into(), problem })
    }

    /// Parses a `metav1.MicroTime`, which needs exactly six fraction digits.
    ///
    /// # Errors
    /// If the text is anything else.
    pub fn parse_micro(text: &str) -> Result<Self, ParseError> {
        let digits =
            text.split_once('.').map_or(0, |(_, rest)| rest.bytes().take_while(u8::is_ascii_digit).count());
        if digits != 6 {
            return Err(ParseError {
                text: text.into(),
                problem: "a MicroTime has exactly six fraction digits",
            });
        }
        Self::parse(text)
    }

    /// The time from `earlier` to `self`; zero if it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        let nanos = self.unix_nanos() - earlier.unix_nanos();
        if nanos <= 0 {
            return Duration::ZERO;
        }
        let seconds = u64::try_from(nanos / i128::from(NANOS)).unwrap_or(u64::MAX);
        Duration::new(seconds, u32::try_from(nanos % i128::from(NANOS)).expect("a remainder by 1e9 fits"))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339())
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, by: Duration) -> Self {
        let nanos = self.nanos + by.subsec_nanos();
        let seconds = self.seconds.saturating_add_unsigned(by.as_secs());
        Self { seconds: seconds.saturating_add(i64::from(nanos / NANOS)), nanos: nanos % NANOS }
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, by: Duration) -> Self {
        let seconds = self.seconds.saturating_sub_unsigned(by.as_secs());
        if self.nanos >= by.subsec_nanos() {
            Self { seconds, nanos: self.nanos - by.subsec_nanos() }
        } else {
            Self { seconds: seconds.saturating_sub(1), nanos: self.nanos + NANOS - by.subsec_nanos() }
        }
    }
}

impl Instant {
    /// The time from `earlier` to `self`; zero if it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Year, month and day of a day number since the epoch (proleptic Gregorian).
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The inverse of [`civil`].
fn day_number(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let from_march = (month + 9) % 12;
    let day_of_year = (153 * from_march + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn clock(second_of_day: i64) -> (i64, i64, i64) {
    (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    let next = if month == 12 { day_number(year + 1, 1, 1) } else { day_number(year, month + 1, 1) };
    next - day_number(year, month, 1)
}

fn parse(text: &str) -> Result<Timestamp, &'static str> {
    if !text.is_ascii() {
        return Err("not ASCII");
    }
    let shape: &[u8] = b"0000-00-00T00:00:00";
    let bytes = text.as_bytes();
    if bytes.len() <= shape.len() {
        return Err("too short");
    }
    for (have, want) in bytes.iter().zip(shape) {
        let fits = if *want == b'0' { have.is_ascii_digit() } else { have == want };
        if !fits {
            return Err("not of the form 2006-01-02T15:04:05");
        }
    }
    let number = |from: usize, to: usize| text[from..to].parse::<i64>().map_err(|_| "not a number");
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return Err("month or day out of range");
    }
    if hour > 23 || minute > 59 || second > 59 {
        return Err("hour, minute or second out of range");
    }
    let (nanos, zone) = fraction(&text[19..])?;
    let seconds = day_number(year, month, day) * DAY + hour * 3600 + minute * 60 + second - offset(zone)?;
    Ok(Timestamp { seconds, nanos })
}

fn fraction(rest: &str) -> Result<(u32, &str), &'static str> {
    let Some(after) = rest.strip_prefix('.') else { return Ok((0, rest)) };
    let end = after.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(after.len());
    if end == 0 {
        return Err("an empty fraction");
    }
    let padded: String = after[..end].chars().chain("000000000".chars()).take(9).collect();
    Ok((padded.parse().map_err(|_| "not a fraction")?, &after[end..]))
}

fn offset(zone: &str) -> Result<i64, &'static str> {
    let bytes = zone.as_bytes();
    match bytes {
        [b'Z'] => Ok(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2]
            if [h1, h2, m1, m2].iter().all(|b| b.is_ascii_digit()) =>
        {
            let two = |a: u8, b: u8| i64::from(a - b'0') * 10 + i64::from(b - b'0');
            let seconds = two(*h1, *h2) * 3600 + two(*m1, *m2) * 60;
            Ok(if *sign == b'-' { -seconds } else { seconds })
        }
        _ => Err("no `Z` and no numeric offset at the end"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_and_parses() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (951_827_696, "2000-02-29T12:34:56Z"),
            (1_704_067_200, "2024-01-01T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (4_102_444_799, "2099-12-31T23:59:59Z"),
        ] {
            assert_eq!(Timestamp::from_seconds(seconds).rfc3339(), text);
            assert_eq!(Timestamp::parse(text), Ok(Timestamp::from_seconds(seconds)));
        }
    }

    #[test]
    fn reads_offsets_and_fractions() {
        for (text, seconds, nanos) in [
            ("2024-01-01T02:00:00+02:00", 1_704_067_200, 0),
            ("2023-12-31T19:00:00.5-05:00", 1_704_067_200, 500_000_000),
            ("2024-01-01T00:00:00.123456789123Z", 1_704_067_200, 123_456_789),
        ] {
            assert_eq!(Timestamp::parse(text), Ok(Timestamp { seconds, nanos }), "{text}");
        }
    }

    #[test]
    fn refuses() {
        for text in [
            "",
            "2024-01-01",
            "2024-01-01T00:00:00",
            "2024-13-01T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01 00:00:00Z",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00z",
            "2024-01-01T00:00:00Zx",
        ] {
            assert!(Timestamp::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn micro_time_has_six_digits() {
        let time = Timestamp { seconds: 1_704_067_200, nanos: 1_234_567 };
        assert_eq!(time.rfc3339_micro(), "2024-01-01T00:00:00.001234Z");
        assert_eq!(time.rfc3339_nano(), "2024-01-01T00:00:00.001234567Z");
        assert!(Timestamp::parse_micro("2024-01-01T00:00:00.001234Z").is_ok());
        assert!(Timestamp::parse_micro("2024-01-01T00:00:00.001Z").is_err());
        assert!(Timestamp::parse_micro("2024-01-01T00:00:00Z").is_err());
    }

    #[test]
    fn arithmetic() {
        let time = Timestamp { seconds: 10, nanos: 800_000_000 };
        let by = Duration::from_millis(300);
        assert_eq!(time + by, Timestamp { seconds: 11, nanos: 100_000_000 });
        assert_eq!((time + by) - by, time);
        assert_eq!((time + by).since(time), by);
        assert_eq!(time.since(time + by), Duration::ZERO);
        assert_eq!((Instant(5) + by).since(Instant(5)), by);
    }

    proptest::proptest! {
        #[test]
        fn any_second_survives(seconds in -62_135_596_800i64..253_402_300_799) {
            let time = Timestamp::from_seconds(seconds);
            proptest::prop_assert_eq!(Timestamp::parse(&time.rfc3339()), Ok(time));
        }
    }
}
