//! How many replicas a metric asks for (`pkg/controller/podautoscaler/replica_calculator.go`).
//!
//! Invariant: Pods without a figure never turn a decision round: they count as idle when more are wanted, as busy when fewer
//! are, and where that would change the direction nothing changes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base::Timestamp;

use super::view::CountedPod;
use crate::view::time;

/// So long after its start a Pod's CPU figures may be those of its start.
const INITIALISATION: Duration = Duration::from_secs(300);
/// A Pod that was not ready so long after its start has never been.
const FIRST_READINESS: Duration = Duration::from_secs(30);

/// What was measured of a Pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figure {
    /// Thousandths.
    pub value: i64,
    /// When.
    pub at: Timestamp,
    /// Over how long.
    pub window: Duration,
}

/// Figures by Pod.
pub type Figures = BTreeMap<String, Figure>;

/// How far a ratio may be off before anything is done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tolerance {
    pub(super) up: f64,
    pub(super) down: f64,
}

impl Tolerance {
    fn allows(self, ratio: f64) -> bool {
        (1.0 - self.down..=1.0 + self.up).contains(&ratio)
    }
}

/// What is known of the target's Pods.
#[derive(Clone, Copy)]
pub(super) struct Crowd<'a> {
    pub(super) now: Timestamp,
    pub(super) namespace: &'a str,
    pub(super) current: i32,
    pub(super) pods: &'a [CountedPod],
    pub(super) tolerance: Tolerance,
}

/// A number of replicas, and what was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Proposal {
    pub(super) replicas: i32,
    /// Percent of what is requested, where that is what is looked at.
    pub(super) utilization: Option<i32>,
    /// Thousandths, for each Pod or in all.
    pub(super) raw: i64,
}

const NO_PODS: &str = "no pods returned by selector while calculating replica count";
const NO_FIGURES: &str = "did not receive metrics for targeted pods (pods might be unready)";

#[derive(Default)]
struct Groups<'a> {
    ready: usize,
    unready: BTreeSet<&'a str>,
    missing: BTreeSet<&'a str>,
    ignored: BTreeSet<&'a str>,
}

impl<'a> Groups<'a> {
    fn of(now: Timestamp, pods: &'a [CountedPod], figures: &Figures, resource: &str) -> Self {
        let mut groups = Self::default();
        for pod in pods {
            let name = pod.metadata.name.as_str();
            let figure = figures.get(name);
            if pod.metadata.deleting() || pod.status.phase == "Failed" {
                groups.ignored.insert(name);
            } else if pod.status.phase == "Pending" {
                groups.unready.insert(name);
            } else if let Some(figure) = figure {
                if resource == "cpu" && is_unready(now, pod, figure) {
                    groups.unready.insert(name);
                } else {
                    groups.ready += 1;
                }
            } else {
                groups.missing.insert(name);
            }
        }
        groups
    }
}

/// Whether a Pod's use of CPU is not that of one that serves.
fn is_unready(now: Timestamp, pod: &CountedPod, figure: &Figure) -> bool {
    let (Some(ready), Some(started)) = (pod.readiness(), pod.started()) else { return true };
    let since = time(ready.last_transition_time.as_deref()).unwrap_or_default();
    let is_false = ready.status == "False";
    if started + INITIALISATION > now {
        is_false || figure.at < since + figure.window
    } else {
        is_false && started + FIRST_READINESS > since
    }
}

/// How the figures of Pods compare with what is aimed at.
struct Measured {
    ratio: f64,
    utilization: Option<i32>,
    raw: i64,
}

/// By use in percent of what is requested.
pub(super) fn by_utilization(
    crowd: Crowd<'_>,
    target: i32,
    (resource, container): (&str, &str),
    figures: Figures,
) -> Result<Proposal, String> {
    if crowd.pods.is_empty() {
        return Err(NO_PODS.into());
    }
    let mut requests = BTreeMap::new();
    for pod in crowd.pods {
        requests.insert(pod.metadata.name.as_str(), pod.request(resource, container)?);
    }
    let measure = |figures: &Figures| utilization(figures, &requests, target);
    let assumed = |pod: &str| requests.get(pod).map_or(0, |r| r * i64::from(target.max(100)) / 100);
    propose(crowd, resource, figures, (&measure, &assumed))
}

/// By the average of plain amounts.
pub(super) fn by_average(
    crowd: Crowd<'_>,
    target: i64,
    resource: &str,
    figures: Figures,
) -> Result<Proposal, String> {
    if crowd.pods.is_empty() {
        return Err(NO_PODS.into());
    }
    let measure = |figures: &Figures| Ok(average(figures, target));
    propose(crowd, resource, figures, (&measure, &|_| target))
}

type Measure<'a> = (&'a dyn Fn(&Figures) -> Result<Measured, String>, &'a dyn Fn(&str) -> i64);

fn propose(
    crowd: Crowd<'_>,
    resource: &str,
    mut figures: Figures,
    (measure, assumed): Measure<'_>,
) -> Result<Proposal, String> {
    let groups = Groups::of(crowd.now, crowd.pods, &figures, resource);
    figures.retain(|pod, _| !groups.ignored.contains(&**pod) && !groups.unready.contains(&**pod));
    if figures.is_empty() {
        return Err(NO_FIGURES.into());
    }
    let first = measure(&figures)?;
    let proposal = |replicas| Ok(Proposal { replicas, utilization: first.utilization, raw: first.raw });
    let counts_unready = !groups.unready.is_empty() && first.ratio > 1.0;
    if !counts_unready && groups.missing.is_empty() {
        let stays = crowd.tolerance.allows(first.ratio);
        return proposal(if stays { crowd.current } else { times(first.ratio, groups.ready) });
    }
    let mut assume = |pods: &BTreeSet<&str>, value: &dyn Fn(&str) -> i64| {
        for pod in pods {
            let figure = Figure { value: value(pod), at: Timestamp::default(), window: Duration::ZERO };
            figures.insert((*pod).to_owned(), figure);
        }
    };
    if first.ratio < 1.0 {
        assume(&groups.missing, assumed);
    } else if first.ratio > 1.0 || first.utilization.is_none() {
        assume(&groups.missing, &|_| 0);
    }
    if counts_unready {
        assume(&groups.unready, &|_| 0);
    }
    let second = measure(&figures)?.ratio;
    let turns = (first.ratio < 1.0 && second > 1.0) || (first.ratio > 1.0 && second < 1.0);
    if crowd.tolerance.allows(second) || turns {
        return proposal(crowd.current);
    }
    let replicas = times(second, figures.len());
    let turns = (second < 1.0 && replicas > crowd.current) || (second > 1.0 && replicas < crowd.current);
    proposal(if turns { crowd.current } else { replicas })
}

#[expect(clippy::cast_possible_truncation, reason = "ratios and percents")]
fn utilization(figures: &Figures, requests: &BTreeMap<&str, i64>, target: i32) -> Result<Measured, String> {
    let (mut used, mut requested, mut count) = (0_i64, 0_i64, 0_i64);
    for (pod, figure) in figures {
        let Some(request) = requests.get(pod.as_str()) else { continue };
        used = used.saturating_add(figure.value);
        requested = requested.saturating_add(*request);
        count += 1;
    }
    if requested == 0 {
        return Err("no metrics returned matched known pods".into());
    }
    let percent = (used.saturating_mul(100) / requested) as i32;
    let ratio = f64::from(percent) / f64::from(target);
    Ok(Measured { ratio, utilization: Some(percent), raw: used / count.max(1) })
}

#[expect(clippy::cast_precision_loss, reason = "ratios")]
fn average(figures: &Figures, target: i64) -> Measured {
    let sum: i64 = figures.values().map(|figure| figure.value).sum();
    let raw = sum / i64::try_from(figures.len()).unwrap_or(1).max(1);
    Measured { ratio: raw as f64 / target as f64, utilization: None, raw }
}

/// By one amount that all Pods share.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "ratios")]
pub(super) fn by_value(crowd: Crowd<'_>, target: i64, value: i64) -> Result<Proposal, String> {
    let ratio = value as f64 / target as f64;
    let proposal = |replicas| Ok(Proposal { replicas, utilization: None, raw: value });
    if crowd.current == 0 {
        return proposal(ratio.ceil() as i32);
    }
    if crowd.tolerance.allows(ratio) {
        return proposal(crowd.current);
    }
    if crowd.pods.is_empty() {
        return Err(format!("unable to calculate ready pods: {NO_PODS}"));
    }
    let serves = |pod: &&CountedPod| pod.status.phase == "Running" && pod.is_ready();
    proposal(times(ratio, crowd.pods.iter().filter(serves).count()))
}

/// By one amount, so much of it for each of the Pods that are there.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "ratios")]
pub(super) fn by_share(tolerance: Tolerance, there: i32, target: i64, value: i64) -> Proposal {
    let ratio = value as f64 / (target as f64 * f64::from(there));
    let stays = tolerance.allows(ratio);
    let replicas = if stays { there } else { (value as f64 / target as f64).ceil() as i32 };
    let raw = (value as f64 / f64::from(there)).ceil() as i64;
    Proposal { replicas, utilization: None, raw }
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a number of Pods")]
fn times(ratio: f64, pods: usize) -> i32 {
    (ratio * pods as f64).ceil() as i32
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: i64 = 10_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    /// `r` ready, `n` never ready, `p` pending, `d` being deleted, `f` failed, `y` young and just become ready.
    fn pods(letters: &str) -> Vec<CountedPod> {
        let made = letters.chars().enumerate().map(|(i, letter)| {
            let (phase, ready) = match letter {
                'p' => ("Pending", "False"),
                'f' => ("Failed", "False"),
                'n' => ("Running", "False"),
                _ => ("Running", "True"),
            };
            let start = if letter == 'y' { NOW - 60 } else { 0 };
            let turned = if letter == 'y' { NOW - 5 } else { 10 };
            let mut pod = json!({"metadata": {"name": format!("p{i}")}, "spec": {"containers": [
                    {"name": "c", "resources": {"requests": {"cpu": "1"}}}]},
                "status": {"phase": phase, "startTime": at(start).rfc3339(), "conditions": [
                    {"type": "Ready", "status": ready, "lastTransitionTime": at(turned).rfc3339()}]}});
            if letter == 'd' {
                pod["metadata"]["deletionTimestamp"] = json!(at(NOW).rfc3339());
            }
            serde_json::from_value(pod).unwrap()
        });
        made.collect()
    }

    fn figures(values: &[i64]) -> Figures {
        let figure = |value: i64| Figure { value, at: at(NOW - 2), window: Duration::from_secs(15) };
        let known = values.iter().enumerate().filter(|(_, v)| **v >= 0);
        known.map(|(i, v)| (format!("p{i}"), figure(*v))).collect()
    }

    fn crowd(pods: &[CountedPod], current: i32) -> Crowd<'_> {
        Crowd { now: at(NOW), namespace: "n", current, pods, tolerance: Tolerance { up: 0.1, down: 0.1 } }
    }

    #[test]
    fn utilization_of_pods() {
        // -1 is no figure.
        for (letters, values, target, want) in [
            ("rrr", &[300, 500, 700][..], 30, Ok(5)),
            ("rrr", &[300, 500, 700], 50, Ok(3)),
            ("rrr", &[300, 500, 700], 47, Ok(3)),
            ("rrr", &[10, 10, 10], 50, Ok(1)),
            // The one without figure is idle when more are wanted, as busy as it may be when fewer are.
            ("rrr", &[-1, 900, 900], 50, Ok(4)),
            ("rrr", &[-1, 600, 600], 50, Ok(3)),
            ("rrrr", &[-1, 100, 100, 100], 50, Ok(3)),
            ("rrrr", &[-1, 300, 300, 300], 50, Ok(4)),
            ("rrr", &[-1, -1, 450], 50, Ok(3)),
            ("rrr", &[-1, 500, 500], 50, Ok(3)),
            // Those not ready yet are idle when more are wanted, and not there when fewer are.
            ("rrp", &[900, 900, -1], 50, Ok(4)),
            ("rrn", &[900, 900, 5], 50, Ok(4)),
            ("rry", &[900, 900, 5000], 50, Ok(4)),
            ("rrp", &[100, 100, -1], 50, Ok(1)),
            ("rdf", &[1000, 9000, 9000], 50, Ok(2)),
            ("pp", &[-1, -1], 50, Err(NO_FIGURES)),
            ("", &[], 50, Err(NO_PODS)),
        ] {
            let pods = pods(letters);
            let current = i32::try_from(letters.len()).unwrap();
            let got = by_utilization(crowd(&pods, current), target, ("cpu", ""), figures(values));
            assert_eq!(got.map(|p| p.replicas), want.map_err(str::to_owned), "{letters} {values:?} {target}");
        }
    }

    #[test]
    fn requests() {
        let pod: CountedPod = serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {
            "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always",
                "resources": {"requests": {"cpu": "100m"}}}],
            "containers": [{"name": "c", "resources": {"requests": {"cpu": "1", "memory": "1Ki"}}}]}}))
        .unwrap();
        for (resource, container, want) in [
            ("cpu", "", Ok(1100)),
            ("cpu", "c", Ok(1000)),
            ("memory", "c", Ok(1_024_000)),
            ("memory", "", Err("missing request for memory in container s of Pod p")),
        ] {
            assert_eq!(
                pod.request(resource, container),
                want.map_err(str::to_owned),
                "{resource} {container}"
            );
        }
    }

    #[test]
    fn plain_amounts() {
        for (letters, values, target, want) in [
            ("rrr", &[20_000, 10_000, 10_000][..], 15_000, Ok((3, 13_333))),
            ("rrr", &[20_000, 10_000, 30_000], 10_000, Ok((6, 20_000))),
            ("rrr", &[20_000, -1, 10_000], 30_000, Ok((2, 15_000))),
            ("rrr", &[50_000, -1, 50_000], 30_000, Ok((4, 50_000))),
            // Without a resource a Pod that is not ready counts like others.
            ("rrn", &[20_000, 10_000, 30_000], 10_000, Ok((6, 20_000))),
            ("", &[], 1, Err(NO_PODS)),
        ] {
            let pods = pods(letters);
            let current = i32::try_from(letters.len()).unwrap();
            let got = by_average(crowd(&pods, current), target, "", figures(values));
            assert_eq!(got.map(|p| (p.replicas, p.raw)), want.map_err(str::to_owned), "{letters} {values:?}");
        }
    }

    #[test]
    fn shared_amounts() {
        for (letters, current, target, value, want) in [
            ("rrr", 3, 20_000, 33_000, Ok(5)),
            ("rrr", 3, 20_000, 21_000, Ok(3)),
            ("rnp", 3, 20_000, 40_000, Ok(2)),
            ("", 0, 20_000, 50_000, Ok(3)),
            (
                "",
                3,
                20_000,
                50_000,
                Err("unable to calculate ready pods: no pods returned by selector while \
                 calculating replica count"),
            ),
        ] {
            let pods = pods(letters);
            let got = by_value(crowd(&pods, current), target, value).map(|p| p.replicas);
            assert_eq!(got, want.map_err(str::to_owned), "{letters} {value}");
        }
        let tolerance = Tolerance { up: 0.1, down: 0.5 };
        for (there, target, value, want) in [
            (4, 10_000, 60_000, (6, 15_000)),
            (4, 10_000, 25_000, (4, 6_250)),
            (4, 10_000, 15_000, (2, 3_750)),
        ] {
            let got = by_share(tolerance, there, target, value);
            assert_eq!((got.replicas, got.raw), want, "{value}");
        }
    }
}
