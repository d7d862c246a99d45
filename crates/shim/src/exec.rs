//! A command run inside a container that lives.
//!
//! Invariant: its streams belong to the daemon; the shim only starts it and tells how it ended. What prepares it stays
//! out of the container's PID namespace, where a process with CAP_SYS_PTRACE could take over whoever holds more than
//! it: only the command itself is made there, with its own privileges and nothing open but streams and channel.
//! Absent: time limits (the daemon's).

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use shim::Exec;

use crate::container::{Container, Surroundings};
use crate::process::{self, CHANNEL};
use crate::rootfs::{Failure, failure, fd_of};
use crate::sys::{self, Errno};

/// A running exec.
pub(crate) struct Running {
    pub(crate) exec: u64,
    pub(crate) pid: libc::pid_t,
    /// Whether that is still the process which will make the command's.
    pub(crate) go_between: bool,
    /// Asked to be killed; the command's process may not be known yet.
    pub(crate) doomed: bool,
    pub(crate) channel: Option<OwnedFd>,
    pub(crate) request: u32,
    pub(crate) failed: Option<String>,
    pub(crate) terminal: Option<OwnedFd>,
}

/// Starts the process; what becomes of it arrives through the channel.
pub(crate) fn start(
    request: u32,
    exec: &Exec,
    container: &Container,
    with: &Surroundings<'_>,
) -> Result<Running, Failure> {
    let say = |error| failure("exec in container", &exec.id, error);
    let init = container.pidfd.as_ref().ok_or(libc::ESRCH).map_err(say)?.as_raw_fd();
    let (channel, theirs) = sys::channel().map_err(say)?;
    sys::tell_senders(channel.as_raw_fd()).map_err(say)?;
    let cgroup = exec.cgroups.v2.as_ref().map(|fd| fd_of(with.fds, fd)).transpose().map_err(say)?;
    let pid = sys::clone3(0, cgroup).map_err(say)?;
    if pid == 0 {
        let done = process::hold_channel(theirs.as_raw_fd()).and_then(|()| child(exec, init, with));
        process::give_up(&done.err().unwrap_or_default());
    }
    Ok(Running {
        exec: exec.exec,
        pid,
        go_between: true,
        doomed: false,
        channel: Some(channel),
        request,
        failed: None,
        terminal: None,
    })
}

fn child(exec: &Exec, init: RawFd, with: &Surroundings<'_>) -> Result<(), Failure> {
    let say = |error| failure("exec in container", &exec.id, error);
    process::begin().map_err(say)?;
    let procs: Result<Vec<RawFd>, Errno> = exec.cgroups.v1.iter().map(|fd| fd_of(with.fds, fd)).collect();
    process::join_cgroups(&procs.map_err(say)?)?;
    process::set_oom_score(with.proc, exec.process.oom_score_adj)?;
    if !exec.process.tty {
        let fd = |fd: &Option<shim::Fd>| fd.as_ref().map(|fd| fd_of(with.fds, fd)).transpose().map_err(say);
        let streams = [fd(&exec.stdin)?, fd(&exec.stdout)?, fd(&exec.stderr)?];
        process::set_streams(streams, with.null, exec.process.uid)?;
    }
    // Nothing of the host goes along into the container's namespaces.
    const INIT: RawFd = CHANNEL + 1;
    sys::put_at(init, INIT).map_err(say)?;
    sys::close_from(INIT + 1);
    sys::setns(INIT, libc::CLONE_NEWNS | libc::CLONE_NEWCGROUP | libc::CLONE_NEWPID).map_err(say)?;
    sys::close_from(INIT);
    process::own_keyring()?;
    if exec.process.tty {
        process::open_terminal(&exec.process, false)?;
    }
    let there = process::take_place(&exec.process)?;
    process::hand_over(&exec.process, there)
}
