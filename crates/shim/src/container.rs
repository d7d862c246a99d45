//! A container as the shim knows it: its process, streams, log, attached clients and, in the end, its exit code.
//!
//! Invariant: the exit record is written after the last byte of output is in the log. Absent: restarts, limits.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use shim::crilog::{self, Lines};
use shim::{ContainerState, PidMode, Start};

use crate::process;
use crate::rootfs::{self, Failure, failure, fd_of};
use crate::sys::{self, Errno};

pub(crate) const STREAMS: [&str; 2] = ["stdout", "stderr"];

/// Somebody who joined the streams.
pub(crate) struct Client {
    pub(crate) ends: [Option<OwnedFd>; 2],
    pub(crate) pending: [Vec<u8>; 2],
}

/// A container from its start until the daemon forgets it.
pub(crate) struct Container {
    pub(crate) key: u32,
    pub(crate) id: String,
    pub(crate) pid: libc::pid_t,
    /// Whether that is still a process which will make the first one, in a PID namespace that others live in.
    pub(crate) go_between: bool,
    pub(crate) pidfd: Option<OwnedFd>,
    /// Open until the command is executed; then the request that is answered.
    pub(crate) channel: Option<OwnedFd>,
    pub(crate) request: u32,
    pub(crate) failed: Option<String>,
    pub(crate) started_at: i64,
    pub(crate) finished_at: i64,
    pub(crate) exit_code: i32,
    pub(crate) oom_killed: bool,
    pub(crate) terminal: Option<OwnedFd>,
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdin_once: bool,
    pub(crate) outputs: [Option<OwnedFd>; 2],
    pub(crate) lines: [Lines; 2],
    pub(crate) clients: Vec<Client>,
    log_path: String,
    log: Option<OwnedFd>,
    dir: OwnedFd,
    oom: Option<OwnedFd>,
    pub(crate) kill: Option<OwnedFd>,
    kill_rest: bool,
}

/// What of the shim a start needs.
pub(crate) struct Surroundings<'a> {
    pub(crate) proc: RawFd,
    /// The null device; nothing of it can be changed through this.
    pub(crate) null: RawFd,
    /// The PID namespace of the Pod, if it has one.
    pub(crate) pause: Option<RawFd>,
    pub(crate) log_dir: RawFd,
    pub(crate) fds: &'a [OwnedFd],
}

fn take(fds: &[OwnedFd], fd: Option<&shim::Fd>) -> Result<Option<OwnedFd>, Errno> {
    fd.map(|fd| fd_of(fds, fd).and_then(sys::dup)).transpose()
}

fn open_log(dir: RawFd, path: &str) -> Result<Option<OwnedFd>, Errno> {
    if path.is_empty() {
        return Ok(None);
    }
    // A Pod may have been given the directory of the logs: no link there leads elsewhere, and no FIFO blocks.
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND | libc::O_NONBLOCK;
    let resolve = libc::RESOLVE_BENEATH | libc::RESOLVE_NO_SYMLINKS;
    let log = sys::openat2(dir, path, flags, 0o640, resolve)?;
    if sys::fstat(log.as_raw_fd())?.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Err(libc::EINVAL);
    }
    Ok(Some(log))
}

impl Container {
    /// Starts the first process. Returns once it exists; what becomes of it arrives through the channel.
    pub(crate) fn start(
        key: u32,
        request: u32,
        start: &Start,
        with: &Surroundings<'_>,
    ) -> Result<Self, Failure> {
        let say = |error| failure("start container", &start.id, error);
        let log = open_log(with.log_dir, &start.log_path)
            .map_err(|error| failure("open log", &start.log_path, error))?;
        let (channel, theirs) = sys::channel().map_err(say)?;
        sys::tell_senders(channel.as_raw_fd()).map_err(say)?;
        let mut stdin = None;
        let mut outputs = [None, None];
        let mut child_ends = [None, None, None];
        if !start.process.tty {
            if start.stdin {
                let (read, write) = sys::pipe(false).map_err(say)?;
                (child_ends[0], stdin) = (Some(read), Some(write));
            }
            for index in 0..2 {
                let (read, write) = sys::pipe(true).map_err(say)?;
                (outputs[index], child_ends[index + 1]) = (Some(read), Some(write));
            }
        }
        let joined = match &start.pid {
            PidMode::New | PidMode::Host => None,
            PidMode::Pod => Some(with.pause.ok_or(libc::ESRCH).map_err(say)?),
            PidMode::Join(fd) => Some(fd_of(with.fds, fd).map_err(say)?),
        };
        let mut flags = libc::CLONE_NEWNS as u64;
        if start.pid == PidMode::New {
            flags |= libc::CLONE_NEWPID as u64;
        }
        let cgroup = start.cgroups.v2.as_ref().map(|fd| fd_of(with.fds, fd)).transpose().map_err(say)?;
        let pid = sys::clone3(flags, cgroup).map_err(say)?;
        if pid == 0 {
            let ends = [0, 1, 2].map(|index: usize| child_ends[index].as_ref().map(AsRawFd::as_raw_fd));
            let done =
                process::hold_channel(theirs.as_raw_fd()).and_then(|()| child(start, with, ends, joined));
            process::give_up(&done.err().unwrap_or_default());
        }
        Ok(Self {
            key,
            id: start.id.clone(),
            pid,
            go_between: joined.is_some(),
            pidfd: Some(sys::pidfd_open(pid).map_err(say)?),
            channel: Some(channel),
            request,
            failed: None,
            started_at: 0,
            finished_at: 0,
            exit_code: 0,
            oom_killed: false,
            terminal: None,
            stdin,
            stdin_once: start.stdin_once,
            outputs,
            lines: [Lines::default(), Lines::default()],
            clients: Vec::new(),
            log_path: start.log_path.clone(),
            log,
            dir: take(with.fds, Some(&start.dir)).map_err(say)?.ok_or(libc::EBADF).map_err(say)?,
            oom: take(with.fds, start.oom.as_ref()).map_err(say)?,
            kill: take(with.fds, start.kill.as_ref()).map_err(say)?,
            kill_rest: start.kill_rest,
        })
    }

    /// Takes who spoke through the channel as the first process.
    pub(crate) fn heard_from(&mut self, pid: libc::pid_t) {
        if self.go_between && pid != 0 && pid != self.pid {
            (self.pid, self.go_between) = (pid, false);
            // Not reaped yet, and where it is there can be no exec either.
            self.pidfd = sys::pidfd_open(pid).ok();
        }
    }

    pub(crate) fn running(&self) -> bool {
        self.finished_at == 0
    }

    pub(crate) fn state(&self) -> ContainerState {
        ContainerState {
            id: self.id.clone(),
            pid: if self.running() { self.pid } else { 0 },
            started_at: self.started_at,
            finished_at: self.finished_at,
            exit_code: self.exit_code,
            oom_killed: self.oom_killed,
        }
    }

    /// Appends output to the log. A full disk loses lines, never the container.
    pub(crate) fn record(&mut self, stream: usize, data: &[u8]) {
        let Some(log) = &self.log else { return };
        let mut out = Vec::with_capacity(data.len() + 64);
        self.lines[stream].push(STREAMS[stream], &crilog::stamp(sys::now()), data, &mut out);
        let _ = sys::write_all(log.as_raw_fd(), &out);
    }

    /// Ends the log's open lines.
    pub(crate) fn finish_log(&mut self) {
        let Some(log) = self.log.take() else { return };
        let mut out = Vec::new();
        for (lines, stream) in self.lines.iter_mut().zip(STREAMS) {
            lines.finish(stream, &crilog::stamp(sys::now()), &mut out);
        }
        let _ = sys::write_all(log.as_raw_fd(), &out);
    }

    /// Opens the log anew, after it was renamed.
    pub(crate) fn reopen_log(&mut self, log_dir: RawFd) -> Result<(), Failure> {
        if self.log.is_some() {
            self.log = open_log(log_dir, &self.log_path)
                .map_err(|error| failure("open log", &self.log_path, error))?;
        }
        Ok(())
    }

    /// Kills what the first process left behind, where it was not the init of its namespace.
    pub(crate) fn kill_rest(&self) {
        if let (true, Some(kill)) = (self.kill_rest, &self.kill) {
            // An already removed cgroup holds nobody.
            let _ = sys::write_all(kill.as_raw_fd(), b"1");
        }
    }

    /// Notes how it ended and keeps that in a file.
    pub(crate) fn finish(&mut self, status: i32) {
        self.finished_at = sys::now();
        self.exit_code = exit_code(status);
        self.oom_killed = self.oom.as_ref().is_some_and(|file| oom_kills(file.as_raw_fd()));
        let mut state = self.state();
        state.pid = self.pid;
        let bytes = shim::frame(shim::VERSION, &state);
        // If the disk is full the daemon still learns it from the socket.
        let _ = write_record(self.dir.as_raw_fd(), &bytes);
        (self.pidfd, self.oom, self.terminal, self.stdin) = (None, None, None, None);
    }
}

fn write_record(dir: RawFd, bytes: &[u8]) -> Result<(), Errno> {
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC;
    let file = sys::openat(dir, "exit.new", flags, 0o600)?;
    sys::write_all(file.as_raw_fd(), bytes)?;
    sys::renameat(dir, "exit.new", "exit")
}

/// As a shell counts: 128+signal if killed.
pub(crate) fn exit_code(status: i32) -> i32 {
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) }
}

/// Whether the line `oom_kill N` of `memory.events` or `memory.oom_control` counts any.
fn oom_kills(file: RawFd) -> bool {
    let mut buffer = [0; 512];
    let Ok(length) = sys::pread(file, &mut buffer) else { return false };
    buffer[..length]
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.strip_prefix(b"oom_kill "))
        .any(|count| count.iter().any(|digit| *digit != b'0'))
}

fn child(
    start: &Start,
    with: &Surroundings<'_>,
    ends: [Option<RawFd>; 3],
    joined: Option<RawFd>,
) -> Result<(), Failure> {
    let say = |error| failure("start container", &start.id, error);
    process::begin().map_err(say)?;
    process::set_oom_score(with.proc, start.process.oom_score_adj)?;
    let procs: Result<Vec<RawFd>, Errno> = start.cgroups.v1.iter().map(|fd| fd_of(with.fds, fd)).collect();
    let v2_alone = start.cgroups.v1.is_empty();
    if v2_alone {
        // A cgroup2 mount is rooted where the namespace is.
        new_cgroup_namespace(start)?;
    }
    rootfs::enter(start, with.fds, joined)?;
    if !v2_alone {
        // Late: the kernel may make this write wait for an RCU grace period, which passes during the mounts.
        process::join_cgroups(&procs.map_err(say)?)?;
        new_cgroup_namespace(start)?;
    }
    if !start.process.tty {
        process::set_streams(ends, with.null, start.process.uid)?;
    }
    if let Some(namespace) = joined {
        sys::setns(namespace, libc::CLONE_NEWPID).map_err(say)?;
    }
    // From here on paths are the container's: nothing of the host is open any more that they could name.
    sys::close_from(process::CHANNEL + 1);
    process::own_keyring()?;
    if start.process.tty {
        process::open_terminal(&start.process, true)?;
    }
    let there = process::take_place(&start.process)?;
    if joined.is_some() {
        process::hand_over(&start.process, there)
    } else {
        process::become_command(&start.process, there)
    }
}

fn new_cgroup_namespace(start: &Start) -> Result<(), Failure> {
    if !start.cgroup_namespace {
        return Ok(());
    }
    sys::unshare(libc::CLONE_NEWCGROUP).map_err(|error| failure("make", "cgroup namespace", error))
}
