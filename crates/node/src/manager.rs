//! Which Pods this node has: takes what the sources say, admits, starts an actor for each, tells it what changed.
//!
//! Invariants: one actor for each UID; a static Pod waits until its predecessor of the same name is over; nothing is
//! taken for an orphan before every source has spoken.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use lifecycle::Verdict;
use runtime::{Resources, RuntimeEvent};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};
use tokio::time::{Instant, MissedTickBehavior};

use crate::actor::{Actor, Input};
use crate::admission::{self, Room, is_over};
use crate::calls;
use crate::config::Shared;
use crate::container::resources::shares;
use crate::files::is_uid;
use crate::ledger::Share;
use crate::sources::Update;
use crate::sources::mirror::{self, Mirror, Repair};

/// Grace of Pods whose object is gone, or that are ended at once.
const ORPHAN_GRACE: i64 = 1;
/// Mirrors are compared at least so often.
const MIRROR_CHECK: Duration = Duration::from_secs(10);
/// After a repair that failed, doubled up to [`MIRROR_CHECK`].
const FIRST_REPAIR: Duration = Duration::from_millis(100);
/// Repairs that ended, waiting for the manager.
const REPAIRED: usize = 64;

/// The manager's state.
pub(crate) struct Manager {
    shared: Arc<Shared>,
    /// What the node has, with the labels that its object had when a Pod last asked for some.
    room: Room,
    pods: BTreeMap<String, (Actor, Input)>,
    statics: BTreeMap<String, Arc<Pod>>,
    mirrors: BTreeMap<(String, String), Mirror>,
    /// What is being done about mirrors, and who is told of its end.
    repairing: BTreeSet<Repair>,
    repaired: Option<mpsc::Sender<(Repair, Result<(), client::Status>)>>,
    /// Pause before what failed is tried again, and when that is.
    repair_pause: Duration,
    repair_at: Option<Instant>,
    api_synced: bool,
    statics_known: bool,
    orphans_done: bool,
    over: mpsc::Sender<String>,
    burstable: Option<u64>,
}

impl Manager {
    pub(crate) fn new(shared: Arc<Shared>, over: mpsc::Sender<String>) -> Self {
        Self {
            room: shared.room.clone(),
            shared,
            pods: BTreeMap::new(),
            statics: BTreeMap::new(),
            mirrors: BTreeMap::new(),
            repairing: BTreeSet::new(),
            repaired: None,
            repair_pause: FIRST_REPAIR,
            repair_at: None,
            api_synced: false,
            statics_known: false,
            orphans_done: false,
            over,
            burstable: None,
        }
    }

    /// Runs until the sources end.
    pub(crate) async fn run(
        mut self,
        mut updates: mpsc::Receiver<Update>,
        mut over: mpsc::Receiver<String>,
        mut events: broadcast::Receiver<RuntimeEvent>,
    ) {
        let mut check = tokio::time::interval(MIRROR_CHECK);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (repaired_in, mut repaired) = mpsc::channel(REPAIRED);
        self.repaired = Some(repaired_in);
        loop {
            let again = self.repair_at.unwrap_or_else(|| Instant::now() + MIRROR_CHECK);
            tokio::select! {
                update = updates.recv() => match update {
                    Some(update) => {
                        self.learn_labels(&update).await;
                        self.update(update);
                    }
                    None => return,
                },
                Some(uid) = over.recv() => {
                    self.pods.remove(&uid);
                    self.shared.ledger().remove(&uid);
                    self.start_statics();
                }
                event = events.recv() => match event {
                    Ok(event) => self.wake(&event.pod_uid),
                    Err(RecvError::Lagged(_)) => self.pods.values().for_each(|(a, _)| a.wake.notify_one()),
                    Err(RecvError::Closed) => return tracing::error!("the runtime has ended"),
                },
                Some((repair, outcome)) = repaired.recv() => self.was_repaired(&repair, outcome),
                () = tokio::time::sleep_until(again) => {
                    self.repair_at = None;
                    self.repair_mirrors();
                }
                _ = check.tick() => self.repair_mirrors(),
            }
            self.settle().await;
        }
    }

    /// A new Pod that selects nodes by their labels is judged by those that the node has now: whoever bound it may have
    /// seen a label that was set a moment ago.
    async fn learn_labels(&mut self, update: &Update) {
        let Update::Pod(pod) = update else { return };
        let known = pod.metadata.uid.as_ref().is_some_and(|uid| self.pods.contains_key(uid));
        let Some(api) = self.shared.config.api.clone().filter(|_| !known && admission::selects(pod)) else {
            return;
        };
        match calls::get(&*api, calls::target(calls::NODES, "", &self.room.name)).await {
            Ok(mut node) => match serde_json::from_value::<Option<_>>(node["metadata"]["labels"].take()) {
                Ok(labels) => self.room.labels = labels.unwrap_or_default(),
                Err(e) => tracing::warn!("the node's labels are unreadable: {e}"),
            },
            Err(e) => tracing::warn!("the node's labels are those known before: {e}"),
        }
    }

    fn wake(&self, uid: &str) {
        if let Some((actor, _)) = self.pods.get(uid) {
            actor.wake.notify_one();
        }
    }

    fn update(&mut self, update: Update) {
        match update {
            Update::Pod(pod) => self.pod(pod),
            Update::Gone(uid) => self.gone(&uid),
            Update::Synced(uids) => {
                let lost: Vec<String> = self
                    .pods
                    .iter()
                    .filter(|(uid, (_, i))| !i.is_static && !uids.contains(*uid))
                    .map(|(u, _)| u.clone())
                    .collect();
                lost.iter().for_each(|uid| self.gone(uid));
                self.mirrors.retain(|_, m| uids.contains(&m.uid));
                self.api_synced = true;
                self.repair_mirrors();
            }
            Update::Evict { uid, message } => self.evict(uid, message),
            Update::Static(pods) => self.set_statics(pods),
        }
    }

    fn pod(&mut self, pod: Arc<Pod>) {
        let m = &pod.metadata;
        let key = (m.namespace.clone().unwrap_or_default(), m.name.clone().unwrap_or_default());
        let uid = m.uid.clone().unwrap_or_default();
        let deleting = m.deletion_timestamp.as_ref().map(|_| m.deletion_grace_period_seconds.unwrap_or(0));
        if let Some(hash) = mirror::hash_of(&pod) {
            if let Some(input) =
                self.pods.get(&hash).map(|(_, i)| i.clone()).filter(|i| i.mirror.as_ref() != Some(&uid))
            {
                self.tell(hash.clone(), Input { mirror: Some(uid.clone()), ..input });
            }
            self.mirrors.insert(key, Mirror { uid, hash, deleting: deleting.is_some() });
            return self.repair_mirrors();
        }
        let verdict = self.pods.get(&uid).and_then(|(_, i)| i.verdict.clone());
        self.tell(uid, Input { pod, deleting, verdict, ..Input::default() });
    }

    fn evict(&mut self, uid: String, message: String) {
        let Some(input) = self.pods.get(&uid).map(|(_, i)| i.clone()).filter(|i| i.verdict.is_none()) else {
            return;
        };
        let verdict =
            Verdict::Evicted { reason: "Evicted".into(), message, grace: ORPHAN_GRACE, disruption: false };
        self.tell(uid, Input { verdict: Some(verdict), ..input });
    }

    fn gone(&mut self, uid: &str) {
        let mirrors = self.mirrors.len();
        self.mirrors.retain(|_, m| m.uid != uid);
        if self.mirrors.len() != mirrors {
            self.repair_mirrors();
        }
        if let Some(input) = self.pods.get(uid).map(|(_, i)| i.clone()) {
            let deleting = input.deleting.or(Some(ORPHAN_GRACE));
            self.tell(uid.to_owned(), Input { gone: true, deleting, ..input });
        }
    }

    fn set_statics(&mut self, pods: BTreeMap<String, Arc<Pod>>) {
        self.statics_known = true;
        self.statics = pods;
        let removed: Vec<(String, Input)> = self
            .pods
            .iter()
            .filter(|(uid, (_, i))| i.is_static && !self.statics.contains_key(*uid))
            .map(|(u, (_, i))| (u.clone(), i.clone()))
            .collect();
        for (uid, input) in removed {
            let grace =
                input.pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds).unwrap_or(30);
            self.tell(uid, Input { gone: true, deleting: Some(grace), ..input });
        }
        self.start_statics();
        self.repair_mirrors();
    }

    /// Starts static Pods whose name is free.
    fn start_statics(&mut self) {
        if self.statics.is_empty() {
            return;
        }
        let name = |p: &Pod| (p.metadata.namespace.clone(), p.metadata.name.clone());
        let taken: BTreeSet<_> = self.pods.values().map(|(_, i)| name(&i.pod)).collect();
        let due: Vec<(String, Arc<Pod>)> = self
            .statics
            .iter()
            .filter(|(uid, p)| !self.pods.contains_key(*uid) && !taken.contains(&name(p)))
            .map(|(u, p)| (u.clone(), p.clone()))
            .collect();
        for (uid, pod) in due {
            self.tell(uid, Input { pod, is_static: true, ..Input::default() });
        }
    }

    /// Tells an actor, or starts it.
    fn tell(&mut self, uid: String, mut input: Input) {
        if !is_uid(&uid) {
            return tracing::error!("{} is left out: {uid:?} is no UID", lifecycle::pod_label(&input.pod));
        }
        if let Some((actor, known)) = self.pods.get_mut(&uid) {
            if input.verdict.is_some() || is_over(&input.pod) {
                self.shared.ledger().remove(&uid);
            }
            known.clone_from(&input);
            actor.input.send_replace(input);
            return;
        }
        let known = self.shared.pod_dir(&uid).join("memory.json").exists();
        if !is_over(&input.pod) {
            let mut ledger = self.shared.ledger();
            if !known && !input.gone {
                input.verdict = admission::judge(&input.pod, &ledger, &self.room);
            }
            if input.verdict.is_none() {
                ledger.put(&uid, Share::of(&input.pod));
            }
        }
        let actor = Actor::start(self.shared.clone(), uid.clone(), input.clone(), self.over.clone());
        self.pods.insert(uid, (actor, input));
    }

    /// What follows from any change: orphans, once everybody has spoken, and the weight of the burstable class.
    async fn settle(&mut self) {
        if !self.orphans_done && self.statics_known && (self.api_synced || self.shared.config.api.is_none()) {
            self.orphans_done = true;
            self.end_orphans().await;
        }
        let weight = shares(self.shared.ledger().burstable());
        if self.burstable != Some(weight) {
            let path = format!("{}/kubepods/burstable", self.shared.config.cgroup_root);
            match self
                .shared
                .config
                .runtime
                .apply_cgroup(&path, &Resources { cpu_shares: Some(weight), ..Resources::default() })
                .await
            {
                Ok(()) => self.burstable = Some(weight),
                Err(e) => tracing::warn!("{path}: {e}"),
            }
        }
    }

    /// Ends what an earlier life of the node left and nobody wants any more.
    async fn end_orphans(&mut self) {
        let dirs =
            std::fs::read_dir(self.shared.config.data_dir.join("pods")).into_iter().flatten().flatten();
        for dir in dirs {
            let uid = dir.file_name().to_string_lossy().into_owned();
            if self.pods.contains_key(&uid) {
                continue;
            }
            match std::fs::read(dir.path().join("pod.json")).map(|j| serde_json::from_slice::<Pod>(&j)) {
                Ok(Ok(pod)) => {
                    tracing::info!("{} is wanted no more", lifecycle::pod_label(&pod));
                    self.tell(
                        uid,
                        Input {
                            pod: Arc::new(pod),
                            gone: true,
                            deleting: Some(ORPHAN_GRACE),
                            ..Input::default()
                        },
                    );
                }
                _ => {
                    if let Err(e) = self.shared.trash.put(&dir.path()) {
                        tracing::warn!("{} stays: {e}", dir.path().display());
                    }
                }
            }
        }
        if let Err(e) = self.end_strays().await {
            tracing::warn!("sandboxes of unknown Pods stay: {e}");
        }
    }

    /// Sandboxes, addresses and cgroups of Pods of which nothing else is known.
    async fn end_strays(&self) -> Result<(), Box<dyn std::error::Error>> {
        let config = &self.shared.config;
        for s in config.runtime.sandboxes(None).await?.iter().filter(|s| !self.pods.contains_key(&s.uid)) {
            config.runtime.stop_sandbox(&s.id).await?;
            config.runtime.remove_sandbox(&s.id).await?;
        }
        for uid in config.network.unclaimed().await?.iter().filter(|u| !self.pods.contains_key(*u)) {
            config.network.detach(uid).await?;
        }
        let root = format!("{}/kubepods", config.cgroup_root.trim_end_matches('/'));
        for group in config.runtime.cgroups(&root).await? {
            if pod_of(&root, &group).is_some_and(|uid| !self.pods.contains_key(uid)) {
                tracing::warn!("nothing is known of the Pod of {group}, what is in it is ended");
                config.runtime.remove_cgroup(&group).await?;
            }
        }
        Ok(())
    }

    /// Creates and deletes mirrors, each once at a time.
    fn repair_mirrors(&mut self) {
        let (true, true, Some(done)) = (self.api_synced, self.statics_known, self.repaired.clone()) else {
            return;
        };
        for repair in mirror::repairs(&self.statics, &self.mirrors) {
            if !self.repairing.insert(repair.clone()) {
                continue;
            }
            let (shared, done, statics) = (self.shared.clone(), done.clone(), self.statics.clone());
            tokio::spawn(async move {
                let outcome = mirror::repair(&shared, &statics, &repair).await;
                if done.send((repair, outcome)).await.is_err() {
                    tracing::debug!("the node ended before a mirror was repaired");
                }
            });
        }
    }

    /// What failed is tried again soon: at a start the Node, the namespace or its service account may still be missing.
    fn was_repaired(&mut self, repair: &Repair, outcome: Result<(), client::Status>) {
        self.repairing.remove(repair);
        let Err(error) = outcome else {
            self.repair_pause = FIRST_REPAIR;
            return;
        };
        if self.repair_pause == MIRROR_CHECK {
            tracing::warn!("{repair} failed, it is tried every {MIRROR_CHECK:?}: {error}");
        } else {
            tracing::debug!("{repair} failed, it is tried again in {:?}: {error}", self.repair_pause);
        }
        self.repair_at.get_or_insert_with(|| Instant::now() + self.repair_pause);
        self.repair_pause = (self.repair_pause * 2).min(MIRROR_CHECK);
    }
}

/// The UID of a Pod whose own cgroup this is: below `root` or a class of it, not what containers make in theirs.
fn pod_of<'g>(root: &str, group: &'g str) -> Option<&'g str> {
    let below = group.strip_prefix(root)?.strip_prefix('/')?;
    let own = ["burstable/", "besteffort/"].iter().find_map(|class| below.strip_prefix(class));
    own.unwrap_or(below).strip_prefix("pod").filter(|uid| is_uid(uid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroups_of_pods() {
        for (group, want) in [
            ("/r/kubepods/podu-1", Some("u-1")),
            ("/r/kubepods/burstable/podu-1", Some("u-1")),
            ("/r/kubepods/burstable", None),
            ("/r/kubepods/podu-1/abc", None),
            ("/r/kubepods/podu-1/podu-2", None),
            ("/r/kubepods/burstable/podu-1/abc/podx", None),
            ("/r/shims", None),
        ] {
            assert_eq!(pod_of("/r/kubepods", group), want, "{group}");
        }
    }
}
