//! The splice: `resourceVersion` enters a value once, when the entry enters the view, and leaves it by position.
//!
//! Invariant: `strip(splice(v, n)) == v`. Absent: JSON parsing; the canonical beginning of a value is the contract.

use bytes::{BufMut, Bytes, BytesMut};

use crate::Revision;

/// How every stored value begins.
const HEAD: &[u8] = b"{\"metadata\":{";
/// What follows [`HEAD`] in the view, up to the digits.
const FIELD: &[u8] = b"\"resourceVersion\":\"";

/// Whether a value can be spliced.
pub(crate) fn is_canonical(value: &[u8]) -> bool {
    value.len() > HEAD.len() + 1 && value.starts_with(HEAD) && !value[HEAD.len()..].starts_with(FIELD)
}

/// The value with `"resourceVersion":"N"` as the first field of `metadata`. The value is canonical.
pub(crate) fn splice(value: &[u8], revision: Revision) -> Bytes {
    debug_assert!(is_canonical(value));
    let rest = &value[HEAD.len()..];
    let mut digits = [0u8; 20];
    let digits = decimal(revision, &mut digits);
    let mut out = BytesMut::with_capacity(value.len() + FIELD.len() + digits.len() + 2);
    out.put_slice(HEAD);
    out.put_slice(FIELD);
    out.put_slice(digits);
    out.put_u8(b'"');
    if rest[0] != b'}' {
        out.put_u8(b',');
    }
    out.put_slice(rest);
    out.freeze()
}

/// The value as it was before [`splice`].
pub(crate) fn strip(value: &[u8]) -> Vec<u8> {
    let after_field = &value[HEAD.len() + FIELD.len()..];
    let digits = after_field.iter().take_while(|b| b.is_ascii_digit()).count();
    let mut rest = &after_field[digits + 1..];
    if rest[0] == b',' {
        rest = &rest[1..];
    }
    [HEAD, rest].concat()
}

fn decimal(mut number: u64, buffer: &mut [u8; 20]) -> &[u8] {
    let mut start = buffer.len();
    loop {
        start -= 1;
        buffer[start] = b'0' + u8::try_from(number % 10).expect("a digit");
        number /= 10;
        if number == 0 {
            return &buffer[start..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spliced_first_and_stripped_again() {
        for (value, revision, expect) in [
            (r#"{"metadata":{}}"#, 1, r#"{"metadata":{"resourceVersion":"1"}}"#),
            (r#"{"metadata":{"name":"a"}}"#, 0, r#"{"metadata":{"resourceVersion":"0","name":"a"}}"#),
            (
                r#"{"metadata":{"name":"a"},"spec":{}}"#,
                u64::MAX,
                r#"{"metadata":{"resourceVersion":"18446744073709551615","name":"a"},"spec":{}}"#,
            ),
        ] {
            let spliced = splice(value.as_bytes(), revision);
            assert_eq!(spliced, expect.as_bytes());
            assert_eq!(strip(&spliced), value.as_bytes());
        }
    }

    #[test]
    fn only_the_canonical_beginning_is_taken() {
        for (value, expect) in [
            (r#"{"metadata":{}}"#, true),
            (r#"{ "metadata":{}}"#, false),
            (r#"{"spec":{},"metadata":{}}"#, false),
            (r#"{"metadata":{"resourceVersion":"7"}}"#, false),
            (r#"{"metadata":{"#, false),
            ("", false),
        ] {
            assert_eq!(is_canonical(value.as_bytes()), expect, "{value}");
        }
    }
}
