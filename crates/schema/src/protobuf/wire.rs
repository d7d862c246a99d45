//! The wire format: tags, varints, lengths.
//!
//! Invariant: a reader never reads beyond its slice. Deliberately absent: groups, which nothing here uses.

use super::ProtoError;

/// One field as it lies on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

pub(crate) fn error<T>(what: impl Into<String>) -> Result<T, ProtoError> {
    Err(ProtoError(format!("proto: {}", what.into())))
}

/// Reads one field and its number off the front.
pub(crate) fn field<'a>(bytes: &mut &'a [u8]) -> Result<(u64, Wire<'a>), ProtoError> {
    let tag = varint(bytes)?;
    let wire = match tag & 7 {
        0 => Wire::Varint(varint(bytes)?),
        1 => Wire::Fixed64(u64::from_le_bytes(array(bytes)?)),
        2 => {
            let len = varint(bytes)?;
            let Some((head, rest)) = usize::try_from(len).ok().and_then(|len| bytes.split_at_checked(len))
            else {
                return error("unexpected EOF");
            };
            *bytes = rest;
            Wire::Bytes(head)
        }
        5 => Wire::Fixed32(u32::from_le_bytes(array(bytes)?)),
        other => return error(format!("illegal wireType {other}")),
    };
    if tag >> 3 == 0 {
        return error("illegal tag 0");
    }
    Ok((tag >> 3, wire))
}

fn array<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], ProtoError> {
    let Some((head, rest)) = bytes.split_first_chunk::<N>() else { return error("unexpected EOF") };
    *bytes = rest;
    Ok(*head)
}

pub(crate) fn varint(bytes: &mut &[u8]) -> Result<u64, ProtoError> {
    let mut out = 0u64;
    for shift in (0..64).step_by(7) {
        let Some((byte, rest)) = bytes.split_first() else { return error("unexpected EOF") };
        *bytes = rest;
        out |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(out);
        }
    }
    error("integer overflow")
}

pub(crate) fn put_varint(mut n: u64, out: &mut Vec<u8>) {
    loop {
        let byte = n.to_le_bytes()[0] & 0x7f;
        n >>= 7;
        if n == 0 {
            out.push(byte);
            return;
        }
        out.push(byte | 0x80);
    }
}

pub(crate) fn put_tag(number: u16, wire_type: u64, out: &mut Vec<u8>) {
    put_varint(u64::from(number) << 3 | wire_type, out);
}

pub(crate) fn put_number(number: u16, value: u64, out: &mut Vec<u8>) {
    put_tag(number, 0, out);
    put_varint(value, out);
}

pub(crate) fn put_bytes(number: u16, bytes: &[u8], out: &mut Vec<u8>) {
    put_tag(number, 2, out);
    put_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

pub(crate) fn text(bytes: &[u8]) -> Result<String, ProtoError> {
    std::str::from_utf8(bytes).map(str::to_owned).or_else(|_| error("invalid UTF-8"))
}
