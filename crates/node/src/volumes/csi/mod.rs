//! Inline ephemeral volumes of CSI drivers (`pkg/volume/csi`): a driver of another process makes the volume where it is
//! told to and is told when it is over.
//!
//! Invariant: what a driver was asked to publish it is asked to give back, also by a daemon that knows the Pod no more.
//! Absent: persistent volumes, staging, fsGroup and republishing. CSIDriver objects are not read: a driver
//! is taken to support ephemeral volumes and to want to know whose they are (`podInfoOnMount`).

mod driver;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{CSIVolumeSource, Pod, Volume};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::kernel;
use super::plugin::{At, Left, Plugin};
use crate::grpc::Message;
use driver::Drivers;

pub(super) struct Csi {
    drivers: Drivers,
}

impl Csi {
    pub(super) fn new(data_dir: &Path) -> Self {
        Self { drivers: Drivers::new(data_dir.join("plugins_registry")) }
    }
}

/// One writer, on one node.
const SINGLE_NODE_WRITER: u64 = 1;

#[async_trait]
impl Plugin for Csi {
    fn name(&self) -> &'static str {
        "csi"
    }

    fn takes(&self, volume: &Volume) -> bool {
        volume.csi.is_some()
    }

    fn state(&self, at: &At<'_>) -> Option<Value> {
        let driver = &at.volume.csi.as_ref()?.driver;
        Some(json!({"driver": driver, "volumeHandle": handle(at.pod, &at.volume.name)}))
    }

    fn reconstruct(&self, at: &At<'_>, _: &Value) -> Option<PathBuf> {
        Some(target(&at.dir)).filter(|target| kernel::is_mounted(target))
    }

    async fn publish(&self, at: &At<'_>) -> Result<PathBuf, String> {
        let source = at.volume.csi.clone().unwrap_or_default();
        let secrets = match &source.node_publish_secret_ref {
            Some(reference) => at.volumes.secret_texts(at.pod, &reference.name).await?,
            None => BTreeMap::new(),
        };
        let driver = self.drivers.find(&source.driver).await.map_err(|e| no_client("mounter.SetUpAt", &e))?;
        kernel::make_dirs(&at.dir, 0o750)?;
        let target = target(&at.dir);
        let request = publish_request(at, &source, &secrets, &target);
        let answer = driver.call("/csi.v1.Node/NodePublishVolume", &request).await;
        answer.map(|_| target).map_err(|failed| failed.to_string())
    }

    async fn unpublish(&self, left: &Left<'_>) -> Result<(), String> {
        let text = |key: &str| left.state[key].as_str().unwrap_or_default();
        let driver = self.drivers.find(text("driver")).await;
        let driver = driver.map_err(|e| no_client("Unmounter.TearDownAt", &e))?;
        let target = target(left.dir);
        let request = Message::default().text(1, text("volumeHandle")).text(2, &target.to_string_lossy());
        let answer = driver.call("/csi.v1.Node/NodeUnpublishVolume", &request).await;
        answer.map(drop).map_err(|failed| failed.to_string())
    }
}

fn no_client(what: &str, why: &str) -> String {
    format!("kubernetes.io/csi: {what} failed to get CSI client: {why}")
}

/// Where the driver puts the volume; it makes this last part itself.
fn target(dir: &Path) -> PathBuf {
    dir.join("mount")
}

/// An ephemeral volume's handle (upstream: `makeVolumeHandle`).
fn handle(pod: &Pod, volume: &str) -> String {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    format!("csi-{}", hex::encode(Sha256::digest(format!("{uid}{volume}"))))
}

fn publish_request(
    at: &At<'_>,
    source: &CSIVolumeSource,
    secrets: &BTreeMap<String, String>,
    target: &Path,
) -> Message {
    let mut context = source.volume_attributes.clone().unwrap_or_default();
    let spec = at.pod.spec.as_ref();
    let meta = &at.pod.metadata;
    for (key, value) in [
        ("pod.name", meta.name.as_deref()),
        ("pod.namespace", meta.namespace.as_deref()),
        ("pod.uid", meta.uid.as_deref()),
        ("serviceAccount.name", spec.and_then(|s| s.service_account_name.as_deref())),
        ("ephemeral", Some("true")),
    ] {
        context.insert(format!("csi.storage.k8s.io/{key}"), value.unwrap_or_default().to_owned());
    }
    let mount = Message::default().text(1, source.fs_type.as_deref().unwrap_or_default());
    let mode = Message::default().number(1, SINGLE_NODE_WRITER);
    Message::default()
        .text(1, &handle(at.pod, &at.volume.name))
        .text(4, &target.to_string_lossy())
        .message(5, &Message::default().message(2, &mount).message(3, &mode))
        .number(6, u64::from(source.read_only == Some(true)))
        .map(7, secrets)
        .map(8, &context)
}
