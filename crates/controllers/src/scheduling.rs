//! The scheduler's loop: a wake-up, one snapshot, a decision for each waiting Pod, bindings through the API.
//!
//! Invariants: a Pod is decided once at a time; a placement counts on its node from the decision on (assumed) until a
//! snapshot shows it or the binding is refused; Pods of other schedulers, gated and terminating ones are left alone. A
//! refused Pod is tried again when something changed that could help. While it backs off, other Pods go first, but if
//! there are none it does not wait (upstream: `SchedulerPopFromBackoffQ`); only after a failed binding it does. Absent:
//! preemption, priorities between waiting Pods other than by priority and age.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use base::{Backoff, Instant};
use bytes::Bytes;
use client::{Object, PatchType, Status, Verb, Wakes, Want};
use k8s_openapi::api::core::v1::{Node, Pod};
use kinds::plan::{Notice, Reference};
use scheduler::{NodeInfo, PodInfo, Refusals, Snapshot, decide};
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::context::{Context, gvr, plain, revision, target};

const NAME: &str = "default-scheduler";
/// Upstream's back-off of unschedulable Pods.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(10);
/// Everything is tried again after so long in any case.
const RETRY_ALL: Duration = Duration::from_secs(300);

type Id = (Arc<str>, Arc<str>);

/// A parsed object and the revision it was parsed at.
struct Cached<T> {
    revision: u64,
    value: T,
}

/// What the loop keeps of a Pod.
struct PodState {
    info: PodInfo,
    deleting: bool,
    created: String,
    generation: i64,
    /// The message of its PodScheduled=False condition.
    refused: Option<String>,
}

impl PodState {
    /// Whether this scheduler has to find it a node.
    fn is_open(&self) -> bool {
        let info = &self.info;
        let ours = info.scheduler_name == NAME && info.node_name.is_empty();
        ours && !info.gated && !info.finished && !self.deleting
    }
}

/// A Pod that did not fit, or whose binding failed.
struct Waiting {
    info: PodInfo,
    world: u64,
    backoff: Backoff,
    /// The binding failed: time alone is reason enough to try again, and nothing else is.
    failed: bool,
}

/// What became of a binding.
struct Bound {
    id: Id,
    info: PodInfo,
    node: String,
    result: Result<(), Status>,
}

struct Loop {
    context: Arc<Context>,
    wakes: Box<dyn Wakes>,
    bindings: JoinSet<Bound>,
    pods: HashMap<Id, Cached<PodState>>,
    nodes: BTreeMap<Arc<str>, Cached<NodeInfo>>,
    /// By UID: the Pod and the node it was placed on.
    assumed: HashMap<String, (PodInfo, String)>,
    waiting: HashMap<String, Waiting>,
    /// Counts changes that could make a refused Pod fit.
    world: u64,
    start: tokio::time::Instant,
    retry_all: tokio::time::Instant,
}

/// Runs until cancelled.
pub(crate) async fn run(context: Context, cancel: CancellationToken) {
    let wakes = context.snapshots.wakes(&watches());
    Loop {
        context: Arc::new(context),
        wakes,
        bindings: JoinSet::new(),
        pods: HashMap::new(),
        nodes: BTreeMap::new(),
        assumed: HashMap::new(),
        waiting: HashMap::new(),
        world: 0,
        start: tokio::time::Instant::now(),
        retry_all: tokio::time::Instant::now() + RETRY_ALL,
    }
    .run(&cancel)
    .await;
}

fn watches() -> [client::Gvr; 2] {
    [gvr(&kinds::pod::KIND), gvr(&kinds::node::KIND)]
}

impl Loop {
    async fn run(mut self, cancel: &CancellationToken) {
        loop {
            let next_try = self.next_try();
            let woken = tokio::select! {
                // In this order, so that a simulation can repeat it.
                biased;
                () = cancel.cancelled() => break,
                Some(bound) = self.bindings.join_next() => {
                    match bound {
                        Ok(bound) => self.bound(bound),
                        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                        Err(_) => {}
                    }
                    false
                }
                _ = self.wakes.next() => true,
                () = tokio::time::sleep_until(next_try) => true,
            };
            if woken {
                if tokio::time::Instant::now() >= self.retry_all {
                    self.retry_all = tokio::time::Instant::now() + RETRY_ALL;
                    self.world += 1;
                }
                self.cycle().await;
            }
        }
        while self.bindings.join_next().await.is_some() {}
    }

    fn now(&self) -> Instant {
        Instant(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// When the first refused Pod that has a reason to be tried again may be.
    fn next_try(&self) -> tokio::time::Instant {
        let stale = self.waiting.values().filter(|w| w.failed || w.world != self.world);
        let first = stale.filter_map(|w| w.backoff.until()).min();
        first.map_or(self.retry_all, |at| (self.start + Duration::from_nanos(at.0)).min(self.retry_all))
    }

    /// One snapshot, a decision for every Pod that can be decided now.
    async fn cycle(&mut self) {
        self.refresh();
        loop {
            let queue = self.queue();
            if queue.is_empty() {
                return;
            }
            // Whoever is decided here is not in the next queue: nothing but a refresh changes the world.
            self.decide_all(queue).await;
        }
    }

    async fn decide_all(&mut self, queue: Vec<Id>) {
        let mut snapshot = self.snapshot();
        for id in queue {
            let Some(state) = self.pods.get(&id) else { continue };
            let info = state.value.info.clone();
            match decide(&info, &snapshot) {
                Ok(placement) => {
                    if let Some(node) = snapshot.nodes.iter_mut().find(|n| n.name == placement.node) {
                        node.add_pod(&info);
                    }
                    self.waiting.remove(&info.uid);
                    self.assumed.insert(info.uid.clone(), (info.clone(), placement.node.clone()));
                    let context = self.context.clone();
                    self.bindings.spawn(async move { bind(&context, id, info, placement.node).await });
                }
                Err(refusals) => self.refuse(&id, info, &refusals).await,
            }
        }
    }

    /// Brings the projections to the newest revision, parsing only what changed.
    fn refresh(&mut self) {
        let wants = watches().map(|gvr| Want { gvr, namespace: String::new() });
        let snapshot = self.context.snapshots.snapshot(&wants);
        let [pods, nodes] = &snapshot.sets[..] else { return };
        let mut fresh = HashMap::with_capacity(pods.len());
        for object in pods {
            let id = (object.namespace.clone(), object.name.clone());
            let old = self.pods.remove(&id);
            let now = match old {
                Some(old) if old.revision == object.revision => old,
                old => {
                    let Some(state) = parse_pod(object) else { continue };
                    let freed =
                        |old: &PodInfo| holds(old) && (!holds(&state.info) || old.uid != state.info.uid);
                    if old.is_some_and(|o| freed(&o.value.info)) {
                        self.world += 1;
                    }
                    Cached { revision: object.revision, value: state }
                }
            };
            fresh.insert(id, now);
        }
        if self.pods.values().any(|gone| holds(&gone.value.info)) {
            self.world += 1;
        }
        self.pods = fresh;
        self.refresh_nodes(nodes);
        let states = self.pods.values().map(|p| &p.value);
        let open: HashSet<&str> = states.filter(|s| s.is_open()).map(|s| s.info.uid.as_str()).collect();
        self.assumed.retain(|uid, _| open.contains(uid.as_str()));
        self.waiting.retain(|uid, _| open.contains(uid.as_str()));
    }

    fn refresh_nodes(&mut self, nodes: &[Object]) {
        let mut fresh = BTreeMap::new();
        for object in nodes {
            let now = match self.nodes.remove(&object.name) {
                Some(old) if old.revision == object.revision => old,
                old => {
                    let Ok(node) = object.parse::<Node>() else { continue };
                    let value = NodeInfo::new(&node);
                    if old.is_none_or(|o| o.value != value) {
                        self.world += 1;
                    }
                    Cached { revision: object.revision, value }
                }
            };
            fresh.insert(object.name.clone(), now);
        }
        self.nodes = fresh;
    }

    /// Pods to decide now: by priority, then age. Those that back off only if there are no others.
    fn queue(&self) -> Vec<Id> {
        let now = self.now();
        let due = self.open(|waiting| {
            let reason = waiting.failed || waiting.world != self.world;
            reason && !waiting.backoff.is_active(now)
        });
        if !due.is_empty() {
            return due;
        }
        self.open(|waiting| !waiting.failed && waiting.world != self.world)
    }

    /// Undecided Pods in order; those that were refused before if `again` says so.
    fn open(&self, again: impl Fn(&Waiting) -> bool) -> Vec<Id> {
        let mut open: Vec<(&Id, &PodState)> = self
            .pods
            .iter()
            .map(|(id, cached)| (id, &cached.value))
            .filter(|(_, state)| state.is_open() && !self.assumed.contains_key(&state.info.uid))
            .filter(|(_, state)| match self.waiting.get(&state.info.uid) {
                Some(waiting) if waiting.info == state.info => again(waiting),
                _ => true,
            })
            .collect();
        open.sort_by(|(a_id, a), (b_id, b)| {
            let by_priority = b.info.priority.cmp(&a.info.priority);
            by_priority.then_with(|| a.created.cmp(&b.created)).then_with(|| a_id.cmp(b_id))
        });
        open.into_iter().map(|(id, _)| id.clone()).collect()
    }

    /// The nodes with the Pods bound to them and those assumed to be.
    fn snapshot(&self) -> Snapshot {
        let mut nodes: BTreeMap<&str, NodeInfo> =
            self.nodes.iter().map(|(name, cached)| (&**name, cached.value.clone())).collect();
        let bound =
            self.pods.values().map(|p| &p.value.info).filter(|p| holds(p)).map(|p| (p, p.node_name.as_str()));
        let assumed = self.assumed.values().map(|(info, node)| (info, node.as_str()));
        for (info, node) in bound.chain(assumed) {
            if let Some(node) = nodes.get_mut(node) {
                node.add_pod(info);
            }
        }
        Snapshot { nodes: nodes.into_values().collect() }
    }

    /// Says why a Pod does not fit: an event, and the PodScheduled condition if its message is new.
    async fn refuse(&mut self, id: &Id, info: PodInfo, refusals: &Refusals) {
        let message = refusals.message();
        let now = self.now();
        let fresh = || Waiting {
            info: info.clone(),
            world: self.world,
            backoff: Backoff::new(FIRST_BACKOFF, MAX_BACKOFF),
            failed: false,
        };
        let waiting = self.waiting.entry(info.uid.clone()).or_insert_with(fresh);
        waiting.failed = false;
        waiting.backoff.next(now);
        waiting.world = self.world;
        waiting.info = info.clone();
        self.context.event(&reference(&info), Notice::warning("FailedScheduling", message.clone()));
        let Some(state) = self.pods.get(id).map(|p| &p.value) else { return };
        if state.refused.as_ref() == Some(&message) {
            return;
        }
        match set_unschedulable(&self.context, state, &message).await {
            Ok(revision) => self.context.snapshots.wait_for(revision).await,
            Err(status) if status.is("NotFound") => {}
            Err(status) => tracing::warn!(pod = %id.1, "condition not set: {status}"),
        }
    }

    fn bound(&mut self, bound: Bound) {
        let Bound { id, info, node, result } = bound;
        let about = reference(&info);
        match result {
            Ok(()) => {
                let message = format!("Successfully assigned {}/{} to {node}", id.0, id.1);
                self.context.event(&about, Notice::normal("Scheduled", message));
            }
            Err(status) => {
                self.assumed.remove(&info.uid);
                if status.is("NotFound") {
                    return;
                }
                tracing::warn!(pod = %id.1, node, "binding refused: {status}");
                let message = format!("running Bind plugin \"DefaultBinder\": {status}");
                self.context.event(&about, Notice::warning("FailedScheduling", message));
                let mut backoff = Backoff::new(FIRST_BACKOFF, MAX_BACKOFF);
                backoff.next(self.now());
                let waiting = Waiting { info, world: self.world, backoff, failed: true };
                self.waiting.insert(waiting.info.uid.clone(), waiting);
            }
        }
    }
}

/// Whether a Pod takes up room on a node.
fn holds(info: &PodInfo) -> bool {
    !info.node_name.is_empty() && !info.finished
}

/// `None` if the stored Pod does not fit the type; the API never stores such a one.
fn parse_pod(object: &Object) -> Option<PodState> {
    let pod: Pod = match object.parse() {
        Ok(pod) => pod,
        Err(error) => {
            tracing::warn!(pod = %object.name, "stored Pod: {error}");
            return None;
        }
    };
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    let refused = conditions.iter().find(|c| c.type_ == "PodScheduled" && c.status == "False");
    Some(PodState {
        info: PodInfo::new(&pod),
        deleting: pod.metadata.deletion_timestamp.is_some(),
        created: pod.metadata.creation_timestamp.as_ref().map(|t| t.0.to_string()).unwrap_or_default(),
        generation: pod.metadata.generation.unwrap_or_default(),
        refused: refused.and_then(|c| c.message.clone()),
    })
}

fn reference(info: &PodInfo) -> Reference {
    Reference {
        api_version: "v1".into(),
        kind: "Pod".into(),
        namespace: info.namespace.clone(),
        name: info.name.clone(),
        uid: info.uid.clone(),
        ..Reference::default()
    }
}

async fn bind(context: &Context, id: Id, info: PodInfo, node: String) -> Bound {
    let binding = json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": info.name, "namespace": info.namespace, "uid": info.uid},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    });
    let place = target(&kinds::pod::KIND, &info.namespace, &info.name, "binding");
    let result = match context.call(plain(place, Verb::Create(binding))).await {
        Ok(_) => Ok(()),
        // It may be bound all the same: what is tried again is decided with that in view.
        Err(status) => Err(context.snapshots.barrier().await.err().unwrap_or(status)),
    };
    Bound { id, info, node, result }
}

async fn set_unschedulable(context: &Context, state: &PodState, message: &str) -> Result<u64, Status> {
    let info = &state.info;
    let now = context.now().rfc3339();
    let condition = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
        "observedGeneration": state.generation, "lastProbeTime": null, "lastTransitionTime": now});
    let patch = json!({"metadata": {"uid": info.uid}, "status": {"conditions": [condition]}});
    let place = target(&kinds::pod::KIND, &info.namespace, &info.name, "status");
    let verb = Verb::Patch(PatchType::Strategic, Bytes::from(patch.to_string()));
    context.call(plain(place, verb)).await.map(|pod| revision(&pod))
}
