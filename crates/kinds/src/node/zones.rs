//! How fast nodes of a zone may be tainted so that their Pods go: slower where many fail, not at all where everything
//! does, since then it is more likely the control plane that is cut off.
//!
//! Invariant: a zone's state follows from the nodes seen; its pace from its state and from when it tainted last.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base::Timestamp;

use super::taints::NodeView;

/// Between two nodes of a zone that is well (`--node-eviction-rate`).
const PACE: Duration = Duration::from_secs(10);
/// The same of a large one where many fail (`--secondary-node-eviction-rate`).
const SLOW_PACE: Duration = Duration::from_secs(100);
/// The nodes of a large one, at least one more (`--large-cluster-size-threshold`).
const LARGE: usize = 50;
/// In percent, of how many must not be ready for them to be many (`--unhealthy-zone-threshold`).
const MANY: usize = 55;
/// Nodes with this label count in no zone.
const EXCLUDED: &str = "node.kubernetes.io/exclude-disruption";

/// A node as its zone sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    zone: String,
    ready: bool,
    counts: bool,
}

impl Member {
    pub(super) fn of(node: &NodeView, ready: bool) -> Self {
        let labels = &node.metadata.labels;
        let label = |key: &str| labels.get(key).map_or("", String::as_str);
        let (region, zone) = (label("topology.kubernetes.io/region"), label("topology.kubernetes.io/zone"));
        Self { zone: format!("{region}:{zone}"), ready, counts: !labels.contains_key(EXCLUDED) }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Initial,
    Normal,
    /// Many fail.
    Partial,
    /// All do.
    Full,
}

#[derive(Debug, Clone, Default)]
struct Zone {
    state: State,
    /// Between two nodes; `None` is never.
    pace: Option<Duration>,
    next: Timestamp,
}

impl Zone {
    fn set_pace(&mut self, pace: Option<Duration>, now: Timestamp) {
        if let Some(pace) = pace.filter(|_| self.next > now && self.pace != pace) {
            self.next = now + pace;
        }
        self.pace = pace;
    }
}

/// All zones.
#[derive(Debug, Default)]
pub(super) struct Zones {
    members: BTreeMap<String, Member>,
    zones: BTreeMap<String, Zone>,
}

impl Zones {
    pub(super) fn see(&mut self, node: &str, member: Member) {
        self.members.insert(node.to_owned(), member);
    }

    pub(super) fn forget(&mut self, node: &str) {
        self.members.remove(node);
    }

    /// Whether nobody is ready anywhere.
    pub(super) fn all_down(&self) -> bool {
        !self.zones.is_empty() && self.zones.values().all(|zone| zone.state == State::Full)
    }

    /// Looks at all zones; whether not everything is down any more.
    pub(super) fn judge(&mut self, now: Timestamp) -> bool {
        let states = self.states();
        let are = states.values().all(|(state, _)| *state == State::Full);
        self.zones.retain(|zone, _| states.contains_key(zone));
        let was = self.all_down();
        for (zone, (state, size)) in states {
            let zone = self.zones.entry(zone).or_insert_with(|| Zone { pace: Some(PACE), ..Zone::default() });
            if zone.state == state && was == are {
                continue;
            }
            let pace = match state {
                _ if are => None,
                State::Partial if size <= LARGE => None,
                State::Partial => Some(SLOW_PACE),
                _ => Some(PACE),
            };
            zone.state = state;
            zone.set_pace(pace, now);
        }
        was && !are
    }

    fn states(&self) -> BTreeMap<String, (State, usize)> {
        let counted = self.members.values().filter(|m| m.counts);
        let names: BTreeSet<&String> = counted.map(|m| &m.zone).collect();
        let state = |zone: &String| {
            let of = |ready: bool| {
                self.members.values().filter(|m| m.counts && m.zone == *zone && m.ready == ready).count()
            };
            let (ready, unready) = (of(true), of(false));
            let state = match (ready, unready) {
                (0, _) => State::Full,
                _ if unready > 2 && unready * 100 >= MANY * (ready + unready) => State::Partial,
                _ => State::Normal,
            };
            (zone.clone(), (state, ready + unready))
        };
        names.into_iter().map(state).collect()
    }

    /// Whether the node may be tainted now; if not, when to ask again, if that is known.
    pub(super) fn may_taint(&self, node: &str, now: Timestamp) -> Result<(), Option<Timestamp>> {
        let Some(zone) = self.members.get(node).and_then(|m| self.zones.get(&m.zone)) else {
            // It counts in no zone: nothing slows it down.
            return Ok(());
        };
        match zone.pace {
            None => Err(None),
            Some(_) if zone.next > now => Err(Some(zone.next)),
            Some(_) => Ok(()),
        }
    }

    /// The node is tainted.
    pub(super) fn tainted(&mut self, node: &str, now: Timestamp) {
        let zone = self.members.get(node).map(|m| m.zone.clone()).and_then(|zone| self.zones.get_mut(&zone));
        if let Some(zone) = zone {
            zone.next = now + zone.pace.unwrap_or(PACE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    /// Nodes of the zone `z`, this many ready and not.
    fn zones(ready: usize, unready: usize) -> Zones {
        let mut zones = Zones::default();
        for i in 0..ready + unready {
            let member = Member { zone: "z".into(), ready: i < ready, counts: true };
            zones.see(&format!("n{i}"), member);
        }
        zones.judge(at(0));
        zones
    }

    #[test]
    fn the_more_fail_the_slower() {
        for (ready, unready, pace, all_down) in [
            (3, 1, Some(PACE), false),
            (1, 2, Some(PACE), false),
            (2, 3, None, false),
            (4, 3, Some(PACE), false),
            (20, 40, Some(SLOW_PACE), false),
            (0, 1, None, true),
            (0, 3, None, true),
        ] {
            let zones = zones(ready, unready);
            assert_eq!((zones.zones["z"].pace, zones.all_down()), (pace, all_down), "{ready} {unready}");
        }
    }

    #[test]
    fn one_after_the_other() {
        let mut zones = zones(5, 2);
        assert_eq!(zones.may_taint("n5", at(1)), Ok(()));
        zones.tainted("n5", at(1));
        assert_eq!(zones.may_taint("n6", at(2)), Err(Some(at(11))));
        assert_eq!(zones.may_taint("n6", at(11)), Ok(()));
        // A zone that is wholly down goes on while another is up; where all are, nothing does.
        for i in 0..5 {
            zones.see(&format!("n{i}"), Member { zone: "z".into(), ready: false, counts: true });
        }
        zones.see("other", Member { zone: "y".into(), ready: true, counts: true });
        assert!(!zones.judge(at(20)));
        assert_eq!((zones.all_down(), zones.may_taint("n6", at(20))), (false, Ok(())));
        zones.see("other", Member { zone: "y".into(), ready: false, counts: true });
        assert!(!zones.judge(at(21)));
        assert_eq!((zones.all_down(), zones.may_taint("n6", at(99))), (true, Err(None)));
        zones.see("n0", Member { zone: "z".into(), ready: true, counts: true });
        assert!(zones.judge(at(22)));
        assert!(!zones.all_down());
    }
}
