//! Making the sandbox: namespaces, host name, sysctls, the Pod's `/dev/shm`, the pause process.
//!
//! Invariant: afterwards the shim's root directory *is* the Pod's `/dev/shm` and its mount namespace holds nothing
//! else, so it pins no mount of the host and a container's namespace starts as a copy of one mount.
//! Absent: network set-up (a ready namespace is handed in), cgroups (the daemon's).

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use shim::Init;

use crate::process::decimal;
use crate::rootfs::{Failure, failure, fd_of};
use crate::sys;

/// The pause process: init of the Pod's PID namespace.
pub(crate) struct Pause {
    pub(crate) pid: libc::pid_t,
    pub(crate) namespace: OwnedFd,
}

/// Who the pause process is, as upstream's.
const NOBODY: u32 = 65535;

/// Turns this process into the holder of a sandbox. `proc` is the host's /proc.
pub(crate) fn make_sandbox(init: &Init, fds: &[OwnedFd], proc: RawFd) -> Result<Option<Pause>, Failure> {
    if let Some(netns) = &init.netns {
        fd_of(fds, netns)
            .and_then(|fd| sys::setns(fd, libc::CLONE_NEWNET))
            .map_err(|error| failure("join", "network namespace", error))?;
    }
    if !init.host_ipc {
        sys::unshare(libc::CLONE_NEWIPC).map_err(|error| failure("make", "ipc namespace", error))?;
    }
    if !init.hostname.is_empty() {
        sys::unshare(libc::CLONE_NEWUTS).map_err(|error| failure("make", "uts namespace", error))?;
        sys::sethostname(&init.hostname).map_err(|error| failure("set host name", &init.hostname, error))?;
    }
    for (path, value) in &init.sysctls {
        let say = |error| failure("write sysctl", path, error);
        let name = ["sys/", path].concat();
        let file = sys::openat(proc, &name, libc::O_WRONLY, 0).map_err(say)?;
        sys::write_all(file.as_raw_fd(), value.as_bytes()).map_err(say)?;
    }
    live_in_shm(init.shm_size)?;
    if init.share_pid { start_pause(proc).map(Some) } else { Ok(None) }
}

/// A null device of our own, called /dev/null. Containers get it as a standard stream and could change its mode through
/// that; so it is not the host's, and its mount is read-only.
pub(crate) fn own_null() -> Result<OwnedFd, sys::Errno> {
    let attr = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC;
    let mount = sys::new_mount("tmpfs", &[("mode".to_owned(), "755".to_owned())], attr, None)?;
    sys::mkdirat(mount.as_raw_fd(), "dev", 0o755)?;
    let mode = libc::S_IFCHR | 0o666;
    sys::mknodat(mount.as_raw_fd(), "dev/null", mode, libc::makedev(1, 3))?;
    sys::mount_setattr(mount.as_raw_fd(), libc::MOUNT_ATTR_RDONLY, false)?;
    sys::openat(mount.as_raw_fd(), "dev/null", libc::O_RDWR, 0)
}

fn live_in_shm(size: u64) -> Result<(), Failure> {
    let say = |error| failure("mount", "/dev/shm", error);
    sys::unshare(libc::CLONE_NEWNS).map_err(|error| failure("make", "mount namespace", error))?;
    sys::make_private_root().map_err(say)?;
    let options = [("mode".to_owned(), "1777".to_owned()), ("size".to_owned(), decimal(size as i64))];
    let attr = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    let shm = sys::new_mount("tmpfs", &options, attr, None).map_err(say)?;
    let below = sys::open("/", libc::O_PATH | libc::O_DIRECTORY).map_err(say)?;
    sys::move_mount(shm.as_raw_fd(), below.as_raw_fd()).map_err(say)?;
    sys::fchdir(shm.as_raw_fd()).map_err(say)?;
    match sys::pivot_here() {
        // The host's root is the initial ramdisk, which cannot be pivoted away.
        Err(libc::EINVAL) => sys::chroot_here().map_err(say),
        other => other.map_err(say),
    }
}

fn start_pause(proc: RawFd) -> Result<Pause, Failure> {
    let say = |error| failure("make", "pid namespace", error);
    let pid = sys::clone3(libc::CLONE_NEWPID as u64, None).map_err(say)?;
    if pid == 0 {
        pause();
    }
    let path = [&decimal(pid.into()), "/ns/pid"].concat();
    let namespace = sys::openat(proc, &path, libc::O_RDONLY, 0).map_err(say)?;
    Ok(Pause { pid, namespace })
}

/// Init of the Pod's PID namespace: reaps (by ignoring SIGCHLD) and dies with the shim. The Pod's containers see it and
/// with CAP_SYS_PTRACE could make it theirs, so it holds no privilege and nothing open.
fn pause() -> ! {
    sys::reset_signals();
    sys::ignore_signal(libc::SIGCHLD);
    sys::close_from(0);
    let armed = sys::become_user(NOBODY, NOBODY, &[])
        .and_then(|()| sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1))
        // After the change of identity, which clears it.
        .and_then(|_| sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64))
        .and_then(|_| sys::set_name(c"pause"))
        .and_then(|()| only_wait());
    // SAFETY of the order: a shim that died before takes its socket with it, so nobody can use this namespace.
    if armed.is_err() {
        sys::exit(1);
    }
    loop {
        sys::pause();
    }
}

/// What the pause process may still call: it is outside the Pod's cgroups, where nobody must work through it.
#[cfg(target_arch = "x86_64")]
const CALLS: [i64; 4] =
    [libc::SYS_pause, libc::SYS_rt_sigreturn, libc::SYS_restart_syscall, libc::SYS_exit_group];
#[cfg(not(target_arch = "x86_64"))]
const CALLS: [i64; 4] =
    [libc::SYS_ppoll, libc::SYS_rt_sigreturn, libc::SYS_restart_syscall, libc::SYS_exit_group];

/// AUDIT_ARCH_* of the calls' numbers.
#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e;
#[cfg(not(target_arch = "x86_64"))]
const ARCH: u32 = 0xc000_00b7;

/// Any other call kills the process.
fn only_wait() -> Result<(), sys::Errno> {
    const LOAD: u16 = 0x20;
    const IS: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const KILL: u32 = 0x8000_0000;
    const ALLOW: u32 = 0x7fff_0000;
    let count = CALLS.len() as u8;
    // Code, jumps if so and if not, operand. The architecture is at byte 4 of what is filtered, the number at 0.
    let mut program = vec![(LOAD, 0, 0, 4), (IS, 0, count + 1, ARCH), (LOAD, 0, 0, 0)];
    program.extend((0..count).map(|at| (IS, count - at, 0, CALLS[usize::from(at)] as u32)));
    program.extend([(RETURN, 0, 0, KILL), (RETURN, 0, 0, ALLOW)]);
    let bytes: Vec<u8> = program
        .into_iter()
        .flat_map(|(code, yes, no, operand): (u16, u8, u8, u32)| {
            let ([a, b], [c, d, e, f]) = (code.to_ne_bytes(), operand.to_ne_bytes());
            [a, b, yes, no, c, d, e, f]
        })
        .collect();
    sys::seccomp(&bytes, 0)
}
