//! Schedules as cron writes them (`github.com/robfig/cron`, `ParseStandard`): five fields, names of months and weekdays,
//! `@daily` and its like, `@every 1h30m`.
//!
//! Invariants: pure; a schedule knows no time zone, the time after which the next moment is looked for brings it; where
//! clocks jump ahead the hour that is missing is left out, where they are set back its moments come twice. Absent: seconds,
//! and zones within the text.

use base::Timestamp;
use base::duration::parse_go;

use super::zone::{Civil, Zone};

/// How many years ahead a moment is looked for.
const YEARS: i64 = 5;
const NANOS: i64 = 1_000_000_000;

/// A schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schedule {
    /// At the moments whose parts are all in these sets.
    At(Box<Fields>),
    /// Every so many seconds.
    Every(i64),
}

/// The sets of a schedule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fields {
    minutes: Set,
    hours: Set,
    days: Set,
    months: Set,
    weekdays: Set,
}

/// Small numbers, and whether they were written as a star.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Set {
    bits: u64,
    star: bool,
}

impl Set {
    fn has(self, number: i64) -> bool {
        (self.bits >> number) & 1 == 1
    }
}

/// What a field may hold.
struct Bounds {
    min: u32,
    max: u32,
    /// From `min` on.
    names: &'static [&'static str],
}

const MINUTES: Bounds = Bounds { min: 0, max: 59, names: &[] };
const HOURS: Bounds = Bounds { min: 0, max: 23, names: &[] };
const DAYS: Bounds = Bounds { min: 1, max: 31, names: &[] };
const MONTHS: Bounds = Bounds {
    min: 1,
    max: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const WEEKDAYS: Bounds = Bounds { min: 0, max: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

impl Schedule {
    /// Reads a schedule; one that begins with a time zone is read without it.
    ///
    /// # Errors
    /// What is wrong with the text, in the words of upstream's parser.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = match text.split_once(' ') {
            Some((zone, rest)) if zone.starts_with("TZ=") || zone.starts_with("CRON_TZ=") => rest.trim(),
            _ => text,
        };
        if text.starts_with('@') {
            return descriptor(text);
        }
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = &fields[..] else {
            let (found, all) = (fields.len(), fields.join(" "));
            return Err(format!("expected exactly 5 fields, found {found}: [{all}]"));
        };
        Ok(Self::At(Box::new(Fields {
            minutes: field(minutes, &MINUTES)?,
            hours: field(hours, &HOURS)?,
            days: field(days, &DAYS)?,
            months: field(months, &MONTHS)?,
            weekdays: field(weekdays, &WEEKDAYS)?,
        })))
    }

    /// The first moment after `after`; `None` if there is none within five years.
    #[must_use]
    pub fn next(&self, after: Timestamp, zone: &Zone) -> Option<Timestamp> {
        match self {
            Self::Every(seconds) => Some(Timestamp::from_seconds(after.seconds + seconds)),
            Self::At(fields) => fields.next(after.seconds, zone).map(Timestamp::from_seconds),
        }
    }
}

fn descriptor(text: &str) -> Result<Schedule, String> {
    let standard = match text {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        _ => {
            let every = text.strip_prefix("@every ");
            let every = every.ok_or_else(|| format!("unrecognized descriptor: {text}"))?;
            let nanos = parse_go(every).map_err(|e| format!("failed to parse duration {text}: {e}"))?;
            return Ok(Schedule::Every((nanos / NANOS).max(1)));
        }
    };
    Schedule::parse(standard)
}

fn field(text: &str, bounds: &Bounds) -> Result<Set, String> {
    let mut set = Set::default();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let range = range(part, bounds)?;
        set.bits |= range.bits;
        set.star |= range.star;
    }
    Ok(set)
}

/// `N`, `N-M`, `*`, each perhaps with `/STEP`.
fn range(text: &str, bounds: &Bounds) -> Result<Set, String> {
    let mut parts = text.split('/');
    let (span, step, more) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let ends: Vec<&str> = span.split('-').collect();
    let mut star = matches!(ends[0], "*" | "?");
    let (start, mut end) = match &ends[..] {
        _ if star => (bounds.min, bounds.max),
        [one] => number_or_name(one, bounds).map(|n| (n, n))?,
        [first, last] => (number_or_name(first, bounds)?, number_or_name(last, bounds)?),
        [first, ..] => {
            number_or_name(first, bounds)?;
            return Err(format!("too many hyphens: {text}"));
        }
        [] => (0, 0),
    };
    let step = match step {
        _ if more.is_some() => return Err(format!("too many slashes: {text}")),
        None => 1,
        Some(step) => {
            let step = number(step)?;
            if ends.len() == 1 {
                end = bounds.max;
            }
            star &= step <= 1;
            step
        }
    };
    if start < bounds.min {
        return Err(format!("beginning of range ({start}) below minimum ({}): {text}", bounds.min));
    }
    if end > bounds.max {
        return Err(format!("end of range ({end}) above maximum ({}): {text}", bounds.max));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
    }
    let step = usize::try_from(step).ok().filter(|step| *step > 0);
    let step = step.ok_or_else(|| format!("step of range should be a positive number: {text}"))?;
    Ok(Set { bits: (start..=end).step_by(step).fold(0, |bits, n| bits | 1 << n), star })
}

fn number_or_name(text: &str, bounds: &Bounds) -> Result<u32, String> {
    let named = bounds.names.iter().zip(bounds.min..).find(|(name, _)| name.eq_ignore_ascii_case(text));
    named.map_or_else(|| number(text), |(_, number)| Ok(number))
}

fn number(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let problem = if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        "value out of range"
    } else {
        "invalid syntax"
    };
    let number: i64 = text
        .parse()
        .map_err(|_| format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: {problem}"))?;
    if number < 0 {
        return Err(format!("negative number ({number}) not allowed: {text}"));
    }
    Ok(u32::try_from(number).unwrap_or(u32::MAX))
}

impl Fields {
    fn next(&self, after: i64, zone: &Zone) -> Option<i64> {
        let mut at = after + 1;
        let last = zone.civil(at).year + YEARS;
        loop {
            let civil = zone.civil(at);
            if civil.year > last {
                return None;
            }
            let next = if !self.months.has(civil.month) {
                zone.start_of_next_month(&civil)?
            } else if !self.is_day(&civil) {
                zone.start_of_next_day(&civil)?
            } else if !self.hours.has(civil.hour) {
                at + 3600 - civil.minute * 60 - civil.second
            } else if !self.minutes.has(civil.minute) || civil.second > 0 {
                at + 60 - civil.second
            } else {
                return Some(at);
            };
            // What a zone says of midnight never leads back.
            at = next.max(at + 1);
        }
    }

    /// Where one of both is a star both must hold, else one is enough.
    fn is_day(&self, civil: &Civil) -> bool {
        let (day, weekday) = (self.days.has(civil.day), self.weekdays.has(civil.weekday));
        if self.days.star || self.weekdays.star { day && weekday } else { day || weekday }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn moments() {
        let utc = "Etc/UTC";
        let (york, paris) = ("America/New_York", "Europe/Paris");
        for (schedule, zone, after, want) in [
            ("*/15 * * * *", utc, "2012-07-09T14:45:00Z", "2012-07-09T15:00:00Z"),
            ("*/15 * * * *", utc, "2012-07-09T14:59:59Z", "2012-07-09T15:00:00Z"),
            ("20-35/15 * * * *", utc, "2012-07-09T15:45:00Z", "2012-07-09T16:20:00Z"),
            ("*/15 1-3 * * *", utc, "2012-07-09T23:46:00Z", "2012-07-10T01:00:00Z"),
            ("0 0 9 apr-oct *", utc, "2012-07-09T23:35:51Z", "2012-08-09T00:00:00Z"),
            ("0 0 29 Feb ?", utc, "2012-07-09T23:35:00Z", "2016-02-29T00:00:00Z"),
            ("0 0 1 * mon", utc, "2024-06-01T00:00:00Z", "2024-06-03T00:00:00Z"),
            ("30 4 * * 1-5", utc, "2024-06-07T05:00:00Z", "2024-06-10T04:30:00Z"),
            ("@weekly", utc, "2024-06-07T05:00:00Z", "2024-06-09T00:00:00Z"),
            ("@every 1h30m", utc, "2024-06-07T05:00:00Z", "2024-06-07T06:30:00Z"),
            ("0 9 * * *", paris, "2024-06-07T05:00:00Z", "2024-06-07T07:00:00Z"),
            ("0 9 * * *", paris, "2024-12-07T05:00:00Z", "2024-12-07T08:00:00Z"),
            // Clocks jump from 2 to 3: there is no half past two.
            ("30 2 * * *", york, "2012-03-11T05:00:00Z", "2012-03-12T06:30:00Z"),
            ("0 * * * *", york, "2012-03-11T06:00:00Z", "2012-03-11T07:00:00Z"),
            // And are set back from 2 to 1: half past one comes twice.
            ("30 1 * * *", york, "2012-11-04T04:00:00Z", "2012-11-04T05:30:00Z"),
            ("30 1 * * *", york, "2012-11-04T05:30:00Z", "2012-11-04T06:30:00Z"),
            ("30 1 * * *", york, "2012-11-04T06:30:00Z", "2012-11-05T06:30:00Z"),
            // A day that begins at one.
            ("0 0 * * *", "America/Sao_Paulo", "2018-11-03T12:00:00Z", "2018-11-05T02:00:00Z"),
        ] {
            let zone = Zone::named(zone).unwrap();
            let next = Schedule::parse(schedule).unwrap().next(at(after), &zone);
            assert_eq!(next, Some(at(want)), "{schedule} after {after}");
        }
        let never = Schedule::parse("0 0 31 2 *").unwrap();
        assert_eq!(never.next(at("2024-01-01T00:00:00Z"), &Zone::utc()), None);
    }

    #[test]
    fn refusals() {
        for (text, want) in [
            ("* * *", "expected exactly 5 fields, found 3: [* * *]"),
            ("0 0 * * * *", "expected exactly 5 fields, found 6: [0 0 * * * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("* * * * 7", "end of range (7) above maximum (6): 7"),
            ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("1/2/3 * * * *", "too many slashes: 1/2/3"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("x * * * *", "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax"),
            (
                "99999999999999999999 * * * *",
                "failed to parse int from 99999999999999999999: strconv.Atoi: parsing \"99999999999999999999\": value out \
                 of range",
            ),
            ("@often", "unrecognized descriptor: @often"),
            ("@every x", "failed to parse duration @every x: time: invalid duration \"x\""),
        ] {
            assert_eq!(Schedule::parse(text).unwrap_err(), want, "{text}");
        }
    }
}
