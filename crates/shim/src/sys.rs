//! The system calls, each as a small safe function returning errno.
//!
//! Invariant: all `unsafe` that talks to the kernel about files, mounts and processes is here. Absent: policy.

use std::ffi::{CStr, CString};
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::{null, null_mut};

use libc::{c_int, c_long, c_void};

/// An error number.
pub(crate) type Errno = c_int;
pub(crate) type Result<T> = std::result::Result<T, Errno>;

pub(crate) const AT_FDCWD: RawFd = libc::AT_FDCWD;
/// libc's constant is too narrow for it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

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

pub(crate) fn clone3(flags: u64, cgroup: Option<RawFd>) -> Result<libc::pid_t> {
    // SAFETY: plain data, zero is valid for every field.
    let mut args: libc::clone_args = unsafe { zeroed() };
    args.flags = flags;
    args.exit_signal = libc::SIGCHLD as u64;
    if let Some(fd) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = fd as u64;
    }
    // SAFETY: without CLONE_VM this is fork: the child gets a copy of everything; this process has one thread, so no
    // lock is held by another.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, &args, size_of::<libc::clone_args>()) })?;
    Ok(pid as libc::pid_t)
}

pub(crate) fn setns(fd: RawFd, kinds: c_int) -> Result<()> {
    // SAFETY: no memory involved.
    check_int(unsafe { libc::setns(fd, kinds) }).map(drop)
}

pub(crate) fn unshare(kinds: c_int) -> Result<()> {
    // SAFETY: no memory involved.
    check_int(unsafe { libc::unshare(kinds) }).map(drop)
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
    let path = cstr(if path.is_empty() { "/" } else { path })?;
    // SAFETY: plain data, zero is valid for every field.
    let mut how: libc::open_how = unsafe { zeroed() };
    how.flags = (flags | libc::O_CLOEXEC) as u64;
    how.resolve = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS;
    // SAFETY: a valid string and a structure of the size given.
    owned(unsafe { libc::syscall(libc::SYS_openat2, root, path.as_ptr(), &how, size_of::<libc::open_how>()) })
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

/// Gives memory that is not used back to the kernel.
pub(crate) fn trim_memory() {
    // SAFETY: no memory in use is affected.
    unsafe { libc::malloc_trim(0) };
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

/// A new filesystem as a detached mount.
pub(crate) fn new_mount(fs: &str, options: &[(String, String)], attr: u64) -> Result<OwnedFd> {
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

pub(crate) fn sethostname(name: &str) -> Result<()> {
    // SAFETY: a buffer of the length given.
    check_int(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) }).map(drop)
}

pub(crate) fn prctl(option: c_int, argument: u64) -> Result<c_int> {
    // SAFETY: only options with integer arguments are used.
    check_int(unsafe { libc::prctl(option, argument, 0, 0, 0) })
}

pub(crate) fn dup2(from: RawFd, to: RawFd) -> Result<()> {
    // SAFETY: no memory involved; `to` is one of the standard streams, owned by nobody.
    check_int(unsafe { libc::dup2(from, to) }).map(drop)
}

pub(crate) fn fchown(fd: RawFd, uid: u32) -> Result<()> {
    // SAFETY: no memory involved.
    check_int(unsafe { libc::fchown(fd, uid, u32::MAX) }).map(drop)
}

pub(crate) fn pipe(nonblocking_read: bool) -> Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: an array of two.
    check_int(unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: two new descriptors.
    let pair = unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) };
    if nonblocking_read {
        set_nonblocking(pair.0.as_raw_fd())?;
    }
    Ok(pair)
}

pub(crate) fn set_nonblocking(fd: RawFd) -> Result<()> {
    // SAFETY: no memory involved.
    let flags = check_int(unsafe { libc::fcntl(fd, libc::F_GETFL) })?;
    // SAFETY: no memory involved.
    check_int(unsafe { libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) }).map(drop)
}

pub(crate) fn dup(fd: RawFd) -> Result<OwnedFd> {
    // SAFETY: no memory involved.
    owned(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) }.into())
}

pub(crate) fn channel() -> Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: an array of two.
    check_int(unsafe {
        libc::socketpair(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC, 0, fds.as_mut_ptr())
    })?;
    // SAFETY: two new descriptors.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

pub(crate) fn accept(listener: RawFd) -> Result<OwnedFd> {
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: the peer's address is not asked for.
    owned(unsafe { libc::accept4(listener, null_mut(), null_mut(), flags) }.into())
}

/// Room for the descriptors of one packet, aligned as the kernel wants it.
#[repr(C, align(8))]
struct Control([u8; 1024]);

/// Sends one packet with descriptors.
pub(crate) fn send(socket: RawFd, bytes: &[u8], fds: &[RawFd]) -> Result<()> {
    let mut vector = libc::iovec { iov_base: bytes.as_ptr() as *mut c_void, iov_len: bytes.len() };
    let mut control = Control([0; 1024]);
    // SAFETY: plain data, zero is valid for every field.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = &mut vector;
    message.msg_iovlen = 1;
    if !fds.is_empty() {
        let size = size_of_val(fds) as u32;
        message.msg_control = control.0.as_mut_ptr().cast();
        // SAFETY: pure arithmetic.
        message.msg_controllen = unsafe { libc::CMSG_SPACE(size) } as usize;
        // SAFETY: the control buffer has room for one header and up to 253 descriptors.
        unsafe {
            let header = libc::CMSG_FIRSTHDR(&message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(size) as usize;
            std::ptr::copy_nonoverlapping(fds.as_ptr().cast::<u8>(), libc::CMSG_DATA(header), size as usize);
        }
    }
    // SAFETY: all parts of the message live until the call returns.
    check(unsafe { libc::sendmsg(socket, &message, libc::MSG_NOSIGNAL) as c_long }).map(drop)
}

/// Receives one packet into a buffer's spare room; 0 bytes is the end.
pub(crate) fn receive(socket: RawFd, buffer: &mut Vec<u8>, fds: &mut Vec<OwnedFd>) -> Result<usize> {
    receive_with(socket, buffer, fds, 0)
}

/// The same, with EAGAIN instead of waiting.
pub(crate) fn receive_now(socket: RawFd, buffer: &mut Vec<u8>, fds: &mut Vec<OwnedFd>) -> Result<usize> {
    receive_with(socket, buffer, fds, libc::MSG_DONTWAIT)
}

fn receive_with(socket: RawFd, buffer: &mut Vec<u8>, fds: &mut Vec<OwnedFd>, flags: c_int) -> Result<usize> {
    buffer.clear();
    let mut vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.capacity() };
    let mut control = Control([0; 1024]);
    // SAFETY: plain data, zero is valid for every field.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = &mut vector;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len();
    // SAFETY: all parts of the message live until the call returns.
    let count =
        check(unsafe { libc::recvmsg(socket, &mut message, libc::MSG_CMSG_CLOEXEC | flags) as c_long })?;
    // SAFETY: the kernel filled the control buffer with well-formed headers; each descriptor is new and ours.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let bytes = (*header).cmsg_len - libc::CMSG_LEN(0) as usize;
                let data = libc::CMSG_DATA(header).cast::<RawFd>();
                for index in 0..bytes / size_of::<RawFd>() {
                    fds.push(OwnedFd::from_raw_fd(data.add(index).read_unaligned()));
                }
            }
            header = libc::CMSG_NXTHDR(&message, header);
        }
    }
    if message.msg_flags & (libc::MSG_CTRUNC | libc::MSG_TRUNC) != 0 {
        return Err(libc::EMSGSIZE);
    }
    // SAFETY: the kernel initialised that many bytes of the spare room.
    unsafe { buffer.set_len(count as usize) };
    Ok(count as usize)
}

pub(crate) fn memfd() -> Result<OwnedFd> {
    // SAFETY: a valid string.
    owned(unsafe { libc::memfd_create(c"frame".as_ptr(), libc::MFD_CLOEXEC) }.into())
}

pub(crate) fn epoll() -> Result<OwnedFd> {
    // SAFETY: no memory involved.
    owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }.into())
}

/// Adds, changes (`None` removes) what is waited for on a descriptor.
pub(crate) fn watch(epoll: RawFd, fd: RawFd, events: Option<c_int>, known: bool) -> Result<()> {
    let mut event = libc::epoll_event { events: events.unwrap_or(0) as u32, u64: fd as u64 };
    let operation = match (events, known) {
        (None, _) => libc::EPOLL_CTL_DEL,
        (Some(_), false) => libc::EPOLL_CTL_ADD,
        (Some(_), true) => libc::EPOLL_CTL_MOD,
    };
    // SAFETY: a valid event.
    check_int(unsafe { libc::epoll_ctl(epoll, operation, fd, &mut event) }).map(drop)
}

/// Waits for one event: the descriptor and what happened.
pub(crate) fn wait(epoll: RawFd) -> Result<(RawFd, c_int)> {
    let mut event = libc::epoll_event { events: 0, u64: 0 };
    // SAFETY: room for one event.
    let count = check_int(unsafe { libc::epoll_wait(epoll, &mut event, 1, -1) })?;
    if count == 0 { Err(libc::EINTR) } else { Ok((event.u64 as RawFd, event.events as c_int)) }
}

/// Blocks SIGCHLD and gives a descriptor that becomes readable with it.
pub(crate) fn child_signals() -> Result<OwnedFd> {
    // SAFETY: plain data, initialised by sigemptyset.
    let mut set: libc::sigset_t = unsafe { zeroed() };
    // SAFETY: valid pointers; the old mask is not wanted.
    unsafe {
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGCHLD);
        libc::sigprocmask(libc::SIG_BLOCK, &set, null_mut());
    }
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: a valid set.
    owned(unsafe { libc::signalfd(-1, &set, flags) }.into())
}

/// Default dispositions and an empty mask, as a fresh process expects them.
pub(crate) fn reset_signals() {
    // The kernel's sigaction, all zero: SIG_DFL, no flags, no mask. Past glibc, which keeps 32 and 33 to itself but
    // ignores 33 in what it spawns.
    let default = [0u64; 4];
    for signal in 1..=64 {
        // SAFETY: a structure at least as large as the kernel's; failures (KILL, STOP) do not matter.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), null::<u64>(), 8) };
    }
    // SAFETY: plain data, initialised by sigemptyset; valid pointers.
    unsafe {
        let mut set: libc::sigset_t = zeroed();
        libc::sigemptyset(&mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &set, null_mut());
    }
}

pub(crate) fn ignore_signal(signal: c_int) {
    // SAFETY: SIG_IGN installs no handler.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// The next ended child: pid and wait status.
pub(crate) fn reap() -> Option<(libc::pid_t, c_int)> {
    let mut status = 0;
    // SAFETY: a valid pointer.
    let pid = unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) };
    (pid > 0).then_some((pid, status))
}

pub(crate) fn kill(pid: libc::pid_t, signal: c_int) -> Result<()> {
    // SAFETY: no memory involved.
    check_int(unsafe { libc::kill(pid, signal) }).map(drop)
}

pub(crate) fn pidfd_open(pid: libc::pid_t) -> Result<OwnedFd> {
    // SAFETY: no memory involved.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })
}

pub(crate) fn setsid() {
    // SAFETY: no memory involved; fails only for a leader, which is fine.
    unsafe { libc::setsid() };
}

pub(crate) fn umask(mask: u32) {
    // SAFETY: no memory involved.
    unsafe { libc::umask(mask) };
}

pub(crate) fn pause() {
    // SAFETY: no memory involved.
    unsafe { libc::pause() };
}

pub(crate) fn exit(code: c_int) -> ! {
    // SAFETY: ends the process without running handlers, which a forked child must not do twice.
    unsafe { libc::_exit(code) }
}

pub(crate) fn close_from(first: RawFd) {
    // SAFETY: used only where no object owns these descriptors any more.
    unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
}

pub(crate) fn setrlimit(resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: a valid structure.
    check_int(unsafe { libc::setrlimit(resource, &limit) }).map(drop)
}

/// Groups, group and user, all three ids of each.
pub(crate) fn become_user(uid: u32, gid: u32, groups: &[u32]) -> Result<()> {
    // SAFETY: an array of the length given.
    check_int(unsafe { libc::setgroups(groups.len(), groups.as_ptr()) })?;
    // SAFETY: no memory involved.
    check_int(unsafe { libc::setresgid(gid, gid, gid) })?;
    // SAFETY: no memory involved.
    check_int(unsafe { libc::setresuid(uid, uid, uid) }).map(drop)
}

/// Effective and permitted capabilities; none inheritable.
pub(crate) fn capset(set: u64) -> Result<()> {
    let header: [u32; 2] = [0x2008_0522, 0];
    let (low, high) = (set as u32, (set >> 32) as u32);
    let data: [u32; 6] = [low, low, 0, high, high, 0];
    // SAFETY: header and data as version 3 wants them.
    check(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) }).map(drop)
}

/// Loads a filter of `sock_filter` structures.
pub(crate) fn seccomp(program: &[u8], flags: u32) -> Result<()> {
    let filter: Vec<u64> = program
        .chunks_exact(8)
        .map(|item| {
            u64::from_ne_bytes([item[0], item[1], item[2], item[3], item[4], item[5], item[6], item[7]])
        })
        .collect();
    let program =
        libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr() as *mut libc::sock_filter };
    // SAFETY: each u64 holds one 8-byte sock_filter; 1 is SECCOMP_SET_MODE_FILTER.
    check(unsafe { libc::syscall(libc::SYS_seccomp, 1, flags, &program) }).map(drop)
}

pub(crate) fn set_controlling_terminal() -> Result<()> {
    // SAFETY: no memory involved.
    check_int(unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) }).map(drop)
}

/// The other end of a terminal's master, and the master unlocked.
pub(crate) fn terminal_peer(master: RawFd, rows: u16, cols: u16) -> Result<OwnedFd> {
    let unlock: c_int = 0;
    // SAFETY: a valid pointer.
    check_int(unsafe { libc::ioctl(master, libc::TIOCSPTLCK, &unlock) })?;
    if rows > 0 && cols > 0 {
        let size = libc::winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: a valid structure.
        check_int(unsafe { libc::ioctl(master, libc::TIOCSWINSZ, &size) })?;
    }
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: no memory involved.
    owned(unsafe { libc::ioctl(master, libc::TIOCGPTPEER, flags) }.into())
}

/// Replaces the process; returns only on failure.
pub(crate) fn execve(path: &CStr, args: &[CString], env: &[CString]) -> Errno {
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter().map(|item| item.as_ptr()).chain([null()]).collect()
    };
    let (args, env) = (pointers(args), pointers(env));
    // SAFETY: null-terminated arrays of valid strings.
    unsafe { libc::execve(path.as_ptr(), args.as_ptr(), env.as_ptr()) };
    errno()
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

pub(crate) fn set_name(name: &CStr) -> Result<()> {
    // SAFETY: a valid string.
    check_int(unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) }).map(drop)
}

pub(crate) fn set_cloexec(fd: RawFd) -> Result<()> {
    // SAFETY: no memory involved.
    check_int(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) }).map(drop)
}

pub(crate) fn set_pipe_size(fd: RawFd, size: c_int) -> Result<()> {
    // SAFETY: no memory involved.
    check_int(unsafe { libc::fcntl(fd, libc::F_SETPIPE_SZ, size) }).map(drop)
}

pub(crate) fn getpid() -> libc::pid_t {
    // SAFETY: no memory involved.
    unsafe { libc::getpid() }
}
