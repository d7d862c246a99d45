//! The embedded runtime: one shim per sandbox, everything else decided here.
//!
//! Invariant: what is said to run survives this process; memory can be rebuilt from disk and shims at any time.
//! Absent: Pods, networks, images' registries.

mod container;
mod exec;
mod grouped;
mod layers;
mod record;
mod restore;
mod sandbox;
mod state;
mod streams;

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast;

use crate::cgroup::Cgroups;
use crate::{
    ContainerSpec, ContainerStatus, ExecOutput, ExecSpec, Resources, Runtime, RuntimeError, RuntimeEvent,
    SandboxSpec, SandboxStatus, Session, Stats, Trash, caps, plan, sys,
};
use grouped::Grouped;
pub use layers::layers_in_use;
use record::failed;
use state::{Container, Sandbox};

/// The shim's program, built by this crate's build script.
const SHIM: &[u8] = include_bytes!(env!("MINKE_SHIM_PATH"));
const SHIM_HASH: &str = env!("MINKE_SHIM_HASH");

/// Where the embedded runtime keeps its things.
#[derive(Debug, Clone)]
pub struct Config {
    /// Files that outlive the daemon and the machine's boot: `DATA_DIR/bin`, `DATA_DIR/sandboxes`.
    pub data_dir: PathBuf,
    /// Sockets, `/run/minke/ID`: short, because a socket's path is limited to 108 bytes.
    pub run_dir: PathBuf,
    /// 8 hex digits.
    pub instance_id: String,
    /// The instance's cgroup relative to each controller's root, e.g. `/minke-1a2b3c4d`. Every
    /// [`SandboxSpec::cgroup_parent`](crate::SandboxSpec::cgroup_parent) lies below it.
    pub cgroup_root: String,
}

/// Sandboxes and containers kept by shims of our own.
pub struct Embedded {
    config: Config,
    shared: Arc<Shared>,
}

/// What background tasks need too; they must not keep `Embedded` itself alive.
struct Shared {
    cgroups: Cgroups,
    trash: Trash,
    /// The shim's program on a read-only mount: what runs in containers cannot overwrite it through /proc/PID/exe.
    shim: OwnedFd,
    sandboxes: Mutex<Grouped<Sandbox>>,
    containers: Mutex<Grouped<Container>>,
    events: broadcast::Sender<RuntimeEvent>,
    next_exec: AtomicU64,
    closed: AtomicBool,
}

impl Shared {
    fn sandboxes(&self) -> MutexGuard<'_, Grouped<Sandbox>> {
        self.sandboxes.lock().expect("no code panics while holding it")
    }

    fn containers(&self) -> MutexGuard<'_, Grouped<Container>> {
        self.containers.lock().expect("no code panics while holding it")
    }

    fn sandbox(&self, id: &str) -> Result<Arc<Sandbox>, RuntimeError> {
        let missing = || RuntimeError::NotFound { what: "sandbox", id: id.to_owned() };
        self.sandboxes().get(id).cloned().ok_or_else(missing)
    }

    fn container(&self, id: &str) -> Result<Arc<Container>, RuntimeError> {
        let missing = || RuntimeError::NotFound { what: "container", id: id.to_owned() };
        self.containers().get(id).cloned().ok_or_else(missing)
    }

    fn containers_of(&self, sandbox: &str) -> Vec<Arc<Container>> {
        self.containers().of(sandbox).cloned().collect()
    }

    fn wake(&self, sandbox: &Sandbox, container: Option<&str>) {
        // Nobody listening is fine: events only wake.
        let _ = self.events.send(RuntimeEvent {
            pod_uid: sandbox.record.uid.clone(),
            container_id: container.map(str::to_owned),
        });
    }
}

/// A new id: 64 hex digits.
fn new_id() -> String {
    hex::encode(rand::random::<[u8; 32]>())
}

/// Runs what blocks outside the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RuntimeError> + Send + 'static,
) -> Result<T, RuntimeError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| RuntimeError::System {
        operation: "run a blocking step".to_owned(),
        message: error.to_string(),
    })?
}

fn shim_failed(error: &std::io::Error) -> RuntimeError {
    RuntimeError::System { operation: "talk to the sandbox's shim".to_owned(), message: error.to_string() }
}

impl Embedded {
    /// Finds again what an earlier daemon left (files and living shims) and serves it.
    ///
    /// # Errors
    /// When directories cannot be made, the shim cannot be written or no cgroup tree is mounted.
    pub async fn open(config: Config) -> Result<Arc<Self>, RuntimeError> {
        let for_setup = config.clone();
        let at = config.data_dir.join("trash/sandboxes");
        let trash = Trash::open(at.clone()).map_err(|error| failed("open", &at, &error))?;
        let shared = blocking(move || {
            record::make_dir(&for_setup.data_dir.join("sandboxes"))?;
            record::make_dir(&for_setup.run_dir)?;
            Ok(Shared {
                cgroups: Cgroups::detect(&for_setup.cgroup_root)?,
                trash,
                shim: install_shim(&for_setup)?,
                sandboxes: Mutex::default(),
                containers: Mutex::default(),
                events: broadcast::Sender::new(1024),
                next_exec: AtomicU64::new(rand::random::<u64>() >> 1),
                closed: AtomicBool::new(false),
            })
        })
        .await?;
        let runtime = Arc::new(Self { config, shared: Arc::new(shared) });
        restore::restore(&runtime).await?;
        Ok(runtime)
    }

    /// The configuration it was opened with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Relaxed);
        for sandbox in self.shared.sandboxes().all() {
            if let Some(link) = sandbox.live().link.take() {
                link.close();
            }
        }
    }
}

/// Writes the shim's program once and opens it on a read-only mount.
fn install_shim(config: &Config) -> Result<OwnedFd, RuntimeError> {
    let dir = config.data_dir.join("bin");
    record::make_dir(&dir)?;
    let path = dir.join(format!("shim-{SHIM_HASH}"));
    if std::fs::read(&path).ok().as_deref() != Some(SHIM) {
        let new = dir.join(format!("shim-{SHIM_HASH}.{}", std::process::id()));
        let write = || -> std::io::Result<()> {
            use std::os::unix::fs::OpenOptionsExt;
            let mut file =
                std::fs::File::options().write(true).create(true).truncate(true).mode(0o500).open(&new)?;
            std::io::Write::write_all(&mut file, SHIM)?;
            drop(file);
            std::fs::rename(&new, &path)
        };
        write().map_err(|error| failed("write", &path, &error))?;
    }
    let mount = sys::clone_mount(&path, false).and_then(|mount| {
        sys::set_mount(mount.as_fd(), libc::MOUNT_ATTR_RDONLY, libc::MS_PRIVATE, false).map(|()| mount)
    });
    mount.map_err(|error| failed("mount", &path, &error))
}

#[async_trait]
impl Runtime for Embedded {
    fn version(&self) -> (String, String) {
        ("minke".to_owned(), env!("CARGO_PKG_VERSION").to_owned())
    }

    async fn apply_cgroup(&self, path: &str, resources: &Resources) -> Result<(), RuntimeError> {
        let (shared, path, resources) = (self.shared.clone(), path.to_owned(), resources.clone());
        blocking(move || shared.cgroups.apply(&path, &resources)).await
    }

    async fn remove_cgroup(&self, path: &str) -> Result<(), RuntimeError> {
        let (shared, path) = (self.shared.clone(), path.to_owned());
        blocking(move || shared.cgroups.remove(&path)).await
    }

    async fn cgroups(&self, below: &str) -> Result<Vec<String>, RuntimeError> {
        let (shared, below) = (self.shared.clone(), below.to_owned());
        blocking(move || Ok(shared.cgroups.below(&below))).await
    }

    async fn run_sandbox(&self, spec: SandboxSpec) -> Result<SandboxStatus, RuntimeError> {
        sandbox::run(self, spec).await
    }

    async fn stop_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        let sandbox = self.shared.sandbox(id)?;
        sandbox::stop(&self.shared, &sandbox).await
    }

    async fn remove_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        let sandbox = self.shared.sandbox(id)?;
        sandbox::remove(&self.shared, &sandbox).await
    }

    async fn sandboxes(&self, pod: Option<&str>) -> Result<Vec<SandboxStatus>, RuntimeError> {
        let sandboxes = self.shared.sandboxes();
        Ok(match pod {
            Some(uid) => sandboxes.of(uid).map(|sandbox| sandbox.status()).collect(),
            None => sandboxes.all().map(|sandbox| sandbox.status()).collect(),
        })
    }

    async fn create_container(&self, sandbox: &str, spec: ContainerSpec) -> Result<String, RuntimeError> {
        let sandbox = self.shared.sandbox(sandbox)?;
        container::create(&self.shared, &sandbox, spec).await
    }

    async fn start_container(&self, id: &str) -> Result<(), RuntimeError> {
        let container = self.shared.container(id)?;
        container::start(&self.shared, &container).await
    }

    async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), RuntimeError> {
        let container = self.shared.container(id)?;
        container::stop(&self.shared, &container, grace).await
    }

    async fn remove_container(&self, id: &str) -> Result<(), RuntimeError> {
        let container = self.shared.container(id)?;
        container::remove(&self.shared, &container).await
    }

    async fn containers(&self, sandbox: Option<&str>) -> Result<Vec<ContainerStatus>, RuntimeError> {
        let containers = self.shared.containers();
        Ok(match sandbox {
            Some(id) => containers.of(id).map(|container| container.status()).collect(),
            None => containers.all().map(|container| container.status()).collect(),
        })
    }

    async fn container(&self, id: &str) -> Result<ContainerStatus, RuntimeError> {
        Ok(self.shared.container(id)?.status())
    }

    async fn exec_sync(
        &self,
        id: &str,
        command: Vec<String>,
        timeout: Option<Duration>,
    ) -> Result<ExecOutput, RuntimeError> {
        let container = self.shared.container(id)?;
        exec::collect(&self.shared, &container, command, timeout).await
    }

    async fn exec(&self, id: &str, spec: ExecSpec) -> Result<Session, RuntimeError> {
        let container = self.shared.container(id)?;
        exec::run(&self.shared, &container, spec).await
    }

    async fn attach(&self, id: &str, stdin: bool) -> Result<Session, RuntimeError> {
        let container = self.shared.container(id)?;
        exec::attach(&container, stdin).await
    }

    async fn connect(&self, sandbox: &str, port: u16) -> Result<tokio::net::TcpStream, RuntimeError> {
        let sandbox = self.shared.sandbox(sandbox)?;
        sandbox::connect(&sandbox, port).await
    }

    async fn reopen_log(&self, id: &str) -> Result<(), RuntimeError> {
        let container = self.shared.container(id)?;
        container::reopen_log(&container).await
    }

    async fn update_resources(&self, id: &str, resources: &Resources) -> Result<(), RuntimeError> {
        let container = self.shared.container(id)?;
        container::update_resources(&self.shared, &container, resources).await
    }

    async fn writable_layer(&self, id: &str) -> Result<PathBuf, RuntimeError> {
        Ok(self.shared.container(id)?.dir.join("upper"))
    }

    async fn stats(&self, id: &str) -> Result<Stats, RuntimeError> {
        let container = self.shared.container(id)?;
        let shared = self.shared.clone();
        blocking(move || shared.cgroups.stats(&container.cgroup())).await
    }

    fn events(&self) -> broadcast::Receiver<RuntimeEvent> {
        self.shared.events.subscribe()
    }

    fn clamps(&self) -> Vec<String> {
        let mut clamps = Vec::new();
        let missing = caps::known() & !caps::bounding();
        if missing != 0 {
            clamps.push(format!(
                "capabilities not available to containers: {}",
                caps::names(missing).join(", ")
            ));
        }
        let floor = plan::oom_score_floor();
        if floor > -1000 {
            clamps.push(format!("oom_score_adj cannot be set below {floor} (no CAP_SYS_RESOURCE)"));
        }
        clamps
    }
}
