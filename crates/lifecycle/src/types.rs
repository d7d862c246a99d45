//! What goes into the machine (`Desired`, `Observed`) and what comes out of it (`Step`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodStatus, ResourceRequirements};
use serde::{Deserialize, Serialize};

pub use crate::action::*;
pub use crate::memory::*;
pub use crate::time::Time;

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
    /// The Pod's quality of service class, which the API never lets change.
    pub qos_class: String,
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
    /// Ended, or lost by the runtime: then with the exit code that the runtime gives for it.
    Exited,
}

/// A container instance as the runtime has it.
#[derive(Debug, Clone, Default, PartialEq)]
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
    /// What it was made with, if that is known.
    pub resources: Option<ResourceRequirements>,
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
    /// Whether the API refused that status, its phase included.
    pub refused: bool,
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
