//! What the machine asks for and how it is told of the end: one closed enum of actions, a key for each that is in flight.

use std::time::Duration;

use crate::memory::Allocation;
use serde::{Deserialize, Serialize};

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
    /// [`Action::Allocate`].
    Allocate,
    /// [`Action::Resize`].
    Resize,
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
    /// Grant these resources if the node has room for them beside the other Pods; `Deferred` or `Infeasible` if not.
    Allocate {
        /// By container.
        resources: Allocation,
    },
    /// Give the Pod's cgroup and running containers what is allocated.
    Resize {
        /// Id and name of those that do not have it yet.
        running: Vec<(String, String)>,
        /// What the Pod's cgroup was made for.
        from: Allocation,
    },
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
            Self::Allocate { .. } => Key::Allocate,
            Self::Resize { .. } => Key::Resize,
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
