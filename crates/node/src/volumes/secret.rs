//! secret volumes (`pkg/volume/secret`): in memory.

use std::path::PathBuf;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Volume;

use super::payload::{self, Selection};
use super::plugin::{At, Plugin};

pub(super) struct Secret;

#[async_trait]
impl Plugin for Secret {
    fn name(&self) -> &'static str {
        "secret"
    }

    fn takes(&self, volume: &Volume) -> bool {
        volume.secret.is_some()
    }

    fn is_for_reading(&self, _: &Volume) -> bool {
        true
    }

    async fn publish(&self, at: &At<'_>) -> Result<PathBuf, String> {
        let source = at.volume.secret.clone().unwrap_or_default();
        let selection = Selection::of(source.items.as_ref(), source.default_mode, source.optional);
        let name = source.secret_name.unwrap_or_default();
        let payload = at.volumes.secret(at.pod, &name, &selection).await?;
        payload::publish(at, true, payload).await
    }
}
