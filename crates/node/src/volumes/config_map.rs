//! configMap volumes (`pkg/volume/configmap`): on disk, so their bytes are the Pod's local storage.

use std::path::PathBuf;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Volume;

use super::payload::{self, Selection};
use super::plugin::{At, Plugin, Storage};

pub(super) struct ConfigMap;

#[async_trait]
impl Plugin for ConfigMap {
    fn name(&self) -> &'static str {
        "configmap"
    }

    fn takes(&self, volume: &Volume) -> bool {
        volume.config_map.is_some()
    }

    fn is_for_reading(&self, _: &Volume) -> bool {
        true
    }

    async fn publish(&self, at: &At<'_>) -> Result<PathBuf, String> {
        let source = at.volume.config_map.clone().unwrap_or_default();
        let selection = Selection::of(source.items.as_ref(), source.default_mode, source.optional);
        let payload = at.volumes.config_map(at.pod, &source.name, &selection).await?;
        payload::publish(at, false, payload).await
    }

    fn usage(&self, at: &At<'_>) -> Option<Storage> {
        Some(Storage::Pod(at.dir.clone()))
    }
}
