//! hostPath volumes: what must be there already, or is made (`pkg/volume/hostpath`).

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{HostPathVolumeSource, Volume};

use super::blocking;
use super::plugin::{At, Plugin};

pub(super) struct HostPath;

#[async_trait]
impl Plugin for HostPath {
    fn name(&self) -> &'static str {
        "host-path"
    }

    fn takes(&self, volume: &Volume) -> bool {
        volume.host_path.is_some()
    }

    async fn publish(&self, at: &At<'_>) -> Result<PathBuf, String> {
        let source = at.volume.host_path.clone().unwrap_or_default();
        blocking(move || check(&source)).await
    }
}

/// Checks the type and makes what `…OrCreate` asks for. Without a type a missing path becomes a directory, as
/// container runtimes have it.
pub(super) fn check(source: &HostPathVolumeSource) -> Result<PathBuf, String> {
    let path = PathBuf::from(&source.path);
    let kind = source.type_.as_deref().unwrap_or_default();
    let exists = path.exists();
    match kind {
        "" | "DirectoryOrCreate" if !exists => make_dir(&path)?,
        "FileOrCreate" if !exists => make_file(&path)?,
        _ => (),
    }
    let found = fs::metadata(&path).ok().map(|meta| meta.file_type());
    let is = |test: fn(&fs::FileType) -> bool| found.as_ref().is_some_and(test);
    let (good, what) = match kind {
        "" => (true, ""),
        "DirectoryOrCreate" | "Directory" => (is(fs::FileType::is_dir), "a directory"),
        "FileOrCreate" | "File" => (is(fs::FileType::is_file), "a file"),
        "Socket" => (is(fs::FileType::is_socket), "a socket file"),
        "CharDevice" => (is(fs::FileType::is_char_device), "a character device"),
        "BlockDevice" => (is(fs::FileType::is_block_device), "a block device"),
        other => return Err(format!("{other} is an invalid volume type")),
    };
    if good { Ok(path) } else { Err(format!("hostPath type check failed: {} is not {what}", source.path)) }
}

fn make_dir(path: &Path) -> Result<(), String> {
    let make = || {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))
    };
    make().map_err(|e: io::Error| format!("mkdir {}: {e}", path.display()))
}

fn make_file(path: &Path) -> Result<(), String> {
    match fs::File::options().create_new(true).write(true).mode(0o644).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(format!("open {}: {error}", path.display())),
    }
}
