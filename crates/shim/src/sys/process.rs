//! Processes: made, changed, signalled, reaped.

use std::ffi::{CStr, CString};
use std::mem::{size_of, zeroed};
use std::os::fd::{OwnedFd, RawFd};
use std::ptr::{null, null_mut};

use libc::c_int;

use super::{Errno, Result, check, check_int, errno, owned};

/// libc's constant is too narrow for it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

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

/// Makes a child of this process's parent and waits until it executes a command or ends. Where it goes was told by
/// `setns` before. Not clone3, which filters of containers answer with ENOSYS.
pub(crate) fn clone_sibling() -> Result<libc::pid_t> {
    let flags = libc::CLONE_PARENT | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: without CLONE_VM this is fork, see above; all that depends on the order of arguments is null.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone, libc::c_long::from(flags), 0, 0, 0, 0) })?;
    Ok(pid as libc::pid_t)
}

/// A session keyring that nobody else has.
pub(crate) fn new_session_keyring() -> Result<()> {
    let none = null::<libc::c_char>();
    // SAFETY: KEYCTL_JOIN_SESSION_KEYRING (1) without a name.
    check(unsafe { libc::syscall(libc::SYS_keyctl, 1, none) }).map(drop)
}

pub(crate) fn setns(fd: RawFd, kinds: c_int) -> Result<()> {
    // SAFETY: no memory involved.
    check_int(unsafe { libc::setns(fd, kinds) }).map(drop)
}

pub(crate) fn unshare(kinds: c_int) -> Result<()> {
    // SAFETY: no memory involved.
    check_int(unsafe { libc::unshare(kinds) }).map(drop)
}

/// Gives memory that is not used back to the kernel.
pub(crate) fn trim_memory() {
    // SAFETY: no memory in use is affected.
    unsafe { libc::malloc_trim(0) };
}

pub(crate) fn sethostname(name: &str) -> Result<()> {
    // SAFETY: a buffer of the length given.
    check_int(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) }).map(drop)
}

pub(crate) fn prctl(option: c_int, argument: u64) -> Result<c_int> {
    // SAFETY: only options with integer arguments are used.
    check_int(unsafe { libc::prctl(option, argument, 0, 0, 0) })
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

/// Signals one process; 0 is nobody.
pub(crate) fn kill(pid: libc::pid_t, signal: c_int) -> Result<()> {
    if pid <= 0 {
        return Err(libc::ESRCH);
    }
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

pub(crate) fn set_name(name: &CStr) -> Result<()> {
    // SAFETY: a valid string.
    check_int(unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) }).map(drop)
}

pub(crate) fn getpid() -> libc::pid_t {
    // SAFETY: no memory involved.
    unsafe { libc::getpid() }
}

/// Large buffers get pages of their own, which go back when they are dropped.
pub(crate) fn keep_heap_small() {
    // SAFETY: a documented parameter; called before any thread could exist.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, 8192) };
}
