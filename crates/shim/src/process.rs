//! In a child: limits, terminal, directory, identity, privileges, then the command.
//!
//! Invariant: privileges only shrink from here on, and everything that can fail is reported in words through the
//! channel. Whatever is resolved in the container is so with nothing of the host open: only the standard streams and
//! the channel, at the number after them. Absent: namespaces and mounts, which are done before.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use shim::Process;

use crate::rootfs::{Failure, failure};
use crate::sys::{self, Errno};

/// First byte of a packet from a child: what follows is why it failed.
pub(crate) const SAYS_FAILED: u8 = b'E';
/// Only asks whether somebody listens.
const SAYS_ALIVE: u8 = b'A';
/// The packet carries the master of the terminal.
pub(crate) const SAYS_TERMINAL: u8 = b'T';

/// Where a child has its end of the channel: the first number after its streams.
pub(crate) const CHANNEL: RawFd = 3;

/// A devpts; libc's constant has another type on some targets.
const DEVPTS: i64 = 0x1cd1;

/// Takes the channel; the first thing a child does.
pub(crate) fn hold_channel(channel: RawFd) -> Result<(), Failure> {
    sys::put_at(channel, CHANNEL).map_err(|error| failure("keep", "channel", error))
}

/// As a fresh process is, and dying with the shim.
pub(crate) fn begin() -> Result<(), Errno> {
    sys::reset_signals();
    sys::setsid();
    // Nobody without CAP_SYS_PTRACE looks into it while it is still the shim's image.
    sys::prctl(libc::PR_SET_DUMPABLE, 0)?;
    sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64).map(drop)
}

/// Tells the shim why and ends.
pub(crate) fn give_up(why: &str) -> ! {
    let mut packet = vec![SAYS_FAILED];
    packet.extend_from_slice(why.as_bytes());
    // When the shim is gone, so is the reader of the reason.
    let _ = sys::send(CHANNEL, &packet, &[]);
    sys::exit(128)
}

/// A session keyring of its own; without one all Pods would share the daemon's.
pub(crate) fn own_keyring() -> Result<(), Failure> {
    match sys::new_session_keyring() {
        // No keys in this kernel, or a filter above us that also stands above the container.
        Ok(()) | Err(libc::ENOSYS | libc::EPERM) => Ok(()),
        Err(error) => Err(failure("join", "session keyring", error)),
    }
}

/// Joins the cgroups whose membership is written (v1).
pub(crate) fn join_cgroups(procs: &[RawFd]) -> Result<(), Failure> {
    for fd in procs {
        sys::write_all(*fd, b"0").map_err(|error| failure("join", "cgroup", error))?;
    }
    Ok(())
}

/// How badly the kernel wants this process when memory is short; `proc` is the host's.
pub(crate) fn set_oom_score(proc: RawFd, score: i32) -> Result<(), Failure> {
    let set = |error| failure("write", "oom_score_adj", error);
    let file = sys::openat(proc, "self/oom_score_adj", libc::O_WRONLY, 0).map_err(set)?;
    sys::write_all(file.as_raw_fd(), decimal(score.into()).as_bytes()).map_err(set)
}

/// Digits without a formatter, which would be most of this program's size.
pub(crate) fn decimal(value: i64) -> String {
    let mut digits = Vec::new();
    let mut rest = value.unsigned_abs();
    loop {
        digits.push(b'0' + (rest % 10) as u8);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        digits.push(b'-');
    }
    digits.reverse();
    String::from_utf8(digits).unwrap_or_default()
}

/// A procfs of a PID namespace, mounted by a process inside it that holds nothing open but the channel to here: before
/// Linux 6.17 there is no other way. That process ends at once; until then it has the privileges that mounting needs.
pub(crate) fn proc_from_inside(namespace: RawFd, attr: u64) -> Result<OwnedFd, Errno> {
    let (ours, theirs) = sys::channel()?;
    if sys::clone3(0, None)? == 0 {
        let made = sys::put_at(theirs.as_raw_fd(), CHANNEL).and_then(|()| mount_inside(namespace, attr));
        sys::exit(made.err().unwrap_or(0));
    }
    drop(theirs);
    let (mut buffer, mut fds) = (Vec::with_capacity(1), Vec::new());
    sys::receive(ours.as_raw_fd(), &mut buffer, &mut fds)?;
    fds.pop().ok_or(libc::ESRCH)
}

fn mount_inside(namespace: RawFd, attr: u64) -> Result<(), Errno> {
    sys::setns(namespace, libc::CLONE_NEWPID)?;
    sys::close_range(0, CHANNEL as u32 - 1);
    sys::close_from(CHANNEL + 1);
    if sys::clone_sibling()? == 0 {
        let sent = sys::new_mount("proc", &[], attr, None)
            .and_then(|mount| sys::send(CHANNEL, &[SAYS_ALIVE], &[mount.as_raw_fd()]));
        sys::exit(sent.err().unwrap_or(0));
    }
    Ok(())
}

/// A terminal of the container's devpts as standard streams; its master goes to the shim. The current directory is
/// the container's root. What lies at the path may be the container's work, so it is opened only if it is a devpts, in
/// which that name can be nothing else.
pub(crate) fn open_terminal(process: &Process, console: bool) -> Result<(), Failure> {
    let fail = |error| failure("open terminal", "/dev/pts/ptmx", error);
    let dir = sys::open_in(sys::AT_FDCWD, "/dev/pts", libc::O_PATH | libc::O_DIRECTORY).map_err(fail)?;
    if sys::fs_magic(dir.as_raw_fd()).map_err(fail)? != DEVPTS {
        return Err(fail(libc::ENOTTY));
    }
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_NOFOLLOW;
    let master = sys::openat(dir.as_raw_fd(), "ptmx", flags, 0).map_err(fail)?;
    let slave = sys::terminal_peer(master.as_raw_fd(), process.rows, process.cols).map_err(fail)?;
    sys::fchown(slave.as_raw_fd(), process.uid).map_err(fail)?;
    sys::send(CHANNEL, &[SAYS_TERMINAL], &[master.as_raw_fd()]).map_err(fail)?;
    if console {
        bind_console(&slave).map_err(|error| failure("mount at", "/dev/console", error))?;
    }
    for fd in 0..3 {
        sys::dup2(slave.as_raw_fd(), fd).map_err(fail)?;
    }
    Ok(())
}

fn bind_console(slave: &OwnedFd) -> Result<(), Errno> {
    let dir = sys::open_in(sys::AT_FDCWD, "/dev", libc::O_PATH | libc::O_DIRECTORY)?;
    let flags = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY;
    match sys::openat(dir.as_raw_fd(), "console", flags, 0o600) {
        Ok(_) | Err(libc::EEXIST) => {}
        Err(error) => return Err(error),
    }
    let place = sys::openat(dir.as_raw_fd(), "console", libc::O_PATH | libc::O_NOFOLLOW, 0)?;
    let mount = sys::open_tree(slave.as_raw_fd(), "", false)?;
    sys::move_mount(mount.as_raw_fd(), place.as_raw_fd())
}

/// Makes `stdin`, `stdout`, `stderr` the standard streams; an absent one is `null`, never what a container has at
/// /dev/null.
pub(crate) fn set_streams(streams: [Option<RawFd>; 3], null: RawFd, uid: u32) -> Result<(), Failure> {
    for (target, stream) in streams.into_iter().enumerate() {
        let set =
            |fd| sys::dup2(fd, target as RawFd).map_err(|error| failure("set", "standard stream", error));
        match stream {
            Some(fd) => {
                set(fd)?;
                // So that the user may open /dev/stdout anew; not all files can be given away.
                let _ = sys::fchown(target as RawFd, uid);
            }
            None => set(null)?,
        }
    }
    Ok(())
}

/// Takes limits, working directory, identity and privileges: afterwards the process has none that its command has not.
/// Nothing but streams and channel is open; the current directory is the container's root. True if the working
/// directory is entered already: a first try is made with full privileges, as by runc, since images have directories
/// that are closed to the container's user.
pub(crate) fn take_place(process: &Process) -> Result<bool, Failure> {
    for (resource, soft, hard) in &process.rlimits {
        sys::setrlimit(*resource, *soft, *hard).map_err(|error| failure("set", "resource limit", error))?;
    }
    sys::umask(0o022);
    let there = match enter_directory(&process.cwd) {
        Ok(()) => {
            be_inside(process)?;
            true
        }
        // Where root is squashed the user may still have access.
        Err(libc::EACCES | libc::EPERM) => false,
        Err(error) => return Err(failure("chdir to cwd", &process.cwd, error)),
    };
    if !process.no_new_privs {
        // Needs CAP_SYS_ADMIN, which is about to go.
        load_filter(process)?;
    }
    take_identity(process).map_err(|error| failure("set", "user and capabilities", error))?;
    Ok(there)
}

/// No magic link leads there (/proc/self/fd/N), and nothing out of the root.
fn enter_directory(path: &str) -> Result<(), Errno> {
    let dir = sys::open_in(sys::AT_FDCWD, path, libc::O_PATH | libc::O_DIRECTORY)?;
    sys::fchdir(dir.as_raw_fd())
}

fn be_inside(process: &Process) -> Result<(), Failure> {
    match sys::inside_root() {
        Ok(true) => Ok(()),
        Ok(false) => Err("current working directory is outside of container mount namespace root".to_owned()),
        Err(error) => Err(failure("chdir to cwd", &process.cwd, error)),
    }
}

/// Lets a new process, in the PID namespace joined before, become the command; ends when it has.
pub(crate) fn hand_over(process: &Process, there: bool) -> Result<(), Failure> {
    match sys::clone_sibling() {
        Ok(0) => give_up(&become_command(process, there).err().unwrap_or_default()),
        Ok(_) => sys::exit(0),
        Err(error) => Err(failure("make", "process", error)),
    }
}

/// Finds and executes the command, with nothing open but streams and channel and with no privilege but its own: a path
/// (of the command, a script's interpreter, PATH) can name nothing that the command could not open itself. So it is
/// executed by its path, which scripts, /proc/PID/comm and AT_EXECFN need; of the shim it could reach only the program,
/// through /proc/self/exe, which lies on a read-only mount and is refused as a magic link.
pub(crate) fn become_command(process: &Process, there: bool) -> Result<(), Failure> {
    sys::setsid();
    if process.tty {
        let fail = |error| failure("set", "controlling terminal", error);
        sys::set_controlling_terminal().map_err(fail)?;
    }
    // Neither a fork nor a change of identity keeps it, so it comes after both.
    sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64)
        .map_err(|error| failure("set", "parent death signal", error))?;
    if sys::send(CHANNEL, &[SAYS_ALIVE], &[]).is_err() {
        // The shim died before the signal was armed.
        sys::exit(137);
    }
    if !there {
        match enter_directory(&process.cwd) {
            // A filter's answer.
            Err(libc::EPERM | libc::ENOSYS) => sys::chdir(&process.cwd),
            other => other,
        }
        .map_err(|error| failure("chdir to cwd", &process.cwd, error))?;
        be_inside(process)?;
    }
    let command = process.args.first().map_or("", String::as_str);
    let path = look_up(command, &process.env)?;
    let list =
        |items: &[String]| items.iter().map(|item| sys::cstr(item)).collect::<Result<Vec<CString>, _>>();
    let say = |error| ["exec ", command, ": ", &sys::describe(error)].concat();
    let (args, env) = (list(&process.args).map_err(say)?, list(&process.env).map_err(say)?);
    let path = sys::cstr(&path).map_err(say)?;
    if process.no_new_privs {
        sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1).map_err(|error| failure("set", "no_new_privs", error))?;
        load_filter(process)?;
    }
    Err(say(sys::execve(&path, &args, &env)))
}

fn load_filter(process: &Process) -> Result<(), Failure> {
    if process.seccomp.is_empty() {
        return Ok(());
    }
    sys::seccomp(&process.seccomp, process.seccomp_flags)
        .map_err(|error| failure("load", "seccomp filter", error))
}

fn take_identity(process: &Process) -> Result<(), Errno> {
    for capability in 0..64 {
        if process.capabilities & (1 << capability) == 0 {
            match sys::prctl(libc::PR_CAPBSET_DROP, capability) {
                Ok(_) => {}
                // Beyond the kernel's last one.
                Err(libc::EINVAL) => break,
                Err(error) => return Err(error),
            }
        }
    }
    sys::prctl(libc::PR_SET_KEEPCAPS, 1)?;
    sys::become_user(process.uid, process.gid, &process.groups)?;
    sys::prctl(libc::PR_SET_KEEPCAPS, 0)?;
    sys::capset(process.capabilities)
}

/// Finds the command as Go's exec.LookPath does, with its words.
fn look_up(command: &str, env: &[String]) -> Result<String, Failure> {
    let say = |why: &str| ["exec: \"", command, "\": ", why].concat();
    if command.contains('/') {
        return match executable(command) {
            Ok(()) => Ok(command.to_owned()),
            Err(error @ (libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::ENAMETOOLONG)) => {
                Err(say(&["stat ", command, ": ", &sys::describe(error)].concat()))
            }
            Err(error) => Err(say(&sys::describe(error))),
        };
    }
    let path = env.iter().rev().find_map(|item| item.strip_prefix("PATH=")).unwrap_or("");
    for dir in path.split(':').filter(|_| !command.is_empty()) {
        let candidate = [if dir.is_empty() { "." } else { dir }, "/", command].concat();
        if executable(&candidate).is_ok() {
            return Ok(candidate);
        }
    }
    Err(say("executable file not found in $PATH"))
}

fn executable(path: &str) -> Result<(), Errno> {
    match sys::openat2(sys::AT_FDCWD, path, libc::O_PATH, 0, libc::RESOLVE_NO_MAGICLINKS) {
        // Refused by a filter that knows the older calls only: they find the same, or the shim's own program.
        Ok(_) | Err(libc::EPERM | libc::ENOSYS) => {}
        Err(error) => return Err(error),
    }
    let mode = sys::stat(path)?.st_mode;
    if mode & libc::S_IFMT == libc::S_IFDIR {
        return Err(libc::EISDIR);
    }
    if mode & 0o111 == 0 { Err(libc::EACCES) } else { sys::may_execute(path) }
}
