//! What the daemon and the shim say to each other: messages over a SEQPACKET socket, file descriptors beside them.
//!
//! Invariant: the shim interprets, it never decides: paths, limits, filters and masks are computed by the daemon and
//! arrive here as flat data. Encoding is little endian and positional; [`VERSION`] changes with any change of it, and a
//! daemon must go on speaking the versions of shims that may still live. Also the form of log lines. Absent: any I/O.

pub mod crilog;
mod wire;

pub use wire::{Decode, Encode, Malformed, Reader};

/// Version of the messages below.
pub const VERSION: u32 = 2;

/// The oldest version that a daemon speaks: what it has is as in [`VERSION`], but [`Op::Keep`] is not in it.
pub const OLDEST: u32 = 1;

/// The version that has [`Op::Keep`].
pub const HAS_KEEP: u32 = 2;

/// The shim's listening socket is inherited at this number.
pub const LISTEN_FD: i32 = 3;

/// Messages above this size travel in a memfd, the last descriptor of the packet.
pub const INLINE_MAX: usize = 32 * 1024;

/// Descriptors in one packet (the kernel's limit is 253).
pub const FDS_MAX: usize = 240;

/// Sequence number of a packet without a message: its last descriptor is a memfd holding the frame.
pub const IN_MEMFD: u32 = u32::MAX;

/// Sequence number of a packet without a message: its descriptors belong to the next frame.
pub const MORE_FDS: u32 = u32::MAX - 1;

wire::message! {
    /// Index into the descriptors that came with the message.
    pub struct Fd { pub index: u32 }
}

wire::message! {
    /// Makes the sandbox; the first request. Descriptors: as named.
    pub struct Init {
        pub hostname: String,
        pub shm_size: u64,
        pub host_ipc: bool,
        pub share_pid: bool,
        /// `/proc/sys` relative paths and values.
        pub sysctls: Vec<(String, String)>,
        /// `None` is the host's network.
        pub netns: Option<Fd>,
        /// Where container log paths begin.
        pub log_dir: Fd,
    }
}

wire::message! {
    /// Identity, privileges and command of a process.
    pub struct Process {
        pub args: Vec<String>,
        pub env: Vec<String>,
        pub cwd: String,
        pub uid: u32,
        pub gid: u32,
        pub groups: Vec<u32>,
        /// Bounding, permitted and effective set, as bits.
        pub capabilities: u64,
        pub no_new_privs: bool,
        /// `sock_filter` array as bytes; empty is no filter.
        pub seccomp: Vec<u8>,
        /// Flags of seccomp(2).
        pub seccomp_flags: u32,
        /// Resource number, soft, hard.
        pub rlimits: Vec<(u32, u64, u64)>,
        pub oom_score_adj: i32,
        pub tty: bool,
        /// Rows and columns at start, 0 if unknown.
        pub rows: u16,
        pub cols: u16,
    }
}

wire::message! {
    /// The cgroups a process joins, as descriptors opened by the daemon.
    pub struct Cgroups {
        /// v2 directory, for clone3.
        pub v2: Option<Fd>,
        /// v1 `cgroup.procs`, open for writing.
        pub v1: Vec<Fd>,
    }
}

wire::message! {
    /// Starts a container.
    pub struct Start {
        pub id: String,
        /// Relative to the log directory; empty is no log.
        pub log_path: String,
        pub stdin: bool,
        pub stdin_once: bool,
        pub pid: PidMode,
        pub cgroup_namespace: bool,
        pub cgroups: Cgroups,
        /// `memory.events` or `memory.oom_control`.
        pub oom: Option<Fd>,
        /// `cgroup.kill`.
        pub kill: Option<Fd>,
        /// Whether processes left behind by the first one must be killed when it ends (shared PID namespaces).
        pub kill_rest: bool,
        /// Detached mount of the root filesystem.
        pub rootfs: Fd,
        /// Where the exit code is kept.
        pub dir: Fd,
        pub read_only_root: bool,
        pub ops: Vec<Op>,
        pub process: Process,
    }
}

wire::message! {
    /// Runs a command in a container. Without a terminal `stdio` are its streams, closed ones absent.
    pub struct Exec {
        pub id: String,
        /// Chosen by the daemon, unique over its lifetimes.
        pub exec: u64,
        pub cgroups: Cgroups,
        pub stdin: Option<Fd>,
        pub stdout: Option<Fd>,
        pub stderr: Option<Fd>,
        pub process: Process,
    }
}

wire::message! {
    /// Sends a signal to the first process of a container.
    pub struct Signal { pub id: String, pub signal: i32 }
}

wire::message! {
    /// What the shim knows of a container.
    pub struct ContainerState {
        pub id: String,
        /// 0 once ended.
        pub pid: i32,
        pub started_at: i64,
        /// 0 while it runs.
        pub finished_at: i64,
        /// 128+signal if killed.
        pub exit_code: i32,
        pub oom_killed: bool,
    }
}

wire::message! {
    /// Said by the shim to whoever connects.
    pub struct Hello {
        pub version: u32,
        /// The shim's own.
        pub pid: i32,
        /// Whether Init was done.
        pub ready: bool,
        /// The init of the Pod's PID namespace, 0 if containers have their own.
        pub pause_pid: i32,
        pub containers: Vec<ContainerState>,
    }
}

/// Which PID namespace a container's first process is in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum PidMode {
    /// Its own.
    #[default]
    New,
    /// That of the shim's pause process.
    Pod,
    /// The host's.
    Host,
    /// The one of the descriptor.
    Join(Fd),
}

/// A step in making a root filesystem. Targets are inside the root and never leave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Mounts a new filesystem: type, options, `MOUNT_ATTR_*`, target.
    Mount {
        /// Filesystem type.
        fs: String,
        /// Key and value; an empty value is a flag.
        options: Vec<(String, String)>,
        /// `MOUNT_ATTR_*`.
        attr: u64,
        /// Where.
        target: String,
    },
    /// Attaches a detached mount; a missing target is made.
    Attach {
        /// The mount.
        mount: Fd,
        /// Where.
        target: String,
        /// Whether the target is a directory.
        dir: bool,
    },
    /// Attaches the Pod's `/dev/shm`.
    Shm {
        /// Where.
        target: String,
    },
    /// Makes a device node.
    Node {
        /// Where.
        target: String,
        /// Type and permissions.
        mode: u32,
        /// Device number.
        dev: u64,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// Makes a symbolic link; one that exists is left alone.
    Symlink {
        /// Contents.
        to: String,
        /// Where.
        target: String,
    },
    /// Makes a directory and its parents.
    Dir {
        /// Where.
        target: String,
        /// Permissions of what is made.
        mode: u32,
    },
    /// Hides a path if it exists.
    Mask {
        /// Where.
        target: String,
    },
    /// Makes a path read-only if it exists.
    ReadOnly {
        /// Where.
        target: String,
    },
    /// Makes the mount at a path read-only.
    Lock {
        /// Where.
        target: String,
    },
    /// Binds what the root itself has at a path, before any other step, onto that path: a mount of its own, which a
    /// read-only root leaves writable. What is missing is made as a directory.
    Keep {
        /// Where.
        target: String,
    },
}

/// What the daemon asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Make the sandbox.
    Init(Init),
    /// Start a container.
    Start(Box<Start>),
    /// Run a command in a container.
    Exec(Box<Exec>),
    /// Signal a container's first process.
    Signal(Signal),
    /// Join a container's streams: id, whether stdin is wanted.
    Attach(String, bool),
    /// Open a container's log anew.
    Reopen(String),
    /// Forget an ended container.
    Remove(String),
    /// Kill the process of an exec.
    KillExec(u64),
    /// Kill everything and end.
    Shutdown,
}

/// What the shim answers or says by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// First message on a connection.
    Hello(Hello),
    /// Done; what it means depends on the request (a pid, or 0).
    Done(i64),
    /// A process runs: pid and time. With a terminal (exec) its master is the descriptor.
    Started(i32, i64),
    /// The process could not be started, in words for users.
    Failed(String),
    /// The request could not be carried out.
    Refused(String),
    /// Streams of an attach; which descriptors follow, in order: stdin, stdout, stderr, terminal.
    Streams(bool, bool, bool, bool),
    /// Event: a container ended, or (no end time) runs, when who asked for its start is gone.
    Exited(ContainerState),
    /// Event: an exec's process ended: id, exit code.
    ExecExited(u64, i32),
}

wire::choice!(PidMode { 0 => New, 1 => Pod, 2 => Host, 3 => Join(fd) });

wire::choice!(Op {
    0 => Mount { fs, options, attr, target },
    1 => Attach { mount, target, dir },
    2 => Shm { target },
    3 => Node { target, mode, dev, uid, gid },
    4 => Symlink { to, target },
    5 => Dir { target, mode },
    6 => Mask { target },
    7 => ReadOnly { target },
    8 => Lock { target },
    9 => Keep { target },
});

wire::choice!(Request {
    1 => Init(init),
    2 => Start(start),
    3 => Exec(exec),
    4 => Signal(signal),
    5 => Attach(id, stdin),
    6 => Reopen(id),
    7 => Remove(id),
    8 => KillExec(id),
    9 => Shutdown,
});

wire::choice!(Reply {
    0 => Hello(hello),
    1 => Done(value),
    2 => Started(pid, at),
    3 => Failed(text),
    4 => Refused(text),
    5 => Streams(stdin, stdout, stderr, tty),
    6 => Exited(state),
    7 => ExecExited(id, code),
});

/// A frame: sequence number and message, the message's tag first.
#[must_use]
pub fn frame<M: Encode>(sequence: u32, message: &M) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    sequence.encode(&mut out);
    message.encode(&mut out);
    out
}

/// The sequence number and message of a frame.
///
/// # Errors
/// When the bytes are not such a message.
pub fn unframe<M: Decode>(bytes: &[u8]) -> Result<(u32, M), Malformed> {
    let mut reader = Reader::new(bytes);
    let sequence = u32::decode(&mut reader)?;
    let message = M::decode(&mut reader)?;
    reader.end()?;
    Ok((sequence, message))
}

#[cfg(test)]
mod tests;
