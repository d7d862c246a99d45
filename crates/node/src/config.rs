//! What a node is told at its start, and the handles that all its parts share.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::quantity::Quantity;
use client::Objects;
use images::ImageService;
use net::PodNetwork;
use runtime::{Runtime, Trash};

use crate::admission::Room;
use crate::events::Recorder;
use crate::files::Writer;
use crate::handle::NodeHandle;
use crate::ledger::Ledger;
use crate::limits::Limits;
use crate::logs;
use crate::pulls::Pulls;
use crate::register::facts::Facts;
use crate::sources::services::Services;
use crate::volumes::Volumes;

/// Settings of a node.
#[derive(Clone)]
pub struct Config {
    /// Name of the Node object.
    pub name: String,
    /// DATA_DIR: `pods/UID`, `log/pods`, `manifests` are below it.
    pub data_dir: PathBuf,
    /// Parent of all its cgroups, relative to each controller's root, e.g. `/minke-1a2b3c4d`.
    pub cgroup_root: String,
    /// Container runtime.
    pub runtime: Arc<dyn Runtime>,
    /// Image store.
    pub images: Arc<dyn ImageService>,
    /// Pod network.
    pub network: Arc<dyn PodNetwork>,
    /// The API as `system:node:NAME`; `None` runs static Pods only.
    pub api: Option<Arc<dyn Objects>>,
    /// The API as the provisioner of this node's own volumes; `None` offers none.
    pub volumes_api: Option<Arc<dyn Objects>>,
    /// This node's addresses, primary first.
    pub node_ips: Vec<IpAddr>,
    /// Port of its HTTPS endpoints, told in the Node's status.
    pub port: u16,
    /// Labels beyond the usual.
    pub labels: BTreeMap<String, String>,
    /// Cluster DNS; empty means there is none.
    pub cluster_dns: Vec<IpAddr>,
    /// `cluster.local`.
    pub cluster_domain: String,
    /// The resolver file that Pods get their servers from; the host's own, or what lies behind it, by default.
    pub resolv_conf: Option<PathBuf>,
    /// Where this program itself listens: no Pod may take such a port of the host.
    pub own_ports: Vec<SocketAddr>,
    /// How many Pods it takes, and what they may not have.
    pub limits: Limits,
    /// `gitVersion` told as kubeletVersion.
    pub version: String,
    /// RuntimeDefault instead of Unconfined where a Pod says nothing.
    pub seccomp_default: bool,
}

/// Everything a Pod's actor and the node's loops need. One per node.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) handle: NodeHandle,
    pub(crate) events: Recorder,
    pub(crate) pulls: Pulls,
    pub(crate) volumes: Volumes,
    /// What containers are told of Services.
    pub(crate) services: Arc<Services>,
    /// Writes what of Pods outlives the daemon.
    pub(crate) writer: Writer,
    /// Directories of Pods that are over.
    pub(crate) trash: Arc<Trash>,
    pub(crate) facts: Facts,
    /// What Pods may use of this node.
    pub(crate) allocatable: BTreeMap<String, Quantity>,
    /// What Pods are admitted to.
    pub(crate) room: Room,
    /// What Pods use of it; held while a Pod is admitted or granted more.
    pub(crate) ledger: Mutex<Ledger>,
    /// Bounds status writes under way.
    pub(crate) status_slots: tokio::sync::Semaphore,
}

impl Shared {
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node's directory of one Pod.
    pub(crate) fn pod_dir(&self, uid: &str) -> PathBuf {
        self.config.data_dir.join("pods").join(uid)
    }

    /// Directory of a Pod's logs.
    pub(crate) fn log_dir(&self, namespace: &str, name: &str, uid: &str) -> PathBuf {
        self.config.data_dir.join("log/pods").join(logs::directory(namespace, name, uid))
    }

    /// The node's addresses as text.
    pub(crate) fn host_ips(&self) -> Vec<String> {
        self.config.node_ips.iter().map(ToString::to_string).collect()
    }
}
