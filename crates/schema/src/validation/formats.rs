//! The formats of strings that a schema may name (`k8s.io/kube-openapi/pkg/validation/strfmt`).
//!
//! Invariant: an unknown format lets everything pass. Absent: credit cards, colours, books and social security numbers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base64::Engine as _;

/// A format and its name.
#[derive(Debug, Clone, Copy)]
pub struct StringFormat {
    name: &'static str,
    fits: fn(&str) -> bool,
}

const FORMATS: &[StringFormat] = &[
    StringFormat { name: "byte", fits: |s| base64::engine::general_purpose::STANDARD.decode(s).is_ok() },
    StringFormat { name: "cidr", fits: cidr },
    StringFormat { name: "date", fits: |s| s.len() == 10 && date_time(&format!("{s}T00:00:00Z")) },
    StringFormat { name: "date-time", fits: date_time },
    StringFormat { name: "datetime", fits: date_time },
    StringFormat { name: "duration", fits: duration },
    StringFormat { name: "email", fits: email },
    StringFormat { name: "hostname", fits: hostname },
    StringFormat { name: "ipv4", fits: |s| s.parse::<Ipv4Addr>().is_ok() },
    StringFormat { name: "ipv6", fits: |s| s.parse::<Ipv6Addr>().is_ok() },
    StringFormat { name: "mac", fits: mac },
    StringFormat { name: "uri", fits: uri },
    StringFormat { name: "uuid", fits: uuid },
];

impl StringFormat {
    /// The format of that name, if it is known.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        FORMATS.iter().find(|format| format.name == name).copied()
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.name
    }

    /// Whether a text has it.
    #[must_use]
    pub fn fits(self, text: &str) -> bool {
        (self.fits)(text)
    }
}

fn date_time(text: &str) -> bool {
    base::Timestamp::parse(text).is_ok()
}

fn cidr(text: &str) -> bool {
    text.split_once('/').is_some_and(|(address, bits)| {
        match (address.parse::<IpAddr>(), bits.parse::<u8>()) {
            (Ok(IpAddr::V4(_)), Ok(bits)) => bits <= 32,
            (Ok(IpAddr::V6(_)), Ok(bits)) => bits <= 128,
            _ => false,
        }
    })
}

/// A Go duration: `1h30m`, `1.5s`.
fn duration(text: &str) -> bool {
    const UNITS: [&str; 8] = ["ns", "us", "µs", "μs", "ms", "s", "m", "h"];
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    if text == "0" {
        return true;
    }
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let number = &rest[..rest.len() - digits.len()];
        let unit = &digits[..digits.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(digits.len())];
        if number.parse::<f64>().is_err() || !UNITS.contains(&unit) {
            return false;
        }
        rest = &digits[unit.len()..];
    }
    !text.is_empty()
}

fn email(text: &str) -> bool {
    let plain = |part: &str| !part.is_empty() && !part.contains(char::is_whitespace);
    text.rsplit_once('@').is_some_and(|(user, host)| plain(user) && plain(host))
}

fn hostname(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_alphanumeric() || c == '-')
    };
    text.len() <= 255 && text.split('.').all(label)
}

fn mac(text: &str) -> bool {
    let by = if text.contains('-') { '-' } else { ':' };
    let bytes: Vec<&str> = text.split(by).collect();
    matches!(bytes.len(), 6 | 8 | 20)
        && bytes.iter().all(|b| b.len() == 2 && b.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// An absolute path or something with a scheme (`url.ParseRequestURI`).
fn uri(text: &str) -> bool {
    let scheme = |s: &str| {
        s.starts_with(|c: char| c.is_ascii_alphabetic())
            && s.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    };
    let clean = !text.contains(|c: char| c.is_control() || c == ' ');
    clean && (text.starts_with('/') || text.split_once(':').is_some_and(|(s, _)| scheme(s)))
}

fn uuid(text: &str) -> bool {
    let hex: String = text.chars().filter(|c| *c != '-').collect();
    let dashes = text.len() - hex.len();
    hex.len() == 32
        && hex.bytes().all(|b| b.is_ascii_hexdigit())
        && (dashes == 0 || dashes == 4 && [8, 13, 18, 23].iter().all(|i| text.as_bytes()[*i] == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits() {
        for (name, good, bad) in [
            ("byte", "YQ==", "a"),
            ("cidr", "10.0.0.0/8", "10.0.0.0"),
            ("date", "2020-02-29", "2021-02-29"),
            ("date-time", "2020-01-01T00:00:00Z", "2020-01-01"),
            ("duration", "1h30m0.5s", "1 day"),
            ("email", "a@b.c", "a"),
            ("hostname", "a.b-c", "a_b"),
            ("ipv4", "1.2.3.4", "1.2.3"),
            ("ipv6", "::1", "1.2.3.4"),
            ("mac", "aa:bb:cc:dd:ee:ff", "aa:bb"),
            ("uri", "https://x/y", "x y"),
            ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123e4567"),
        ] {
            let format = StringFormat::by_name(name).unwrap();
            assert!(format.fits(good) && !format.fits(bad), "{name}");
        }
        assert!(StringFormat::by_name("no-such").is_none());
    }
}
