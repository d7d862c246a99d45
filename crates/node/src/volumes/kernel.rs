//! Directories and mounts of volumes.
//!
//! Invariant: removal never crosses a mount: what cannot be unmounted stops it.

use std::fs;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use runtime::Trash;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind_recursive, mount_change, unmount,
};

/// Makes a volume's directory, its parents with 0750; whether it is new.
pub(super) fn make_dirs(dir: &Path, mode: u32) -> Result<bool, String> {
    let fail = |e: io::Error| format!("mkdir {}: {e}", dir.display());
    if dir.is_dir() {
        return Ok(false);
    }
    if let Some(parent) = dir.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o750).create(parent).map_err(fail)?;
    }
    match fs::create_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        other => other.map_err(fail)?,
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(mode)).map_err(fail)?;
    Ok(true)
}

/// Whether something is mounted on a directory.
pub(super) fn is_mounted(dir: &Path) -> bool {
    let canonical = fs::canonicalize(dir);
    canonical.is_ok_and(|dir| mounts_below(&dir).is_ok_and(|all| all.contains(&dir)))
}

/// Lets mounts travel to and from a volume's directory: unless it is on a shared mount, it becomes one of its own, which
/// [`remove_with_mounts`] takes away.
pub(super) fn share(dir: &Path) -> Result<(), String> {
    let fail = |e: io::Error| format!("share {}: {e}", dir.display());
    let canonical = fs::canonicalize(dir).map_err(fail)?;
    let table = runtime::mount_points().map_err(fail)?;
    let found = runtime::mount_of(&table, &canonical);
    if found.is_some_and(|mount| mount.shared) {
        return Ok(());
    }
    if found.is_none_or(|mount| mount.at != canonical) {
        mount_bind_recursive(&canonical, &canonical).map_err(|e| fail(e.into()))?;
        // A copy of a slave is one.
        mount_change(&canonical, MountPropagationFlags::PRIVATE).map_err(|e| fail(e.into()))?;
    }
    mount_change(&canonical, MountPropagationFlags::SHARED).map_err(|e| fail(e.into()))
}

/// Mounts memory there unless something is mounted already; whether it did. `size` 0 leaves the kernel's default.
pub(super) fn tmpfs(dir: &Path, size: u64) -> Result<bool, String> {
    let fail = |e: io::Error| format!("mount tmpfs on {}: {e}", dir.display());
    let device = |path: &Path| fs::metadata(path).map(|meta| meta.dev()).map_err(fail);
    let parent = dir.parent().unwrap_or(Path::new("/"));
    if device(dir)? != device(parent)? {
        return Ok(false);
    }
    let data = if size > 0 { format!("size={size}\0") } else { "\0".to_owned() };
    let data = std::ffi::CStr::from_bytes_with_nul(data.as_bytes()).expect("it ends with its only NUL");
    mount("tmpfs", dir, "tmpfs", MountFlags::empty(), data).map_err(|e| fail(e.into()))?;
    Ok(true)
}

/// Unmounts everything at or below `dir`, uppermost mounts first, then throws it away.
pub(super) fn remove_with_mounts(dir: &Path, trash: &Trash) -> Result<(), String> {
    // Canonical, because the kernel's table is.
    let canonical = match fs::canonicalize(dir) {
        Ok(path) => path,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("resolve {}: {error}", dir.display())),
    };
    for _ in 0..16 {
        let mounted = mounts_below(&canonical)?;
        if mounted.is_empty() {
            break;
        }
        for point in mounted.iter().rev() {
            unmount_at(&canonical, point).map_err(|e| format!("unmount {}: {e}", point.display()))?;
        }
    }
    if let Some(left) = mounts_below(&canonical)?.first() {
        return Err(format!("{} is still mounted", left.display()));
    }
    trash.put(dir).map_err(|error| format!("remove {}: {error}", dir.display()))
}

/// Unmounts what the table shows at `point`, `root` or below it: no link on the way leads to another mount.
fn unmount_at(root: &Path, point: &Path) -> io::Result<()> {
    let flags = UnmountFlags::NOFOLLOW | UnmountFlags::DETACH;
    let below = point.strip_prefix(root).map_err(io::Error::other)?;
    let Some(name) = below.file_name() else { return Ok(unmount(point, flags)?) };
    let root = openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let above = below.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let above = openat2(root, above, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)?;
    Ok(unmount(Path::new("/proc/self/fd").join(above.as_raw_fd().to_string()).join(name), flags)?)
}

/// Mount points at or below a directory, in the order in which they were mounted.
pub(super) fn mounts_below(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let mounts = runtime::mount_points_below(dir).map_err(|e| format!("read the table of mounts: {e}"))?;
    Ok(mounts.into_iter().map(|mount| mount.at).collect())
}
