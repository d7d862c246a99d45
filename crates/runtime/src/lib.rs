//! Sandboxes and containers behind one trait shaped like CRI: the embedded runtime (shim, namespaces, cgroups,
//! mounts, seccomp), later also a client for containerd and CRI-O.
//!
//! Invariants: the daemon never forks, it spawns one shim per sandbox; what is said to run survives the daemon.
//! Deliberately absent: Pods, the API, images' registries, networks (a ready namespace is handed in).

pub mod beneath;
mod caps;
mod cgroup;
mod embedded;
mod link;
mod mounts;
mod plan;
mod rootfs;
mod seccomp;
mod signal;
mod sys;
mod trash;
mod types;
mod users;

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;

pub use embedded::{Config, Embedded, layers_in_use};
pub use mounts::{MountPoint, mount_of, mount_points, mount_points_below};
pub use rootfs::mount_layers;
pub use trash::Trash;
pub use types::*;
pub use users::{MAX_ID, numeric_id};

/// The runtime as the node agent sees it; shaped like CRI's RuntimeService.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// Name and version, e.g. `("minke", "0.1.0")`.
    fn version(&self) -> (String, String);
    /// Makes a cgroup for a Pod or QoS class with limits, or updates it. Path as [`SandboxSpec::cgroup_parent`].
    async fn apply_cgroup(&self, path: &str, resources: &Resources) -> Result<(), RuntimeError>;
    /// Kills what is left in it and removes it with all its children.
    async fn remove_cgroup(&self, path: &str) -> Result<(), RuntimeError>;
    /// All cgroups below one, in any tree. Paths as [`SandboxSpec::cgroup_parent`].
    async fn cgroups(&self, below: &str) -> Result<Vec<String>, RuntimeError>;
    /// Makes the sandbox and returns once it is ready.
    async fn run_sandbox(&self, spec: SandboxSpec) -> Result<SandboxStatus, RuntimeError>;
    /// Kills all containers of the sandbox and ends its shim. Stopping a stopped one is no error.
    async fn stop_sandbox(&self, id: &str) -> Result<(), RuntimeError>;
    /// Removes a stopped sandbox with its containers and files.
    async fn remove_sandbox(&self, id: &str) -> Result<(), RuntimeError>;
    /// All sandboxes of a Pod (by UID), or of this data dir, dead ones too. Asking for a Pod's must not cost more the
    /// more other Pods there are.
    async fn sandboxes(&self, pod: Option<&str>) -> Result<Vec<SandboxStatus>, RuntimeError>;
    /// Makes the container's files; no process yet. Returns its id.
    async fn create_container(&self, sandbox: &str, spec: ContainerSpec) -> Result<String, RuntimeError>;
    /// Starts the first process.
    async fn start_container(&self, id: &str) -> Result<(), RuntimeError>;
    /// Sends the stop signal, waits up to `grace`, then KILL; returns when the process is gone.
    async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), RuntimeError>;
    /// Removes a container's files (its log file stays); one that runs is killed first.
    async fn remove_container(&self, id: &str) -> Result<(), RuntimeError>;
    /// All containers of a sandbox, or of all.
    async fn containers(&self, sandbox: Option<&str>) -> Result<Vec<ContainerStatus>, RuntimeError>;
    /// One container.
    async fn container(&self, id: &str) -> Result<ContainerStatus, RuntimeError>;
    /// Runs a command and collects its output; killed at `timeout`.
    async fn exec_sync(
        &self,
        id: &str,
        command: Vec<String>,
        timeout: Option<Duration>,
    ) -> Result<ExecOutput, RuntimeError>;
    /// Runs a command with streams.
    async fn exec(&self, id: &str, spec: ExecSpec) -> Result<Session, RuntimeError>;
    /// Joins the streams of the container's first process.
    async fn attach(&self, id: &str, stdin: bool) -> Result<Session, RuntimeError>;
    /// Connects to a TCP port on localhost inside the sandbox's network namespace.
    async fn connect(&self, sandbox: &str, port: u16) -> Result<tokio::net::TcpStream, RuntimeError>;
    /// Makes the shim open the log file anew, after it was renamed.
    async fn reopen_log(&self, id: &str) -> Result<(), RuntimeError>;
    /// Changes the limits of a running container.
    async fn update_resources(&self, id: &str, resources: &Resources) -> Result<(), RuntimeError>;
    /// The directory of what a container wrote over its image.
    async fn writable_layer(&self, id: &str) -> Result<PathBuf, RuntimeError>;
    /// Figures of a container.
    async fn stats(&self, id: &str) -> Result<Stats, RuntimeError>;
    /// Wake-ups for everything that changes by itself (exits, dead shims).
    fn events(&self) -> tokio::sync::broadcast::Receiver<RuntimeEvent>;
    /// What this machine cannot give and is clamped, in words for an Event or `minke check`.
    fn clamps(&self) -> Vec<String>;
}
