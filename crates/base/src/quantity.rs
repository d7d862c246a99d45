//! `resource.Quantity` (`k8s.io/apimachinery/pkg/api/resource`): parsing, the canonical text, and arithmetic.
//!
//! Invariants: a value is a whole number of billionths, at most 2^63-1 units in magnitude (more is capped, finer is
//! rounded away from zero, as upstream); the suffix family of the input is kept. Absent: scales finer than nano.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, Neg, Sub};
use std::str::FromStr;

const NANO: i128 = 1_000_000_000;
const MAX: i128 = i64::MAX as i128 * NANO;

/// The suffix family, which the canonical form keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// `n u m k M G T P E`.
    #[default]
    DecimalSi,
    /// `Ki Mi Gi Ti Pi Ei`.
    BinarySi,
    /// `1e3`.
    DecimalExponent,
}

/// An amount of something. Equality and order look at the amount alone, not at the suffix family.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// A text that is not a quantity; the messages are upstream's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The text as a whole.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// The number.
    #[error("unable to parse numeric part of quantity")]
    Number,
    /// The suffix.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

impl Quantity {
    /// Zero, without a suffix family of its own.
    pub const ZERO: Self = Self { nanos: 0, format: Format::DecimalSi };

    /// A whole number of units.
    #[must_use]
    pub fn from_units(units: i64, format: Format) -> Self {
        Self { nanos: i128::from(units) * NANO, format }
    }

    /// A whole number of thousandths, as CPU is counted.
    #[must_use]
    pub fn from_milli(milli: i64) -> Self {
        Self { nanos: i128::from(milli) * (NANO / 1000), format: Format::DecimalSi }
    }

    /// A whole number of billionths, as the use of CPU is measured.
    #[must_use]
    pub fn from_nano(nanos: i64) -> Self {
        Self { nanos: i128::from(nanos), format: Format::DecimalSi }
    }

    /// A whole number of bytes, written with `Ki`, `Mi`, ….
    #[must_use]
    pub fn from_bytes(bytes: i64) -> Self {
        Self::from_units(bytes, Format::BinarySi)
    }

    /// The amount in units, fractions rounded away from zero.
    #[must_use]
    pub fn value(&self) -> i64 {
        round_up(self.nanos, NANO)
    }

    /// The amount in thousandths, finer fractions rounded away from zero.
    #[must_use]
    pub fn milli_value(&self) -> i64 {
        round_up(self.nanos, NANO / 1000)
    }

    /// Whether the amount is zero.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    /// -1, 0 or 1.
    #[must_use]
    pub fn sign(&self) -> i32 {
        match self.nanos.cmp(&0) {
            Ordering::Less => -1,
            Ordering::Equal => 0,
            Ordering::Greater => 1,
        }
    }

    /// The suffix family.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// The same quantity with fractions finer than a thousandth rounded away from zero, as stored resource lists have.
    #[must_use]
    pub fn rounded_to_milli(self) -> Self {
        let unit = NANO / 1000;
        let whole = self.nanos / unit;
        let nanos = if self.nanos % unit == 0 { self.nanos } else { (whole + self.nanos.signum()) * unit };
        Self { nanos, ..self }
    }

    /// The amount as a float, for ratios.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "ratios need no more")]
    pub fn as_f64(&self) -> f64 {
        self.nanos as f64 / NANO as f64
    }
}

fn round_up(nanos: i128, unit: i128) -> i64 {
    let whole = nanos / unit;
    let rounded = if nanos % unit == 0 { whole } else { whole + nanos.signum() };
    i64::try_from(rounded).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX })
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl Add for Quantity {
    type Output = Self;

    /// The sum in `self`'s suffix family, or the other's if `self` is zero.
    fn add(self, other: Self) -> Self {
        let format = if self.is_zero() { other.format } else { self.format };
        Self { nanos: (self.nanos + other.nanos).clamp(-MAX, MAX), format }
    }
}

impl Sub for Quantity {
    type Output = Self;

    /// The difference in `self`'s suffix family, or the other's if `self` is zero.
    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl Neg for Quantity {
    type Output = Self;

    fn neg(self) -> Self {
        Self { nanos: -self.nanos, ..self }
    }
}

impl FromStr for Quantity {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && part.is_empty() {
            return Err(ParseError::Format);
        }
        if part.contains('.') {
            return Err(ParseError::Number);
        }
        let shaped = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
        let shaped = shaped.strip_prefix(['+', '-']).unwrap_or(shaped);
        if !shaped.bytes().all(|b| b.is_ascii_digit()) {
            return Err(ParseError::Format);
        }
        let (base2, exponent, format) = read_suffix(suffix)?;
        let magnitude = magnitude(whole, part, base2, exponent);
        Ok(Self { nanos: if text.starts_with('-') { -magnitude } else { magnitude }, format })
    }
}

/// (whether the base is 2, the exponent, the family).
fn read_suffix(suffix: &str) -> Result<(bool, i32, Format), ParseError> {
    let decimal = |exponent| Ok((false, exponent, Format::DecimalSi));
    let binary = |exponent| Ok((true, exponent, Format::BinarySi));
    match suffix {
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E']).ok_or(ParseError::Suffix)?;
            let exponent: i32 = exponent.parse().map_err(|_| ParseError::Suffix)?;
            Ok((false, exponent, Format::DecimalExponent))
        }
    }
}

/// Billionths, capped, rounded up.
fn magnitude(whole: &str, part: &str, base2: bool, exponent: i32) -> i128 {
    let whole = whole.trim_start_matches('0');
    let part = part.trim_end_matches('0');
    if whole.is_empty() && part.is_empty() {
        return 0;
    }
    // value = digits × 10^-part.len() × 2^exponent or 10^exponent, in nanos × 10^9.
    let point = 9 - i32::try_from(part.len()).unwrap_or(i32::MAX)
        + if base2 { 0 } else { exponent.clamp(-1000, 1000) };
    let digits: Cow<'_, str> = if part.is_empty() { whole.into() } else { format!("{whole}{part}").into() };
    let digits = digits.trim_start_matches('0');
    let (kept, dropped) = digits.split_at(digits.len().min(28));
    let mut value: i128 = kept.parse().expect("at most 28 digits fit");
    let mut rest = dropped.bytes().any(|b| b != b'0');
    let mut shift = point + i32::try_from(dropped.len()).unwrap_or(i32::MAX);
    if base2 {
        let by = u32::try_from(exponent).expect("binary exponents are positive");
        match value.checked_mul(1 << by) {
            Some(product) => value = product,
            None if shift >= -18 => return MAX,
            None => value = (value / 10i128.pow(18)) << by,
        }
        if shift >= 0 && value > MAX {
            return MAX;
        }
    }
    while shift > 0 {
        if value > MAX {
            return MAX;
        }
        value *= 10;
        shift -= 1;
    }
    while shift < 0 && value > 0 {
        rest |= value % 10 != 0;
        value /= 10;
        shift += 1;
    }
    (value + i128::from(rest)).min(MAX)
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let units = self.nanos / NANO;
        if self.format == Format::BinarySi && self.nanos % NANO == 0 && units.abs() >= 1024 {
            let (mut mantissa, mut power) = (units, 0);
            while mantissa % 1024 == 0 && power < 6 {
                mantissa /= 1024;
                power += 1;
            }
            return write!(f, "{mantissa}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][power]);
        }
        let (mut mantissa, mut power) = (self.nanos, 0);
        while mantissa % 1000 == 0 && power < 9 {
            mantissa /= 1000;
            power += 1;
        }
        let exponent = i32::try_from(power).expect("at most 9") * 3 - 9;
        match self.format {
            Format::DecimalExponent if exponent == 0 => write!(f, "{mantissa}"),
            Format::DecimalExponent => write!(f, "{mantissa}e{exponent}"),
            _ => write!(f, "{mantissa}{}", ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"][power]),
        }
    }
}

/// The canonical text of a quantity; `None` if it is not one.
#[must_use]
pub fn canonical(text: &str) -> Option<String> {
    text.parse::<Quantity>().ok().map(|q| q.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn q(text: &str) -> Quantity {
        text.parse().expect(text)
    }

    #[test]
    fn canonical_texts() {
        for (input, want) in [
            ("0", "0"),
            ("0Ki", "0"),
            ("1000m", "1"),
            ("0.5", "500m"),
            (".5", "500m"),
            ("5.", "5"),
            ("+3", "3"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("1Ki", "1Ki"),
            ("0.5Ki", "512"),
            ("100", "100"),
            ("1000", "1k"),
            ("1500000", "1500k"),
            ("1024", "1024"),
            ("1e3", "1e3"),
            ("1E3", "1e3"),
            ("1e5", "100e3"),
            ("12e-3", "12e-3"),
            ("100e0", "100"),
            ("1E", "1E"),
            ("9E", "9E"),
            ("0.1m", "100u"),
            ("1n", "1n"),
            ("0.1n", "1n"),
            ("-0.1n", "-1n"),
            ("-1500m", "-1500m"),
            ("1.0000000001", "1000000001n"),
            ("0.0001Ki", "102400u"),
            ("1.5Ki", "1536"),
            ("1025.5Ki", "1050112"),
            ("1.0001Ki", "1024102400u"),
            ("100Ei", "9223372036854775807"),
            ("10E", "9223372036854775807"),
            ("1e30", "9223372036854775807"),
            ("1e-30", "1e-9"),
            ("123456789012345678901234567890", "9223372036854775807"),
            ("0.000000000000000000000000000000000001", "1n"),
            ("7.99999999999999999999999999999999Ei", "9223372036854775807"),
        ] {
            assert_eq!(q(input).to_string(), want, "{input}");
        }
    }

    #[test]
    fn refuses() {
        for (text, want) in [
            ("", ParseError::Format),
            ("aoeu", ParseError::Format),
            (".", ParseError::Format),
            (" 1", ParseError::Format),
            ("1 ", ParseError::Format),
            ("1+1.0M", ParseError::Format),
            ("1.1.M", ParseError::Number),
            ("1i", ParseError::Suffix),
            ("0.1mi", ParseError::Suffix),
            ("1K", ParseError::Suffix),
            ("1e", ParseError::Suffix),
            ("-3.01e-", ParseError::Suffix),
        ] {
            assert_eq!(text.parse::<Quantity>(), Err(want), "{text:?}");
        }
    }

    #[test]
    fn values_round_up() {
        for (text, units, milli) in [
            ("1500m", 2, 1500),
            ("1u", 1, 1),
            ("-1500m", -2, -1500),
            ("2Ki", 2048, 2_048_000),
            ("100m", 1, 100),
        ] {
            assert_eq!((q(text).value(), q(text).milli_value()), (units, milli), "{text}");
        }
        assert_eq!(q("1500u").rounded_to_milli().to_string(), "2m");
    }

    #[test]
    fn arithmetic_and_order() {
        assert_eq!((q("1Gi") + q("1k")).to_string(), "1073742824");
        assert_eq!((Quantity::ZERO + q("1Gi")).to_string(), "1Gi");
        assert_eq!((q("1") - q("250m")).to_string(), "750m");
        assert_eq!((q("0") - q("1Ki")).to_string(), "-1Ki");
        assert_eq!(q("1"), q("1000m"));
        assert!(q("1Mi") > q("1M"));
    }

    proptest::proptest! {
        #[test]
        fn canonical_is_stable(nanos in -MAX..MAX, family in 0..3) {
            let format = [Format::DecimalSi, Format::BinarySi, Format::DecimalExponent][usize::try_from(family).unwrap()];
            let quantity = Quantity { nanos, format };
            let text = quantity.to_string();
            proptest::prop_assert_eq!(q(&text), quantity);
            proptest::prop_assert_eq!(q(&text).to_string(), text);
        }
    }
}
