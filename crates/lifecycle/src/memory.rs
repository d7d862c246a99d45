//! What the machine remembers: only what can be neither observed nor derived. Survives a restart of the node as JSON.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{PodStatus, ResourceRequirements};
use serde::{Deserialize, Serialize};

use crate::action::{Failure, ProbeKind};
use crate::time::Time;

/// Resources by container name.
pub type Allocation = BTreeMap<String, ResourceRequirements>;

/// What the machine remembers of a Pod.
///
/// What is skipped in serialization says how far actions have come that may be done again: a daemon that starts anew
/// does them once more, and a Pod that ends needs not be written down at every turn.
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
    #[serde(skip)]
    pub retry: BTreeMap<String, Retry>,
    /// By action: how often it was asked for of late.
    #[serde(skip)]
    pub asked: BTreeMap<String, Asked>,
    /// `SandboxChanged` was said about this sandbox.
    pub sandbox_changed: Option<String>,
    /// Sandboxes that were stopped.
    #[serde(skip)]
    pub stopped: BTreeSet<String>,
    /// The volumes are gone.
    #[serde(skip)]
    pub volumes_down: bool,
    /// The cgroup is gone.
    #[serde(skip)]
    pub cgroup_down: bool,
    /// The API was asked to delete the object and agreed.
    #[serde(skip)]
    pub deleted: bool,
    /// The ended instance whose rule restarts all containers, while that is being done.
    pub restart_all: Option<String>,
    /// The last status returned: conditions and lost containers are judged against it.
    pub status: Option<PodStatus>,
    /// What the node granted the containers.
    pub allocated: Option<Allocation>,
    /// What the Pod's cgroup is limited to.
    pub enforced: Option<Allocation>,
    /// What was last asked for.
    pub allocating: Option<Allocation>,
    /// What is being enforced, and on which instances (id, name).
    pub resizing: Option<(Allocation, Vec<(String, String)>)>,
    /// Why the wanted resources are not granted.
    pub resize_pending: Option<Failure>,
    /// A resize that was granted and is not everywhere in force.
    pub resize_progress: Option<ResizeProgress>,
}

/// A resize under way.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResizeProgress {
    /// Of the spec that wants it.
    pub generation: i64,
    /// Why it does not come to an end.
    pub error: String,
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

/// How often an action was asked for, without a pause after which it counts anew.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Times.
    pub times: u32,
    /// The last time.
    pub last: Time,
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
    /// Instance whose resources were changed while it runs, and to what.
    pub applied: Option<(String, ResourceRequirements)>,
    /// Instance that was killed because its new resources need another one.
    pub resize_kill: String,
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
    /// Not before. Not kept over a restart of the node: a probe may then run at once, and no write follows each run.
    #[serde(skip)]
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
