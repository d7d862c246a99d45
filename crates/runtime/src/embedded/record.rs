//! What is kept on disk of sandboxes and containers: `DATA_DIR/sandboxes/ID/{sandbox.json, c/ID/{spec,state}.json}`.
//!
//! Invariant: every file is replaced whole (write, rename). Absent: exit codes, which the shim keeps in `exit`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Serialize, de::DeserializeOwned};

use crate::{ContainerState, NamespaceMode, Resources, RuntimeError, SandboxSpec};

/// A sandbox's fixed part.
#[derive(Debug, Clone, Serialize, serde::Deserialize)]
pub(super) struct SandboxRecord {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) uid: String,
    pub(super) attempt: u32,
    pub(super) hostname: String,
    pub(super) log_directory: PathBuf,
    pub(super) host_network: bool,
    pub(super) host_ipc: bool,
    pub(super) pid: NamespaceMode,
    pub(super) cgroup_parent: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) created_at: i64,
}

impl SandboxRecord {
    pub(super) fn new(spec: &SandboxSpec) -> Self {
        Self {
            name: spec.name.clone(),
            namespace: spec.namespace.clone(),
            uid: spec.uid.clone(),
            attempt: spec.attempt,
            hostname: spec.hostname.clone(),
            log_directory: spec.log_directory.clone(),
            host_network: spec.netns.is_none(),
            host_ipc: spec.host_ipc,
            pid: spec.pid,
            cgroup_parent: spec.cgroup_parent.clone(),
            labels: spec.labels.clone(),
            created_at: crate::sys::now(),
        }
    }
}

/// A container's changing part.
#[derive(Debug, Clone, Serialize, serde::Deserialize)]
pub(super) struct ContainerRecord {
    pub(super) state: ContainerState,
    pub(super) created_at: i64,
    pub(super) started_at: i64,
    pub(super) finished_at: i64,
    pub(super) exit_code: i32,
    pub(super) reason: String,
    pub(super) message: String,
    pub(super) pid: Option<i32>,
    pub(super) user: Option<(u32, u32, Vec<u32>)>,
    pub(super) home: String,
    pub(super) resources: Resources,
}

impl ContainerRecord {
    /// A container that was made now.
    pub(super) fn new(resources: Resources) -> Self {
        Self {
            state: ContainerState::Created,
            created_at: crate::sys::now(),
            started_at: 0,
            finished_at: 0,
            exit_code: 0,
            reason: String::new(),
            message: String::new(),
            pid: None,
            user: None,
            home: String::new(),
            resources,
        }
    }
}

pub(super) fn failed(operation: &str, path: &Path, error: &io::Error) -> RuntimeError {
    RuntimeError::System { operation: format!("{operation} {}", path.display()), message: error.to_string() }
}

/// Makes a directory and its parents, readable by nobody else.
pub(super) fn make_dir(path: &Path) -> Result<(), RuntimeError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| failed("make directory", path, &error))
}

pub(super) fn save<T: Serialize>(path: &Path, value: &T) -> Result<(), RuntimeError> {
    let bytes = serde_json::to_vec(value).map_err(|error| RuntimeError::System {
        operation: format!("encode {}", path.display()),
        message: error.to_string(),
    })?;
    let new = path.with_extension("new");
    let write = || -> io::Result<()> {
        let mut file = fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        io::Write::write_all(&mut file, &bytes)?;
        fs::rename(&new, path)
    };
    write().map_err(|error| failed("write", path, &error))
}

pub(super) fn load<T: DeserializeOwned>(path: &Path) -> Result<T, RuntimeError> {
    let bytes = fs::read(path).map_err(|error| failed("read", path, &error))?;
    serde_json::from_slice(&bytes).map_err(|error| RuntimeError::System {
        operation: format!("decode {}", path.display()),
        message: error.to_string(),
    })
}

/// The shim's record of an end, if it left one.
pub(super) fn exit_record(container_dir: &Path) -> Option<shim::ContainerState> {
    let bytes = fs::read(container_dir.join("exit")).ok()?;
    let (version, state) = shim::unframe(&bytes).ok()?;
    (shim::OLDEST..=shim::VERSION).contains(&version).then_some(state)
}
