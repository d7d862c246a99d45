//! image volumes: an image's files, which nobody may change. Absent: pulling, which the node does first.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Volume;

use super::plugin::{At, Needs, Plugin};
use super::{blocking, kernel};

pub(super) struct Image;

#[async_trait]
impl Plugin for Image {
    fn name(&self) -> &'static str {
        "image"
    }

    fn takes(&self, volume: &Volume) -> bool {
        volume.image.is_some()
    }

    fn is_for_reading(&self, _: &Volume) -> bool {
        true
    }

    fn needs<'a>(&self, at: &At<'a>) -> Needs<'a> {
        Needs { image: at.volume.image.as_ref().filter(|_| !kernel::is_mounted(&at.dir)) }
    }

    async fn publish(&self, at: &At<'_>) -> Result<PathBuf, String> {
        let (dir, layers) = (at.dir.clone(), at.layers.map(<[PathBuf]>::to_vec));
        blocking(move || mount(&dir, layers.as_deref()).map(|()| dir)).await
    }
}

/// Mounts the files unless they are there.
fn mount(dir: &Path, layers: Option<&[PathBuf]>) -> Result<(), String> {
    kernel::make_dirs(dir, 0o755)?;
    match layers {
        _ if kernel::is_mounted(dir) => Ok(()),
        Some(layers) => runtime::mount_layers(layers, dir).map_err(|e| e.to_string()),
        None => Err("the image is not on this machine".into()),
    }
}
