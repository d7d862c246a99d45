//! The node as a whole: `Node::new`, then `run` until told to stop. Containers go on when it stops.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use base::quantity::Quantity;
use runtime::{Resources, RuntimeError, Trash};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::admission::Room;
use crate::config::{Config, Shared};
use crate::container::resources::shares;
use crate::events::Recorder;
use crate::files::Writer;
use crate::handle::NodeHandle;
use crate::manager::Manager;
use crate::pulls::Pulls;
use crate::register::facts::Facts;
use crate::sources;
use crate::volumes::Volumes;
use crate::{eviction, register, upkeep, usage};

/// Updates waiting for the manager.
const QUEUE: usize = 256;
/// Status writes at a time.
const STATUS_SLOTS: usize = 8;

/// Why a node cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A directory cannot be made.
    #[error("node: cannot make {}", path.display())]
    Directory {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The cgroups of Pods cannot be made.
    #[error("node: cannot make the cgroups of Pods")]
    Cgroup(#[from] RuntimeError),
}

/// A node agent, not running yet.
pub struct Node {
    shared: Arc<Shared>,
}

impl Node {
    /// Prepares directories and reads the machine's figures. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// If DATA_DIR cannot be used.
    pub fn new(config: Config) -> Result<Self, NodeError> {
        for sub in ["pods", "log/pods", "manifests", "plugins_registry"] {
            let path = config.data_dir.join(sub);
            std::fs::create_dir_all(&path).map_err(|source| NodeError::Directory { path, source })?;
        }
        let path = config.data_dir.join("trash/pods");
        let trash = Trash::open(path.clone()).map_err(|source| NodeError::Directory { path, source })?;
        let trash = Arc::new(trash);
        let facts = Facts::read(&config.data_dir);
        let allocatable: BTreeMap<String, Quantity> = serde_json::from_value::<BTreeMap<String, String>>(
            register::status::allocatable(&facts, &config.limits),
        )
        .unwrap_or_default()
        .into_iter()
        .filter_map(|(name, amount)| Some((name, amount.parse().ok()?)))
        .collect();
        let memory = allocatable.get("memory").map_or(0, |q| u64::try_from(q.value()).unwrap_or(0));
        let shared = Shared {
            handle: NodeHandle::new(&config.name, &config.data_dir, config.runtime.clone()),
            events: Recorder::start(&config.name, config.api.clone()),
            pulls: Pulls::new(config.images.clone()),
            volumes: Volumes::new(&config.data_dir, trash.clone(), config.api.clone(), memory)
                .with_allocatable(allocatable.clone())
                .on_node(
                    &config.name,
                    serde_json::from_value(register::status::labels(&config.name)).unwrap_or_default(),
                ),
            services: Arc::default(),
            writer: Writer::default(),
            trash,
            room: Room {
                allocatable: allocatable.clone(),
                max_pods: config.limits.pods(facts.cpus),
                labels: serde_json::from_value(register::status::labels(&config.name)).unwrap_or_default(),
                name: config.name.clone(),
                own_ports: config.own_ports.clone(),
            },
            ledger: Mutex::default(),
            allocatable,
            status_slots: Semaphore::new(STATUS_SLOTS),
            facts,
            config,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The view of its Pods for servers built on top.
    #[must_use]
    pub fn handle(&self) -> NodeHandle {
        self.shared.handle.clone()
    }

    #[cfg(test)]
    pub(crate) fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    /// Runs Pods until `shutdown`; they go on running after that.
    ///
    /// # Errors
    /// If the cgroups of Pods cannot be made at the start.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), NodeError> {
        let shared = self.shared;
        make_cgroups(&shared).await?;
        let (updates_in, updates) = mpsc::channel(QUEUE);
        let (over_in, over) = mpsc::channel(QUEUE);
        let mut tasks = tokio::task::JoinSet::new();
        let manifests = shared.config.data_dir.join("manifests");
        tasks.spawn(sources::manifests::run(manifests, shared.config.name.clone(), updates_in.clone()));
        tasks.spawn(eviction::run(shared.clone(), updates_in.clone()));
        if let Some(api) = &shared.config.api {
            tasks.spawn(sources::services::run(api.clone(), shared.services.clone()));
            if let Some(api) = &shared.config.volumes_api {
                let (data_dir, trash) = (shared.config.data_dir.clone(), shared.trash.clone());
                tasks.spawn(crate::local_volumes::run(api.clone(), data_dir, trash));
            }
            tasks.spawn(sources::api::run(api.clone(), shared.config.name.clone(), updates_in));
            let registration = register::Config {
                objects: api.clone(),
                name: shared.config.name.clone(),
                ips: shared.config.node_ips.clone(),
                port: shared.config.port,
                pod_cidr: shared.config.network.pod_cidr().map(|cidr| cidr.to_string()),
                data_dir: shared.config.data_dir.clone(),
                images: shared.config.images.clone(),
                limits: shared.config.limits.clone(),
                runtime: shared.config.runtime.version(),
                events: shared.events.clone(),
                volumes: shared
                    .config
                    .volumes_api
                    .as_ref()
                    .map(|_| crate::local_volumes::directory(&shared.config.data_dir)),
                version: shared.config.version.clone(),
            };
            tasks.spawn(register::run(registration, shutdown.clone()));
        }
        tasks.spawn(upkeep::run(shared.clone()));
        tasks.spawn(usage::run(shared.handle.clone()));
        for clamp in shared.config.runtime.clamps() {
            tracing::info!("this machine: {clamp}");
        }
        let events = shared.config.runtime.events();
        let manager = Manager::new(shared, over_in);
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = manager.run(updates, over, events) => {}
        }
        tasks.shutdown().await;
        Ok(())
    }
}

/// ROOT/kubepods with what Pods may use, and the two lesser classes below it.
async fn make_cgroups(shared: &Shared) -> Result<(), RuntimeError> {
    let root = &shared.config.cgroup_root;
    let runtime = &shared.config.runtime;
    let memory = shared.allocatable.get("memory").map(Quantity::value);
    let milli = i64::try_from(shared.facts.cpus * 1000).unwrap_or(i64::MAX);
    let all = Resources { cpu_shares: Some(shares(milli)), memory_limit: memory, ..Resources::default() };
    runtime.apply_cgroup(&format!("{root}/kubepods"), &all).await?;
    for class in ["burstable", "besteffort"] {
        let least = Resources { cpu_shares: Some(2), ..Resources::default() };
        runtime.apply_cgroup(&format!("{root}/kubepods/{class}"), &least).await?;
    }
    Ok(())
}
