//! The wall clock, read in one place.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lifecycle::Time;

/// Now.
pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Time(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// Now as the API writes times: RFC 3339, whole seconds.
pub(crate) fn stamp() -> String {
    base::time::Timestamp::from_seconds(now().0.div_euclid(1_000_000_000)).rfc3339()
}
