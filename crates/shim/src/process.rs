//! In a child: limits, terminal, identity, privileges, then the command.
//!
//! Invariant: privileges only shrink from here on, and everything that can fail is reported in words through the
//! channel. Absent: namespaces and mounts, which are done before.

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

/// Tells the shim why and ends.
pub(crate) fn give_up(channel: RawFd, why: &str) -> ! {
    let mut packet = vec![SAYS_FAILED];
    packet.extend_from_slice(why.as_bytes());
    // When the shim is gone, so is the reader of the reason.
    let _ = sys::send(channel, &packet, &[]);
    sys::exit(128)
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

/// A terminal of the container's devpts as standard streams; its master goes to the shim.
pub(crate) fn open_terminal(process: &Process, channel: RawFd, console: bool) -> Result<(), Failure> {
    let fail = |error| failure("open terminal", "/dev/pts/ptmx", error);
    let master = sys::open("/dev/pts/ptmx", libc::O_RDWR | libc::O_NOCTTY).map_err(fail)?;
    let slave = sys::terminal_peer(master.as_raw_fd(), process.rows, process.cols).map_err(fail)?;
    sys::fchown(slave.as_raw_fd(), process.uid).map_err(fail)?;
    sys::send(channel, &[SAYS_TERMINAL], &[master.as_raw_fd()]).map_err(fail)?;
    if console {
        bind_console(&slave).map_err(|error| failure("mount at", "/dev/console", error))?;
    }
    for fd in 0..3 {
        sys::dup2(slave.as_raw_fd(), fd).map_err(fail)?;
    }
    sys::set_controlling_terminal().map_err(fail)
}

fn bind_console(slave: &OwnedFd) -> Result<(), Errno> {
    match sys::openat(sys::AT_FDCWD, "/dev/console", libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY, 0o600) {
        Ok(_) | Err(libc::EEXIST) => {}
        Err(error) => return Err(error),
    }
    let place = sys::open("/dev/console", libc::O_PATH | libc::O_NOFOLLOW)?;
    let mount = sys::open_tree(slave.as_raw_fd(), "", false)?;
    sys::move_mount(mount.as_raw_fd(), place.as_raw_fd())
}

/// Makes `stdin`, `stdout`, `stderr` the standard streams; an absent one is /dev/null.
pub(crate) fn set_streams(streams: [Option<RawFd>; 3], uid: u32) -> Result<(), Failure> {
    let fail = |error| failure("open", "/dev/null", error);
    for (target, stream) in streams.into_iter().enumerate() {
        match stream {
            Some(fd) => {
                sys::dup2(fd, target as RawFd).map_err(|error| failure("set", "standard stream", error))?;
                // So that the user may open /dev/stdout anew; not all files can be given away.
                let _ = sys::fchown(target as RawFd, uid);
            }
            None => {
                let null = sys::open("/dev/null", libc::O_RDWR).map_err(fail)?;
                sys::dup2(null.as_raw_fd(), target as RawFd).map_err(fail)?;
            }
        }
    }
    Ok(())
}

/// Takes the identity and privileges of the process and executes it.
pub(crate) fn become_command(process: &Process, channel: RawFd) -> Result<(), Failure> {
    for (resource, soft, hard) in &process.rlimits {
        sys::setrlimit(*resource, *soft, *hard).map_err(|error| failure("set", "resource limit", error))?;
    }
    sys::umask(0o022);
    if !process.no_new_privs {
        // Needs CAP_SYS_ADMIN, which is about to go.
        load_filter(process)?;
    }
    take_identity(process).map_err(|error| failure("set", "user and capabilities", error))?;
    // A change of identity clears it, so it comes after.
    sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as u64)
        .map_err(|error| failure("set", "parent death signal", error))?;
    if sys::send(channel, &[SAYS_ALIVE], &[]).is_err() {
        // The shim died before the signal was armed.
        sys::exit(137);
    }
    if !process.cwd.is_empty() {
        sys::chdir(&process.cwd).map_err(|error| failure("chdir to cwd", &process.cwd, error))?;
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
    let mode = sys::stat(path)?.st_mode;
    if mode & libc::S_IFMT == libc::S_IFDIR {
        return Err(libc::EISDIR);
    }
    if mode & 0o111 == 0 { Err(libc::EACCES) } else { sys::may_execute(path) }
}
