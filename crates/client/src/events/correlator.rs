//! What becomes of an event that is to be told: a new Event, one more of a known one, or nothing
//! (`client-go/tools/record/events_cache.go`).
//!
//! Invariants: pure, time is in the posting; the memory is bounded. Ten different messages of one reason about one object
//! within ten minutes become one Event from then on; 25 Events of one source about one object may come at once, then
//! one in five minutes.

use std::collections::BTreeSet;
use std::time::Duration;

use base::Timestamp;
use kinds::plan::{Notice, Reference};

use super::lru::Lru;

/// Entries of each memory.
const REMEMBERED: usize = 4096;
/// So many different messages within [`WINDOW`] are joined.
const ALIKE: usize = 10;
const WINDOW: Duration = Duration::from_secs(600);
const BURST: u32 = 25;
/// After so long one more may be told.
const REFILL: Duration = Duration::from_secs(300);
const COMBINED: &str = "(combined from similar events): ";

/// Something that happened to an object.
#[derive(Debug, Clone)]
pub struct Posting {
    /// To what.
    pub about: Reference,
    /// What.
    pub notice: Notice,
    /// When.
    pub at: Timestamp,
}

/// An Event as it is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occurrence {
    /// Its name, the same for every repetition.
    pub name: String,
    /// How often it has happened; 1 is a new Event.
    pub count: u64,
    /// When it happened first.
    pub first: Timestamp,
    /// When it happened last.
    pub last: Timestamp,
    /// What it says.
    pub message: String,
}

/// The memory; one for each source of events.
#[derive(Debug)]
pub struct Correlator {
    alike: Lru<Alike>,
    known: Lru<Option<Known>>,
    tokens: Lru<Tokens>,
    /// The time in the newest name: two events of one nanosecond must differ.
    named: i128,
}

/// The messages of one reason about one object.
#[derive(Debug)]
struct Alike {
    messages: BTreeSet<String>,
    last: Timestamp,
}

#[derive(Debug)]
struct Known {
    name: String,
    count: u64,
    first: Timestamp,
}

#[derive(Debug)]
struct Tokens {
    left: u32,
    /// The time up to which tokens have come back.
    since: Timestamp,
}

impl Default for Correlator {
    fn default() -> Self {
        Self {
            alike: Lru::new(REMEMBERED),
            known: Lru::new(REMEMBERED),
            tokens: Lru::new(REMEMBERED),
            named: 0,
        }
    }
}

impl Correlator {
    /// What to write; `None` if this object has had too many events. An event that is not written is counted all the
    /// same, so the next repetition that is written tells of it.
    pub fn correlate(&mut self, posting: &Posting) -> Option<Occurrence> {
        let (key, message) = self.combine(posting);
        let occurrence = self.count(posting, &key, message);
        self.has_token(posting).then_some(occurrence)
    }

    /// The key that repetitions share, and the message.
    fn combine(&mut self, posting: &Posting) -> (String, String) {
        let Posting { notice, at, .. } = posting;
        let group = group_key(posting);
        let fresh = || Alike { messages: BTreeSet::new(), last: *at };
        let alike = self.alike.entry(&group, fresh);
        if at.since(alike.last) > WINDOW {
            *alike = fresh();
        }
        alike.last = *at;
        alike.messages.insert(notice.message.clone());
        if alike.messages.len() < ALIKE {
            let key = join(&[&group, &posting.about.field_path, &notice.message]);
            return (key, notice.message.clone());
        }
        alike.messages.pop_first();
        (group, format!("{COMBINED}{}", notice.message))
    }

    fn count(&mut self, posting: &Posting, key: &str, message: String) -> Occurrence {
        let last = posting.at;
        let known = self.known.entry(key, || None);
        let known = known.get_or_insert_with(|| {
            self.named = last.unix_nanos().max(self.named + 1);
            Known { name: base::names::event(&posting.about.name, self.named), count: 0, first: last }
        });
        known.count += 1;
        Occurrence { name: known.name.clone(), count: known.count, first: known.first, last, message }
    }

    fn has_token(&mut self, posting: &Posting) -> bool {
        let tokens =
            self.tokens.entry(&object_key(&posting.about), || Tokens { left: BURST, since: posting.at });
        let back = posting.at.since(tokens.since).as_secs() / REFILL.as_secs();
        if back > 0 {
            tokens.left = tokens.left.saturating_add(u32::try_from(back).unwrap_or(BURST)).min(BURST);
            tokens.since = tokens.since + Duration::from_secs(back * REFILL.as_secs());
        }
        if tokens.left == BURST {
            tokens.since = posting.at;
        }
        let has = tokens.left > 0;
        tokens.left = tokens.left.saturating_sub(1);
        has
    }
}

fn join(parts: &[&str]) -> String {
    parts.join("\0")
}

fn object_key(about: &Reference) -> String {
    join(&[&about.kind, &about.namespace, &about.name, &about.uid, &about.api_version])
}

/// What events have in common that may be joined: all but the message.
fn group_key(posting: &Posting) -> String {
    let Posting { about, notice, .. } = posting;
    let kind = if notice.warning { "Warning" } else { "Normal" };
    join(&[&object_key(about), kind, &notice.reason])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn posting(name: &str, message: &str, at: i64) -> Posting {
        Posting {
            about: Reference {
                kind: "Pod".into(),
                name: name.into(),
                uid: "u".into(),
                ..Reference::default()
            },
            notice: Notice::warning("Failed", message),
            at: Timestamp::from_seconds(at),
        }
    }

    /// `message xCOUNT first-last`, or `-`.
    fn told(correlator: &mut Correlator, posting: &Posting) -> String {
        correlator.correlate(posting).map_or("-".into(), |o| {
            format!("{} x{} {}-{}", o.message, o.count, o.first.seconds, o.last.seconds)
        })
    }

    #[test]
    fn repetitions_are_counted_under_one_name() {
        let mut correlator = Correlator::default();
        let first = correlator.correlate(&posting("p", "a", 10)).unwrap();
        assert_eq!((first.count, first.name.as_str()), (1, "p.2540be400"));
        let other = correlator.correlate(&posting("p", "b", 10)).unwrap();
        assert_eq!((other.count, other.name.as_str()), (1, "p.2540be401"));
        let again = correlator.correlate(&posting("p", "a", 15)).unwrap();
        assert_eq!((again.count, &again.name), (2, &first.name));
        assert_eq!((again.first.seconds, again.last.seconds), (10, 15));
        // The same of another part of the object is another event.
        let mut part = posting("p", "a", 15);
        part.about.field_path = "spec.containers{c}".into();
        assert_eq!(correlator.correlate(&part).unwrap().count, 1);
    }

    #[test]
    fn the_tenth_of_a_kind_is_joined() {
        let mut correlator = Correlator::default();
        for n in 0..9 {
            assert_eq!(told(&mut correlator, &posting("p", &format!("m{n}"), n)), format!("m{n} x1 {n}-{n}"));
        }
        // A known message adds nothing to what is alike.
        assert_eq!(told(&mut correlator, &posting("p", "m3", 9)), "m3 x2 3-9");
        let combined = |n: i64, count: u32, first: i64| {
            format!("(combined from similar events): m{n} x{count} {first}-{n}")
        };
        assert_eq!(told(&mut correlator, &posting("p", "m10", 10)), combined(10, 1, 10));
        assert_eq!(told(&mut correlator, &posting("p", "m11", 11)), combined(11, 2, 10));
        // Another object, and the same after ten quiet minutes, are not joined.
        assert_eq!(told(&mut correlator, &posting("q", "m12", 12)), "m12 x1 12-12");
        assert_eq!(told(&mut correlator, &posting("p", "m13", 612)), "m13 x1 612-612");
    }

    #[test]
    fn an_object_has_25_events_and_one_more_in_five_minutes() {
        let mut correlator = Correlator::default();
        for n in 1..=25 {
            assert_eq!(told(&mut correlator, &posting("p", "m", 0)), format!("m x{n} 0-0"));
        }
        for (at, want) in [
            (0, "-"),
            (299, "-"),
            (300, "m x28 0-300"),
            (301, "-"),
            (599, "-"),
            (600, "m x31 0-600"),
            (601, "-"),
        ] {
            assert_eq!(told(&mut correlator, &posting("p", "m", at)), want, "at {at}");
        }
        assert_eq!(told(&mut correlator, &posting("q", "m", 601)), "m x1 601-601");
    }
}
