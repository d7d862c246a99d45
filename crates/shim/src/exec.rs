//! A command run inside a container that lives.
//!
//! Invariant: its streams belong to the daemon; the shim only starts it and tells how it ended.
//! Absent: time limits (the daemon's).

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use shim::Exec;

use crate::container::{Container, Surroundings, in_pid_namespace};
use crate::process;
use crate::rootfs::{Failure, failure, fd_of};
use crate::sys::{self, Errno};

/// A running exec.
pub(crate) struct Running {
    pub(crate) exec: u64,
    pub(crate) pid: libc::pid_t,
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
    let cgroup = exec.cgroups.v2.as_ref().map(|fd| fd_of(with.fds, fd)).transpose().map_err(say)?;
    let pid = in_pid_namespace(Some(init), with.own_pid_namespace, || sys::clone3(0, cgroup)).map_err(say)?;
    if pid == 0 {
        let why = child(exec, init, with, theirs.as_raw_fd()).err().unwrap_or_default();
        process::give_up(theirs.as_raw_fd(), &why);
    }
    Ok(Running { exec: exec.exec, pid, channel: Some(channel), request, failed: None, terminal: None })
}

fn child(exec: &Exec, init: RawFd, with: &Surroundings<'_>, channel: RawFd) -> Result<(), Failure> {
    let say = |error| failure("exec in container", &exec.id, error);
    sys::reset_signals();
    sys::setsid();
    sys::prctl(libc::PR_SET_DUMPABLE, 0).map_err(say)?;
    let procs: Result<Vec<RawFd>, Errno> = exec.cgroups.v1.iter().map(|fd| fd_of(with.fds, fd)).collect();
    process::join_cgroups(&procs.map_err(say)?)?;
    process::set_oom_score(with.proc, exec.process.oom_score_adj)?;
    sys::setns(init, libc::CLONE_NEWNS | libc::CLONE_NEWCGROUP).map_err(say)?;
    if exec.process.tty {
        process::open_terminal(&exec.process, channel, false)?;
    } else {
        let fd = |fd: &Option<shim::Fd>| fd.as_ref().map(|fd| fd_of(with.fds, fd)).transpose().map_err(say);
        process::set_streams([fd(&exec.stdin)?, fd(&exec.stdout)?, fd(&exec.stderr)?], exec.process.uid)?;
    }
    process::become_command(&exec.process, channel)
}
