//! Detached mounts: a container's root from its layers, and its volumes.
//!
//! Invariant: nothing becomes visible in the host's mount table. Absent: attaching them, which the container's first
//! process does in its own namespace.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
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
    mount_overlay(layers, &upper, &work).map_err(|error| {
        failed(format!("mount overlay of {} layers at {}", layers.len(), dir.display()), &error)
    })
}

fn mount_overlay(layers: &[PathBuf], upper: &Path, work: &Path) -> io::Result<OwnedFd> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let context = context.as_fd();
    for layer in layers {
        match fsconfig_set_string(context, "lowerdir+", layer.as_path()) {
            // Before Linux 6.5 all layers go in one string.
            Err(Errno::INVAL) => return mount_overlay_joined(layers, upper, work),
            other => other?,
        }
    }
    for (key, value) in [("upperdir", upper), ("workdir", work)] {
        fsconfig_set_string(context, key, value)?;
    }
    fsconfig_create(context)?;
    Ok(fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?)
}

fn mount_overlay_joined(layers: &[PathBuf], upper: &Path, work: &Path) -> io::Result<OwnedFd> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let context = context.as_fd();
    let names: Vec<String> = layers.iter().map(|layer| layer.to_string_lossy().replace(':', "\\:")).collect();
    fsconfig_set_string(context, "lowerdir", names.join(":"))?;
    fsconfig_set_string(context, "upperdir", upper)?;
    fsconfig_set_string(context, "workdir", work)?;
    fsconfig_create(context)?;
    Ok(fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?)
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
