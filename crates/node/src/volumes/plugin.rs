//! What every type of volume does (upstream: `pkg/volume/plugins.go`), and the list of types.
//!
//! Invariants: a plugin knows its own directory of a volume only; whatever it does may be asked for again. What must be
//! known to take a volume down is on disk (`state`) before anything is done. Absent: attaching.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{ImageVolumeSource, Pod, Volume};
use serde_json::Value;

use super::{Volumes, claim, config_map, csi, downward_api, empty_dir, host_path, image, projected, secret};

/// All types. Another one is its own file or folder and a line here.
pub(super) fn all(data_dir: &Path) -> Vec<Box<dyn Plugin>> {
    vec![
        Box::new(empty_dir::EmptyDir),
        Box::new(host_path::HostPath),
        Box::new(image::Image),
        Box::new(config_map::ConfigMap),
        Box::new(secret::Secret),
        Box::new(downward_api::DownwardApi),
        Box::new(projected::Projected),
        Box::new(csi::Csi::new(data_dir)),
        Box::new(claim::Claim::new()),
    ]
}

/// One volume of one Pod.
pub(super) struct At<'a> {
    pub(super) volumes: &'a Volumes,
    pub(super) pod: &'a Pod,
    pub(super) volume: &'a Volume,
    /// Where the plugin keeps the volume.
    pub(super) dir: PathBuf,
    /// Layers of its image, uppermost first, if it needs one and that is not mounted yet.
    pub(super) layers: Option<&'a [PathBuf]>,
}

/// What is left of a volume whose Pod may be known no more.
pub(super) struct Left<'a> {
    /// As [`At::dir`].
    pub(super) dir: &'a Path,
    /// As the plugin told it.
    pub(super) state: &'a Value,
}

/// What must be on the machine before a volume is published.
#[derive(Debug, Default)]
pub(super) struct Needs<'a> {
    pub(super) image: Option<&'a ImageVolumeSource>,
}

/// Whose local storage a volume's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Storage {
    /// The volume's own, which may have a limit.
    Volume(PathBuf),
    /// The Pod's.
    Pod(PathBuf),
}

/// One type of volume. Errors are what an Event says after `MountVolume.SetUp failed for volume "v" : `.
#[async_trait]
pub(super) trait Plugin: Send + Sync {
    /// Names its directories (`kubernetes.io~NAME`) and its states. Never changes.
    fn name(&self) -> &'static str;

    /// Whether a volume is of this type.
    fn takes(&self, volume: &Volume) -> bool;

    /// Whether containers may only read a volume: because the node writes to it (upstream: `mustMountRO`), or because it
    /// says so.
    fn is_for_reading(&self, _: &Volume) -> bool {
        false
    }

    /// What must be there first.
    fn needs<'a>(&self, _: &At<'a>) -> Needs<'a> {
        Needs::default()
    }

    /// What is kept on disk until the volume is down; `None` where its directory says everything.
    fn state(&self, _: &At<'_>) -> Option<Value> {
        None
    }

    /// Where the volume is, if an earlier life of the daemon published it and it is still whole.
    fn reconstruct(&self, _: &At<'_>, _: &Value) -> Option<PathBuf> {
        None
    }

    /// Makes the volume, or brings it up to date; its path on the host.
    async fn publish(&self, at: &At<'_>) -> Result<PathBuf, String>;

    /// Brings a volume up to date that is at `path`.
    async fn refresh(&self, _: &At<'_>, path: PathBuf) -> Result<PathBuf, String> {
        Ok(path)
    }

    /// Gives back what is not in the volume's directory, which is removed afterwards.
    async fn unpublish(&self, _: &Left<'_>) -> Result<(), String> {
        Ok(())
    }

    /// Its bytes on the node's disk.
    fn usage(&self, _: &At<'_>) -> Option<Storage> {
        None
    }
}
