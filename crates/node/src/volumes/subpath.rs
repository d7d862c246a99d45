//! subPath and subPathExpr (`pkg/volume/util/subpath`): part of a volume, bound to a place of its own, so that what was
//! checked is what is mounted.
//!
//! Invariant: every step is resolved by the kernel beneath the volume's root (`openat2`), and the mount is made from
//! the resulting descriptor: a container that swaps in symlinks meanwhile gets an error, never a host path.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::VolumeMount;
use runtime::beneath;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, openat, openat2};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags, move_mount, open_tree, unmount};

use crate::container::env::{expand, go_quote};

const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);

/// The part of the volume a mount asks for, if it does.
pub(super) fn wanted(mount: &VolumeMount, env: &BTreeMap<String, String>) -> Result<Option<PathBuf>, String> {
    let text = match (mount.sub_path.as_deref(), mount.sub_path_expr.as_deref()) {
        (_, Some(expr)) if !expr.is_empty() => {
            let missing = std::cell::RefCell::new(std::collections::BTreeSet::new());
            let text = expand(expr, |name| {
                let value = env.get(name).filter(|value| !value.is_empty());
                if value.is_none() {
                    missing.borrow_mut().insert(name.to_owned());
                }
                Some(value.cloned().unwrap_or_default())
            });
            let missing = missing.into_inner();
            if !missing.is_empty() {
                return Err(format!(
                    "missing value for {}",
                    missing.into_iter().collect::<Vec<_>>().join(", ")
                ));
            }
            text
        }
        (Some(path), _) if !path.is_empty() => path.to_owned(),
        _ => return Ok(None),
    };
    if text.starts_with('/') {
        return Err(format!("error SubPath `{text}` must not be an absolute path"));
    }
    let path = PathBuf::from(&text);
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(format!("unable to provision SubPath `{text}`: must not contain '..'"));
    }
    Ok(Some(path))
}

/// The most that a file of variables may hold.
const FILE_MOST: u64 = 1 << 20;

/// The text of a file of the volume at `root`, never of one outside; `None` if there is none.
///
/// # Errors
/// If it cannot be read, is no regular file, or is longer than a megabyte.
pub fn read_file(root: &Path, path: &Path) -> io::Result<Option<String>> {
    let root = openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let file = match beneath::open_file(&root, path, BENEATH) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        other => other?,
    };
    match beneath::read_most(file, FILE_MOST)? {
        (bytes, true) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        _ => Err(io::Error::other("longer than a megabyte")),
    }
}

/// Binds `path` of the volume at `root` to the Pod's `volume-subpaths` and returns where.
pub(super) fn bind(
    pod_dir: &Path,
    root: &Path,
    path: &Path,
    mount: &VolumeMount,
    container: &str,
    index: usize,
) -> Result<PathBuf, String> {
    let of = || format!("for volumeMount {} of container {}", go_quote(&mount.name), go_quote(container));
    let opened = open_or_make(root, path).map_err(|error| {
        tracing::debug!(%error, path = %path.display(), "cannot open subPath");
        format!("failed to create subPath directory {}", of())
    })?;
    let prepare = || -> io::Result<PathBuf> {
        let target =
            pod_dir.join("volume-subpaths").join(&mount.name).join(container).join(index.to_string());
        let parent = target.parent().unwrap_or(pod_dir);
        fs::DirBuilder::new().recursive(true).mode(0o750).create(parent)?;
        // What an earlier instance used; that instance keeps its own copy of the mount.
        while is_mount_point(&target)? {
            unmount(&target, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH)?;
        }
        let directory = FileType::from_raw_mode(fstat(&opened)?.st_mode) == FileType::Directory;
        match fs::symlink_metadata(&target) {
            Ok(meta) if meta.is_dir() && directory || meta.is_file() && !directory => (),
            Ok(meta) if meta.is_dir() => fs::remove_dir(&target)?,
            Ok(_) => fs::remove_file(&target)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => (),
            Err(error) => return Err(error),
        }
        match directory {
            true if !target.exists() => fs::create_dir(&target)?,
            false if !target.exists() => drop(fs::File::create_new(&target)?),
            _ => (),
        }
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH
            | OpenTreeFlags::AT_RECURSIVE;
        let tree = open_tree(&opened, "", flags)?;
        move_mount(&tree, "", CWD, &target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        Ok(target)
    };
    prepare().map_err(|error| format!("failed to prepare subPath {}: {error}", of()))
}

/// Whether something is mounted exactly there; compares mount ids, because a bind keeps the device.
fn is_mount_point(path: &Path) -> io::Result<bool> {
    use rustix::fs::{AtFlags, StatxAttributes, StatxFlags, statx};
    match statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT, StatxFlags::BASIC_STATS) {
        Ok(stat) => Ok(stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Opens a path beneath the volume, making missing directories with the mode of the volume's root.
fn open_or_make(root: &Path, path: &Path) -> io::Result<OwnedFd> {
    let top = openat(CWD, root, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let meta = fstat(&top)?;
    let open = |path: &Path| openat2(&top, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), BENEATH);
    match open(path) {
        Err(Errno::NOENT) => (),
        other => return Ok(other?),
    }
    let mut so_far = PathBuf::new();
    let mut at = open(Path::new("."))?;
    for part in path.components() {
        let Component::Normal(name) = part else { continue };
        so_far.push(name);
        at = match open(&so_far) {
            Ok(next) => next,
            Err(Errno::NOENT) => {
                mkdirat(&at, name, Mode::from_raw_mode(0o700))?;
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let made = openat2(&at, name, flags, Mode::empty(), BENEATH | ResolveFlags::NO_SYMLINKS)?;
                // fsGroup on the volume's root is inherited with the set-group-id bit.
                beneath::give(&made, Some(meta.st_uid), Some(meta.st_gid), meta.st_mode & 0o7777)?;
                made
            }
            Err(error) => return Err(error.into()),
        };
    }
    Ok(open(path)?)
}
