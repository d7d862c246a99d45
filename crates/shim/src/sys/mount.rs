//! Mounts: detached, attached, made the root.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr::null;

use libc::c_void;

use super::{Result, check, check_int, cstr, owned};

pub(crate) fn open_tree(dir: RawFd, path: &str, recursive: bool) -> Result<OwnedFd> {
    let path = cstr(path)?;
    let mut flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_EMPTY_PATH as u32;
    if recursive {
        flags |= libc::AT_RECURSIVE as u32;
    }
    // SAFETY: a valid string.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, dir, path.as_ptr(), flags) })
}

/// Attaches a detached mount at an open place.
pub(crate) fn move_mount(mount: RawFd, to: RawFd) -> Result<()> {
    let flags = 0x4 | 0x40; // MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
    // SAFETY: valid strings.
    check(unsafe { libc::syscall(libc::SYS_move_mount, mount, c"".as_ptr(), to, c"".as_ptr(), flags) })
        .map(drop)
}

/// Sets `MOUNT_ATTR_*` on an open mount.
pub(crate) fn mount_setattr(mount: RawFd, set: u64, recursive: bool) -> Result<()> {
    let attr = [set, 0u64, 0, 0];
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    let size = size_of_val(&attr);
    // SAFETY: a valid string and a mount_attr (four u64) of the size given.
    check(unsafe { libc::syscall(libc::SYS_mount_setattr, mount, c"".as_ptr(), flags, attr.as_ptr(), size) })
        .map(drop)
}

/// A new filesystem as a detached mount; a procfs may be of another PID namespace than the caller's, which kernels
/// before 6.17 refuse with EINVAL.
pub(crate) fn new_mount(
    fs: &str,
    options: &[(String, String)],
    attr: u64,
    pid_namespace: Option<RawFd>,
) -> Result<OwnedFd> {
    let name = cstr(fs)?;
    // SAFETY: a valid string; 1 is FSOPEN_CLOEXEC.
    let context = owned(unsafe { libc::syscall(libc::SYS_fsopen, name.as_ptr(), 1) })?;
    for (key, value) in options {
        let (key, text) = (cstr(key)?, cstr(value)?);
        // FSCONFIG_SET_FLAG 0, FSCONFIG_SET_STRING 1
        let (command, pointer) = if value.is_empty() { (0, null()) } else { (1, text.as_ptr()) };
        // SAFETY: valid strings, as the command wants them.
        check(unsafe {
            libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), command, key.as_ptr(), pointer, 0)
        })?;
    }
    if let Some(namespace) = pid_namespace {
        // SAFETY: a valid string; FSCONFIG_SET_FD (5) takes no value.
        check(unsafe {
            let (key, value) = (c"pidns".as_ptr(), null::<c_void>());
            libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), 5, key, value, namespace)
        })?;
    }
    let none = null::<c_void>();
    // SAFETY: FSCONFIG_CMD_CREATE (6) takes no arguments.
    check(unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), 6, none, none, 0) })?;
    // SAFETY: no memory involved; 1 is FSMOUNT_CLOEXEC.
    owned(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), 1, attr) })
}

pub(crate) fn make_private_root() -> Result<()> {
    // SAFETY: valid strings; the kernel ignores the null ones for a change of propagation.
    check_int(unsafe { libc::mount(null(), c"/".as_ptr(), null(), libc::MS_REC | libc::MS_PRIVATE, null()) })
        .map(drop)
}

pub(crate) fn fchdir(fd: RawFd) -> Result<()> {
    // SAFETY: no memory involved.
    check_int(unsafe { libc::fchdir(fd) }).map(drop)
}

pub(crate) fn chdir(path: &str) -> Result<()> {
    let path = cstr(path)?;
    // SAFETY: a valid string.
    check_int(unsafe { libc::chdir(path.as_ptr()) }).map(drop)
}

/// Makes the current directory the root of the mount namespace and drops the old root.
pub(crate) fn pivot_here() -> Result<()> {
    // SAFETY: valid strings.
    check(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) })?;
    // SAFETY: a valid string; `.` is now the old root, stacked on the new one.
    check_int(unsafe { libc::umount2(c".".as_ptr(), libc::MNT_DETACH) })?;
    chdir("/")
}

pub(crate) fn chroot_here() -> Result<()> {
    // SAFETY: a valid string.
    check_int(unsafe { libc::chroot(c".".as_ptr()) })?;
    chdir("/")
}
