//! A Pod's volumes: set up before its sandbox, brought up to date while it runs, taken down after its last process
//! (`pkg/volume`, the atomic writer, `pkg/volume/util/subpath`).
//!
//! Invariants: `setup` may be called again at any time and changes only what differs; a reader of a configMap, secret,
//! downwardAPI or projected volume sees all old files or all new ones and cannot change them; no symlink a container
//! makes leads a mount out of its volume; nothing below a mount that could not be undone is ever removed.
//! Absent: volumes of other types than those of [`plugin`] (`no volume plugin matched`), pulling the images of image
//! volumes.

mod atomic;
mod claim;
mod config_map;
mod csi;
mod downward_api;
mod empty_dir;
mod host_path;
mod image;
mod kernel;
mod ownership;
mod payload;
mod plugin;
mod projected;
mod secret;
mod state;
mod subpath;
mod token;
mod watched;

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
use runtime::{Mount, Propagation, Trash};
use tokio::sync::Notify;

pub use plugin::Storage;
use plugin::{At, Left, Plugin};
use state::State;
pub use subpath::read_file;

/// What was written to each config volume, below the Pod's directory.
const RECORDS: &str = "volume-records";
/// What plugins keep of volumes until they are down, below the Pod's directory.
const STATES: &str = "volume-states";

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
    /// For tokens; `None` without an API server.
    api: Option<Arc<dyn Objects>>,
    /// ConfigMaps and Secrets.
    watched: Option<Arc<watched::Watched>>,
    /// Bounds memory-backed volumes and answers for limits that are not set.
    allocatable: Arc<BTreeMap<String, Quantity>>,
    tokens: Arc<token::Tokens>,
    trash: Arc<Trash>,
    plugins: Arc<Vec<Box<dyn Plugin>>>,
    /// This node's name and labels, for volumes that are not everywhere.
    node: Arc<str>,
    labels: Arc<BTreeMap<String, String>>,
}

impl Volumes {
    /// Volumes under `data_dir/pods`; what is removed of them goes to `trash`.
    #[must_use]
    pub fn new(
        data_dir: &Path,
        trash: Arc<Trash>,
        api: Option<Arc<dyn Objects>>,
        allocatable_memory: u64,
    ) -> Self {
        let memory = i64::try_from(allocatable_memory).unwrap_or(i64::MAX);
        let allocatable = BTreeMap::from([("memory".to_owned(), Quantity::from_bytes(memory))]);
        Self {
            pods_dir: data_dir.join("pods"),
            watched: api.clone().map(|api| Arc::new(watched::Watched::new(api))),
            api,
            allocatable: Arc::new(allocatable),
            tokens: Arc::default(),
            trash,
            plugins: Arc::new(plugin::all(data_dir)),
            node: "".into(),
            labels: Arc::default(),
        }
    }

    /// On the node of this name and with these labels.
    #[must_use]
    pub fn on_node(mut self, name: &str, labels: BTreeMap<String, String>) -> Self {
        (self.node, self.labels) = (name.into(), Arc::new(labels));
        self
    }

    /// With all of the node's allocatable resources, for `limits.*` of downwardAPI files.
    #[must_use]
    pub fn with_allocatable(mut self, allocatable: BTreeMap<String, Quantity>) -> Self {
        self.allocatable = Arc::new(allocatable);
        self
    }

    /// Whenever a ConfigMap or Secret that the Pod's volumes show changed, `wake` is notified and
    /// [`Self::take_news`] is true once.
    pub fn follow(&self, uid: &str, wake: Arc<Notify>) {
        if let Some(watched) = &self.watched {
            watched.follow(uid, wake);
        }
    }

    /// Whether the Pod's volumes should be set up again.
    #[must_use]
    pub fn take_news(&self, uid: &str) -> bool {
        self.watched.as_ref().is_some_and(|watched| watched.take_news(uid))
    }

    /// Names and sources of the images that the Pod's volumes still need.
    #[must_use]
    pub fn images_needed<'p>(&'p self, pod: &'p Pod) -> Vec<(&'p str, &'p ImageVolumeSource)> {
        let needed = |volume: &'p Volume| {
            let plugin = self.plugin(volume)?;
            let layers = None;
            let at = At { volumes: self, pod, volume, dir: self.dir(pod, plugin, volume), layers };
            plugin.needs(&at).image.map(|image| (volume.name.as_str(), image))
        };
        volumes_of(pod).filter_map(needed).collect()
    }

    /// Sets all volumes of the Pod up, or brings them up to date. To be called again at each resync of the Pod.
    /// `layers` are those of [`Self::images_needed`].
    ///
    /// # Errors
    /// The first volume that cannot be set up; the others are set up nevertheless.
    pub async fn setup(&self, pod: &Pod, layers: &ImageLayers) -> Result<HostPaths, MountError> {
        let mut paths = HostPaths::new();
        let mut first = None;
        for volume in volumes_of(pod) {
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
        if let Some(watched) = &self.watched {
            watched.forget(uid);
        }
        self.unpublish(uid).await?;
        let (dir, trash) = (self.pods_dir.join(uid), self.trash.clone());
        blocking(move || {
            for part in ["volume-subpaths", "volumes", RECORDS, STATES] {
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
                read_only: read_only || self.is_for_reading(pod, &mount.name),
                recursive_read_only: read_only
                    && matches!(mount.recursive_read_only.as_deref(), Some("Enabled" | "IfPossible")),
                propagation,
            })
        };
        container.volume_mounts.iter().flatten().enumerate().map(one).collect()
    }

    async fn one(&self, pod: &Pod, volume: &Volume, layers: &ImageLayers) -> Result<PathBuf, String> {
        let plugin = self.plugin(volume).ok_or("no volume plugin matched")?;
        let layers = layers.get(&volume.name).map(Vec::as_slice);
        let at = At { volumes: self, pod, volume, dir: self.dir(pod, plugin, volume), layers };
        if let Some(details) = plugin.state(&at) {
            let (dir, name) = (self.pod_dir(pod).join(STATES), volume.name.clone());
            let known = state::load(&dir, &name).filter(|state| state.plugin == plugin.name());
            if let Some(path) = known.and_then(|state| plugin.reconstruct(&at, &state.details)) {
                return plugin.refresh(&at, path).await;
            }
            let state = State { plugin: plugin.name().to_owned(), details };
            blocking(move || {
                state::save(&dir, &name, &state).map_err(|e| format!("cannot write {}: {e}", dir.display()))
            })
            .await?;
        }
        plugin.publish(&at).await
    }

    /// Gives back what plugins hold for a Pod outside of its directory, by what they kept of it.
    async fn unpublish(&self, uid: &str) -> Result<(), MountError> {
        let dir = self.pods_dir.join(uid);
        let states = dir.join(STATES);
        let fail = |volume: &str, message: String| MountError { volume: volume.to_owned(), message };
        let all = state::all(&states).map_err(|e| fail("", format!("read {}: {e}", states.display())))?;
        for (name, State { plugin, details }) in &all {
            match self.plugins.iter().find(|p| p.name() == plugin) {
                Some(found) => {
                    let dir = volume_dir(&dir, plugin, name);
                    let left = Left { dir: &dir, state: details };
                    found.unpublish(&left).await.map_err(|message| fail(name, message))?;
                }
                None => {
                    tracing::warn!("volume {name} of Pod {uid} is of {plugin:?}, of which nothing is known")
                }
            }
            state::remove(&states, name).map_err(|e| fail(name, e.to_string()))?;
        }
        Ok(())
    }

    /// Whose bytes each volume of the Pod has on the node's disk, by name.
    #[must_use]
    pub fn usage(&self, pod: &Pod) -> Vec<(String, Storage)> {
        let one = |volume: &Volume| {
            let plugin = self.plugin(volume)?;
            let dir = self.dir(pod, plugin, volume);
            let at = At { volumes: self, pod, volume, dir, layers: None };
            Some((volume.name.clone(), plugin.usage(&at)?))
        };
        volumes_of(pod).filter_map(one).collect()
    }

    fn plugin(&self, volume: &Volume) -> Option<&dyn Plugin> {
        self.plugins.iter().find(|plugin| plugin.takes(volume)).map(AsRef::as_ref)
    }

    fn is_for_reading(&self, pod: &Pod, name: &str) -> bool {
        let volume = volumes_of(pod).find(|volume| volume.name == name);
        volume.is_some_and(|volume| self.plugin(volume).is_some_and(|plugin| plugin.is_for_reading(volume)))
    }

    fn dir(&self, pod: &Pod, plugin: &dyn Plugin, volume: &Volume) -> PathBuf {
        volume_dir(&self.pod_dir(pod), plugin.name(), &volume.name)
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

fn volumes_of(pod: &Pod) -> impl Iterator<Item = &Volume> {
    pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten())
}

/// Where a plugin keeps a volume.
fn volume_dir(pod_dir: &Path, plugin: &str, name: &str) -> PathBuf {
    pod_dir.join("volumes").join(format!("kubernetes.io~{plugin}")).join(name)
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
