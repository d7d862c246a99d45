//! How fast a number of replicas may change: the window in which recommendations are compared, and the rate
//! (`normalizeDesiredReplicas`, with and without a behaviour).
//!
//! Invariant: what was recommended and done stands in [`Memory`] alone, and only as long as a window or a period needs it.

use std::time::Duration;

use base::Timestamp;

use super::view::{Behavior, Rules};

/// The window of an autoscaler that says none.
const WINDOW: u64 = 300;

/// What a controller remembers of an autoscaler from turn to turn.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    recommended: Vec<(Timestamp, i32)>,
    /// Replicas added, and when.
    added: Vec<(Timestamp, i32)>,
    /// Replicas taken away, and when.
    removed: Vec<(Timestamp, i32)>,
}

/// Why a number is what it is: a condition's reason and message.
pub(super) type Why = (&'static str, &'static str);

/// A number of replicas with what two conditions say of it.
#[derive(Debug, PartialEq)]
pub(super) struct Limited {
    pub(super) replicas: i32,
    pub(super) able: Why,
    /// Whether the number is another than the one that was asked for.
    pub(super) is_limited: bool,
    pub(super) why: Why,
}

/// What is asked for, and within what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    pub(super) now: Timestamp,
    pub(super) current: i32,
    pub(super) desired: i32,
    pub(super) min: i32,
    pub(super) max: i32,
}

const READY: Why = ("ReadyForNewScale", "recommended size matches current size");
const WERE_LOWER: Why = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
);
const WERE_HIGHER: Why = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
);
const WITHIN: Why = ("DesiredWithinRange", "the desired count is within the acceptable range");
const TOO_MANY: Why = ("TooManyReplicas", "the desired replica count is more than the maximum replica count");
const TOO_FEW: Why = ("TooFewReplicas", "the desired replica count is less than the minimum replica count");
const TOO_FAST_UP: Why =
    ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate");
const TOO_FAST_DOWN: Why =
    ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate");

impl Memory {
    /// The first thing that is known of an autoscaler is how many replicas it found.
    pub(super) fn begin(&mut self, now: Timestamp, current: i32) {
        if self.recommended.is_empty() {
            self.recommended.push((now, current));
        }
    }

    /// What may be done of what is asked for.
    pub(super) fn limit(&mut self, ask: Ask, behavior: Option<&Behavior>) -> Limited {
        let (stable, held) = match behavior {
            None => (self.highest(ask), WERE_HIGHER),
            Some(behavior) => self.between(ask, behavior),
        };
        let able = if stable == ask.desired { READY } else { held };
        let ask = Ask { desired: stable, ..ask };
        let (replicas, why) = match behavior {
            None => by_default(ask),
            Some(behavior) => self.by_rules(ask, behavior),
        };
        Limited { replicas, able, is_limited: replicas != stable, why }
    }

    /// Remembers a change of the number of replicas, where a behaviour will ask.
    pub(super) fn changed(&mut self, now: Timestamp, (from, to): (i32, i32), behavior: Option<&Behavior>) {
        let Some(behavior) = behavior else { return };
        let (list, rules) = if to > from {
            (&mut self.added, &behavior.scale_up)
        } else {
            (&mut self.removed, &behavior.scale_down)
        };
        let longest = rules.policies.iter().map(|p| p.period_seconds).max().unwrap_or(0);
        list.retain(|(at, _)| now.since(*at) <= Duration::from_secs(longest));
        list.push((now, (to - from).abs()));
    }

    fn highest(&mut self, ask: Ask) -> i32 {
        let window = Duration::from_secs(WINDOW);
        self.recommended.retain(|(at, _)| ask.now.since(*at) <= window);
        let stable = self.recommended.iter().map(|(_, n)| *n).fold(ask.desired, i32::max);
        self.recommended.push((ask.now, ask.desired));
        stable
    }

    fn between(&mut self, ask: Ask, behavior: &Behavior) -> (i32, Why) {
        let window = |rules: &Rules, default| {
            Duration::from_secs(rules.stabilization_window_seconds.unwrap_or(default))
        };
        let (up, down) = (window(&behavior.scale_up, 0), window(&behavior.scale_down, WINDOW));
        let (mut lowest, mut highest) = (ask.desired, ask.desired);
        for (at, recommended) in &self.recommended {
            let age = ask.now.since(*at);
            if age < up {
                lowest = lowest.min(*recommended);
            }
            if age < down {
                highest = highest.max(*recommended);
            }
        }
        self.recommended.retain(|(at, _)| ask.now.since(*at) <= up.max(down));
        self.recommended.push((ask.now, ask.desired));
        let stable = ask.current.max(lowest).min(highest);
        (stable, if ask.desired >= ask.current { WERE_LOWER } else { WERE_HIGHER })
    }

    fn by_rules(&self, ask: Ask, behavior: &Behavior) -> (i32, Why) {
        if ask.desired > ask.current {
            let limit = self.most(ask, &behavior.scale_up).max(ask.current);
            let (allowed, why) = if ask.max > limit { (limit, TOO_FAST_UP) } else { (ask.max, TOO_MANY) };
            if ask.desired > allowed {
                return (allowed, why);
            }
        } else if ask.desired < ask.current {
            let limit = self.fewest(ask, &behavior.scale_down).min(ask.current);
            let (allowed, why) = if ask.min < limit { (limit, TOO_FAST_DOWN) } else { (ask.min, TOO_FEW) };
            if ask.desired < allowed {
                return (allowed, why);
            }
        }
        (ask.desired, WITHIN)
    }

    /// How many replicas a period began with.
    fn began_with(&self, ask: Ask, seconds: u64) -> i32 {
        let within = |list: &[(Timestamp, i32)]| -> i32 {
            let period = Duration::from_secs(seconds);
            list.iter().filter(|(at, _)| ask.now.since(*at) < period).map(|(_, n)| *n).sum()
        };
        ask.current - within(&self.added) + within(&self.removed)
    }

    #[expect(clippy::cast_possible_truncation, reason = "a number of Pods; upstream reckons in floats too")]
    fn most(&self, ask: Ask, rules: &Rules) -> i32 {
        let allowed = rules.policies.iter().map(|policy| {
            let began = self.began_with(ask, policy.period_seconds);
            if policy.kind == "Percent" {
                (f64::from(began) * (1.0 + f64::from(policy.value) / 100.0)).ceil() as i32
            } else {
                began.saturating_add(policy.value)
            }
        });
        match rules.select_policy.as_str() {
            "Disabled" => ask.current,
            "Min" => allowed.min().unwrap_or(i32::MAX),
            _ => allowed.max().unwrap_or(0),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "a number of Pods; upstream reckons in floats too")]
    fn fewest(&self, ask: Ask, rules: &Rules) -> i32 {
        let allowed = rules.policies.iter().map(|policy| {
            let began = self.began_with(ask, policy.period_seconds);
            if policy.kind == "Percent" {
                (f64::from(began) * (1.0 - f64::from(policy.value) / 100.0)) as i32
            } else {
                began.saturating_sub(policy.value)
            }
        });
        match rules.select_policy.as_str() {
            "Disabled" => ask.current,
            "Min" => allowed.max().unwrap_or(0),
            _ => allowed.min().unwrap_or(i32::MAX),
        }
    }
}

/// Without a behaviour: twice as many at once, or four.
fn by_default(ask: Ask) -> (i32, Why) {
    let limit = ask.current.saturating_mul(2).max(4);
    let (allowed, why) = if ask.max > limit { (limit, TOO_FAST_UP) } else { (ask.max, TOO_MANY) };
    if ask.desired < ask.min {
        (ask.min, TOO_FEW)
    } else if ask.desired > allowed {
        (allowed, why)
    } else {
        (ask.desired, WITHIN)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: i64 = 10_000;

    fn ago(list: &[(i64, i32)]) -> Vec<(Timestamp, i32)> {
        list.iter().map(|(ago, n)| (Timestamp::from_seconds(NOW - ago), *n)).collect()
    }

    fn ask(current: i32, desired: i32) -> Ask {
        Ask { now: Timestamp::from_seconds(NOW), current, desired, min: 2, max: 20 }
    }

    #[test]
    fn without_a_behaviour() {
        for (current, desired, before, want) in [
            (3, 3, &[][..], (3, "ReadyForNewScale", "DesiredWithinRange")),
            (3, 9, &[], (6, "ReadyForNewScale", "ScaleUpLimit")),
            (1, 9, &[], (4, "ReadyForNewScale", "ScaleUpLimit")),
            (12, 30, &[], (20, "ReadyForNewScale", "TooManyReplicas")),
            (12, 1, &[], (2, "ReadyForNewScale", "TooFewReplicas")),
            (12, 4, &[(10, 8), (299, 9), (301, 11)], (9, "ScaleDownStabilized", "DesiredWithinRange")),
        ] {
            let mut memory = Memory { recommended: ago(before), ..Memory::default() };
            let got = memory.limit(ask(current, desired), None);
            assert_eq!((got.replicas, got.able.0, got.why.0), want, "{current} {desired}");
            assert_eq!(got.is_limited, got.why.0 != "DesiredWithinRange");
        }
    }

    fn behavior(up: Value, down: Value) -> Behavior {
        serde_json::from_value(json!({"scaleUp": up, "scaleDown": down})).unwrap()
    }

    fn rules(select: &str, policies: &[(&str, i32, u64)]) -> Value {
        let policy = |(kind, value, seconds): &(&str, i32, u64)| json!({"type": kind, "value": value, "periodSeconds": seconds});
        json!({"selectPolicy": select, "stabilizationWindowSeconds": 0,
            "policies": policies.iter().map(policy).collect::<Vec<_>>()})
    }

    #[test]
    fn rates() {
        let both = |kind| rules(kind, &[("Pods", 4, 60), ("Percent", 100, 60)]);
        let one = |kind, value| rules("Max", &[(kind, value, 60)]);
        for (rules, current, desired, added, removed, want) in [
            (both("Max"), 3, 20, &[][..], &[][..], (7, "ScaleUpLimit")),
            (both("Min"), 3, 20, &[], &[], (6, "ScaleUpLimit")),
            (both("Disabled"), 3, 20, &[], &[], (3, "ScaleUpLimit")),
            (both("Max"), 9, 30, &[], &[], (18, "ScaleUpLimit")),
            (both("Max"), 15, 30, &[], &[], (20, "TooManyReplicas")),
            // What was added within the period counts, also if that is more than is allowed now.
            (one("Pods", 4), 7, 20, &[(59, 3), (61, 9)], &[], (8, "ScaleUpLimit")),
            (one("Pods", 4), 10, 20, &[(5, 6)], &[], (10, "ScaleUpLimit")),
            (one("Pods", 4), 7, 20, &[(5, 3)], &[(7, 2)], (10, "ScaleUpLimit")),
            (one("Percent", 10), 3, 20, &[], &[], (4, "ScaleUpLimit")),
            (one("Pods", 4), 12, 3, &[], &[], (8, "ScaleDownLimit")),
            (one("Pods", 4), 12, 3, &[], &[(5, 3)], (11, "ScaleDownLimit")),
            (one("Percent", 10), 19, 3, &[], &[], (17, "ScaleDownLimit")),
            (both("Min"), 12, 3, &[], &[], (8, "ScaleDownLimit")),
            (both("Max"), 12, 1, &[], &[], (2, "TooFewReplicas")),
            (both("Disabled"), 12, 1, &[], &[], (12, "ScaleDownLimit")),
            (both("Max"), 12, 12, &[], &[], (12, "DesiredWithinRange")),
        ] {
            let mut memory = Memory { added: ago(added), removed: ago(removed), ..Memory::default() };
            let got = memory.limit(ask(current, desired), Some(&behavior(rules.clone(), rules.clone())));
            assert_eq!((got.replicas, got.why.0), want, "{rules} {current} {desired}");
        }
    }

    #[test]
    fn windows() {
        let free = |window: u64| {
            let mut rules = rules("Max", &[("Percent", 1000, 15)]);
            rules["stabilizationWindowSeconds"] = json!(window);
            rules
        };
        for (up, down, current, desired, before, want) in [
            (0, 300, 5, 3, &[(20, 4), (310, 9)][..], (4, "ScaleDownStabilized")),
            (0, 300, 5, 3, &[(20, 8)], (5, "ScaleDownStabilized")),
            (0, 0, 5, 3, &[(20, 8)], (3, "ReadyForNewScale")),
            (60, 300, 5, 9, &[(20, 7), (70, 6)], (7, "ScaleUpStabilized")),
            (60, 300, 5, 9, &[(20, 3)], (5, "ScaleUpStabilized")),
            (0, 300, 5, 9, &[(20, 3)], (9, "ReadyForNewScale")),
        ] {
            let mut memory = Memory { recommended: ago(before), ..Memory::default() };
            let got = memory.limit(ask(current, desired), Some(&behavior(free(up), free(down))));
            assert_eq!((got.replicas, got.able.0), want, "{up} {down} {current} {desired}");
        }
    }

    #[test]
    fn what_is_remembered() {
        let both = behavior(rules("Max", &[("Pods", 1, 60)]), rules("Max", &[("Pods", 1, 30)]));
        let mut memory =
            Memory { added: ago(&[(61, 1), (60, 2)]), removed: ago(&[(31, 1)]), ..Memory::default() };
        let now = Timestamp::from_seconds(NOW);
        memory.changed(now, (2, 5), Some(&both));
        memory.changed(now, (5, 3), Some(&both));
        memory.changed(now, (5, 3), None);
        assert_eq!((memory.added, memory.removed), (ago(&[(60, 2), (0, 3)]), ago(&[(0, 2)])));
    }
}
