//! Volumes of claims, named or made for the Pod: the claim's volume is looked up and mounted as its own source says
//! (`pkg/kubelet/volumemanager`, `pkg/volume/local`, `pkg/volume/hostpath`).
//!
//! Invariant: a volume is resolved once for a Pod; what the API says later about a claim that a Pod has does not move it.
//! Absent: block devices, volumes that are attached or staged (CSI), network file systems: each is refused by name.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{HostPathVolumeSource, Pod, Volume};
use kinds::persistentvolume::matching;
use kinds::persistentvolume::provision::is_ours;
use kinds::pod::ephemeral;
use kinds::rules::storage::is_block;
use runtime::beneath::Dir;
use serde_json::{Value, json};

use super::plugin::{At, Left, Plugin};
use super::{blocking, host_path, ownership};
use crate::calls;

/// By the directory that a plugin has for a volume: where it is.
pub(super) struct Claim {
    known: Mutex<BTreeMap<PathBuf, PathBuf>>,
}

impl Claim {
    pub(super) fn new() -> Self {
        Self { known: Mutex::default() }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeMap<PathBuf, PathBuf>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Plugin for Claim {
    fn name(&self) -> &'static str {
        "claim"
    }

    fn takes(&self, volume: &Volume) -> bool {
        volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some()
    }

    fn is_for_reading(&self, volume: &Volume) -> bool {
        volume.persistent_volume_claim.as_ref().is_some_and(|claim| claim.read_only == Some(true))
    }

    fn state(&self, at: &At<'_>) -> Option<Value> {
        Some(json!({"claim": claim_name(at.pod, at.volume)}))
    }

    async fn publish(&self, at: &At<'_>) -> Result<PathBuf, String> {
        let known = self.known().get(&at.dir).cloned();
        if let Some(path) = known.or_else(|| kept(&at.dir)) {
            return Ok(path);
        }
        let volume = resolve(at).await?;
        let group = ownership::fs_group(at.pod);
        let always = ownership::changes_always(at.pod);
        let dir = at.dir.clone();
        let path = blocking(move || {
            let path = mount(&volume, group, always)?;
            keep(&dir, &path).map_err(|e| format!("write {}: {e}", dir.display()))?;
            Ok(path)
        })
        .await?;
        self.known().insert(at.dir.clone(), path.clone());
        Ok(path)
    }

    async fn unpublish(&self, left: &Left<'_>) -> Result<(), String> {
        self.known().remove(left.dir);
        Ok(())
    }
}

/// The file in a volume's directory that says where the volume is.
const PLACE: &str = "place";

/// Where an earlier life of the daemon found a volume to be.
fn kept(dir: &Path) -> Option<PathBuf> {
    fs::read_to_string(dir.join(PLACE)).ok().map(PathBuf::from).filter(|path| path.exists())
}

fn keep(dir: &Path, path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o750).create(dir)?;
    crate::files::replace(&dir.join(PLACE), path.as_os_str().as_encoded_bytes(), 0o600)
}

/// The claim of a volume.
fn claim_name(pod: &Pod, volume: &Volume) -> String {
    match &volume.persistent_volume_claim {
        Some(named) => named.claim_name.clone(),
        None => ephemeral::claim_name(pod.metadata.name.as_deref().unwrap_or_default(), &volume.name),
    }
}

/// The PersistentVolume of a Pod's volume.
async fn resolve(at: &At<'_>) -> Result<Value, String> {
    let namespace = at.pod.metadata.namespace.as_deref().unwrap_or_default();
    let name = claim_name(at.pod, at.volume);
    let fail = |why: String| format!("error processing PVC {namespace}/{name}: {why}");
    let api = at.volumes.api.as_deref().ok_or_else(|| fail("there is no API server to ask".to_owned()))?;
    let claim = calls::get(api, calls::target(calls::CLAIMS, namespace, &name)).await;
    let claim = claim.map_err(|e| fail(format!("failed to fetch PVC from API server: {e}")))?;
    if at.volume.ephemeral.is_some() {
        let pod = serde_json::to_value(at.pod).map_err(|e| fail(e.to_string()))?;
        ephemeral::is_for(&claim, &pod).map_err(fail)?;
    }
    let bound = claim["spec"]["volumeName"].as_str().filter(|_| claim["status"]["phase"] == "Bound");
    let Some(bound) = bound.filter(|bound| !bound.is_empty()) else {
        return Err(fail("PVC is not bound".to_owned()));
    };
    if !claim["metadata"]["deletionTimestamp"].is_null() {
        return Err(fail("PVC is being deleted".to_owned()));
    }
    let volume = calls::get(api, calls::target(calls::VOLUMES, "", bound)).await;
    let volume = volume.map_err(|e| fail(format!("failed to fetch PV {bound} from API server: {e}")))?;
    if !matching::is_for(&volume, &claim) {
        return Err(fail(format!("PV {bound} is not bound to it")));
    }
    if !matching::reaches(&volume, &at.volumes.labels, &at.volumes.node) {
        return Err(format!(
            "MountVolume.NodeAffinity check failed for volume {bound:?}: no matching NodeSelectorTerms"
        ));
    }
    Ok(volume)
}

/// Where a volume's files are, given to the Pod's group.
fn mount(volume: &Value, group: Option<u32>, always: bool) -> Result<PathBuf, String> {
    let spec = &volume["spec"];
    if is_block(spec) {
        return Err("block devices are not supported".to_owned());
    }
    if let Some(source) = spec["hostPath"].as_object() {
        let text = |key: &str| source.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        return host_path::check(&HostPathVolumeSource { path: text("path"), type_: Some(text("type")) });
    }
    let Some(path) = spec["local"]["path"].as_str() else {
        return Err("no volume plugin matched".to_owned());
    };
    let path = PathBuf::from(path);
    if is_ours(volume) && !path.exists() {
        make(&path).map_err(|e| format!("mkdir {}: {e}", path.display()))?;
    }
    if !path.is_dir() {
        return Err(format!("path {:?} does not exist", path.display().to_string()));
    }
    if let Some(group) = group {
        let given = Dir::open(&path).and_then(|dir| ownership::give_all(&dir, group, always));
        given.map_err(|e| format!("applyFSGroup failed for vol {}: {e}", path.display()))?;
    }
    Ok(path)
}

/// A new volume's directory: whoever the containers run as writes to it.
fn make(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    }
    fs::DirBuilder::new().recursive(true).mode(0o777).create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o777))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn what_is_mounted() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name).display().to_string();
        let local = |name: &str, ours: bool| {
            let by = if ours { "minke.dev/local" } else { "e.com/p" };
            json!({"metadata": {"annotations": {"pv.kubernetes.io/provisioned-by": by}}, "spec": {"local": {"path": at(name)}}})
        };
        let made = mount(&local("a/b", true), None, true).unwrap();
        assert_eq!(fs::metadata(&made).unwrap().mode() & 0o777, 0o777);
        assert_eq!(
            mount(&local("c", false), None, true).unwrap_err(),
            format!("path {:?} does not exist", at("c"))
        );
        let host = json!({"spec": {"hostPath": {"path": at("d"), "type": "DirectoryOrCreate"}}});
        assert!(mount(&host, None, true).unwrap().is_dir());
        let nfs = json!({"spec": {"nfs": {"server": "s", "path": "/"}}});
        assert_eq!(mount(&nfs, None, true).unwrap_err(), "no volume plugin matched");
        let block = json!({"spec": {"volumeMode": "Block", "local": {"path": at("a")}}});
        assert_eq!(mount(&block, None, true).unwrap_err(), "block devices are not supported");
        fs::create_dir(temp.path().join("a/b/sub")).unwrap();
        fs::write(temp.path().join("a/b/sub/file"), "x").unwrap();
        fs::set_permissions(temp.path().join("a/b/sub/file"), fs::Permissions::from_mode(0o600)).unwrap();
        let own = fs::metadata(&made).unwrap().gid();
        mount(&local("a/b", true), Some(own), true).unwrap();
        assert_eq!(fs::metadata(temp.path().join("a/b/sub/file")).unwrap().mode() & 0o7777, 0o660);
        assert_eq!(fs::metadata(temp.path().join("a/b/sub")).unwrap().mode() & 0o2070, 0o2070);
    }
}
