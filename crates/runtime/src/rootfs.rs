//! Detached mounts: a container's root from its layers, and its volumes.
//!
//! Invariant: nothing becomes visible in the host's mount table. Absent: attaching them, which the container's first
//! process does in its own namespace.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount,
};

use crate::{Mount, Propagation, RuntimeError, sys};

fn failed(operation: String, error: &io::Error) -> RuntimeError {
    RuntimeError::System { operation, message: error.to_string() }
}

/// The root filesystem: `layers` (uppermost first) under the writable `dir/upper`.
pub(crate) fn overlay(layers: &[PathBuf], dir: &Path) -> Result<OwnedFd, RuntimeError> {
    let (upper, work) = (dir.join("upper"), dir.join("work"));
    if layers.is_empty() {
        let mount = sys::clone_mount(&upper, false)
            .and_then(|mount| sys::set_mount(mount.as_fd(), 0, libc::MS_PRIVATE, false).map(|()| mount));
        return mount.map_err(|error| failed(format!("mount {}", upper.display()), &error));
    }
    overlay_of(layers, Some((&upper, &work)), &dir.join("root")).map_err(|error| {
        failed(format!("mount overlay of {} layers at {}", layers.len(), dir.display()), &error)
    })
}

/// Mounts `layers` (uppermost first), as one tree that nobody can write to, on the empty directory `place`.
///
/// # Errors
/// When there is no layer, or the kernel refuses.
pub fn mount_layers(layers: &[PathBuf], place: &Path) -> Result<(), RuntimeError> {
    let mounted = || -> io::Result<()> {
        let tree = match layers {
            [] => return Err(io::Error::other("the image has no layers")),
            [only] => sys::clone_mount(only, false)?,
            _ => overlay_of(layers, None, place)?,
        };
        sys::set_mount(tree.as_fd(), libc::MOUNT_ATTR_RDONLY, libc::MS_PRIVATE, false)?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(&tree, "", CWD, place, flags).map_err(io::Error::from)
    };
    mounted().map_err(|error| failed(format!("mount {} layers at {}", layers.len(), place.display()), &error))
}

/// `place` is where old kernels mount it for a moment; `writable` are the upper and the work directory.
fn overlay_of(layers: &[PathBuf], writable: Option<(&Path, &Path)>, place: &Path) -> io::Result<OwnedFd> {
    let joined = || mount_overlay_joined(layers, writable, place);
    if ONE_STRING.load(Ordering::Relaxed) {
        return joined();
    }
    match mount_overlay(layers, writable) {
        Err(Errno::INVAL) => joined().inspect(|_| ONE_STRING.store(true, Ordering::Relaxed)),
        other => other.map_err(io::Error::from),
    }
}

fn mount_overlay(layers: &[PathBuf], writable: Option<(&Path, &Path)>) -> Result<OwnedFd, Errno> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let context = context.as_fd();
    let lower = layers.iter().map(|layer| ("lowerdir+", layer.as_path()));
    let own = writable.into_iter().flat_map(|(upper, work)| [("upperdir", upper), ("workdir", work)]);
    let mut opened = Vec::new();
    for (key, path) in lower.chain(own) {
        if path.as_os_str().len() < STRING_MAX {
            fsconfig_set_string(context, key, path)?;
        } else {
            let (file, short) = shortened(path)?;
            fsconfig_set_string(context, key, short)?;
            opened.push(file);
        }
    }
    fsconfig_create(context)?;
    fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

/// Set once this kernel was seen to take all layers in one string only (before Linux 6.5 there is no `lowerdir+`).
static ONE_STRING: AtomicBool = AtomicBool::new(false);

/// The kernel's limit for one option.
const STRING_MAX: usize = 255;

/// A name for a path that is short however long the path is, for as long as the descriptor is open.
fn shortened(path: &Path) -> Result<(OwnedFd, String), Errno> {
    use std::os::fd::AsRawFd;
    let file = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let name = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok((file, name))
}

/// All layers in one string of mount(2), at most a page long; so it stands in the host's tree for a moment.
fn mount_overlay_joined(
    layers: &[PathBuf],
    writable: Option<(&Path, &Path)>,
    place: &Path,
) -> io::Result<OwnedFd> {
    let mut opened = Vec::new();
    let mut short = |path: &Path| -> io::Result<String> {
        let (file, name) = shortened(path)?;
        opened.push(file);
        Ok(name)
    };
    let lower: io::Result<Vec<String>> = layers.iter().map(|layer| short(layer)).collect();
    let mut options = format!("lowerdir={}", lower?.join(":"));
    if let Some((upper, work)) = writable {
        options.push_str(&format!(",upperdir={},workdir={}", short(upper)?, short(work)?));
    }
    let options = std::ffi::CString::new(options).map_err(|_| Errno::INVAL)?;
    std::fs::create_dir_all(place)?;
    rustix::mount::mount("overlay", place, "overlay", MountFlags::empty(), options.as_c_str())?;
    let detached = sys::clone_mount(place, false)
        .and_then(|mount| sys::set_mount(mount.as_fd(), 0, libc::MS_PRIVATE, false).map(|()| mount));
    rustix::mount::unmount(place, UnmountFlags::DETACH)?;
    detached
}

/// A volume as a detached mount; also whether it is a directory.
pub(crate) fn volume(mount: &Mount) -> Result<(OwnedFd, bool), RuntimeError> {
    let say = |error: &io::Error| failed(format!("mount {}", mount.source.display()), error);
    let dir = std::fs::metadata(&mount.source).map_err(|error| say(&error))?.is_dir();
    let tree = sys::clone_mount(&mount.source, true).map_err(|error| say(&error))?;
    let propagation = match mount.propagation {
        Propagation::Private => libc::MS_PRIVATE,
        Propagation::HostToContainer => libc::MS_SLAVE,
        // A copy of a shared mount is its peer; making it shared where it was not would pretend.
        Propagation::Bidirectional => 0,
    };
    if propagation != 0 {
        sys::set_mount(tree.as_fd(), 0, propagation, true).map_err(|error| say(&error))?;
    }
    if mount.read_only {
        sys::set_mount(tree.as_fd(), libc::MOUNT_ATTR_RDONLY, 0, mount.recursive_read_only)
            .map_err(|error| say(&error))?;
    }
    Ok((tree, dir))
}
