//! downwardAPI volumes (`pkg/volume/downwardapi`): in memory.

use std::path::PathBuf;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Volume;

use super::payload::{self, DEFAULT_MODE};
use super::plugin::{At, Plugin};

pub(super) struct DownwardApi;

#[async_trait]
impl Plugin for DownwardApi {
    fn name(&self) -> &'static str {
        "downward-api"
    }

    fn takes(&self, volume: &Volume) -> bool {
        volume.downward_api.is_some()
    }

    fn is_for_reading(&self, _: &Volume) -> bool {
        true
    }

    async fn publish(&self, at: &At<'_>) -> Result<PathBuf, String> {
        let source = at.volume.downward_api.clone().unwrap_or_default();
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        let payload = at.volumes.downward(at.pod, source.items.as_deref().unwrap_or_default(), mode)?;
        payload::publish(at, true, payload).await
    }
}
