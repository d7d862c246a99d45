//! An address range as a value: parse, print, contain, overlap.
//!
//! Invariant: the address is the network's (host bits are zero).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

/// A range of addresses such as `10.64.3.0/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

/// Why a text is not a range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a range of addresses such as 10.64.3.0/24")]
pub struct CidrError(String);

fn bits(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)) << 96, 32),
        IpAddr::V6(v6) => (u128::from(v6), 128),
    }
}

fn mask(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)
}

impl Cidr {
    /// The range of `prefix` bits around an address, if it has that many.
    #[must_use]
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        let (value, width) = bits(address);
        let network = value & mask(prefix);
        (prefix <= width).then_some(Self {
            address: match address {
                IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from(u32::try_from(network >> 96).expect("32 bits"))),
                IpAddr::V6(_) => IpAddr::V6(network.into()),
            },
            prefix,
        })
    }

    /// The first address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The number of fixed bits.
    #[must_use]
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// The number of addresses, at most 2^64.
    #[must_use]
    pub fn size(&self) -> u64 {
        let free = if self.address.is_ipv4() { 32 } else { 128 } - u32::from(self.prefix);
        1u64.checked_shl(free).unwrap_or(u64::MAX)
    }

    /// The address so many after the first.
    #[must_use]
    pub fn nth(&self, n: u64) -> IpAddr {
        match self.address {
            IpAddr::V4(four) => {
                let n = u32::try_from(n).unwrap_or(u32::MAX);
                IpAddr::V4(u32::from(four).wrapping_add(n).into())
            }
            IpAddr::V6(six) => IpAddr::V6(u128::from(six).wrapping_add(n.into()).into()),
        }
    }

    /// Whether the address is inside.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4()
            && (bits(address).0 ^ bits(self.address).0) & mask(self.prefix) == 0
    }

    /// Whether the ranges share an address.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.address) || other.contains(self.address)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let parse = || {
            let (address, prefix) = text.split_once('/')?;
            let range = Self::new(address.parse().ok()?, prefix.parse().ok()?)?;
            (range.address == address.parse::<IpAddr>().ok()?).then_some(range)
        };
        parse().ok_or_else(|| CidrError(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_only_whole_ranges() {
        for (text, expect) in [
            ("10.64.3.0/24", true),
            ("0.0.0.0/0", true),
            ("10.64.3.1/32", true),
            ("fd00:1::/64", true),
            ("10.64.3.1/24", false),
            ("10.64.3.0/33", false),
            ("10.64.3.0", false),
            ("x/8", false),
        ] {
            let parsed = text.parse::<Cidr>();
            assert_eq!(parsed.is_ok(), expect, "{text}");
            assert!(parsed.is_err() || parsed.unwrap().to_string() == text);
        }
    }

    #[test]
    fn counting() {
        for (range, size, third) in
            [("10.96.0.0/12", 1 << 20, "10.96.0.3"), ("fd00::/112", 1 << 16, "fd00::3")]
        {
            let range: Cidr = range.parse().unwrap();
            assert_eq!((range.size(), range.nth(3).to_string().as_str()), (size, third));
        }
        assert_eq!("fd00::/48".parse::<Cidr>().unwrap().size(), u64::MAX);
    }

    #[test]
    fn overlap_is_containment_of_one_in_the_other() {
        for (a, b, expect) in [
            ("10.64.3.0/24", "10.64.3.7/32", true),
            ("10.64.3.0/24", "10.0.0.0/8", true),
            ("10.64.3.0/24", "10.64.4.0/24", false),
            ("10.64.3.0/24", "0.0.0.0/0", true),
            ("10.64.3.0/24", "::/0", false),
        ] {
            let (a, b): (Cidr, Cidr) = (a.parse().unwrap(), b.parse().unwrap());
            assert_eq!((a.overlaps(&b), b.overlaps(&a)), (expect, expect), "{a} {b}");
        }
    }
}
