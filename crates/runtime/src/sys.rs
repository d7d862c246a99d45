//! The system calls that neither std nor rustix offer safely: detached mounts, spawning, pidfds.
//!
//! Invariant: nothing here changes the calling thread's namespaces or forks. Absent: policy.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use libc::{c_int, c_long};

fn owned(fd: c_long) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just made this descriptor for us and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as c_int) })
}

fn done(value: c_long) -> io::Result<()> {
    if value < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

pub(crate) fn cstr(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// A copy of the mounts at a path, attached nowhere.
pub(crate) fn clone_mount(path: &Path, recursive: bool) -> io::Result<OwnedFd> {
    let path = cstr(path)?;
    let mut flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= libc::AT_RECURSIVE as u32;
    }
    // SAFETY: a valid string.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) })
}

/// Sets `MOUNT_ATTR_*` and, unless 0, the propagation (`MS_PRIVATE`..) of a mount.
pub(crate) fn set_mount(
    mount: BorrowedFd<'_>,
    set: u64,
    propagation: u64,
    recursive: bool,
) -> io::Result<()> {
    let attr = [set, 0u64, propagation, 0];
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: a valid string and a mount_attr (four u64) of the size given.
    done(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            attr.as_ptr(),
            size_of_val(&attr),
        )
    })
}

/// A handle of a process.
pub(crate) fn pidfd(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: no memory involved.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })
}

/// Sends a signal to exactly that process.
pub(crate) fn pidfd_signal(process: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    // SAFETY: no signal information is passed.
    done(unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal, std::ptr::null::<u8>(), 0)
    })
}

/// Takes the exit status of a child off the kernel's table; a process that is not our child is left alone.
pub(crate) fn reap(process: BorrowedFd<'_>) {
    // SAFETY: plain data, zero is valid.
    let mut information: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let id = process.as_raw_fd() as libc::id_t;
    // SAFETY: a valid pointer; failing with ECHILD is the expected case for shims of an earlier daemon.
    unsafe { libc::waitid(libc::P_PIDFD, id, &mut information, libc::WEXITED | libc::WNOHANG) };
}

/// Starts the shim: a new session, standard streams on /dev/null, `listener` at the agreed number, nothing else
/// inherited, signals as a fresh process has them. glibc uses CLONE_VFORK|CLONE_VM: nothing of this process is copied.
pub(crate) fn spawn_shim(binary: BorrowedFd<'_>, name: &str, listener: BorrowedFd<'_>) -> io::Result<i32> {
    let path = CString::new(format!("/proc/self/fd/{}", binary.as_raw_fd()))
        .map_err(|_| io::ErrorKind::InvalidInput)?;
    let name = CString::new(name).map_err(|_| io::ErrorKind::InvalidInput)?;
    let args = [c"minke-shim".as_ptr().cast_mut(), name.as_ptr().cast_mut(), std::ptr::null_mut()];
    let env = [std::ptr::null_mut()];
    // Above the number it is copied to, so that the copy never is onto itself (which would keep close-on-exec).
    let high = rustix::io::fcntl_dupfd_cloexec(listener, 10)?;
    // SAFETY: plain data initialised by the calls below; every pointer lives until after the spawn; both objects are
    // destroyed once.
    let (result, pid) = unsafe {
        let mut actions: libc::posix_spawn_file_actions_t = std::mem::zeroed();
        let mut attributes: libc::posix_spawnattr_t = std::mem::zeroed();
        libc::posix_spawn_file_actions_init(&mut actions);
        libc::posix_spawnattr_init(&mut attributes);
        for fd in 0..3 {
            libc::posix_spawn_file_actions_addopen(&mut actions, fd, c"/dev/null".as_ptr(), libc::O_RDWR, 0);
        }
        libc::posix_spawn_file_actions_adddup2(&mut actions, high.as_raw_fd(), shim::LISTEN_FD);
        let mut none: libc::sigset_t = std::mem::zeroed();
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        libc::sigfillset(&mut all);
        libc::posix_spawnattr_setsigmask(&mut attributes, &none);
        libc::posix_spawnattr_setsigdefault(&mut attributes, &all);
        let flags = libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID;
        libc::posix_spawnattr_setflags(&mut attributes, flags as libc::c_short);
        let mut pid = 0;
        let result =
            libc::posix_spawn(&mut pid, path.as_ptr(), &actions, &attributes, args.as_ptr(), env.as_ptr());
        libc::posix_spawn_file_actions_destroy(&mut actions);
        libc::posix_spawnattr_destroy(&mut attributes);
        (result, pid)
    };
    if result == 0 { Ok(pid) } else { Err(io::Error::from_raw_os_error(result)) }
}

/// glibc's number; libc does not name it on every target.
const POSIX_SPAWN_SETSID: c_int = 0x80;

/// Moves the calling thread into a namespace. Only for threads that end right after.
pub(crate) fn enter_network(namespace: &OwnedFd) -> io::Result<()> {
    // SAFETY: no memory involved; the thread is ours alone.
    done(unsafe { libc::setns(namespace.as_fd().as_raw_fd(), libc::CLONE_NEWNET) }.into())
}

/// Sets the size of a terminal.
pub(crate) fn resize_terminal(master: BorrowedFd<'_>, rows: u16, cols: u16) -> io::Result<()> {
    let size = libc::winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: a valid structure.
    done(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSWINSZ, &size) }.into())
}

/// Unix nanoseconds, as the objects' times.
pub(crate) fn now() -> i64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

fn bpf(command: c_int, attributes: &[u64]) -> c_long {
    // SAFETY: the kernel reads as many bytes as given; every pointer among them is valid for the call.
    unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), size_of_val(attributes)) }
}

/// Loads an eBPF program of type CGROUP_DEVICE.
pub(crate) fn load_device_program(code: &[u64]) -> io::Result<OwnedFd> {
    const BPF_PROG_LOAD: c_int = 5;
    const CGROUP_DEVICE: u64 = 15;
    let license = c"Apache-2.0";
    // prog_type and insn_cnt are u32 each; then pointers to instructions and licence; the rest stays 0.
    let mut attributes = [0u64; 6];
    attributes[0] = CGROUP_DEVICE | (code.len() as u64) << 32;
    attributes[1] = code.as_ptr() as u64;
    attributes[2] = license.as_ptr() as u64;
    owned(bpf(BPF_PROG_LOAD, &attributes))
}

/// Attaches it to a cgroup beside others (BPF_F_ALLOW_MULTI); it lives as long as the group.
pub(crate) fn attach_device_program(group: c_int, program: &OwnedFd) -> io::Result<()> {
    const BPF_PROG_ATTACH: c_int = 8;
    const CGROUP_DEVICE: u64 = 6;
    const ALLOW_MULTI: u64 = 2;
    // target_fd, attach_bpf_fd, attach_type, attach_flags; u32 each.
    let target = u64::from(group as u32) | (program.as_raw_fd() as u64) << 32;
    done(bpf(BPF_PROG_ATTACH, &[target, CGROUP_DEVICE | ALLOW_MULTI << 32]))
}

/// Watches a descriptor with the async runtime.
pub(crate) fn watch<T: AsFd + AsRawFd>(
    fd: T,
    interest: tokio::io::Interest,
) -> io::Result<tokio::io::unix::AsyncFd<T>> {
    // SAFETY: `AsFd` promises that the descriptor stays the same open one for as long as the value lives; every type
    // used here (OwnedFd, BorrowedFd, Arc of one) gives the same number from AsRawFd.
    let watched = unsafe { tokio::io::unix::AsyncFd::register_with_interest(fd, interest) };
    watched.map_err(|error| io::Error::other(error.to_string()))
}
