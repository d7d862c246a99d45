//! emptyDir volumes: a directory on the node's disk, or memory (`pkg/volume/emptydir`). Absent: huge pages as a medium.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Volume};
use runtime::beneath::Dir;

use super::plugin::{At, Plugin, Storage};
use super::{blocking, kernel, ownership};
use crate::container::env::go_quote;

pub(super) struct EmptyDir;

#[async_trait]
impl Plugin for EmptyDir {
    fn name(&self) -> &'static str {
        "empty-dir"
    }

    fn takes(&self, volume: &Volume) -> bool {
        volume.empty_dir.is_some()
    }

    async fn publish(&self, at: &At<'_>) -> Result<PathBuf, String> {
        let source = at.volume.empty_dir.clone().unwrap_or_default();
        let size = at.volumes.memory_size(at.pod, &source);
        let (dir, gid) = (at.dir.clone(), ownership::fs_group(at.pod));
        blocking(move || make(&dir, &source, size, gid).map(|()| dir)).await
    }

    fn usage(&self, at: &At<'_>) -> Option<Storage> {
        let medium = at.volume.empty_dir.as_ref().and_then(|source| source.medium.as_deref());
        medium.unwrap_or_default().is_empty().then(|| Storage::Volume(at.dir.clone()))
    }
}

fn make(dir: &Path, source: &EmptyDirVolumeSource, size: u64, gid: Option<u32>) -> Result<(), String> {
    let made = kernel::make_dirs(dir, 0o777)?;
    let mounted = match source.medium.as_deref() {
        None | Some("") => false,
        Some("Memory") => kernel::tmpfs(dir, size)?,
        Some(medium) => return Err(format!("unknown storage medium {}", go_quote(medium))),
    };
    match gid.filter(|_| made || mounted) {
        Some(gid) => Dir::open(dir)
            .and_then(|opened| ownership::give(&opened, gid, false))
            .map_err(|e| format!("applyFSGroup failed for vol {}: {e}", dir.display())),
        None => Ok(()),
    }
}
