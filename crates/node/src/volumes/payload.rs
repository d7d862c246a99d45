//! The files that configMap, secret, downwardAPI and projected volumes hold, and how they get there.
//!
//! Invariant: a payload is complete or an error; what is optional and missing contributes nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use k8s_openapi::api::core::v1::{
    ConfigMap, DownwardAPIVolumeFile, EmptyDirVolumeSource, KeyToPath, Pod, ProjectedVolumeSource, Secret,
    ServiceAccountTokenProjection, VolumeProjection,
};
use serde::de::DeserializeOwned;

use super::atomic::{File, Payload};
use super::plugin::At;
use super::watched::Key;
use super::{RECORDS, Volumes, atomic, blocking, kernel, ownership, token};
use crate::container::env::{Facts, field_value, go_quote};
use crate::container::resources;

/// Upstream's.
pub(super) const DEFAULT_MODE: i32 = 0o644;

/// Which keys go where, with which mode.
pub(super) struct Selection<'a> {
    items: Option<&'a Vec<KeyToPath>>,
    mode: i32,
    optional: bool,
}

impl Volumes {
    pub(super) async fn projected(
        &self,
        pod: &Pod,
        source: &ProjectedVolumeSource,
    ) -> Result<Payload, String> {
        let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
        let mut payload = Payload::new();
        let mut errors = Vec::new();
        for part in source.sources.iter().flatten() {
            match self.projection(pod, part, mode).await {
                Ok(files) => payload.extend(files),
                Err(error) => errors.push(error),
            }
        }
        match errors.as_slice() {
            [] => Ok(payload),
            [one] => Err(one.clone()),
            many => Err(format!("[{}]", many.join(", "))),
        }
    }

    async fn projection(&self, pod: &Pod, part: &VolumeProjection, mode: i32) -> Result<Payload, String> {
        if let Some(source) = &part.config_map {
            let optional = source.optional == Some(true);
            return self
                .config_map(pod, &source.name, &Selection { items: source.items.as_ref(), mode, optional })
                .await;
        }
        if let Some(source) = &part.secret {
            let optional = source.optional == Some(true);
            return self
                .secret(pod, &source.name, &Selection { items: source.items.as_ref(), mode, optional })
                .await;
        }
        if let Some(source) = &part.downward_api {
            return self.downward(pod, source.items.as_deref().unwrap_or_default(), mode);
        }
        match &part.service_account_token {
            Some(source) => self.token(pod, source, mode).await,
            None => Err("this kind of projected volume source is not supported".into()),
        }
    }

    pub(super) async fn config_map(
        &self,
        pod: &Pod,
        name: &str,
        selection: &Selection<'_>,
    ) -> Result<Payload, String> {
        let found: Option<ConfigMap> = self.get(pod, "configmaps", name).await?;
        let Some(found) = found.or_else(|| selection.optional.then(ConfigMap::default)) else {
            return Err(format!("configmap {} not found", go_quote(name)));
        };
        let mut data: BTreeMap<String, Vec<u8>> =
            found.data.unwrap_or_default().into_iter().map(|(key, text)| (key, text.into_bytes())).collect();
        data.extend(found.binary_data.unwrap_or_default().into_iter().map(|(key, bytes)| (key, bytes.0)));
        selection.choose(data, "configmap references non-existent config key")
    }

    pub(super) async fn secret(
        &self,
        pod: &Pod,
        name: &str,
        selection: &Selection<'_>,
    ) -> Result<Payload, String> {
        let found: Option<Secret> = self.get(pod, "secrets", name).await?;
        let Some(found) = found.or_else(|| selection.optional.then(Secret::default)) else {
            return Err(format!("secret {} not found", go_quote(name)));
        };
        let data = found.data.unwrap_or_default().into_iter().map(|(key, bytes)| (key, bytes.0)).collect();
        selection.choose(data, "references non-existent secret key")
    }

    /// All of a Secret of the Pod's namespace, as text.
    pub(super) async fn secret_texts(
        &self,
        pod: &Pod,
        name: &str,
    ) -> Result<BTreeMap<String, String>, String> {
        let found: Option<Secret> = self.get(pod, "secrets", name).await?;
        let found = found.ok_or_else(|| format!("secret {} not found", go_quote(name)))?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(found.data.unwrap_or_default().into_iter().map(|(key, bytes)| (key, text(bytes.0))).collect())
    }

    pub(super) fn downward(
        &self,
        pod: &Pod,
        items: &[DownwardAPIVolumeFile],
        mode: i32,
    ) -> Result<Payload, String> {
        let mut payload = Payload::new();
        for item in items {
            let text = match (&item.field_ref, &item.resource_field_ref) {
                (Some(field), _) => {
                    field_value(pod, &field.field_path, &Facts::default()).map_err(|error| error.message)?
                }
                (None, Some(field)) => {
                    let name = field.container_name.as_deref().unwrap_or_default();
                    let container = resources::container(pod, name)
                        .ok_or_else(|| format!("container {name} not found"))?;
                    let divisor = field.divisor.as_ref().map(|q| q.0.as_str());
                    resources::field(pod, container, &field.resource, divisor, &self.allocatable)?
                }
                (None, None) => {
                    return Err(format!("downwardAPI item {}: neither field", go_quote(&item.path)));
                }
            };
            payload.insert(item.path.clone(), file(text.into_bytes(), item.mode.unwrap_or(mode), None));
        }
        Ok(payload)
    }

    async fn token(
        &self,
        pod: &Pod,
        source: &ServiceAccountTokenProjection,
        mode: i32,
    ) -> Result<Payload, String> {
        let text = |value: Option<&String>| value.cloned().unwrap_or_default();
        let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_ref());
        let key = token::Key {
            namespace: text(pod.metadata.namespace.as_ref()),
            account: account.cloned().unwrap_or_else(|| "default".into()),
            pod: text(pod.metadata.name.as_ref()),
            uid: text(pod.metadata.uid.as_ref()),
            audience: text(source.audience.as_ref()),
            seconds: source.expiration_seconds.unwrap_or(3600),
        };
        let api = self.api.as_deref().ok_or("failed to fetch token: this node runs without an API server")?;
        let token = self.tokens.get(api, &key, SystemTime::now()).await?;
        let owner = ownership::common_user(pod);
        let mode = if owner.is_some() || ownership::fs_group(pod).is_some() { 0o600 } else { mode };
        Ok(Payload::from([(source.path.clone(), file(token.into_bytes(), mode, owner))]))
    }

    /// An object as its watch shows it.
    async fn get<T: DeserializeOwned>(
        &self,
        pod: &Pod,
        resource: &'static str,
        name: &str,
    ) -> Result<Option<T>, String> {
        let watched = self
            .watched
            .as_deref()
            .ok_or_else(|| format!("{resource} {}: this node runs without an API server", go_quote(name)))?;
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let key = Key { resource, namespace, name: name.to_owned() };
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let found = watched.get(uid, key).await.map_err(|status| status.message)?;
        let parse = |json| serde_json::from_slice(json).map_err(|e| format!("{resource} {name}: {e}"));
        found.as_deref().map(parse).transpose()
    }
}

/// Makes a volume hold exactly this, in memory or on disk.
pub(super) async fn publish(at: &At<'_>, in_memory: bool, payload: Payload) -> Result<PathBuf, String> {
    let (records, name) = (at.volumes.pod_dir(at.pod).join(RECORDS), at.volume.name.clone());
    let (dir, gid) = (at.dir.clone(), ownership::fs_group(at.pod));
    let size = at.volumes.memory_size(at.pod, &EmptyDirVolumeSource::default());
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

impl<'a> Selection<'a> {
    pub(super) fn of(items: Option<&'a Vec<KeyToPath>>, mode: Option<i32>, optional: Option<bool>) -> Self {
        Self { items, mode: mode.unwrap_or(DEFAULT_MODE), optional: optional == Some(true) }
    }
}

impl Selection<'_> {
    fn choose(&self, mut data: BTreeMap<String, Vec<u8>>, missing: &str) -> Result<Payload, String> {
        let Some(items) = self.items.filter(|items| !items.is_empty()) else {
            return Ok(data.into_iter().map(|(key, bytes)| (key, file(bytes, self.mode, None))).collect());
        };
        let mut payload = Payload::new();
        for item in items {
            match data.remove(&item.key) {
                Some(bytes) => {
                    // One key may be asked for under several paths.
                    if items.iter().filter(|other| other.key == item.key).count() > 1 {
                        data.insert(item.key.clone(), bytes.clone());
                    }
                    payload.insert(item.path.clone(), file(bytes, item.mode.unwrap_or(self.mode), None));
                }
                None if self.optional => (),
                None => return Err(format!("{missing}: {}", item.key)),
            }
        }
        Ok(payload)
    }
}

fn file(data: Vec<u8>, mode: i32, owner: Option<u32>) -> File {
    File { data, mode: u32::try_from(mode).unwrap_or(0o644) & 0o777, owner }
}
