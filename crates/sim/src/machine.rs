//! A simulated machine: sandboxes and containers as a runtime shows them, whose ends are scripted.
//!
//! Invariants: it outlives the node's process; it does what an action says and nothing by itself but ending containers
//! when their script says so. Every start is written down. Absent: time of its own (it is told), failures.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use lifecycle::{
    Action, Container, ContainerState, ImageState, Observed, Outcome, ProbeVerdict, Sandbox, Time,
};

/// How a container instance ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// After its start.
    pub after: Duration,
    /// Exit code.
    pub code: i32,
}

/// Decides, of each instance (Pod, container, restart count), how it ends; `None` runs until it is stopped.
pub type Script = Arc<dyn Fn(&Pod, &str, u32) -> Option<Exit> + Send + Sync>;

/// A container that was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// UID of its Pod.
    pub pod: String,
    /// Its name.
    pub container: String,
    /// Restart count.
    pub attempt: u32,
    /// How the instance before it had ended, if there was one.
    pub previous: Option<i32>,
    /// Whether an instance of the same container still ran.
    pub beside_another: bool,
}

/// What the runtime has of one Pod.
#[derive(Debug, Default)]
struct Local {
    prepared: bool,
    mounted: bool,
    sandboxes: Vec<Sandbox>,
    containers: Vec<Container>,
    /// By container id: when it ends, and how.
    ends: BTreeMap<String, (Time, i32)>,
}

/// See the module.
pub struct Machine {
    script: Script,
    pods: BTreeMap<String, Local>,
    images: BTreeSet<String>,
    ids: u32,
    /// Every start, in order.
    pub starts: Vec<Start>,
}

/// What a container says that a TERM ended.
const TERMINATED: i32 = 143;

impl Machine {
    /// A machine with nothing on it.
    #[must_use]
    pub fn new(script: Script) -> Self {
        Self { script, pods: BTreeMap::new(), images: BTreeSet::new(), ids: 0, starts: Vec::new() }
    }

    /// What the runtime and the image store show of a Pod.
    #[must_use]
    pub fn observe(&self, uid: &str, pod: &Pod) -> Observed {
        let containers = lifecycle::containers(pod);
        let images = containers.iter().map(|c| {
            let present = self.images.contains(c.image());
            let state = if present { ImageState::Present(reference(c.image())) } else { ImageState::Absent };
            (c.image().to_owned(), state)
        });
        let images = images.collect();
        let Some(local) = self.pods.get(uid) else { return Observed { images, ..Observed::default() } };
        Observed {
            sandboxes: local.sandboxes.clone(),
            containers: local.containers.clone(),
            images,
            prepared: local.prepared,
            mounted: local.mounted,
            ..Observed::default()
        }
    }

    /// Whether a Pod has left nothing here.
    #[must_use]
    pub fn is_clean(&self, uid: &str) -> bool {
        !self.pods.contains_key(uid)
    }

    /// UIDs of the Pods that have something here.
    pub fn pods(&self) -> impl Iterator<Item = &String> {
        self.pods.keys()
    }

    /// The node's process is new: it knows of no volume that it has set up.
    pub fn forget_mounts(&mut self) {
        self.pods.values_mut().for_each(|local| local.mounted = false);
    }

    /// When the next container ends by itself.
    #[must_use]
    pub fn next_end(&self) -> Option<Time> {
        self.pods.values().flat_map(|l| l.ends.values()).map(|(at, _)| *at).min()
    }

    /// Ends the containers that are due.
    pub fn pass_time(&mut self, now: Time) {
        for local in self.pods.values_mut() {
            let due: Vec<(String, (Time, i32))> = local
                .ends
                .iter()
                .filter(|(_, (at, _))| *at <= now)
                .map(|(id, end)| (id.clone(), *end))
                .collect();
            for (id, (at, code)) in due {
                local.end(&id, at, code);
            }
        }
    }

    /// Carries an action out.
    ///
    /// # Panics
    /// If it names what is not there: the caller chose it from what is.
    pub fn perform(&mut self, uid: &str, pod: &Pod, action: &Action, now: Time) -> Outcome {
        self.ids += 1;
        let id = format!("{:064x}", self.ids);
        let local = self.pods.entry(uid.to_owned()).or_default();
        match action {
            Action::Prepare => local.prepared = true,
            Action::MountVolumes => local.mounted = true,
            Action::CreateSandbox { attempt } => local.sandboxes.push(Sandbox {
                id,
                attempt: *attempt,
                ready: true,
                created_at: now,
                host_network: false,
                ips: vec![format!("10.1.{}.{}", self.ids / 250, self.ids % 250 + 1)],
            }),
            Action::StopSandbox { id } => {
                local.sandboxes.iter_mut().filter(|s| s.id == *id).for_each(|s| s.ready = false);
            }
            Action::RemoveSandbox { id } => local.sandboxes.retain(|s| s.id != *id),
            Action::PullImage { image, .. } => {
                self.images.insert(image.clone());
                let took = Duration::from_millis(20);
                return Outcome::Pulled { image_ref: reference(image), took, waited: took, size: 4_000_000 };
            }
            Action::CreateContainer { container, sandbox, restart_count, image_ref, .. } => {
                let all = lifecycle::containers(pod);
                let spec = all.iter().find(|c| c.name() == container).expect("a container of the Pod");
                local.containers.push(Container {
                    id,
                    sandbox_id: sandbox.clone(),
                    name: container.clone(),
                    attempt: *restart_count,
                    image_spec: spec.image().to_owned(),
                    image: spec.image().to_owned(),
                    image_ref: image_ref.clone(),
                    created_at: now.plus(Duration::from_nanos(u64::from(self.ids))),
                    ..Container::default()
                });
            }
            Action::StartContainer { id, container } => {
                let made =
                    local.containers.iter_mut().find(|c| c.id == *id).expect("a container that was made");
                made.state = ContainerState::Running;
                made.started_at = now;
                let attempt = made.attempt;
                let others = || local.containers.iter().filter(|c| c.name == *container && c.id != *id);
                self.starts.push(Start {
                    pod: uid.to_owned(),
                    container: container.clone(),
                    attempt,
                    previous: others().max_by_key(|c| c.created_at).map(|c| c.exit_code),
                    beside_another: others().any(|c| c.state == ContainerState::Running),
                });
                if let Some(exit) = (self.script)(pod, container, attempt) {
                    local.ends.insert(id.clone(), (now.plus(exit.after), exit.code));
                }
            }
            Action::StopContainer { id, .. } => local.end(id, now, TERMINATED),
            Action::RemoveContainer { id } => local.containers.retain(|c| c.id != *id),
            Action::RunProbe { .. } => return Outcome::Probed(ProbeVerdict::Success),
            Action::UnmountVolumes => local.mounted = false,
            Action::RemoveCgroup => local.prepared = false,
            Action::Forget => drop(self.pods.remove(uid)),
            Action::RunHook { .. }
            | Action::DeleteFromApi
            | Action::Allocate { .. }
            | Action::Resize { .. }
            | Action::EmitEvent(_) => {}
        }
        Outcome::Done
    }
}

impl Local {
    fn end(&mut self, id: &str, at: Time, code: i32) {
        self.ends.remove(id);
        let living = |c: &&mut Container| c.id == id && c.state == ContainerState::Running;
        for container in self.containers.iter_mut().filter(living) {
            container.state = ContainerState::Exited;
            container.finished_at = at;
            container.exit_code = code;
            container.reason = if code == 0 { "Completed".into() } else { "Error".into() };
        }
    }
}

/// What an image is known by once it is here.
fn reference(image: &str) -> String {
    format!("{image}@sha256:{}", "0".repeat(64))
}
