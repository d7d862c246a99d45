//! A Pod's volumes: set up before its sandbox, brought up to date while it runs, taken down after its last process
//! (`pkg/volume`, the atomic writer, `pkg/volume/util/subpath`).
//!
//! Invariants: `setup` may be called again at any time and changes only what differs; a reader of a configMap, secret,
//! downwardAPI or projected volume sees all old files or all new ones and cannot change them; no symlink a container
//! makes leads a mount out of its volume; nothing below a mount that could not be undone is ever removed.
//! Absent: volumes of other types (`no volume plugin matched`), pulling the images of image volumes, huge pages as a medium, clusterTrustBundle
//! and podCertificate projections.

mod atomic;
mod host_path;
mod kernel;
mod ownership;
mod payload;
mod subpath;
mod token;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::quantity::Quantity;
use client::Objects;
use k8s_openapi::api::core::v1::{
    Container, EmptyDirVolumeSource, ImageVolumeSource, Pod, Volume, VolumeMount,
};
use runtime::beneath::Dir;
use runtime::{Mount, Propagation, Trash};

use crate::container::env::go_quote;
pub use subpath::read_file;

/// What was written to each config volume, below the Pod's directory.
const RECORDS: &str = "volume-records";

/// Where each volume is on the host, by volume name.
pub type HostPaths = BTreeMap<String, PathBuf>;

/// Layers of the images of image volumes, uppermost first, by volume name.
pub type ImageLayers = BTreeMap<String, Vec<PathBuf>>;

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
    /// Bounds memory-backed volumes and answers for limits that are not set.
    allocatable: Arc<BTreeMap<String, Quantity>>,
    tokens: Arc<token::Tokens>,
    trash: Arc<Trash>,
}

impl Volumes {
    /// Volumes under `pods_dir`; what is removed of them goes to `trash`.
    #[must_use]
    pub fn new(
        pods_dir: &Path,
        trash: Arc<Trash>,
        api: Option<Arc<dyn Objects>>,
        allocatable_memory: u64,
    ) -> Self {
        let memory = i64::try_from(allocatable_memory).unwrap_or(i64::MAX);
        let allocatable = BTreeMap::from([("memory".to_owned(), Quantity::from_bytes(memory))]);
        Self {
            pods_dir: pods_dir.into(),
            api,
            allocatable: Arc::new(allocatable),
            tokens: Arc::default(),
            trash,
        }
    }

    /// With all of the node's allocatable resources, for `limits.*` of downwardAPI files.
    #[must_use]
    pub fn with_allocatable(mut self, allocatable: BTreeMap<String, Quantity>) -> Self {
        self.allocatable = Arc::new(allocatable);
        self
    }

    /// Names and sources of the Pod's image volumes that are not mounted yet.
    #[must_use]
    pub fn images_needed<'p>(&self, pod: &'p Pod) -> Vec<(&'p str, &'p ImageVolumeSource)> {
        let volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
        volumes
            .filter_map(|v| Some((v.name.as_str(), v.image.as_ref()?)))
            .filter(|(name, _)| !kernel::is_mounted(&self.volume_dir(pod, "image", name)))
            .collect()
    }

    /// Sets all volumes of the Pod up, or brings them up to date. To be called again at each resync of the Pod.
    /// `layers` are those of [`Self::images_needed`].
    ///
    /// # Errors
    /// The first volume that cannot be set up; the others are set up nevertheless.
    pub async fn setup(&self, pod: &Pod, layers: &ImageLayers) -> Result<HostPaths, MountError> {
        let mut paths = HostPaths::new();
        let mut first = None;
        for volume in pod.spec.iter().flat_map(|s| s.volumes.iter().flatten()) {
            match self.one(pod, volume, layers).await {
                Ok(path) => drop(paths.insert(volume.name.clone(), path)),
                Err(message) => {
                    first.get_or_insert(MountError { volume: volume.name.clone(), message });
                }
            }
        }
        first.map_or(Ok(paths), Err)
    }

    /// Takes all volumes of a Pod down and removes their directories. Doing it twice is no error.
    ///
    /// # Errors
    /// If something cannot be unmounted or removed; then nothing below it was removed.
    pub async fn teardown(&self, uid: &str) -> Result<(), MountError> {
        let fail = |message: String| MountError { volume: String::new(), message };
        if !crate::files::is_uid(uid) {
            return Err(fail(format!("{uid:?} is no Pod UID")));
        }
        self.tokens.forget(uid);
        let (dir, trash) = (self.pods_dir.join(uid), self.trash.clone());
        blocking(move || {
            for part in ["volume-subpaths", "volumes", RECORDS] {
                kernel::remove_with_mounts(&dir.join(part), &trash)?;
            }
            Ok(())
        })
        .await
        .map_err(fail)
    }

    /// The bind mounts of one container: volumeMounts with subPath and subPathExpr (`env` is the container's),
    /// read-only and propagation.
    ///
    /// # Errors
    /// The message of a `CreateContainerConfigError`.
    pub fn mounts(
        &self,
        pod: &Pod,
        container: &Container,
        env: &BTreeMap<String, String>,
        paths: &HostPaths,
    ) -> Result<Vec<Mount>, String> {
        let one = |(index, mount): (usize, &VolumeMount)| {
            let root = paths.get(&mount.name).ok_or_else(|| {
                format!("cannot find volume {:?} to mount into container {:?}", mount.name, container.name)
            })?;
            let propagation = match mount.mount_propagation.as_deref() {
                Some("HostToContainer") => Propagation::HostToContainer,
                Some("Bidirectional") => Propagation::Bidirectional,
                _ => Propagation::Private,
            };
            // What is the host's is as the host has it.
            if propagation != Propagation::Private && root.starts_with(self.pod_dir(pod)) {
                kernel::share(root)?;
            }
            let source = match subpath::wanted(mount, env)? {
                None => root.clone(),
                Some(path) => subpath::bind(&self.pod_dir(pod), root, &path, mount, &container.name, index)?,
            };
            let read_only = mount.read_only == Some(true);
            Ok(Mount {
                source,
                target: PathBuf::from(&mount.mount_path),
                read_only: read_only || is_for_reading(pod, &mount.name),
                recursive_read_only: read_only
                    && matches!(mount.recursive_read_only.as_deref(), Some("Enabled" | "IfPossible")),
                propagation,
            })
        };
        container.volume_mounts.iter().flatten().enumerate().map(one).collect()
    }

    async fn one(&self, pod: &Pod, volume: &Volume, layers: &ImageLayers) -> Result<PathBuf, String> {
        let dir = |kind: &str| self.volume_dir(pod, kind, &volume.name);
        if let Some(source) = &volume.empty_dir {
            let (dir, size) = (dir("empty-dir"), self.memory_size(pod, source));
            let (source, gid) = (source.clone(), ownership::fs_group(pod));
            return blocking(move || empty_dir(&dir, &source, size, gid).map(|()| dir)).await;
        }
        if let Some(source) = volume.host_path.clone() {
            return blocking(move || host_path::check(&source)).await;
        }
        if volume.image.is_some() {
            let (dir, layers) = (dir("image"), layers.get(&volume.name).cloned());
            return blocking(move || image(&dir, layers.as_deref()).map(|()| dir)).await;
        }
        let (kind, in_memory) = match volume {
            Volume { config_map: Some(_), .. } => ("configmap", false),
            Volume { secret: Some(_), .. } => ("secret", true),
            Volume { downward_api: Some(_), .. } => ("downward-api", true),
            Volume { projected: Some(_), .. } => ("projected", true),
            _ => return Err("no volume plugin matched".into()),
        };
        let payload = self.payload(pod, volume).await?;
        let (records, name) = (self.pod_dir(pod).join(RECORDS), volume.name.clone());
        let (dir, gid, size) =
            (dir(kind), ownership::fs_group(pod), self.memory_size(pod, &EmptyDirVolumeSource::default()));
        blocking(move || {
            kernel::make_dirs(&dir, 0o777)?;
            if in_memory {
                kernel::tmpfs(&dir, size)?;
            }
            kernel::make_dirs(&records, 0o700)?;
            let record = records.join(&name);
            atomic::write(&dir, &record, &payload, gid).map_err(|e| format!("{}: {e}", dir.display()))?;
            Ok(dir)
        })
        .await
    }

    /// Where an emptyDir of a Pod is.
    #[must_use]
    pub fn empty_dir(&self, pod: &Pod, name: &str) -> PathBuf {
        self.volume_dir(pod, "empty-dir", name)
    }

    /// Where the Pod's configMap volumes are; those of other kinds are in memory.
    #[must_use]
    pub fn config_maps(&self, pod: &Pod) -> Vec<PathBuf> {
        let volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
        let on_disk = volumes.filter(|v| v.config_map.is_some());
        on_disk.map(|v| self.volume_dir(pod, "configmap", &v.name)).collect()
    }

    fn volume_dir(&self, pod: &Pod, kind: &str, name: &str) -> PathBuf {
        self.pod_dir(pod).join("volumes").join(format!("kubernetes.io~{kind}")).join(name)
    }

    fn pod_dir(&self, pod: &Pod) -> PathBuf {
        self.pods_dir.join(pod.metadata.uid.as_deref().unwrap_or_default())
    }

    /// The smallest of what the node has, the Pod's memory limit and the volume's own.
    fn memory_size(&self, pod: &Pod, source: &EmptyDirVolumeSource) -> u64 {
        let own = source.size_limit.as_ref().and_then(|q| q.0.parse::<Quantity>().ok());
        let bounds = [self.allocatable.get("memory").copied(), ownership::memory_limit(pod), own];
        let smallest = bounds.into_iter().flatten().map(|q| q.value()).filter(|bytes| *bytes > 0).min();
        smallest.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0)
    }
}

/// Whether only the node writes to a volume of the Pod (upstream: `mustMountRO`).
fn is_for_reading(pod: &Pod, name: &str) -> bool {
    let mut volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
    volumes.find(|v| v.name == name).is_some_and(|v| {
        v.config_map.is_some()
            || v.secret.is_some()
            || v.projected.is_some()
            || v.downward_api.is_some()
            || v.image.is_some()
    })
}

/// Mounts an image's files, which nobody may change, unless they are there.
fn image(dir: &Path, layers: Option<&[PathBuf]>) -> Result<(), String> {
    kernel::make_dirs(dir, 0o755)?;
    match layers {
        _ if kernel::is_mounted(dir) => Ok(()),
        Some(layers) => runtime::mount_layers(layers, dir).map_err(|e| e.to_string()),
        None => Err("the image is not on this machine".into()),
    }
}

fn empty_dir(dir: &Path, source: &EmptyDirVolumeSource, size: u64, gid: Option<u32>) -> Result<(), String> {
    let made = kernel::make_dirs(dir, 0o777)?;
    let mounted = match source.medium.as_deref() {
        None | Some("") => false,
        Some("Memory") => kernel::tmpfs(dir, size)?,
        Some(medium) => return Err(format!("unknown storage medium {}", go_quote(medium))),
    };
    match gid.filter(|_| made || mounted) {
        Some(gid) => Dir::open(dir)
            .and_then(|opened| ownership::give(&opened, gid, false))
            .map_err(|e| format!("applyFSGroup failed for vol {}: {e}", dir.display())),
        None => Ok(()),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => Err(format!("the node is shutting down: {error}")),
        },
    }
}
