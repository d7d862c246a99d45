//! Gathers what a container is made from: ConfigMaps and Secrets of its environment, mounts, the node's own files; and
//! reads its last words when it ended.

use std::collections::BTreeMap;
use std::io::{Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use images::Image;
use k8s_openapi::api::core::v1::{Container, Pod};
use runtime::beneath::{self, Dir};
use runtime::{ContainerSpec, ContainerStatus, Mount};
use serde_json::Value;

use crate::calls;
use crate::config::Shared;
use crate::container::services::Link;
use crate::container::{ConfigError, env, hosts, security, spec, termination};
use crate::pulls::image_ref;
use crate::volumes::HostPaths;

/// Label: host path of the termination message file.
const TERMINATION_LOG: &str = "minke.dev/termination-log";
/// Label: the image field from which an instance was made.
pub(super) const IMAGE_FIELD: &str = "minke.dev/image";
/// Label: the resources, as JSON, that an instance was made with.
pub(super) const RESOURCES: &str = "minke.dev/resources";
/// Where Localhost seccomp profiles are looked up, below DATA_DIR.
const SECCOMP: &str = "seccomp";
/// Below a Pod's directory: files that all its containers have.
pub(crate) const NODE_FILES: [&str; 3] = ["etc-hosts", "resolv.conf", "hostname"];
/// Below a Pod's directory: what containers said last, by their names.
pub(crate) const LAST_WORDS: &str = "containers";
/// Bytes of a log that are read for its last lines.
const LOG_TAIL: u64 = 64 << 10;

/// One container about to be made.
pub(super) struct Making<'a> {
    pub(super) shared: &'a Shared,
    pub(super) pod: &'a Pod,
    pub(super) container: &'a Container,
    pub(super) restart_count: u32,
    pub(super) target: Option<String>,
    pub(super) image: &'a Image,
    pub(super) pod_ips: &'a [String],
    pub(super) volumes: &'a HostPaths,
}

impl Making<'_> {
    /// The runtime's order.
    pub(super) async fn build(&self) -> Result<ContainerSpec, ConfigError> {
        let (shared, c) = (self.shared, self.container);
        let sources = self.sources().await?;
        let facts = env::Facts {
            node_name: shared.config.name.clone(),
            host_ips: shared.host_ips(),
            pod_ips: self.pod_ips.to_vec(),
            allocatable: shared.allocatable.clone(),
            services: self.services().await?,
        };
        let env = env::environment(self.pod, c, &sources, &facts)?;
        let mut mounts =
            shared.volumes.mounts(self.pod, c, &env, self.volumes).map_err(ConfigError::config)?;
        let mut labels = BTreeMap::from([(IMAGE_FIELD.to_owned(), c.image.clone().unwrap_or_default())]);
        let resources = serde_json::to_string(&c.resources.clone().unwrap_or_default());
        labels.insert(RESOURCES.to_owned(), resources.map_err(|e| ConfigError::config(e.to_string()))?);
        self.node_files(&mut mounts, &mut labels).map_err(ConfigError::config)?;
        spec::build(spec::Inputs {
            pod: self.pod,
            container: c,
            image: self.image,
            image_ref: &image_ref(self.image),
            attempt: self.restart_count,
            env: &env,
            mounts,
            target: self.target.clone(),
            seccomp_default: shared.config.seccomp_default,
            seccomp_dir: &shared.config.data_dir.join(SECCOMP),
            memory_capacity: i64::try_from(shared.facts.memory).unwrap_or(i64::MAX),
            cpus: usize::try_from(shared.facts.cpus).unwrap_or(1),
            labels,
        })
    }

    /// The Services that the container is told of; without an API server there are none.
    async fn services(&self) -> Result<Vec<Link>, ConfigError> {
        if self.shared.config.api.is_none() {
            return Ok(Vec::new());
        }
        let namespace = self.pod.metadata.namespace.as_deref().unwrap_or_default();
        let wants = self.pod.spec.as_ref().and_then(|spec| spec.enable_service_links).unwrap_or(true);
        self.shared.services.of(namespace, wants).await.map_err(ConfigError::config)
    }

    /// Reads the objects and files that the environment names; one that does not exist has no entry.
    async fn sources(&self) -> Result<env::Sources, ConfigError> {
        let mut out = env::Sources::default();
        let namespace = self.pod.metadata.namespace.as_deref().unwrap_or_default();
        for (secret, name) in env::wanted(self.container) {
            let api = self.shared.config.api.as_ref();
            let api = api.ok_or_else(|| {
                ConfigError::config(format!("{name:?} cannot be read without an API server"))
            })?;
            let gvr = if secret { calls::SECRETS } else { calls::CONFIG_MAPS };
            match calls::get(&**api, calls::target(gvr, namespace, &name)).await {
                Ok(object) => {
                    let into = if secret { &mut out.secrets } else { &mut out.config_maps };
                    into.insert(name, data(&object, secret));
                }
                Err(e) if e.code == 404 => {}
                Err(e) => return Err(ConfigError::config(e.to_string())),
            }
        }
        for (volume, path) in env::wanted_files(self.container) {
            let root = self.volumes.get(&volume).ok_or_else(|| {
                ConfigError::config(format!("cannot find volume {volume:?} of a fileKeyRef"))
            })?;
            let text = crate::volumes::read_file(root, Path::new(&path)).map_err(|e| {
                ConfigError::config(format!("couldn't read env file {path:?} of volume {volume:?}: {e}"))
            })?;
            out.files.insert((volume, path), text);
        }
        Ok(out)
    }

    /// hosts, resolv.conf, hostname and the termination log, unless a volume is mounted there.
    fn node_files(
        &self,
        mounts: &mut Vec<Mount>,
        labels: &mut BTreeMap<String, String>,
    ) -> Result<(), String> {
        let dir = self.shared.pod_dir(self.pod.metadata.uid.as_deref().unwrap_or_default());
        let host_network = self.pod.spec.as_ref().is_some_and(|s| s.host_network == Some(true));
        let text = if host_network {
            hosts::host_network(self.pod, &std::fs::read_to_string("/etc/hosts").unwrap_or_default())
        } else {
            hosts::managed(self.pod, self.pod_ips, &self.shared.config.cluster_domain)
        };
        super::write_in_place(&dir.join("etc-hosts"), &text)?;
        // The runtime's files follow the root (containerd's `containerMounts`), the kubelet's stay writable.
        let locked = security::read_only_root(self.container);
        let mut files = vec![
            (dir.join("etc-hosts"), "/etc/hosts".to_owned(), false),
            (dir.join("resolv.conf"), "/etc/resolv.conf".to_owned(), locked),
        ];
        if !host_network {
            files.push((dir.join("hostname"), "/etc/hostname".to_owned(), locked));
        }
        if let Some(target) = self.container.termination_message_path.clone().filter(|p| !p.is_empty()) {
            let file = termination_log(&dir, &self.container.name)?;
            labels.insert(TERMINATION_LOG.to_owned(), file.to_string_lossy().into_owned());
            files.push((file, target, false));
        }
        for (source, target, read_only) in files {
            if !mounts.iter().any(|m| m.target.as_os_str() == target.as_str()) {
                mounts.push(Mount { source, target: target.into(), read_only, ..Mount::default() });
            }
        }
        Ok(())
    }
}

/// `data` as text; a Secret's values are decoded, bytes that are no text shown as Go's strings are.
fn data(object: &Value, secret: bool) -> BTreeMap<String, String> {
    let value = |v: &Value| {
        let text = v.as_str().unwrap_or_default();
        if !secret {
            return text.to_owned();
        }
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    object["data"].as_object().into_iter().flatten().map(|(k, v)| (k.clone(), value(v))).collect()
}

/// A fresh file for a container's last words, which anybody may write.
fn termination_log(pod_dir: &Path, container: &str) -> Result<PathBuf, String> {
    let dir = pod_dir.join(LAST_WORDS).join(container);
    let name = format!("{:08x}", rand::random::<u32>());
    let make = || {
        std::fs::create_dir_all(&dir)?;
        beneath::give(Dir::open(&dir)?.create(&name)?, None, None, 0o666)
    };
    make().map_err(|e: std::io::Error| format!("make {}: {e}", dir.join(&name).display()))?;
    Ok(dir.join(name))
}

fn tail(path: &Path, bytes: u64) -> std::io::Result<Vec<u8>> {
    let mut file = beneath::open_path(path)?;
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(bytes)))?;
    Ok(beneath::read_most(file, bytes)?.0)
}

/// What an ended container leaves to be read: the runtime's words and its own.
pub(super) fn last_words(pod: &Pod, c: &ContainerStatus) -> String {
    let all = lifecycle::containers(pod);
    let bytes = termination::FILE_BYTES.min(termination::POD_BYTES / all.len().max(1));
    let file = c.labels.get(TERMINATION_LOG).map(|p| tail(Path::new(p), bytes as u64));
    let file = file.and_then(Result::ok).unwrap_or_default();
    let policy =
        all.iter().find(|x| x.name() == c.name).and_then(|x| x.spec.termination_message_policy.clone());
    let own = if termination::falls_back(policy.as_deref(), c.exit_code, &file, &c.reason) {
        let raw = tail(&c.log_path, LOG_TAIL).unwrap_or_default();
        termination::tail_of_log(&plain_log(&String::from_utf8_lossy(&raw)))
    } else {
        String::from_utf8_lossy(&file).into_owned()
    };
    termination::joined(&c.message, &own)
}

/// CRI log lines without their heads, partial ones joined.
fn plain_log(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let mut parts = line.splitn(4, ' ');
        let (tag, rest) = (parts.nth(2).unwrap_or_default(), parts.next().unwrap_or_default());
        out.push_str(rest);
        if !tag.starts_with('P') {
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_come_from_file_or_log() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("0.log");
        std::fs::write(&log, "t stdout P one \nt stdout F two\nt stderr F three\n").unwrap();
        let file = termination_log(dir.path(), "a").unwrap();
        let pod: Pod = serde_json::from_value(serde_json::json!({"spec": {"containers": [
            {"name": "a", "terminationMessagePolicy": "FallbackToLogsOnError"}]}}))
        .unwrap();
        let mut status = ContainerStatus {
            id: String::new(),
            sandbox_id: String::new(),
            name: "a".into(),
            attempt: 0,
            state: runtime::ContainerState::Exited,
            image: String::new(),
            image_ref: String::new(),
            created_at: 0,
            started_at: 0,
            finished_at: 0,
            exit_code: 1,
            reason: "Error".into(),
            message: String::new(),
            pid: None,
            user: None,
            resources: runtime::Resources::default(),
            log_path: log,
            labels: BTreeMap::from([(TERMINATION_LOG.to_owned(), file.to_string_lossy().into_owned())]),
        };
        assert_eq!(last_words(&pod, &status), "one two\nthree\n");
        std::fs::write(&file, "bye").unwrap();
        status.message = "killed".into();
        assert_eq!(last_words(&pod, &status), "killed: bye");
        let long = std::fs::File::options().write(true).open(&file).unwrap();
        long.set_len(1 << 40).unwrap();
        assert_eq!(last_words(&pod, &status).len(), "killed: ".len() + termination::FILE_BYTES);
        status.message = String::new();
        for n in 0..2 {
            std::fs::remove_file(&file).unwrap();
            match n {
                0 => nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap(),
                _ => std::os::unix::fs::symlink("/etc/passwd", &file).unwrap(),
            }
            assert_eq!(last_words(&pod, &status), "one two\nthree\n", "as if there were no file");
        }
    }
}
