//! Which run of a CronJob is due, and when the next one is (`pkg/controller/cronjob/utils.go`).
//!
//! Invariant: of the runs that were missed only the last is made up for.

use std::time::Duration;

use base::Timestamp;

use super::schedule::Schedule;
use super::zone::Zone;

/// More missed runs than these are told of.
const MANY: i64 = 100;
/// A run is looked at so long after its time, so that it has come for sure.
const MARGIN: Duration = Duration::from_millis(100);

/// When a CronJob runs.
#[derive(Debug)]
pub(super) struct Runs<'a> {
    pub(super) schedule: &'a Schedule,
    pub(super) zone: &'a Zone,
    pub(super) created: Timestamp,
    /// The last run that was begun.
    pub(super) last: Option<Timestamp>,
    /// How many seconds late a run may begin.
    pub(super) deadline: Option<i64>,
}

/// The latest run that is due.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) at: Option<Timestamp>,
    missed: i64,
    since: Timestamp,
}

impl Due {
    pub(super) fn missed_many(&self) -> bool {
        self.missed > MANY
    }
}

/// The schedule's moments are no less than a second apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Impossible;

impl Impossible {
    pub(super) const WORDS: &str = "time difference between two schedules is less than 1 second";
}

impl Runs<'_> {
    fn next(&self, after: Timestamp) -> Option<Timestamp> {
        self.schedule.next(after, self.zone)
    }

    /// The latest run that is due and not too late.
    pub(super) fn due(&self, now: Timestamp) -> Result<Due, Impossible> {
        self.latest(now, self.deadline)
    }

    fn latest(&self, now: Timestamp, deadline: Option<i64>) -> Result<Due, Impossible> {
        let since = self.last.unwrap_or(self.created);
        let horizon =
            deadline.map(|seconds| Timestamp { seconds: now.seconds.saturating_sub(seconds), ..now });
        let since = horizon.map_or(since, |horizon| since.max(horizon));
        let first = self.next(since).ok_or(Impossible)?;
        if now < first {
            return Ok(Due { at: None, missed: 0, since });
        }
        let second = self.next(first).ok_or(Impossible)?;
        if now < second {
            return Ok(Due { at: Some(first), missed: 0, since });
        }
        let between = second.seconds - first.seconds;
        if between < 1 {
            return Err(Impossible);
        }
        let missed = (now.seconds - first.seconds) / between + 1;
        // One earlier than they would be if they were all as far apart.
        let mut at = Timestamp::from_seconds(first.seconds + (missed - 2) * between);
        let mut latest = None;
        while let Some(next) = self.next(at).filter(|next| *next <= now) {
            (at, latest) = (next, Some(next));
        }
        Ok(Due { at: latest, missed, since })
    }

    /// When to look again.
    pub(super) fn next_look(&self, now: Timestamp) -> Option<Timestamp> {
        let from = match self.latest(now, None) {
            Err(Impossible) => now,
            Ok(Due { at: Some(at), .. }) => at,
            Ok(Due { missed: 0, since, .. }) => since,
            Ok(_) => now,
        };
        Some(self.next(from)? + MARGIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A time of a Friday, or of another day if that is said.
    fn at(text: &str) -> Timestamp {
        let day = if text.contains('T') { "" } else { "2024-06-07T" };
        Timestamp::parse(&format!("{day}{text}Z")).unwrap()
    }

    #[test]
    fn what_is_due() {
        let created = at("09:58:30");
        let (friday, monday) =
            ("30 6-16/4 * * 1-5", ["2024-06-10T11:00:00", "2024-06-10T10:30:00", "2024-06-10T14:30:00"]);
        for (schedule, last, deadline, now, want, missed, look) in [
            ("0 * * * *", None, None, "09:59:00", None, 0, "10:00:00"),
            ("0 * * * *", None, None, "10:00:00", Some("10:00:00"), 0, "11:00:00"),
            ("0 * * * *", Some("10:00:00"), None, "10:30:00", None, 0, "11:00:00"),
            ("0 * * * *", Some("10:00:00"), None, "14:30:00", Some("14:00:00"), 4, "15:00:00"),
            ("0 * * * *", None, Some(60), "14:30:00", None, 0, "15:00:00"),
            ("0 * * * *", None, Some(1900), "14:30:00", Some("14:00:00"), 0, "15:00:00"),
            ("@every 1h", None, None, "14:30:00", Some("13:58:30"), 4, "14:58:30"),
            (friday, Some("14:30:00"), None, monday[0], Some(monday[1]), 2, monday[2]),
            ("* * * * *", None, None, "14:30:00", Some("14:30:00"), 272, "14:31:00"),
        ] {
            let parsed = Schedule::parse(schedule).unwrap();
            let last = last.map(at);
            let runs = Runs { schedule: &parsed, zone: &Zone::utc(), created, last, deadline };
            let due = runs.due(at(now)).unwrap();
            assert_eq!((due.at, due.missed), (want.map(at), missed), "{schedule} at {now}");
            assert_eq!(due.missed_many(), missed > 100);
            assert_eq!(runs.next_look(at(now)), Some(at(look) + MARGIN), "{schedule} at {now}");
        }
        let never = Schedule::parse("0 0 31 2 *").unwrap();
        let runs = Runs { schedule: &never, zone: &Zone::utc(), created, last: None, deadline: None };
        assert_eq!((runs.due(created), runs.next_look(created)), (Err(Impossible), None));
    }
}
