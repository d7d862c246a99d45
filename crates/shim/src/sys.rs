//! The system calls, each as a small safe function returning errno.
//!
//! Invariant: all `unsafe` that talks to the kernel is here and below. Absent: policy.

mod mount;
mod process;
mod socket;

use std::ffi::{CStr, CString};
use std::mem::{size_of, zeroed};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use libc::{c_int, c_long};

pub(crate) use mount::*;
pub(crate) use process::*;
pub(crate) use socket::*;

/// An error number.
pub(crate) type Errno = c_int;

pub(crate) type Result<T> = std::result::Result<T, Errno>;

pub(crate) const AT_FDCWD: RawFd = libc::AT_FDCWD;

fn errno() -> Errno {
    // SAFETY: always valid in a thread; only read.
    unsafe { *libc::__errno_location() }
}

fn check(value: c_long) -> Result<c_long> {
    if value < 0 { Err(errno()) } else { Ok(value) }
}

fn check_int(value: c_int) -> Result<c_int> {
    if value < 0 { Err(errno()) } else { Ok(value) }
}

fn owned(fd: c_long) -> Result<OwnedFd> {
    let fd = check(fd)?;
    // SAFETY: the kernel just made this descriptor for us and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// The kernel's words, beginning in lower case as Go's do.
pub(crate) fn describe(error: Errno) -> String {
    // SAFETY: strerror returns a valid string, used before any further call; this process has one thread.
    let text = unsafe { CStr::from_ptr(libc::strerror(error)) };
    let mut text = text.to_bytes().to_vec();
    if let Some(first) = text.first_mut() {
        first.make_ascii_lowercase();
    }
    String::from_utf8(text).unwrap_or_default()
}

/// A path or name for the kernel.
pub(crate) fn cstr(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| libc::EINVAL)
}

/// Unix nanoseconds.
pub(crate) fn now() -> i64 {
    // SAFETY: plain data filled by the kernel.
    let mut time: libc::timespec = unsafe { zeroed() };
    // SAFETY: a valid clock and a valid pointer.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &mut time) };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

pub(crate) fn open(path: &str, flags: c_int) -> Result<OwnedFd> {
    openat(AT_FDCWD, path, flags, 0)
}

pub(crate) fn openat(dir: RawFd, path: &str, flags: c_int, mode: u32) -> Result<OwnedFd> {
    let path = cstr(path)?;
    // SAFETY: a valid string.
    owned(unsafe { libc::openat(dir, path.as_ptr(), flags | libc::O_CLOEXEC, mode) }.into())
}

/// Opens below `root`, whose outside no link or `..` can reach.
pub(crate) fn open_in(root: RawFd, path: &str, flags: c_int) -> Result<OwnedFd> {
    let path = if path.is_empty() { "/" } else { path };
    openat2(root, path, flags, 0, libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS)
}

/// How often an open is tried that a simultaneous rename elsewhere made uncertain (EAGAIN).
const TRIES: u32 = 64;

/// Opens with `RESOLVE_*` rules for the way there.
pub(crate) fn openat2(dir: RawFd, path: &str, flags: c_int, mode: u32, resolve: u64) -> Result<OwnedFd> {
    let path = cstr(path)?;
    // SAFETY: plain data, zero is valid for every field.
    let mut how: libc::open_how = unsafe { zeroed() };
    how.flags = (flags | libc::O_CLOEXEC) as u64;
    how.mode = mode.into();
    how.resolve = resolve;
    let mut opened = Err(libc::EAGAIN);
    for _ in 0..TRIES {
        // SAFETY: a valid string and a structure of the size given.
        opened = owned(unsafe {
            libc::syscall(libc::SYS_openat2, dir, path.as_ptr(), &how, size_of::<libc::open_how>())
        });
        if !matches!(opened, Err(libc::EAGAIN)) {
            break;
        }
    }
    opened
}

pub(crate) fn read_link(dir: RawFd, name: &str) -> Result<String> {
    let name = cstr(name)?;
    let mut buffer = vec![0u8; 4096];
    // SAFETY: a valid string and a buffer of the length given.
    let length = check(unsafe {
        libc::readlinkat(dir, name.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) as c_long
    })?;
    buffer.truncate(length as usize);
    String::from_utf8(buffer).map_err(|_| libc::EINVAL)
}

pub(crate) fn mkdirat(dir: RawFd, name: &str, mode: u32) -> Result<()> {
    let name = cstr(name)?;
    // SAFETY: a valid string.
    check_int(unsafe { libc::mkdirat(dir, name.as_ptr(), mode) }).map(drop)
}

pub(crate) fn mknodat(dir: RawFd, name: &str, mode: u32, dev: u64) -> Result<()> {
    let name = cstr(name)?;
    // SAFETY: a valid string.
    check_int(unsafe { libc::mknodat(dir, name.as_ptr(), mode, dev) }).map(drop)
}

pub(crate) fn fchownat(dir: RawFd, name: &str, uid: u32, gid: u32) -> Result<()> {
    let name = cstr(name)?;
    let flags = libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH;
    // SAFETY: a valid string.
    check_int(unsafe { libc::fchownat(dir, name.as_ptr(), uid, gid, flags) }).map(drop)
}

pub(crate) fn symlinkat(to: &str, dir: RawFd, name: &str) -> Result<()> {
    let (to, name) = (cstr(to)?, cstr(name)?);
    // SAFETY: valid strings.
    check_int(unsafe { libc::symlinkat(to.as_ptr(), dir, name.as_ptr()) }).map(drop)
}

pub(crate) fn renameat(dir: RawFd, from: &str, to: &str) -> Result<()> {
    let (from, to) = (cstr(from)?, cstr(to)?);
    // SAFETY: valid strings.
    check_int(unsafe { libc::renameat(dir, from.as_ptr(), dir, to.as_ptr()) }).map(drop)
}

pub(crate) fn fstat(fd: RawFd) -> Result<libc::stat> {
    // SAFETY: plain data filled by the kernel.
    let mut stat: libc::stat = unsafe { zeroed() };
    // SAFETY: a valid pointer.
    check_int(unsafe { libc::fstat(fd, &mut stat) })?;
    Ok(stat)
}

/// Which kind of filesystem it is on.
pub(crate) fn fs_magic(fd: RawFd) -> Result<i64> {
    // SAFETY: plain data filled by the kernel.
    let mut stat: libc::statfs = unsafe { zeroed() };
    // SAFETY: a valid pointer.
    check_int(unsafe { libc::fstatfs(fd, &mut stat) })?;
    Ok(stat.f_type as i64)
}

/// Whether the current directory is below the root: the kernel's path of one outside does not begin with a slash.
pub(crate) fn inside_root() -> Result<bool> {
    let mut buffer = vec![0u8; libc::PATH_MAX as usize];
    // SAFETY: a buffer of the length given. Past glibc, which tells less.
    check(unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) })?;
    Ok(buffer[0] == b'/')
}

pub(crate) fn read(fd: RawFd, buffer: &mut [u8]) -> Result<usize> {
    // SAFETY: a buffer of the length given.
    check(unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) as c_long }).map(|n| n as usize)
}

/// Reads into a buffer's spare room: pages that are not needed are never touched.
pub(crate) fn read_some(fd: RawFd, buffer: &mut Vec<u8>) -> Result<usize> {
    buffer.clear();
    // SAFETY: the spare room is as long as the capacity; the kernel initialised what it counts.
    unsafe {
        let count = check(libc::read(fd, buffer.as_mut_ptr().cast(), buffer.capacity()) as c_long)? as usize;
        buffer.set_len(count);
        Ok(count)
    }
}

pub(crate) fn pread(fd: RawFd, buffer: &mut [u8]) -> Result<usize> {
    // SAFETY: a buffer of the length given.
    check(unsafe { libc::pread(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0) as c_long })
        .map(|n| n as usize)
}

pub(crate) fn write(fd: RawFd, bytes: &[u8]) -> Result<usize> {
    // SAFETY: a buffer of the length given.
    check(unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) as c_long }).map(|n| n as usize)
}

pub(crate) fn write_all(fd: RawFd, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match write(fd, bytes) {
            Ok(0) => return Err(libc::EIO),
            Ok(count) => bytes = &bytes[count..],
            Err(libc::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

pub(crate) fn dup2(from: RawFd, to: RawFd) -> Result<()> {
    // SAFETY: no memory involved; `to` is a number that no object owns any more.
    check_int(unsafe { libc::dup2(from, to) }).map(drop)
}

/// Moves an open file to a number, not to be inherited by a command.
pub(crate) fn put_at(from: RawFd, to: RawFd) -> Result<()> {
    if from != to {
        dup2(from, to)?;
    }
    set_cloexec(to)
}

pub(crate) fn fchown(fd: RawFd, uid: u32) -> Result<()> {
    // SAFETY: no memory involved.
    check_int(unsafe { libc::fchown(fd, uid, u32::MAX) }).map(drop)
}

pub(crate) fn dup(fd: RawFd) -> Result<OwnedFd> {
    // SAFETY: no memory involved.
    owned(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) }.into())
}

pub(crate) fn close_from(first: RawFd) {
    close_range(first as u32, u32::MAX);
}

/// Closes the descriptors `first..=last`.
pub(crate) fn close_range(first: u32, last: u32) {
    // SAFETY: used only where no object owns these descriptors any more.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
}

pub(crate) fn stat(path: &str) -> Result<libc::stat> {
    let path = cstr(path)?;
    // SAFETY: plain data filled by the kernel.
    let mut stat: libc::stat = unsafe { zeroed() };
    // SAFETY: a valid string and pointer.
    check_int(unsafe { libc::stat(path.as_ptr(), &mut stat) })?;
    Ok(stat)
}

/// Whether the effective user may execute the file.
pub(crate) fn may_execute(path: &str) -> Result<()> {
    let path = cstr(path)?;
    // SAFETY: a valid string.
    check_int(unsafe { libc::faccessat(AT_FDCWD, path.as_ptr(), libc::X_OK, libc::AT_EACCESS) }).map(drop)
}

pub(crate) fn set_cloexec(fd: RawFd) -> Result<()> {
    // SAFETY: no memory involved.
    check_int(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) }).map(drop)
}
