//! The envelope: the form of a value on disk and in etcd.
//!
//! ```text
//! byte 0      version of this layout, 1
//! byte 1      what the row is: 0 a value, 1 a deletion, 2 a deletion with the final value
//! byte 2      cipher: 0 none; any other is followed by
//!   4 bytes   id of the key, big endian
//!   12 bytes  nonce
//! rest        the JSON without resourceVersion; ciphered, with its tag, and with bytes 0..3 and the store's key as
//!             associated data, so that a value can neither change its meaning nor move to another key
//! ```
//!
//! Invariant: what cannot be understood completely is refused, never guessed. Absent so far: every cipher but 0.

/// Version of the layout.
const VERSION: u8 = 1;
/// Bytes before the payload of an unciphered envelope.
const HEADER: usize = 3;
/// The payload as it is.
const PLAIN: u8 = 0;

/// What a row of the log says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Record<'a> {
    /// The key has this value.
    Put(&'a [u8]),
    /// The key is gone; `Some` is its final value, where that differs from the one before.
    Delete(Option<&'a [u8]>),
}

/// Why an envelope cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EnvelopeError {
    #[error("it is cut short")]
    Short,
    #[error("its envelope has version {0}, this program knows {VERSION}")]
    Version(u8),
    #[error("its envelope holds the unknown record type {0}")]
    Record(u8),
    #[error("it is encrypted with cipher {0}, which this program does not know")]
    Cipher(u8),
    #[error("it does not begin with an object's metadata")]
    Payload,
}

/// The bytes to store.
pub(crate) fn seal(record: Record<'_>) -> Vec<u8> {
    let (tag, payload) = match record {
        Record::Put(value) => (0, value),
        Record::Delete(None) => (1, &[][..]),
        Record::Delete(Some(value)) => (2, value),
    };
    let mut out = Vec::with_capacity(HEADER + payload.len());
    out.extend_from_slice(&[VERSION, tag, PLAIN]);
    out.extend_from_slice(payload);
    out
}

/// Reads what [`seal`] made.
pub(crate) fn open(bytes: &[u8]) -> Result<Record<'_>, EnvelopeError> {
    let (header, payload) = bytes.split_at_checked(HEADER).ok_or(EnvelopeError::Short)?;
    if header[0] != VERSION {
        return Err(EnvelopeError::Version(header[0]));
    }
    if header[2] != PLAIN {
        return Err(EnvelopeError::Cipher(header[2]));
    }
    let record = match header[1] {
        0 => Record::Put(payload),
        1 => Record::Delete(None),
        // The deletion is what matters.
        2 => Record::Delete(Some(payload).filter(|last| crate::splice::is_canonical(last))),
        other => return Err(EnvelopeError::Record(other)),
    };
    match record {
        Record::Put(value) if !crate::splice::is_canonical(value) => Err(EnvelopeError::Payload),
        record => Ok(record),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_what_it_sealed() {
        let value = br#"{"metadata":{"name":"a"}}"#;
        for record in [Record::Put(value), Record::Delete(None), Record::Delete(Some(value))] {
            assert_eq!(open(&seal(record)), Ok(record));
        }
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for (bytes, expect) in [
            (&[][..], EnvelopeError::Short),
            (&[1, 0], EnvelopeError::Short),
            (&[2, 0, 0], EnvelopeError::Version(2)),
            (&[1, 3, 0], EnvelopeError::Record(3)),
            (&[1, 0, 1], EnvelopeError::Cipher(1)),
            (&[1, 0, 0, b'{', b'}'], EnvelopeError::Payload),
        ] {
            assert_eq!(open(bytes), Err(expect), "{bytes:?}");
        }
    }
}
