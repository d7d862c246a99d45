//! A Pod's volumes: set up before its sandbox, brought up to date while it runs, taken down after its last process.
//!
//! Invariant: `setup` may be called again at any time; it changes only what differs.
//! Absent so far: every type but emptyDir (on disk) and hostPath.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use client::Objects;
use k8s_openapi::api::core::v1::{Container, Pod, Volume};
use runtime::Mount;

/// Where each volume is on the host, by volume name.
pub type HostPaths = BTreeMap<String, PathBuf>;

/// Why a volume cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct MountError {
    /// The volume.
    pub volume: String,
    /// For the event `MountVolume.SetUp failed for volume "v" : MESSAGE`.
    pub message: String,
}

/// Sets volumes up and down. One per node.
#[derive(Clone)]
pub struct Volumes {
    /// `DATA_DIR/pods`; a Pod's volumes are under `UID/volumes/kubernetes.io~TYPE/NAME`.
    pods_dir: PathBuf,
    /// For configMap, secret, projected and tokens; `None` without an API server.
    api: Option<Arc<dyn Objects>>,
    /// Bounds memory-backed volumes.
    allocatable_memory: u64,
}

impl Volumes {
    /// Volumes under `pods_dir`.
    #[must_use]
    pub fn new(pods_dir: &Path, api: Option<Arc<dyn Objects>>, allocatable_memory: u64) -> Self {
        Self { pods_dir: pods_dir.into(), api, allocatable_memory }
    }

    /// Sets all volumes of the Pod up, or brings them up to date.
    ///
    /// # Errors
    /// The first volume that cannot be set up.
    pub async fn setup(&self, pod: &Pod) -> Result<HostPaths, MountError> {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let mut paths = HostPaths::new();
        for volume in pod.spec.iter().flat_map(|s| s.volumes.iter().flatten()) {
            paths.insert(volume.name.clone(), self.one(uid, volume)?);
        }
        Ok(paths)
    }

    /// Takes all volumes of a Pod down and removes their directories.
    ///
    /// # Errors
    /// If something cannot be unmounted or removed.
    pub async fn teardown(&self, uid: &str) -> Result<(), MountError> {
        let dir = self.pods_dir.join(uid).join("volumes");
        match std::fs::remove_dir_all(&dir) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(MountError { volume: String::new(), message: format!("remove {}: {e}", dir.display()) })
            }
            _ => Ok(()),
        }
    }

    /// The bind mounts of one container: volumeMounts with subPath and subPathExpr (`env` is the container's), read-only
    /// and propagation.
    ///
    /// # Errors
    /// The message of a `CreateContainerConfigError`.
    pub fn mounts(
        &self,
        _pod: &Pod,
        container: &Container,
        _env: &BTreeMap<String, String>,
        paths: &HostPaths,
    ) -> Result<Vec<Mount>, String> {
        let one = |m: &k8s_openapi::api::core::v1::VolumeMount| {
            let source = paths.get(&m.name).ok_or_else(|| {
                format!("cannot find volume {:?} to mount into container {:?}", m.name, container.name)
            })?;
            Ok(Mount {
                source: source.clone(),
                target: PathBuf::from(&m.mount_path),
                read_only: m.read_only == Some(true),
                ..Mount::default()
            })
        };
        container.volume_mounts.iter().flatten().map(one).collect()
    }

    fn one(&self, uid: &str, volume: &Volume) -> Result<PathBuf, MountError> {
        let fail = |message: String| MountError { volume: volume.name.clone(), message };
        if volume.empty_dir.is_some() {
            let dir = self.pods_dir.join(uid).join("volumes/kubernetes.io~empty-dir").join(&volume.name);
            std::fs::create_dir_all(&dir).map_err(|e| fail(format!("mkdir {}: {e}", dir.display())))?;
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
            std::fs::set_permissions(&dir, mode)
                .map_err(|e| fail(format!("chmod {}: {e}", dir.display())))?;
            return Ok(dir);
        }
        if let Some(host) = &volume.host_path {
            return Ok(PathBuf::from(&host.path));
        }
        let _ = (&self.api, self.allocatable_memory);
        Err(fail("no volume plugin matched".into()))
    }
}
