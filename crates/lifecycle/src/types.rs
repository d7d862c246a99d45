//! The machine's vocabulary: what goes in (`Desired`, `Observed`, `Memory`) and what comes out (`Step`, `Action`).
//!
//! Invariant: `Memory` holds only what can be neither observed nor derived, and survives a restart of the node as JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A moment of the wall clock, Unix nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Time(pub i64);

impl Time {
    /// Whole seconds since 1970.
    #[must_use]
    pub const fn from_secs(s: i64) -> Self {
        Self(s * 1_000_000_000)
    }

    /// This moment and `s` seconds more.
    #[must_use]
    pub const fn plus_secs(self, s: i64) -> Self {
        Self(self.0.saturating_add(s.saturating_mul(1_000_000_000)))
    }

    /// This moment and `d` more.
    #[must_use]
    pub fn plus(self, d: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(d.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// Seconds since `earlier`, rounded down; negative if that is later.
    #[must_use]
    pub const fn secs_since(self, earlier: Self) -> i64 {
        (self.0 - earlier.0).div_euclid(1_000_000_000)
    }

    /// As the API writes it: whole seconds.
    #[must_use]
    pub fn to_api(self) -> meta::Time {
        meta::Time(Timestamp::from_second(self.0.div_euclid(1_000_000_000)).unwrap_or(Timestamp::UNIX_EPOCH))
    }

    /// From an object's field.
    #[must_use]
    pub fn from_api(t: &meta::Time) -> Self {
        Self(i64::try_from(t.0.as_nanosecond()).unwrap_or(i64::MAX))
    }
}

/// What shall be: the Pod as the API (or a manifest) has it, and what the node has decided about it.
#[derive(Debug, Clone, Default)]
pub struct Desired {
    /// The newest version, its `status` as the API shows it.
    pub pod: Arc<Pod>,
    /// From a manifest of this node; never deleted through the API by the machine.
    pub is_static: bool,
    /// Seconds of grace, if the Pod is being deleted or its manifest is gone.
    pub deleting: Option<i64>,
    /// The object no longer exists: end everything, tell nobody.
    pub gone: bool,
    /// The node refuses or evicts it.
    pub verdict: Option<Verdict>,
    /// This node's addresses, primary first.
    pub host_ips: Vec<String>,
    /// Prefix of container ids in status, `minke`.
    pub runtime_name: String,
}

/// A decision of the node against a Pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Refused at admission: no container ever runs.
    Rejected {
        /// `OutOfcpu`, `NodeAffinity`, …
        reason: String,
        /// Without the `Pod was rejected: ` that the status puts before it.
        message: String,
    },
    /// Ended by the node.
    Evicted {
        /// `Evicted`, `Preempting`, `Terminated`.
        reason: String,
        /// Status message.
        message: String,
        /// Seconds; never lengthens the Pod's own.
        grace: i64,
        /// Whether `DisruptionTarget` is set.
        disruption: bool,
    },
}

/// Whether an image is on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageState {
    /// Not here.
    Absent,
    /// Here, under this reference (`repo@sha256:…` or id).
    Present(String),
    /// The name cannot be parsed; the text is the parser's.
    Invalid(String),
}

/// A sandbox of the Pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sandbox {
    /// Id.
    pub id: String,
    /// Which try.
    pub attempt: u32,
    /// Usable.
    pub ready: bool,
    /// When made.
    pub created_at: Time,
    /// Whether its network namespace is the host's.
    pub host_network: bool,
    /// Pod addresses, primary first.
    pub ips: Vec<String>,
}

/// State of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ContainerState {
    /// Made, not started.
    #[default]
    Created,
    /// Lives.
    Running,
    /// Ended.
    Exited,
    /// Lost.
    Unknown,
}

/// A container instance as the runtime has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Container {
    /// Id without prefix.
    pub id: String,
    /// Its sandbox.
    pub sandbox_id: String,
    /// Name in the Pod.
    pub name: String,
    /// restartCount it was made with.
    pub attempt: u32,
    /// State.
    pub state: ContainerState,
    /// The image field of the spec it was made from.
    pub image_spec: String,
    /// Name for status.
    pub image: String,
    /// imageID for status.
    pub image_ref: String,
    /// When made.
    pub created_at: Time,
    /// When started; zero if never.
    pub started_at: Time,
    /// When ended; zero if not.
    pub finished_at: Time,
    /// Exit code.
    pub exit_code: i32,
    /// `Completed`, `Error`, `OOMKilled`, …
    pub reason: String,
    /// Termination message, file and runtime's words already joined.
    pub message: String,
    /// uid, gid, supplemental groups.
    pub user: Option<(u32, u32, Vec<u32>)>,
}

/// What is: told by the runtime, the image store and the executors.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// All sandboxes, in any order.
    pub sandboxes: Vec<Sandbox>,
    /// All container instances, in any order.
    pub containers: Vec<Container>,
    /// By the spec's image field.
    pub images: BTreeMap<String, ImageState>,
    /// Whether the Pod's cgroup and directories are made.
    pub prepared: bool,
    /// Whether its volumes are set up.
    pub mounted: bool,
    /// By container: one more than the highest number among its log files.
    pub next_log: BTreeMap<String, u32>,
    /// Actions under way.
    pub in_flight: BTreeSet<Key>,
    /// Actions ended since the last step.
    pub finished: Vec<Finished>,
    /// Whether the API (or, without one, nobody) has the last status that a step returned.
    pub published: bool,
}

/// The two hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Hook {
    /// After the start.
    PostStart,
    /// Before the stop.
    PreStop,
}

/// The three probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ProbeKind {
    /// `startupProbe`.
    Startup,
    /// `livenessProbe`.
    Liveness,
    /// `readinessProbe`.
    Readiness,
}

/// What kind of container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Runs to its end before the next.
    Init,
    /// Init container with restartPolicy Always.
    Sidecar,
    /// One of `spec.containers`.
    Regular,
    /// One of `spec.ephemeralContainers`.
    Ephemeral,
}

/// Names an action in flight. Ids are the runtime's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Key {
    /// [`Action::Prepare`].
    Prepare,
    /// [`Action::MountVolumes`].
    MountVolumes,
    /// [`Action::CreateSandbox`].
    CreateSandbox,
    /// [`Action::StopSandbox`].
    StopSandbox(String),
    /// [`Action::RemoveSandbox`].
    RemoveSandbox(String),
    /// [`Action::PullImage`] for this container.
    Pull(String),
    /// [`Action::CreateContainer`] of this name.
    Create(String),
    /// [`Action::StartContainer`].
    Start(String),
    /// [`Action::RunHook`].
    Hook(Hook, String),
    /// [`Action::RunProbe`].
    Probe(ProbeKind, String),
    /// [`Action::StopContainer`], ending at this Unix second at the latest.
    Stop(String, i64),
    /// [`Action::RemoveContainer`].
    Remove(String),
    /// [`Action::UnmountVolumes`].
    Unmount,
    /// [`Action::RemoveCgroup`].
    RemoveCgroup,
    /// [`Action::DeleteFromApi`].
    Delete,
    /// [`Action::Forget`].
    Forget,
}

/// One thing to do. Every action except `EmitEvent` ends in a [`Finished`] with its key.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Make the Pod's cgroup and directories.
    Prepare,
    /// Set up all volumes (again: bring them up to date).
    MountVolumes,
    /// Make a network place and a sandbox.
    CreateSandbox {
        /// Which try.
        attempt: u32,
    },
    /// Kill what runs in it and end it, give the network place back.
    StopSandbox {
        /// Which.
        id: String,
    },
    /// Remove an ended sandbox.
    RemoveSandbox {
        /// Which.
        id: String,
    },
    /// Pull.
    PullImage {
        /// For which container.
        container: String,
        /// The image field.
        image: String,
    },
    /// Make a container.
    CreateContainer {
        /// Name in the Pod.
        container: String,
        /// Init, regular, …
        role: Role,
        /// In which sandbox.
        sandbox: String,
        /// restartCount.
        restart_count: u32,
        /// From which image.
        image_ref: String,
        /// Container id whose PID namespace is joined (ephemeral containers).
        target: Option<String>,
    },
    /// Start its first process.
    StartContainer {
        /// Which.
        id: String,
        /// Its name.
        container: String,
    },
    /// Stop it: signal, wait, kill.
    StopContainer {
        /// Which.
        id: String,
        /// Its name.
        container: String,
        /// Seconds, at least 2.
        grace: i64,
        /// Unix second at which the kill is due (part of the key).
        until: i64,
    },
    /// Remove an ended container.
    RemoveContainer {
        /// Which.
        id: String,
    },
    /// Run a hook.
    RunHook {
        /// In which container.
        id: String,
        /// Its name.
        container: String,
        /// Which hook.
        hook: Hook,
        /// Seconds after which it is cut off.
        timeout: Option<i64>,
    },
    /// Run a probe once.
    RunProbe {
        /// In which container.
        id: String,
        /// Its name.
        container: String,
        /// Which.
        probe: ProbeKind,
    },
    /// Take volumes and directories down (logs stay).
    UnmountVolumes,
    /// Remove the Pod's cgroup.
    RemoveCgroup,
    /// DELETE with grace 0 and the UID as precondition.
    DeleteFromApi,
    /// The Pod is over: remove its logs and memory and stop stepping it.
    Forget,
    /// Say something.
    EmitEvent(Event),
}

impl Action {
    /// What the action is called while in flight; `None` for events, which nobody waits for.
    #[must_use]
    pub fn key(&self) -> Option<Key> {
        Some(match self {
            Self::Prepare => Key::Prepare,
            Self::MountVolumes => Key::MountVolumes,
            Self::CreateSandbox { .. } => Key::CreateSandbox,
            Self::StopSandbox { id } => Key::StopSandbox(id.clone()),
            Self::RemoveSandbox { id } => Key::RemoveSandbox(id.clone()),
            Self::PullImage { container, .. } => Key::Pull(container.clone()),
            Self::CreateContainer { container, .. } => Key::Create(container.clone()),
            Self::StartContainer { id, .. } => Key::Start(id.clone()),
            Self::StopContainer { id, until, .. } => Key::Stop(id.clone(), *until),
            Self::RemoveContainer { id } => Key::Remove(id.clone()),
            Self::RunHook { id, hook, .. } => Key::Hook(*hook, id.clone()),
            Self::RunProbe { id, probe, .. } => Key::Probe(*probe, id.clone()),
            Self::UnmountVolumes => Key::Unmount,
            Self::RemoveCgroup => Key::RemoveCgroup,
            Self::DeleteFromApi => Key::Delete,
            Self::Forget => Key::Forget,
            Self::EmitEvent(_) => return None,
        })
    }
}

/// `Normal` or `Warning`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventType {
    /// As expected.
    Normal,
    /// Not so.
    Warning,
}

/// An Event about the Pod, without who and when.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Event {
    /// Type.
    pub kind: EventType,
    /// `Started`, `BackOff`, …
    pub reason: String,
    /// Upstream's words.
    pub message: String,
    /// `spec.containers{n}`; empty for the Pod.
    pub field_path: String,
}

/// Why an action failed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A waiting reason (`ErrImagePull`, `CreateContainerConfigError`) or event reason; empty means the action's usual.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeVerdict {
    /// Good.
    Success,
    /// Good, with something to say.
    Warning(String),
    /// Bad: the output.
    Failure(String),
    /// Could not be run; counts for nothing.
    Error(String),
}

/// How an action ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Well.
    Done,
    /// An image is here.
    Pulled {
        /// Its reference.
        image_ref: String,
        /// Time of the pull itself.
        took: Duration,
        /// With the wait for other pulls.
        waited: Duration,
        /// Bytes.
        size: u64,
    },
    /// A probe answered.
    Probed(ProbeVerdict),
    /// Badly.
    Failed(Failure),
}

/// An action that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Which.
    pub key: Key,
    /// How.
    pub outcome: Outcome,
}

/// What the machine remembers of a Pod.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// By container name.
    pub containers: BTreeMap<String, ContainerMemory>,
    /// By image field: back-off after failed pulls.
    pub images: BTreeMap<String, PullMemory>,
    /// Set once the Pod is to end, never unset.
    pub ending: Option<Termination>,
    /// The sandbox in which all init containers had run.
    pub initialized: Option<String>,
    /// By action: next try and length of the back-off after failures.
    pub retry: BTreeMap<String, Retry>,
    /// `SandboxChanged` was said about this sandbox.
    pub sandbox_changed: Option<String>,
    /// Sandboxes that were stopped.
    pub stopped: BTreeSet<String>,
    /// The volumes are gone.
    pub volumes_down: bool,
    /// The cgroup is gone.
    pub cgroup_down: bool,
    /// The API was asked to delete the object and agreed.
    pub deleted: bool,
    /// The last status returned: conditions and lost containers are judged against it.
    pub status: Option<PodStatus>,
}

/// Back-off after failures of one preparing action.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Not before.
    pub at: Time,
    /// Last delay in milliseconds.
    pub delay_ms: u64,
    /// Last error.
    pub message: String,
    /// First failure of this streak.
    pub since: Time,
}

/// Back-off of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullMemory {
    /// Seconds.
    pub backoff: i64,
    /// When the pull failed.
    pub failed_at: Time,
    /// Waiting reason of that failure.
    pub reason: String,
    /// Its message.
    pub message: String,
}

/// What the machine remembers of a container by name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerMemory {
    /// Crash back-off in seconds; 0 before the second start.
    pub backoff: i64,
    /// When the back-off last grew.
    pub backoff_at: Time,
    /// Ended instance whose back-off is over (or never was).
    pub backoff_for: String,
    /// Ended instance whose back-off was told as an Event.
    pub backoff_told: String,
    /// Why it could not be started last time, until it is.
    pub start_error: Option<Failure>,
    /// Not before, after such an error.
    pub retry_at: Time,
    /// Reference of an image pulled for the coming instance.
    pub pulled: Option<String>,
    /// Instance that was told to start (its start ended well).
    pub started: Option<String>,
    /// Instance whose postStart hook is over.
    pub post_start_done: Option<String>,
    /// A kill under way.
    pub stopping: Option<Stopping>,
    /// Probe streaks.
    pub probes: BTreeMap<ProbeKind, ProbeMemory>,
    /// Instance that could not be started and never ran.
    pub failed_start: String,
}

/// A container being stopped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopping {
    /// Instance.
    pub id: String,
    /// When the grace began.
    pub since: Time,
    /// Seconds.
    pub grace: i64,
    /// The preStop hook is over, was cut off, or there is none.
    pub hook_done: bool,
    /// Unix second at which the kill is due, once the stop was asked for.
    pub until: Option<i64>,
}

/// Result of a probe so far, for one instance.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeMemory {
    /// Instance.
    pub id: String,
    /// `None` is unknown.
    pub result: Option<bool>,
    /// Outcome of the last runs.
    pub last: bool,
    /// How many of them in a row.
    pub streak: u32,
    /// Not before.
    pub next_at: Time,
    /// No more until there is a new instance.
    pub hold: bool,
}

/// Why and how a Pod ends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Termination {
    /// Seconds.
    pub grace: i64,
    /// Status reason, empty when it ends by itself or is deleted.
    pub reason: String,
    /// Status message.
    pub message: String,
    /// `DisruptionTarget` reason, if it is set.
    pub disruption: Option<String>,
    /// Fails whatever the exit codes are.
    pub failed: bool,
    /// Was never admitted.
    pub rejected: bool,
}

/// What to do now.
#[derive(Debug, Clone, Default)]
pub struct Step {
    /// In this order; they may run at the same time.
    pub actions: Vec<Action>,
    /// What to publish.
    pub status: PodStatus,
    /// What to remember.
    pub memory: Memory,
    /// When to step again at the latest, if nothing happens before.
    pub wake_at: Option<Time>,
}
