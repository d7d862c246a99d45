//! The embedded runtime: one shim per sandbox, everything else decided here.
//!
//! Invariant: what is said to run survives this process. Absent: Pods, networks, images' registries.

use std::path::PathBuf;
use std::sync::Arc;

use crate::RuntimeError;

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
}

impl Embedded {
    /// Finds again what an earlier daemon left (files and living shims) and serves it.
    ///
    /// # Errors
    /// When the directories cannot be made or the shim cannot be written.
    pub async fn open(config: Config) -> Result<Arc<Self>, RuntimeError> {
        Ok(Arc::new(Self { config }))
    }

    /// The configuration it was opened with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }
}
