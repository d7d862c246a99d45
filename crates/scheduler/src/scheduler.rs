//! The scheduler as a whole: changes go in, decisions come out as plans of writes.
//!
//! Invariants: it decides one Pod at a time and counts it on its node from then on; every decision is answered by
//! [`Scheduler::done`], every question to an extender by [`Scheduler::answer`] before anything else; the same calls with
//! the same seed give the same decisions. Absent: clocks, writing.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::labels::Selector;
use base::{Instant, Timestamp};
use kinds::plan::{Notice, Plan};

use crate::cache::{Cache, Key};
use crate::change::Change;
use crate::cycle::{Memory, Outcome, Room, decide};
use crate::dice::Dice;
use crate::extender::{Ask, Extender};
use crate::node::NodeFacts;
use crate::plan;
use crate::plugin::{Nomination, PluginSet};
use crate::pod::{PodInfo, PodState};
use crate::profile::{Profile, Profiles};
use crate::queue::{Backoff, Queue};
use crate::snapshot::{Budget, Snapshot};

mod staged;

use staged::Staged;

/// How it schedules.
#[derive(Debug)]
pub struct Settings {
    /// At least one.
    pub profiles: Vec<Profile>,
    /// How long refused Pods wait.
    pub backoff: Backoff,
    /// Whom it asks besides.
    pub extenders: Vec<Extender>,
}

impl Default for Settings {
    fn default() -> Self {
        let (profiles, backoff, extenders) = (vec![Profile::default()], Backoff::default(), Vec::new());
        Self { profiles, backoff, extenders }
    }
}

/// What to do about one Pod.
#[derive(Debug)]
pub struct Decision {
    /// The Pod.
    pub pod: Arc<PodInfo>,
    /// Where it goes, if anywhere.
    pub node: Option<Arc<str>>,
    /// To be executed one after the other; each is about the object that its events are about.
    pub plans: Vec<Plan>,
    /// The extender that binds it, by its place in the configuration, instead of a plan.
    pub binder: Option<usize>,
    /// Room is being made, or what it needs on a node: until that is done it is not decided again. These plugins refused
    /// it, or wait with it.
    making_room: Option<PluginSet>,
}

/// What comes next.
#[derive(Debug)]
pub enum Step {
    /// A decision.
    Decided(Decision),
    /// An extender must be asked first.
    Ask(Ask),
}

impl Step {
    /// The decision, if it is one.
    #[must_use]
    pub fn decided(self) -> Option<Decision> {
        match self {
            Self::Decided(decision) => Some(decision),
            Self::Ask(_) => None,
        }
    }
}

/// How the plans of a decision ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binding {
    /// They are carried out.
    Done,
    /// What they are about is gone.
    Gone,
    /// One was refused or lost, and why.
    Failed(String),
}

/// See the module.
#[derive(Debug)]
pub struct Scheduler {
    profiles: Profiles,
    extenders: Vec<Extender>,
    cache: Cache,
    queue: Queue,
    snapshot: Snapshot,
    memory: Memory,
    /// Until then nothing is decided unless there is a node that is ready.
    patience: Option<Instant>,
    /// The Pod about which an extender is asked.
    staged: Option<Staged>,
}

impl Scheduler {
    /// An empty world. Until `patience` Pods wait silently for a first node that is not marked as not ready: a fresh
    /// cluster would else begin by saying that it has none.
    #[must_use]
    pub fn new(settings: Settings, seed: u64, patience: Instant) -> Self {
        Self {
            profiles: Profiles(settings.profiles),
            extenders: settings.extenders,
            cache: Cache::default(),
            queue: Queue::new(settings.backoff),
            snapshot: Snapshot::default(),
            memory: Memory { dice: Dice::new(seed), next: 0 },
            patience: Some(patience),
            staged: None,
        }
    }

    /// A node came, changed or (`None`) went.
    pub fn set_node(&mut self, now: Instant, name: &Arc<str>, after: Option<NodeFacts>) {
        if after.as_ref().is_some_and(NodeFacts::is_ready) {
            self.patience = None;
        }
        let change = self.cache.set_node(name, after);
        self.tell(now, change.as_ref());
    }

    /// A Pod came, changed or (`None`) went.
    pub fn set_pod(&mut self, now: Instant, key: &Key, after: Option<(PodInfo, PodState)>) {
        let change = self.cache.set_pod(key, after);
        if let Change::Pod { before, after } = &change {
            let ours = |pod: &Arc<PodInfo>| match pod.is_open() {
                true => self.profiles.named(&pod.scheduler_name),
                false => None,
            };
            let now_ours = after.as_ref().and_then(|pod| Some((pod, ours(pod)?)));
            if let Some(gone) = before.as_ref().filter(|b| now_ours.is_none_or(|(p, _)| p.uid != b.uid)) {
                self.queue.remove(&gone.uid);
            }
            if let Some((pod, profile)) = now_ours
                && before.as_ref().is_none_or(|b| !Arc::ptr_eq(b, pod))
            {
                self.queue.put(now, pod.clone(), profile, &self.profiles);
            }
        }
        self.tell(now, Some(&change));
    }

    /// The labels of a namespace; `None` if it is gone.
    pub fn set_namespace(&mut self, now: Instant, name: &Arc<str>, labels: Option<BTreeMap<String, String>>) {
        let change = self.cache.set_namespace(name, labels);
        self.tell(now, change.as_ref());
    }

    /// What a Service or workload selects; `None` if it is gone or selects nothing.
    pub fn set_group(&mut self, now: Instant, key: &Key, kind: &Arc<str>, selector: Option<Selector>) {
        let change = self.cache.set_group(key, kind, selector);
        self.tell(now, change.as_ref());
    }

    /// A disruption budget; `None` if it is gone.
    pub fn set_budget(&mut self, now: Instant, key: &Key, budget: Option<Budget>) {
        let change = self.cache.set_budget(key, budget);
        self.tell(now, change.as_ref());
    }

    /// A claim, a volume, a class or what a node takes, by its resource; `None` if it is gone.
    pub fn set_storage(&mut self, now: Instant, resource: &str, key: &Key, after: Option<serde_json::Value>) {
        let change = self.cache.set_storage(resource, key, after);
        self.tell(now, change.as_ref());
    }

    /// Decides about the next Pod, if one is ready; `clock` is for what is written.
    pub fn next(&mut self, now: Instant, clock: Timestamp) -> Option<Step> {
        if self.patience.is_some_and(|until| now < until) {
            return None;
        }
        self.patience = None;
        for uid in self.cache.overdue(now) {
            self.give_up(now, &uid);
        }
        let (pod, profile) = self.queue.take(now)?;
        self.cache.refresh(&mut self.snapshot);
        let nominated = self.cache.nominated(&pod.uid).cloned();
        if self.extenders.iter().any(|e| e.is_interested(&pod)) {
            return Some(self.begin(now, clock, pod, profile, nominated));
        }
        let profile = self.profiles.get(profile);
        let outcome = decide(profile, &pod, nominated.as_deref(), &self.snapshot, &mut self.memory);
        Some(Step::Decided(self.settle(now, clock, pod, outcome, PluginSet::default())))
    }

    /// Makes a decision of an outcome; `others` are who refused the Pod besides the plugins.
    fn settle(
        &mut self,
        now: Instant,
        clock: Timestamp,
        pod: Arc<PodInfo>,
        outcome: Outcome,
        others: PluginSet,
    ) -> Decision {
        match outcome {
            Outcome::Place(position) => {
                let node = self.snapshot.nodes()[position].clone();
                let profile = self.profiles.named(&pod.scheduler_name).map(|place| self.profiles.get(place));
                if let Some((by, writes)) = profile.and_then(|p| p.prepare(&pod, &node, &self.snapshot)) {
                    let plans = vec![plan::prepare(&pod, writes)];
                    return Decision { pod, node: None, plans, binder: None, making_room: Some(by) };
                }
                self.place(pod, node.name.clone())
            }
            Outcome::Refuse { diagnosis, post, room } => {
                let mut by = diagnosis.plugins;
                by.extend(others);
                let making_room = matches!(room, Room::At(_)).then_some(by);
                if making_room.is_none() {
                    self.queue.refused(now, &pod.uid, by, &self.profiles);
                }
                let decision =
                    self.refuse(now, clock, pod, ("Unschedulable", diagnosis.message(&post)), room);
                Decision { making_room, ..decision }
            }
        }
    }

    /// How the plans of a decision ended; the answer is what is to be said.
    pub fn done(&mut self, now: Instant, decision: &Decision, binding: &Binding) -> Plan {
        let pod = &decision.pod;
        let Some(node) = &decision.node else {
            if let Some(by) = decision.making_room {
                self.queue.refused(now, &pod.uid, by, &self.profiles);
            }
            // Room was not made, or nobody was told: it is tried again.
            if *binding != Binding::Done {
                self.queue.wake(now, &pod.uid);
            }
            return Plan::default();
        };
        match binding {
            Binding::Done => {
                self.cache.binding_done(&pod.uid, now);
                plan::about(pod, Notice::normal("Scheduled", plan::assigned(pod, node)))
            }
            Binding::Gone => {
                self.give_up(now, &pod.uid);
                Plan::default()
            }
            Binding::Failed(error) => {
                self.give_up(now, &pod.uid);
                let message = match decision.binder {
                    Some(_) => error.clone(),
                    None => format!("running Bind plugin \"DefaultBinder\": {error}"),
                };
                plan::about(pod, Notice::warning("FailedScheduling", message))
            }
        }
    }

    /// When to ask for the next decision even if nothing changes.
    #[must_use]
    pub fn wake_at(&self, now: Instant) -> Option<Instant> {
        let next = self.queue.wake_at(now).into_iter().chain(self.cache.next_overdue()).min()?;
        Some(self.patience.map_or(next, |until| next.max(until)))
    }

    /// How many Pods wait for a decision or for their binding to be seen.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// The world as it is known.
    #[must_use]
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    fn tell(&mut self, now: Instant, change: Option<&Change>) {
        if let Some(change) = change {
            self.queue.changed(now, change, &self.profiles);
        }
    }

    /// An assumption proved wrong; the Pod is tried again if it still needs a node.
    fn give_up(&mut self, now: Instant, uid: &str) {
        let change = self.cache.unassume(uid);
        self.tell(now, change.as_ref());
        self.queue.failed(now, uid);
    }

    /// Counts a Pod on its node and has it bound there.
    fn place(&mut self, pod: Arc<PodInfo>, node: Arc<str>) -> Decision {
        self.cache.assume(&pod, &node);
        let binder = self.extenders.iter().position(|e| !e.bind.is_empty() && e.is_interested(&pod));
        let profile = self.profiles.named(&pod.scheduler_name).map(|place| self.profiles.get(place));
        let plans = match (binder, profile) {
            (None, Some(profile)) => vec![plan::bind(profile, &pod, &node)],
            _ => Vec::new(),
        };
        Decision { pod, node: Some(node), plans, binder, making_room: None }
    }

    fn refuse(
        &mut self,
        now: Instant,
        clock: Timestamp,
        pod: Arc<PodInfo>,
        (reason, message): (&str, String),
        room: Room,
    ) -> Decision {
        let mut plans = Vec::new();
        let nominated = match room {
            Room::AsItWas => None,
            Room::GivenUp => {
                self.cache.nominate(&pod.uid, None);
                Some(Arc::from(""))
            }
            Room::At(Nomination { node, victims, .. }) => {
                for victim in victims.iter().filter(|v| !v.deleting) {
                    plans.push(plan::preempt(&pod, victim, &node, clock));
                }
                plans.extend(self.displace(now, &pod, &node));
                self.cache.nominate(&pod.uid, Some(node.clone()));
                Some(node)
            }
        };
        let known = self.cache.pod(&pod.uid).map(|k| &k.state);
        plans.push(plan::refuse(&pod, known, reason, message, nominated.as_deref(), clock));
        Decision { pod, node: None, plans, binder: None, making_room: None }
    }

    /// Pods of lower priority for which room is kept on the node have it no longer and may look elsewhere.
    fn displace(&mut self, now: Instant, pod: &PodInfo, node: &str) -> Vec<Plan> {
        let there = self.snapshot.node(node).map(|(_, n)| n.nominated.clone()).unwrap_or_default();
        let lower: Vec<_> = there.into_iter().filter(|p| p.priority < pod.priority).collect();
        for other in &lower {
            self.cache.nominate(&other.uid, None);
            self.queue.wake(now, &other.uid);
        }
        lower.iter().map(|other| plan::denominate(other)).collect()
    }
}
