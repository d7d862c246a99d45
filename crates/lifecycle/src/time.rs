//! Wall-clock time as the machine counts with it.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A moment of the wall clock, Unix nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Time(pub i64);

impl Time {
    /// Whole seconds since 1970.
    #[must_use]
    pub const fn from_secs(s: i64) -> Self {
        Self(s * 1_000_000_000)
    }

    /// This moment and `s` seconds more.
    #[must_use]
    pub const fn plus_secs(self, s: i64) -> Self {
        Self(self.0.saturating_add(s.saturating_mul(1_000_000_000)))
    }

    /// This moment and `d` more.
    #[must_use]
    pub fn plus(self, d: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(d.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// Seconds since `earlier`, rounded down; negative if that is later.
    #[must_use]
    pub const fn secs_since(self, earlier: Self) -> i64 {
        (self.0 - earlier.0).div_euclid(1_000_000_000)
    }

    /// As the API writes it: whole seconds.
    #[must_use]
    pub fn to_api(self) -> meta::Time {
        meta::Time(Timestamp::from_second(self.0.div_euclid(1_000_000_000)).unwrap_or(Timestamp::UNIX_EPOCH))
    }

    /// From an object's field.
    #[must_use]
    pub fn from_api(t: &meta::Time) -> Self {
        Self(i64::try_from(t.0.as_nanosecond()).unwrap_or(i64::MAX))
    }
}
