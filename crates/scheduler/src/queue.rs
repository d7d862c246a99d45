//! Pods that wait for a decision: ready ones by priority and time, those that back off, those that nothing has changed
//! for, and gated ones.
//!
//! Invariants: a Pod is in one place, and none is forgotten: what no change wakes comes back after five minutes. A change
//! that arrives while a Pod is being decided counts for it. Time is an argument. If no Pod is ready, one that backs off is
//! taken early (upstream: `SchedulerPopFromBackoffQ`), unless what failed was no refusal. Upstream: `backend/queue`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use base::Instant;

use crate::Map;
use crate::change::Change;
use crate::plugin::PluginSet;
use crate::pod::PodInfo;
use crate::profile::Profiles;

/// What nothing has woken is tried again after so long.
const MAX_WAIT: Duration = Duration::from_secs(300);

type Uid = Arc<str>;
/// What ready Pods are ordered by: priority, time, age, and then the order in which they came.
type Rank = (Reverse<i32>, Instant, i128, u64);

/// Pods that the same changes can wake: those of one profile that the same plugins have refused.
type Group = (usize, PluginSet);

/// How long a refused Pod waits before it is tried again: at first, doubled with every attempt, and at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// `podInitialBackoffSeconds`.
    pub first: Duration,
    /// `podMaxBackoffSeconds`.
    pub longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), longest: Duration::from_secs(10) }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Queue {
    backoff: Backoff,
    entries: Map<Uid, Entry>,
    ready: BTreeMap<Rank, Uid>,
    /// By the end of their back-off: refused ones, and ones whose attempt failed otherwise.
    backing_off: BTreeMap<(Instant, u64), Uid>,
    failed: BTreeMap<(Instant, u64), Uid>,
    /// By what can wake them, and the time since when nothing has changed for them.
    waiting: BTreeMap<Group, BTreeMap<(Instant, u64), Uid>>,
    /// Changes since the first of the Pods that are being decided was taken.
    changes: VecDeque<Change>,
    /// Number of the first of them.
    first_change: u64,
    /// Which Pods are being decided, by the number of the first change that they may have missed.
    taken: BTreeSet<(u64, Uid)>,
    count: u64,
}

#[derive(Debug)]
struct Entry {
    pod: Arc<PodInfo>,
    profile: usize,
    /// The order in which it came.
    order: u64,
    /// Of its coming, or of its last refusal.
    since: Instant,
    attempts: u32,
    refused_by: PluginSet,
    /// It changed while it was being decided.
    renewed: bool,
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Gated,
    Ready,
    BackingOff(Instant),
    Failed(Instant),
    Waiting,
    Taken(u64),
}

impl Entry {
    fn rank(&self) -> Rank {
        (Reverse(self.pod.priority), self.since, self.pod.created, self.order)
    }

    fn group(&self) -> Group {
        (self.profile, self.refused_by)
    }

    /// When its back-off ends.
    fn backoff_until(&self, backoff: Backoff) -> Instant {
        let doubled = backoff.first.saturating_mul(2_u32.pow(self.attempts.saturating_sub(1).min(30)));
        self.since + doubled.min(backoff.longest)
    }
}

impl Queue {
    /// An empty one.
    #[must_use]
    pub fn new(backoff: Backoff) -> Self {
        Self { backoff, ..Self::default() }
    }

    /// A Pod of a profile came or changed. One that was refused before is ready again: it is not the Pod that was refused.
    pub fn put(&mut self, now: Instant, pod: Arc<PodInfo>, profile: usize, profiles: &Profiles) {
        let uid = pod.uid.clone();
        let admitted = profiles.get(profile).admits(&pod);
        match self.entries.get_mut(&uid) {
            Some(entry) if entry.pod == pod => {}
            Some(entry) if matches!(entry.place, Place::Taken(_)) => {
                // Its refusal will be about what it was.
                entry.pod = pod;
                entry.renewed = true;
            }
            Some(_) => {
                self.leave(&uid);
                let Some(entry) = self.entries.get_mut(&uid) else { return };
                (entry.pod, entry.profile) = (pod, profile);
                let until = entry.backoff_until(self.backoff);
                let place = match admitted {
                    false => Place::Gated,
                    true if until > now && entry.attempts > 0 => Place::BackingOff(until),
                    true => Place::Ready,
                };
                self.enter(&uid, place);
            }
            None => {
                self.count += 1;
                let place = if admitted { Place::Ready } else { Place::Gated };
                let (refused_by, order) = (PluginSet::default(), self.count);
                let (since, attempts, renewed) = (now, 0, false);
                let entry = Entry { pod, profile, order, since, attempts, refused_by, renewed, place };
                self.entries.insert(uid.clone(), entry);
                self.enter(&uid, place);
            }
        }
    }

    /// A Pod is bound, or gone.
    pub fn remove(&mut self, uid: &str) {
        self.leave(uid);
        self.entries.remove(uid);
        self.forget_changes();
    }

    /// The next Pod to decide; until [`Self::refused`], [`Self::failed`] or [`Self::remove`] it is being decided.
    pub fn take(&mut self, now: Instant) -> Option<(Arc<PodInfo>, usize)> {
        self.release(now);
        let early = || self.backing_off.values().next().cloned();
        let uid = self.ready.values().next().cloned().or_else(early)?;
        self.leave(&uid);
        let number = self.first_change + self.changes.len() as u64;
        self.enter(&uid, Place::Taken(number));
        let entry = self.entries.get_mut(&uid)?;
        entry.attempts += 1;
        Some((entry.pod.clone(), entry.profile))
    }

    /// No node took the Pod; these plugins said so.
    pub fn refused(&mut self, now: Instant, uid: &str, by: PluginSet, profiles: &Profiles) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        let Place::Taken(since) = entry.place else { return };
        entry.since = now;
        entry.refused_by = by;
        let missed = usize::try_from(since.saturating_sub(self.first_change)).unwrap_or(usize::MAX);
        let (pod, profile) = (entry.pod.clone(), profiles.get(entry.profile));
        let renewed = std::mem::take(&mut entry.renewed);
        let woken = renewed || self.changes.iter().skip(missed).any(|c| profile.lifts(&pod, by, c));
        let until = entry.backoff_until(self.backoff);
        self.leave(uid);
        self.enter(uid, if woken { Place::BackingOff(until) } else { Place::Waiting });
        self.forget_changes();
    }

    /// The attempt failed for a reason that no plugin gave; time alone is reason enough to try again.
    pub fn failed(&mut self, now: Instant, uid: &str) {
        let Some(entry) = self.entries.get_mut(uid).filter(|e| matches!(e.place, Place::Taken(_))) else {
            return;
        };
        entry.since = now;
        let until = entry.backoff_until(self.backoff);
        self.leave(uid);
        self.enter(uid, Place::Failed(until));
        self.forget_changes();
    }

    /// The world changed. Only Pods are looked at whose refusal such a change may lift.
    pub fn changed(&mut self, now: Instant, change: &Change, profiles: &Profiles) {
        let kinds = change.kinds();
        if kinds.is_empty() {
            return;
        }
        if !self.taken.is_empty() {
            self.changes.push_back(change.clone());
        }
        let mut woken: Vec<Uid> = Vec::new();
        for ((profile, by), pods) in &self.waiting {
            let profile = profiles.get(*profile);
            if profile.may_lift(*by, kinds) {
                let lifted = |uid: &&Uid| {
                    self.entries.get(&***uid).is_some_and(|e| profile.lifts(&e.pod, *by, change))
                };
                woken.extend(pods.values().filter(lifted).cloned());
            }
        }
        for uid in woken {
            self.wake(now, &uid);
        }
    }

    /// A waiting Pod is tried again, after its back-off.
    pub fn wake(&mut self, now: Instant, uid: &str) {
        let Some(entry) = self.entries.get(uid).filter(|e| e.place == Place::Waiting) else { return };
        let until = entry.backoff_until(self.backoff);
        self.leave(uid);
        self.enter(uid, if until > now { Place::BackingOff(until) } else { Place::Ready });
    }

    /// When something becomes ready by time alone; now, if something is.
    #[must_use]
    pub fn wake_at(&self, now: Instant) -> Option<Instant> {
        if !self.ready.is_empty() || !self.backing_off.is_empty() {
            return Some(now);
        }
        let failed = self.failed.keys().next().map(|(at, _)| *at);
        let eldest = self.waiting.values().filter_map(|pods| pods.keys().next());
        let waiting = eldest.map(|(since, _)| *since + MAX_WAIT).min();
        failed.into_iter().chain(waiting).min()
    }

    /// How many Pods wait in any place.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no Pod waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Makes ready whose time has come.
    fn release(&mut self, now: Instant) {
        let mut due: Vec<Uid> = Vec::new();
        for list in [&self.backing_off, &self.failed] {
            due.extend(list.iter().take_while(|((until, _), _)| *until <= now).map(|(_, uid)| uid.clone()));
        }
        for pods in self.waiting.values() {
            let old = pods.iter().take_while(|((since, _), _)| *since + MAX_WAIT <= now);
            due.extend(old.map(|(_, uid)| uid.clone()));
        }
        for uid in due {
            self.leave(&uid);
            self.enter(&uid, Place::Ready);
        }
    }

    fn enter(&mut self, uid: &str, place: Place) {
        let Some((uid, _)) = self.entries.get_key_value(uid) else { return };
        let uid = uid.clone();
        let Some(entry) = self.entries.get_mut(&uid) else { return };
        entry.place = place;
        match place {
            Place::Gated => {}
            Place::Ready => drop(self.ready.insert(entry.rank(), uid)),
            Place::BackingOff(until) => drop(self.backing_off.insert((until, entry.order), uid)),
            Place::Failed(until) => drop(self.failed.insert((until, entry.order), uid)),
            Place::Waiting => {
                let group = self.waiting.entry(entry.group()).or_default();
                group.insert((entry.since, entry.order), uid);
            }
            Place::Taken(number) => drop(self.taken.insert((number, uid))),
        }
    }

    /// Takes a Pod out of its place. What orders it there must not have changed yet.
    fn leave(&mut self, uid: &str) {
        let Some((uid, entry)) = self.entries.get_key_value(uid) else { return };
        match entry.place {
            Place::Gated => {}
            Place::Ready => drop(self.ready.remove(&entry.rank())),
            Place::BackingOff(until) => drop(self.backing_off.remove(&(until, entry.order))),
            Place::Failed(until) => drop(self.failed.remove(&(until, entry.order))),
            Place::Waiting => {
                if let Some(group) = self.waiting.get_mut(&entry.group()) {
                    group.remove(&(entry.since, entry.order));
                    if group.is_empty() {
                        self.waiting.remove(&entry.group());
                    }
                }
            }
            Place::Taken(number) => drop(self.taken.remove(&(number, uid.clone()))),
        }
    }

    /// Lets go of changes that nobody who is being decided can have missed.
    fn forget_changes(&mut self) {
        let keep = self.taken.first().map(|(number, _)| *number);
        while !self.changes.is_empty() && keep.is_none_or(|keep| self.first_change < keep) {
            self.changes.pop_front();
            self.first_change += 1;
        }
    }
}
