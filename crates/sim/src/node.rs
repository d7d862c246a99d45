//! A simulated node: the real Pod machine (`lifecycle::step`) between the real API and a simulated machine.
//!
//! Invariants: it speaks to the API only as `system:node:NAME`; a Pod's memory is on disk before an action of the same
//! step begins; what it lost with its process (the watch, actions under way, what was published) it finds again. Absent:
//! Events, probes, hooks, static Pods, admission: `crates/node` has them.

mod heartbeat;
mod pod;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use client::{Call, Change, Gvr, Objects, Options, PatchType, Status, Target, Verb, Watch, WatchEvent};
use k8s_openapi::api::core::v1::Pod;
use lifecycle::Time;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::clock::SimClock;
use crate::machine::{Machine, Script};
use crate::seed::Dice;
use pod::OnNode;

/// After a call that failed.
const RETRY: Duration = Duration::from_millis(200);

/// What outlives the node's process: the machine, and the memories on its disk by Pod UID.
pub struct Host {
    /// Sandboxes and containers.
    pub machine: Machine,
    disk: BTreeMap<String, Saved>,
}

/// A Pod and its memory as the disk has them.
#[derive(Clone)]
struct Saved {
    pod: Arc<Pod>,
    memory: String,
}

/// A host as it is shared between the node's process, its successors and the test.
#[derive(Clone)]
pub struct SharedHost(Arc<Mutex<Host>>);

impl SharedHost {
    /// A new machine with an empty disk.
    #[must_use]
    pub fn new(script: Script) -> Self {
        Self(Arc::new(Mutex::new(Host { machine: Machine::new(script), disk: BTreeMap::new() })))
    }

    /// Looks at it.
    pub fn lock(&self) -> MutexGuard<'_, Host> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One process of a node.
pub struct Node {
    name: String,
    api: Arc<dyn Objects>,
    host: SharedHost,
    clock: SimClock,
    dice: Dice,
    pods: BTreeMap<String, OnNode>,
    /// UIDs that the watch has shown since it began, until it is in step.
    shown: Option<BTreeSet<String>>,
    /// When it says again that it is there.
    beat: Time,
}

impl Node {
    /// A process that has read its disk. How long actions take is up to `dice`.
    #[must_use]
    pub fn new(name: &str, api: Arc<dyn Objects>, host: SharedHost, clock: SimClock, dice: Dice) -> Self {
        let mut locked = host.lock();
        locked.machine.forget_mounts();
        let pods = locked.disk.iter().map(|(uid, saved)| (uid.clone(), OnNode::recovered(saved))).collect();
        drop(locked);
        Self { name: name.to_owned(), api, host, clock, dice, pods, shown: None, beat: clock.time() }
    }

    /// Creates the Node object, or finds it there, and says that it is ready.
    ///
    /// # Errors
    /// The API's.
    pub async fn register(api: &Arc<dyn Objects>, name: &str) -> Result<(), Status> {
        let mut place = Target { namespace: String::new(), ..target(&Gvr::new("", "v1", "nodes"), "", "") };
        let node = json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}});
        match perform(api, place.clone(), Verb::Create(node)).await {
            Err(status) if !status.is("AlreadyExists") => return Err(status),
            _ => {}
        }
        let capacity = json!({"cpu": "4", "memory": "8Gi", "pods": "110"});
        let ready = json!({"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "ready"});
        let status =
            json!({"status": {"capacity": capacity, "allocatable": capacity, "conditions": [ready]}});
        (place.name, place.subresource) = (name.to_owned(), "status".to_owned());
        perform(api, place, Verb::Patch(PatchType::Strategic, Bytes::from(status.to_string()))).await?;
        Ok(())
    }

    /// Works until stopped. A crash is the end of this future.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut watch = None;
        loop {
            if watch.is_none() {
                watch = self.open().await;
            }
            self.heartbeat().await;
            self.pass().await;
            let due = self.clock.instant(self.due(watch.is_none()));
            let events = async {
                match &mut watch {
                    Some(watch) => watch.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                events = events => match events {
                    Ok(events) => events.iter().for_each(|event| self.take_in(event)),
                    Err(_) => watch = None,
                },
                () = tokio::time::sleep_until(due) => {}
            }
        }
    }

    /// Begins to watch its Pods.
    async fn open(&mut self) -> Option<Box<dyn Watch>> {
        let pods = target(&Gvr::of::<Pod>(), "", "");
        let options =
            Options { field_selector: format!("spec.nodeName={}", self.name), ..Options::default() };
        let watch = self.api.watch(pods, options).await.ok()?;
        self.shown = Some(BTreeSet::new());
        Some(watch)
    }

    fn take_in(&mut self, event: &WatchEvent) {
        if event.change == Change::Synced
            && let Some(shown) = self.shown.take()
        {
            // What the list does not show any more is gone.
            self.pods
                .iter_mut()
                .filter(|(uid, _)| !shown.contains(*uid))
                .for_each(|(_, pod)| pod.gone = true);
        }
        let Some(object) = &event.object else { return };
        let pod: Pod = object.parse().expect("the API shows Pods as they are");
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        if event.change == Change::Deleted {
            if let Some(known) = self.pods.get_mut(&uid) {
                known.gone = true;
            }
            return;
        }
        if let Some(shown) = &mut self.shown {
            shown.insert(uid.clone());
        }
        self.pods.entry(uid).or_default().learn(object.revision, pod);
    }

    /// When to look again if nothing happens before.
    fn due(&self, retry: bool) -> Time {
        let now = self.clock.time();
        let never = now.plus(Duration::from_secs(3600));
        let ends = self.host.lock().machine.next_end();
        let pods = self.pods.values().flat_map(|p| p.wake.into_iter().chain(p.next_finish()));
        let retry = retry.then(|| now.plus(RETRY));
        // A moment that has come is looked at again a little later, so that a pass cannot follow itself for ever.
        let all = pods.chain(ends).chain(retry).chain([self.beat]);
        all.fold(never, Time::min).max(now.plus(Duration::from_millis(1)))
    }

    /// Steps every Pod until nothing changes by it.
    async fn pass(&mut self) {
        let mut moved = true;
        while moved {
            moved = false;
            self.host.lock().machine.pass_time(self.clock.time());
            let uids: Vec<String> = self.pods.keys().cloned().collect();
            for uid in uids {
                moved |= self.turn(&uid).await;
            }
        }
    }
}

/// One call.
async fn perform(api: &Arc<dyn Objects>, target: Target, verb: Verb) -> Result<Value, Status> {
    api.call(Call { target, verb, options: Options::default() }).await?.value()
}

fn target(gvr: &Gvr, namespace: &str, name: &str) -> Target {
    Target { gvr: gvr.clone(), namespace: namespace.into(), name: name.into(), subresource: String::new() }
}
