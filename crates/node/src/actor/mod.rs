//! One Pod's actor: observe → step → execute → publish, woken by its input, the runtime, ended actions and time.
//!
//! Invariants: actions run beside the actor and never block it; what is remembered is on disk before the next wait;
//! the actor ends only when the machine says `Forget`.

mod make;
mod observe;
mod resize;
mod save;
mod work;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use lifecycle::{Action, Allocation, Desired, Finished, Key, Memory, Outcome, Time, Verdict};
use tokio::sync::{Notify, mpsc, watch};

use crate::admission::is_over;
use crate::clock;
use crate::config::Shared;
use crate::container::resources;
use crate::events::About;
use crate::handle::PodEntry;
use crate::ledger::Share;
use crate::status::Publisher;
use crate::volumes::HostPaths;
pub(crate) use make::{LAST_WORDS, NODE_FILES};
use save::Saver;
use work::{Done, Effect, Work};

/// What the actor is told from outside.
#[derive(Debug, Clone, Default)]
pub(crate) struct Input {
    pub(crate) pod: Arc<Pod>,
    pub(crate) is_static: bool,
    pub(crate) deleting: Option<i64>,
    pub(crate) gone: bool,
    pub(crate) verdict: Option<Verdict>,
    /// UID of the mirror Pod that shows a static Pod's status.
    pub(crate) mirror: Option<String>,
}

/// A running actor.
pub(crate) struct Actor {
    pub(crate) input: watch::Sender<Input>,
    pub(crate) wake: Arc<Notify>,
}

/// An actor steps at least so often.
const RESYNC: Duration = Duration::from_secs(60);
/// Volumes are brought up to date so often.
const REFRESH: i64 = 60;
/// Ended actions waiting for the actor.
const QUEUE: usize = 64;

impl Actor {
    /// Starts the actor; `over` is told the UID when the Pod is forgotten.
    pub(crate) fn start(shared: Arc<Shared>, uid: String, input: Input, over: mpsc::Sender<String>) -> Self {
        let (sender, receiver) = watch::channel(input);
        let wake = Arc::new(Notify::new());
        let (done_in, done) = mpsc::channel(QUEUE);
        let publisher = Publisher::start(shared.clone(), wake.clone());
        shared.volumes.follow(&uid, wake.clone());
        let mut body = Body {
            memory: load(&shared, &uid),
            saver: Saver::new(shared.pod_dir(&uid)),
            shared,
            uid: uid.clone(),
            input: receiver,
            wake: wake.clone(),
            done,
            done_in,
            publisher,
            in_flight: BTreeSet::new(),
            finished: Vec::new(),
            prepared: false,
            volumes: None,
            refresh_at: Time::default(),
            stale: false,
            ips: BTreeMap::new(),
            messages: HashMap::new(),
            restless: 0,
            seen: (None, BTreeMap::new()),
            granted: None,
            shown: None,
        };
        tokio::spawn(async move {
            body.run().await;
            if over.send(uid).await.is_err() {
                tracing::debug!("the node ended before this Pod's actor");
            }
        });
        Self { input: sender, wake }
    }
}

fn load(shared: &Shared, uid: &str) -> Memory {
    let path = shared.pod_dir(uid).join("memory.json");
    match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|e| {
            tracing::warn!("{} is unreadable, the Pod is judged anew: {e}", path.display());
            Memory::default()
        }),
        Err(_) => Memory::default(),
    }
}

struct Body {
    shared: Arc<Shared>,
    uid: String,
    input: watch::Receiver<Input>,
    wake: Arc<Notify>,
    done: mpsc::Receiver<Done>,
    done_in: mpsc::Sender<Done>,
    publisher: Publisher,
    memory: Memory,
    in_flight: BTreeSet<Key>,
    finished: Vec<Finished>,
    prepared: bool,
    volumes: Option<Arc<HostPaths>>,
    refresh_at: Time,
    /// Volumes show an object that changed since.
    stale: bool,
    /// Addresses of living sandboxes.
    ips: BTreeMap<String, Vec<String>>,
    /// Termination messages already read, by container id.
    messages: HashMap<String, String>,
    saver: Saver,
    /// How many steps in a row were at once followed by another, without news.
    restless: u32,
    /// The usable sandbox and all instances by name, newest first, as last observed.
    seen: (Option<String>, BTreeMap<String, Vec<runtime::ContainerStatus>>),
    /// The Pod with what it was granted, and from which Pod and allocation that was made.
    granted: Option<Granted>,
    /// What was shown last, and whether its share is in the ledger.
    shown: Option<Shown>,
}

struct Granted {
    wanted: Arc<Pod>,
    allocation: Option<Allocation>,
    pod: Arc<Pod>,
}

struct Shown {
    granted: Arc<Pod>,
    pod: Arc<Pod>,
    counts: bool,
}

impl Body {
    async fn run(&mut self) {
        self.adopt().await;
        loop {
            let wait = match self.step().await {
                Some(wait) => wait,
                None => return,
            };
            tokio::select! {
                changed = self.input.changed() => if changed.is_err() { return },
                () = self.wake.notified() => {}
                Some(done) = self.done.recv() => self.take(done),
                () = tokio::time::sleep(wait) => {}
            }
            while let Ok(done) = self.done.try_recv() {
                self.take(done);
            }
        }
    }

    fn take(&mut self, done: Done) {
        self.in_flight.remove(&done.finished.key);
        match done.effect {
            Effect::None => {}
            Effect::Prepared => self.prepared = true,
            Effect::Volumes(paths) => self.volumes = Some(Arc::new(paths)),
            Effect::Unmounted => self.volumes = None,
            Effect::Sandbox(id, ips) => {
                self.ips.insert(id, ips);
            }
        }
        if done.finished.key == Key::MountVolumes {
            self.refresh_at = clock::now().plus_secs(REFRESH);
        }
        self.finished.push(done.finished);
    }

    /// One step; how long to wait for the next one, or `None` when the Pod is over.
    async fn step(&mut self) -> Option<Duration> {
        let input = self.input.borrow_and_update().clone();
        let desired = Desired {
            pod: input.pod.clone(),
            is_static: input.is_static,
            deleting: input.deleting,
            gone: input.gone,
            verdict: input.verdict.clone(),
            host_ips: self.shared.host_ips(),
            runtime_name: "minke".into(),
            qos_class: resources::qos(&input.pod).to_string(),
        };
        let mut observed = match self.observe(&input.pod).await {
            Ok(observed) => observed,
            Err(e) => {
                tracing::warn!(uid = self.uid, "the runtime does not answer: {e}");
                self.restless = self.restless.saturating_add(1);
                return Some(Duration::from_secs(1) * self.restless.min(30));
            }
        };
        observed.finished = std::mem::take(&mut self.finished);
        let told = |ask: fn(&Publisher, &PodStatus) -> bool| {
            self.memory.status.as_ref().is_some_and(|s| ask(&self.publisher, s))
        };
        observed.published = input.is_static || told(Publisher::has);
        observed.refused = told(Publisher::is_refused);
        let now = clock::now();
        let step = lifecycle::step(now, &desired, &observed, &self.memory);
        self.saver.want(&input.pod, (step.memory != self.memory).then_some(&step.memory));
        self.saver.save(now, &self.shared.writer).await;
        self.memory = step.memory;
        self.show(&input, &step.status);
        self.publisher.publish(&input.pod, input.mirror.as_deref(), &step.status);
        for action in step.actions {
            if action == Action::Forget {
                self.forget(&input.pod);
                return None;
            }
            self.start(&input, action);
        }
        self.refresh(&input, now);
        let until =
            step.wake_at.map_or(RESYNC, |at| Duration::from_nanos(u64::try_from(at.0 - now.0).unwrap_or(0)));
        let until = self.saver.again_in(now).map_or(until, |again| until.min(again));
        self.restless = if until.is_zero() { self.restless.saturating_add(1) } else { 0 };
        Some(at_rest(until, self.restless))
    }

    /// Volumes that are set up are brought up to date when an object that they show changed, and for tokens and fields
    /// of the Pod now and then.
    fn refresh(&mut self, input: &Input, now: Time) {
        self.stale |= self.shared.volumes.take_news(&self.uid);
        let idle = !self.in_flight.contains(&Key::MountVolumes);
        let due = self.stale || now >= self.refresh_at;
        if self.volumes.is_some() && self.memory.ending.is_none() && idle && due {
            self.stale = false;
            self.refresh_at = now.plus_secs(REFRESH);
            self.start(input, Action::MountVolumes);
        }
    }

    fn start(&mut self, input: &Input, action: Action) {
        let Some(key) = action.key() else {
            if let Action::EmitEvent(event) = action {
                self.shared.events.say(about(&input.pod), event);
            }
            return;
        };
        self.in_flight.insert(key.clone());
        let ips = self.ips.values().next_back().cloned().unwrap_or_default();
        let host_network = input.pod.spec.as_ref().is_some_and(|s| s.host_network == Some(true));
        let work = Work {
            shared: self.shared.clone(),
            pod: self.allocated(&input.pod),
            uid: self.uid.clone(),
            ips: if host_network { self.shared.host_ips() } else { ips },
            volumes: self.volumes.clone(),
        };
        let done = self.done_in.clone();
        tokio::spawn(async move {
            let (outcome, effect) = Box::pin(work.run(action)).await;
            if let Outcome::Failed(why) = &outcome {
                tracing::debug!(uid = work.uid, key = ?key, "{} {}", why.reason, why.message);
            }
            if done.send(Done { finished: Finished { key, outcome }, effect }).await.is_err() {
                tracing::debug!("an action outlived its Pod");
            }
        });
    }

    /// The Pod with the resources that the node granted it.
    fn allocated(&mut self, pod: &Arc<Pod>) -> Arc<Pod> {
        let allocation = &self.memory.allocated;
        if let Some(known) = &self.granted
            && Arc::ptr_eq(&known.wanted, pod)
            && known.allocation == *allocation
        {
            return known.pod.clone();
        }
        let granted = match allocation {
            Some(allocation) if !lifecycle::has_resources(pod, allocation) => {
                Arc::new(lifecycle::with_resources(pod, allocation))
            }
            _ => pod.clone(),
        };
        let (wanted, allocation) = (pod.clone(), allocation.clone());
        self.granted = Some(Granted { wanted, allocation, pod: granted.clone() });
        granted
    }

    fn forget(&mut self, pod: &Pod) {
        let m = &pod.metadata;
        let logs = self.shared.log_dir(
            m.namespace.as_deref().unwrap_or_default(),
            m.name.as_deref().unwrap_or_default(),
            &self.uid,
        );
        for dir in [self.shared.pod_dir(&self.uid), logs] {
            if let Err(e) = self.shared.trash.put(&dir) {
                tracing::warn!("cannot remove {}: {e}", dir.display());
            }
        }
        self.shared.handle.remove(&self.uid);
    }

    /// Shows the Pod to the rest of the node.
    fn show(&mut self, input: &Input, status: &PodStatus) {
        let granted = self.allocated(&input.pod);
        let same = |s: &&Shown| Arc::ptr_eq(&s.granted, &granted);
        let pod = match self.shown.as_ref().filter(same).filter(|s| s.pod.status.as_ref() == Some(status)) {
            Some(shown) => shown.pod.clone(),
            None => Arc::new(Pod { status: Some(status.clone()), ..(*granted).clone() }),
        };
        let counts = input.verdict.is_none() && !is_over(&pod) && !is_over(&input.pod);
        if self.shown.as_ref().filter(same).is_none_or(|s| s.counts != counts) {
            let mut ledger = self.shared.ledger();
            if counts {
                ledger.put(&self.uid, Share::of(&granted));
            } else {
                ledger.remove(&self.uid);
            }
        }
        self.shown = Some(Shown { granted, pod: pod.clone(), counts });
        let (sandbox, containers) = self.seen.clone();
        let m = &pod.metadata;
        let log_dir = self.shared.log_dir(
            m.namespace.as_deref().unwrap_or_default(),
            m.name.as_deref().unwrap_or_default(),
            &self.uid,
        );
        self.shared.handle.put(&self.uid, Arc::new(PodEntry { pod, sandbox, containers, log_dir }));
    }
}

/// How long to wait where the machine said `until`: one that wants the next step at once time and again does not get
/// it.
fn at_rest(until: Duration, restless: u32) -> Duration {
    until.max(Duration::from_millis((1 << restless.min(10)) - 1)).min(RESYNC)
}

/// The object that a Pod's Events are about.
pub(crate) fn about(pod: &Pod) -> About {
    let of = |f: &Option<String>| f.clone().unwrap_or_default();
    let m = &pod.metadata;
    About { kind: "Pod", namespace: of(&m.namespace), name: of(&m.name), uid: of(&m.uid) }
}

/// Writes a small file without replacing it: a running container may have this very file mounted.
fn write_in_place(path: &std::path::Path, text: &str) -> Result<(), String> {
    runtime::beneath::write_in_place(path, text.as_bytes())
        .map_err(|e| format!("write {}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_never_rests_is_made_to() {
        let ms = Duration::from_millis;
        for (until, restless, want) in [
            (ms(500), 0, ms(500)),
            (ms(0), 1, ms(1)),
            (ms(0), 5, ms(31)),
            (ms(0), 4_000_000, ms(1023)),
            (RESYNC * 2, 0, RESYNC),
        ] {
            assert_eq!(at_rest(until, restless), want, "{until:?} {restless}");
        }
    }
}
