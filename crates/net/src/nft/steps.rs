//! Steps that rules of several tables share. Pure.
//!
//! Invariant: each uses the first register on, and leaves nothing there for the next. Absent: whole rules.

use std::net::IpAddr;

use super::{Expr, Family, Field, word};
use crate::Cidr;

/// FNV-1a: short names that stay the same.
pub(crate) fn fnv(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The family of an address.
pub(crate) fn family_of(address: IpAddr) -> Family {
    if address.is_ipv4() { Family::V4 } else { Family::V6 }
}

/// An address as registers hold it.
pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// Goes on only if an address is in a range, or, negated, is not.
pub(crate) fn in_range(field: Field, range: Cidr, negated: bool) -> Vec<Expr> {
    let network = octets(range.address());
    let bits = usize::from(range.prefix());
    let mask = (0..network.len()).map(|at| {
        let ones = bits.saturating_sub(at * 8).min(8);
        u8::try_from(0xff00_u32 >> ones & 0xff).expect("8 bits")
    });
    vec![
        Expr::Load(field, word(0)),
        Expr::Mask { reg: word(0), mask: mask.collect() },
        Expr::Compare { reg: word(0), negated, value: network },
    ]
}

/// Goes on only if one of these bits is set.
pub(crate) fn bits(field: Field, wanted: u32) -> Vec<Expr> {
    let reg = word(0);
    vec![
        Expr::Load(field, reg),
        Expr::Mask { reg, mask: wanted.to_ne_bytes().to_vec() },
        Expr::Compare { reg, negated: true, value: vec![0; 4] },
    ]
}
