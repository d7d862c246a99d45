//! projected volumes (`pkg/volume/projected`): in memory. Absent: clusterTrustBundle and podCertificate projections.

use std::path::PathBuf;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Volume;

use super::payload;
use super::plugin::{At, Plugin};

pub(super) struct Projected;

#[async_trait]
impl Plugin for Projected {
    fn name(&self) -> &'static str {
        "projected"
    }

    fn takes(&self, volume: &Volume) -> bool {
        volume.projected.is_some()
    }

    fn is_for_reading(&self, _: &Volume) -> bool {
        true
    }

    async fn publish(&self, at: &At<'_>) -> Result<PathBuf, String> {
        let source = at.volume.projected.clone().unwrap_or_default();
        let payload = at.volumes.projected(at.pod, &source).await?;
        payload::publish(at, true, payload).await
    }
}
