//! The vocabulary of the trait [`Runtime`](crate::Runtime): what is asked for, what is known, what went wrong.
//!
//! Invariant: plain data, host paths and numbers; nothing here does anything. Absent: anything of the API's types.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A namespace a sandbox or container lives in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum NamespaceMode {
    /// One for the whole Pod.
    #[default]
    Pod,
    /// One for each container.
    Container,
    /// The host's.
    Node,
    /// That of another container (ephemeral containers); the id is [`ContainerSpec::target`].
    Target,
}

/// Everything needed to make a sandbox. Paths are host paths.
#[derive(Debug, Default)]
pub struct SandboxSpec {
    /// Pod name.
    pub name: String,
    /// Pod namespace.
    pub namespace: String,
    /// Pod UID.
    pub uid: String,
    /// Which try this is; 0 is the first.
    pub attempt: u32,
    /// Hostname inside the UTS namespace; empty with the host's UTS namespace.
    pub hostname: String,
    /// The NIS domain name is never set; the FQDN goes to `hostname` when asked for.
    pub log_directory: PathBuf,
    /// The network namespace, made by `net`; `None` is the host's.
    pub netns: Option<OwnedFd>,
    /// Whether the IPC namespace is the host's.
    pub host_ipc: bool,
    /// PID namespace: `Pod` (shareProcessNamespace), `Container` or `Node`.
    pub pid: NamespaceMode,
    /// Parent cgroup of the Pod, relative to each controller's root, e.g. `/minke-1a2b3c4d/kubepods/burstable/podUID`.
    pub cgroup_parent: String,
    /// Sysctls set in the sandbox's namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// Size of `/dev/shm` in bytes; 64 MiB if `None`.
    pub shm_size: Option<u64>,
    /// Carried through unchanged and found again after a restart of the daemon.
    pub labels: BTreeMap<String, String>,
}

/// State of a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum SandboxState {
    /// The shim lives and holds the namespaces.
    Ready,
    /// The shim is gone or was told to stop.
    NotReady,
}

/// What the runtime knows of a sandbox.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct SandboxStatus {
    /// 64 hex digits.
    pub id: String,
    /// From the spec.
    pub name: String,
    /// From the spec.
    pub namespace: String,
    /// From the spec.
    pub uid: String,
    /// From the spec.
    pub attempt: u32,
    /// Ready or not.
    pub state: SandboxState,
    /// Unix nanoseconds.
    pub created_at: i64,
    /// The shim's PID while ready: `/proc/PID/ns/*` are the Pod's namespaces.
    pub pid: Option<i32>,
    /// Whether the network namespace is the host's.
    pub host_network: bool,
    /// From the spec.
    pub labels: BTreeMap<String, String>,
}

/// How mounts travel between host and container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum Propagation {
    /// None.
    #[default]
    Private,
    /// `HostToContainer` (rslave).
    HostToContainer,
    /// `Bidirectional` (rshared).
    Bidirectional,
}

/// A bind mount from the host.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct Mount {
    /// Host path; it exists.
    pub source: PathBuf,
    /// Absolute path in the container; made if missing, never followed out of the root.
    pub target: PathBuf,
    /// Read-only.
    pub read_only: bool,
    /// Read-only for submounts too.
    pub recursive_read_only: bool,
    /// Propagation.
    pub propagation: Propagation,
}

/// Limits and weights of a cgroup; `None` leaves the kernel's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Resources {
    /// v1 `cpu.shares` (2..=262144); turned into `cpu.weight` on v2.
    pub cpu_shares: Option<u64>,
    /// Microseconds per period; negative is none.
    pub cpu_quota: Option<i64>,
    /// Microseconds.
    pub cpu_period: Option<u64>,
    /// `cpuset.cpus`.
    pub cpuset_cpus: Option<String>,
    /// Bytes; negative is none.
    pub memory_limit: Option<i64>,
    /// Bytes of memory plus swap (v1 meaning); negative is none.
    pub memory_swap: Option<i64>,
    /// Count; negative is none.
    pub pids_limit: Option<i64>,
    /// Hugepage limits by page size name (`2MB`), bytes.
    pub hugepages: BTreeMap<String, u64>,
    /// v2 file name to value, e.g. `memory.oom.group`.
    pub unified: BTreeMap<String, String>,
}

/// Which seccomp filter applies.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum Seccomp {
    /// None.
    #[default]
    Unconfined,
    /// The runtime's default profile.
    RuntimeDefault,
    /// An OCI profile in a file on the host.
    Localhost(PathBuf),
}

/// Who the process is.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct User {
    /// Numeric uid or name, optionally `:group`, as an image says it; names come from the rootfs's files.
    pub spec: String,
    /// Overrides the group.
    pub gid: Option<u32>,
    /// Added to the groups of the rootfs's `/etc/group` (policy Merge) or alone (Strict).
    pub supplemental_groups: Vec<u32>,
    /// `Strict` supplementalGroupsPolicy.
    pub strict_groups: bool,
}

/// Everything needed to make a container in a sandbox.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct ContainerSpec {
    /// Container name in the Pod.
    pub name: String,
    /// Restart count; also the number of its log file.
    pub attempt: u32,
    /// The image as the Pod names it, reported back.
    pub image: String,
    /// The image's reference (`repo@sha256:..` or id), reported back.
    pub image_ref: String,
    /// overlayfs lower directories, uppermost first.
    pub layers: Vec<PathBuf>,
    /// argv, never empty.
    pub args: Vec<String>,
    /// `KEY=VALUE`.
    pub env: Vec<String>,
    /// Absolute; made if missing.
    pub working_dir: String,
    /// Bind mounts in order.
    pub mounts: Vec<Mount>,
    /// Paths of the image that stay writable in a read-only root; made if missing, ignored where something of `mounts`
    /// is. What is written there is the container's, as the rest of its root.
    #[serde(default)]
    pub volumes: Vec<String>,
    /// Devices: host path, container path, permissions (`rwm`).
    pub devices: Vec<(PathBuf, PathBuf, String)>,
    /// Log file, relative to the sandbox's log directory.
    pub log_path: PathBuf,
    /// Keep stdin open.
    pub stdin: bool,
    /// Close stdin after the first attach ends.
    pub stdin_once: bool,
    /// Allocate a terminal.
    pub tty: bool,
    /// Privileged.
    pub privileged: bool,
    /// Capabilities added (`NET_ADMIN`, `ALL`).
    pub add_capabilities: Vec<String>,
    /// Capabilities dropped.
    pub drop_capabilities: Vec<String>,
    /// `allowPrivilegeEscalation: false`.
    pub no_new_privs: bool,
    /// Root filesystem read-only.
    pub read_only_rootfs: bool,
    /// Paths masked; empty with procMount Unmasked or privileged.
    pub masked_paths: Vec<String>,
    /// Paths made read-only.
    pub readonly_paths: Vec<String>,
    /// Who.
    pub user: User,
    /// Seccomp.
    pub seccomp: Seccomp,
    /// cgroup limits of the container.
    pub resources: Resources,
    /// -1000..=1000; clamped to what the daemon may set.
    pub oom_score_adj: i32,
    /// PID namespace; `Pod` follows the sandbox.
    pub pid: NamespaceMode,
    /// Container id for `NamespaceMode::Target`.
    pub target: Option<String>,
    /// Signal that ends it gracefully, `SIGTERM` if `None`.
    pub stop_signal: Option<String>,
    /// Carried through unchanged.
    pub labels: BTreeMap<String, String>,
}

/// State of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ContainerState {
    /// Made, not started.
    Created,
    /// Its process lives.
    Running,
    /// Its process ended. One whose shim is gone and left no exit code has ended with 255, reason `Unknown`.
    #[serde(alias = "Unknown")]
    Exited,
}

/// What the runtime knows of a container.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct ContainerStatus {
    /// 64 hex digits.
    pub id: String,
    /// Its sandbox.
    pub sandbox_id: String,
    /// From the spec.
    pub name: String,
    /// From the spec.
    pub attempt: u32,
    /// State.
    pub state: ContainerState,
    /// From the spec.
    pub image: String,
    /// From the spec.
    pub image_ref: String,
    /// Unix nanoseconds.
    pub created_at: i64,
    /// Unix nanoseconds, 0 if never started.
    pub started_at: i64,
    /// Unix nanoseconds, 0 if not ended.
    pub finished_at: i64,
    /// Exit code; 128+signal if killed, 255 if lost.
    pub exit_code: i32,
    /// `Unknown` (lost), `Completed`, `Error`, `OOMKilled`, `ContainerCannotRun`, `StartError`; empty if not ended.
    pub reason: String,
    /// The runtime's words, e.g. why it could not start.
    pub message: String,
    /// PID on the host while running.
    pub pid: Option<i32>,
    /// uid, gid, groups of the first process, once started.
    pub user: Option<(u32, u32, Vec<u32>)>,
    /// Limits in force.
    pub resources: Resources,
    /// Absolute path of the log file.
    pub log_path: PathBuf,
    /// From the spec.
    pub labels: BTreeMap<String, String>,
}

/// A command to run in a container.
#[derive(Debug, Clone, Default)]
pub struct ExecSpec {
    /// argv, never empty.
    pub command: Vec<String>,
    /// Terminal.
    pub tty: bool,
    /// Whether stdin is wanted.
    pub stdin: bool,
}

/// The streams of an exec or attach. Dropping `stdin` closes it; dropping the session ends an exec's process.
pub struct Session {
    /// To the process, if asked for.
    pub stdin: Option<Box<dyn tokio::io::AsyncWrite + Send + Unpin>>,
    /// From the process; with a terminal everything.
    pub stdout: Box<dyn tokio::io::AsyncRead + Send + Unpin>,
    /// From the process; `None` with a terminal.
    pub stderr: Option<Box<dyn tokio::io::AsyncRead + Send + Unpin>>,
    /// Terminal size, if there is one.
    pub resize: Option<Arc<dyn Fn(u16, u16) + Send + Sync>>,
    /// Resolves to the exit code when the process ended (attach: when the container ended).
    pub exit: futures_util::future::BoxFuture<'static, Result<i32, RuntimeError>>,
}

/// Collected result of a short command.
#[derive(Debug, Clone, Default)]
pub struct ExecOutput {
    /// Exit code.
    pub exit_code: i32,
    /// At most 16 KiB.
    pub stdout: Vec<u8>,
    /// At most 16 KiB.
    pub stderr: Vec<u8>,
}

/// Figures of a container's cgroup.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    /// Nanoseconds of CPU used.
    pub cpu_usage_ns: u64,
    /// Bytes.
    pub memory_usage: u64,
    /// Bytes without inactive file pages.
    pub memory_working_set: u64,
    /// Bytes.
    pub memory_rss: u64,
    /// Processes.
    pub pids: u64,
}

/// Something changed; carries keys, never state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeEvent {
    /// The Pod's UID.
    pub pod_uid: String,
    /// The container, or `None` for the sandbox.
    pub container_id: Option<String>,
}

/// Why the runtime did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// No such sandbox or container.
    #[error("{what} {id:?} not found")]
    NotFound {
        /// `sandbox` or `container`.
        what: &'static str,
        /// The id asked for.
        id: String,
    },
    /// The first process could not be made; the text is what users read (`exec: "x": executable file not found in $PATH`).
    #[error("{0}")]
    Start(String),
    /// The command took longer than allowed and was killed.
    #[error("command timed out after {0:?}")]
    Timeout(Duration),
    /// The thing is in a state in which this cannot be done.
    #[error("{0}")]
    State(String),
    /// The kernel or the shim refused.
    #[error("{operation}: {message}")]
    System {
        /// What was being done, to which path or id.
        operation: String,
        /// Why it failed.
        message: String,
    },
}
