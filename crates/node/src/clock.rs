//! The wall clock, read in one place.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lifecycle::Time;

/// Now.
pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Time(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// Now as a value of the API.
pub(crate) fn timestamp() -> base::Timestamp {
    let nanos = now().0;
    let fraction = u32::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or(0);
    base::Timestamp { seconds: nanos.div_euclid(1_000_000_000), nanos: fraction }
}

/// Now as the API writes times: RFC 3339, whole seconds.
pub(crate) fn stamp() -> String {
    timestamp().rfc3339()
}
