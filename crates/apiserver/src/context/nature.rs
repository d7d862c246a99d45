//! Where the times and random parts of what the API server stores come from: the machine, or a simulation's seed.
//!
//! Invariant: everything random or dated that becomes part of a stored object goes through here. Absent: keys, tokens and
//! certificates, whose chance and time are always the machine's.

use base::Timestamp;

use crate::context::object;

/// Time and chance.
pub trait Nature: Send + Sync + 'static {
    /// Wall-clock time.
    fn now(&self) -> Timestamp;
    /// Bytes that nobody can guess or that will not come again, for UIDs and generated names.
    fn random(&self) -> [u8; 16];
}

/// The machine's.
#[derive(Debug, Clone, Copy, Default)]
pub struct Real;

impl Nature for Real {
    fn now(&self) -> Timestamp {
        object::now()
    }

    fn random(&self) -> [u8; 16] {
        rand::random()
    }
}
