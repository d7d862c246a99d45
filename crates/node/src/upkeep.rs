//! Housekeeping beside the Pods: image garbage collection by disk use, log rotation.

use std::collections::HashSet;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use runtime::beneath::{self, Dir};

use crate::config::Shared;

const ROTATE_EVERY: Duration = Duration::from_secs(10);
const ROTATE_AT: u64 = 10 << 20;
const ROTATED: usize = 4;
const COLLECT_EVERY: Duration = Duration::from_secs(300);
const HIGH: u64 = 85;
const LOW: u64 = 80;
const MIN_AGE: Duration = Duration::from_secs(120);

/// Runs both until dropped.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut rotate = tokio::time::interval(ROTATE_EVERY);
    let mut collect = tokio::time::interval(COLLECT_EVERY);
    loop {
        tokio::select! {
            _ = rotate.tick() => rotate_logs(&shared).await,
            _ = collect.tick() => collect_images(&shared).await,
        }
    }
}

async fn collect_images(shared: &Shared) {
    let images = &shared.config.images;
    let pods = shared.handle.pods();
    let in_use: HashSet<String> = pods
        .iter()
        .flat_map(|p| p.containers.values().flatten())
        .filter_map(|c| images.resolve(&c.image_ref).or_else(|| images.resolve(&c.image)))
        .chain(pods.iter().flat_map(|p| volume_images(&p.pod)).filter_map(|name| images.resolve(name)))
        .map(|i| i.id)
        .collect();
    images.mark_used(&in_use);
    let Ok(fs) = rustix::fs::statvfs(&shared.config.data_dir) else { return };
    let (total, free) = (fs.f_blocks * fs.f_frsize, fs.f_bavail * fs.f_frsize);
    let used = total.saturating_sub(free);
    if total == 0 || used * 100 < total * HIGH {
        return;
    }
    let need = used - total / 100 * LOW;
    match images.clone().gc(in_use, need, MIN_AGE).await {
        Ok(c) => tracing::info!("removed {} images, {} bytes", c.images.len(), c.bytes),
        Err(e) => tracing::warn!("images not collected: {e}"),
    }
}

/// The images that a Pod's volumes show.
fn volume_images(pod: &Pod) -> Vec<&str> {
    let volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
    volumes.filter_map(|v| v.image.as_ref()?.reference.as_deref()).collect()
}

async fn rotate_logs(shared: &Shared) {
    for pod in shared.handle.pods() {
        for c in pod.containers.values().flatten().filter(|c| c.state == runtime::ContainerState::Running) {
            if std::fs::metadata(&c.log_path).map_or(0, |m| m.len()) < ROTATE_AT {
                continue;
            }
            let path = c.log_path.clone();
            let rotated = tokio::task::spawn_blocking(move || rotate(&path, ROTATED)).await;
            match rotated {
                Ok(Ok(())) => {
                    if let Err(e) = shared.config.runtime.reopen_log(&c.id).await {
                        tracing::warn!("{} is not opened anew: {e}", c.log_path.display());
                    }
                }
                Ok(Err(e)) => tracing::warn!("{} is not rotated: {e}", c.log_path.display()),
                Err(e) => tracing::warn!("{} is not rotated: {e}", c.log_path.display()),
            }
        }
    }
}

/// Renames the log by the time, compresses earlier ones, keeps `keep` of them.
fn rotate(log: &Path, keep: usize) -> io::Result<()> {
    let dir = log.parent().unwrap_or(Path::new("/"));
    let prefix = format!("{}.", log.file_name().and_then(|n| n.to_str()).unwrap_or_default());
    let mut old: Vec<PathBuf> = std::fs::read_dir(dir)?
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with(&prefix)))
        .collect();
    old.sort();
    for path in old.iter().filter(|p| p.extension().is_none_or(|e| e != "gz" && e != "tmp")) {
        compress(path)?;
    }
    let excess = (old.len() + 1).saturating_sub(keep);
    for path in old.iter().take(excess) {
        let compressed = PathBuf::from(format!("{}.gz", path.display()));
        for p in [path, &compressed] {
            match std::fs::remove_file(p) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
    }
    let stamp =
        base::time::Timestamp::from_seconds(crate::clock::now().0.div_euclid(1_000_000_000)).rfc3339();
    let digits: String = stamp.chars().filter(char::is_ascii_digit).collect();
    let name = format!("{prefix}{}-{}", &digits[..8], &digits[8..14]);
    std::fs::rename(log, dir.join(name))
}

fn compress(path: &Path) -> io::Result<()> {
    let tmp = PathBuf::from(format!("{}.tmp", path.display()));
    let dir = Dir::open(path.parent().unwrap_or(Path::new("/")))?;
    let name = tmp.file_name().unwrap_or_default();
    // What an earlier attempt left.
    dir.remove(name)?;
    let mut out = flate2::write::GzEncoder::new(dir.create(name)?, flate2::Compression::default());
    io::copy(&mut beneath::open_path(path)?, &mut out)?;
    out.finish()?.set_permissions(Permissions::from_mode(0o644))?;
    std::fs::rename(&tmp, format!("{}.gz", path.display()))?;
    std::fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotation_keeps_a_few() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("0.log");
        for n in 1..=6 {
            std::fs::write(dir.path().join(format!("0.log.20200101-00000{n}.gz")), "x").unwrap();
        }
        std::fs::write(dir.path().join("0.log.20210101-000000"), "plain").unwrap();
        std::fs::write(&log, "new").unwrap();
        rotate(&log, 4).unwrap();
        let mut names: Vec<String> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names.len(), 4, "{names:?}");
        assert!(!log.exists());
        assert!(names.contains(&"0.log.20210101-000000.gz".to_owned()), "{names:?}");
    }
}
