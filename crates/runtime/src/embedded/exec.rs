//! Commands in running containers, and joining a container's own streams.
//!
//! Invariant: an exec's process tree dies with its session or its time limit. Absent: the network side of streaming.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use shim::{Exec, Reply, Request};
use tokio::io::AsyncReadExt;
use tokio::sync::oneshot;

use super::state::{Container, Sandbox};
use super::streams::{self, Reader, Terminal};
use super::{Shared, blocking, container, shim_failed};
use crate::plan::{self, Bundle};
use crate::users::Identity;
use crate::{ContainerState, ExecOutput, ExecSpec, RuntimeError, Session, seccomp};

/// Kept of each stream by [`collect`], as the kubelet.
const KEPT: usize = 16 * 1024;
/// How long after the command's end its left-behind children may hold its streams open.
const DRAIN: Duration = Duration::from_secs(2);

/// A running command.
struct Running {
    exit: oneshot::Receiver<i32>,
    guard: Guard,
    terminal: Option<OwnedFd>,
}

/// Kills the command when dropped before its end, whether or not it has started yet.
struct Guard {
    sandbox: Arc<Sandbox>,
    exec: u64,
    /// 0 until it is known.
    pid: i32,
    ended: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.sandbox.execs().remove(&self.exec);
        if self.ended {
            return;
        }
        let left = with_descendants(&children(self.pid));
        let (Ok(link), Ok(handle)) = (self.sandbox.link(), tokio::runtime::Handle::try_current()) else {
            // With its shim the command died too.
            return kill_all(&left);
        };
        let exec = self.exec;
        handle.spawn(async move {
            // It first: a script whose child is killed goes on with its next command. The shim knows whether it still
            // lives; it may have ended meanwhile.
            let _ = link.call(&Request::KillExec(exec), &[]).await;
            kill_all(&with_descendants(&left));
        });
    }
}

fn children(pid: i32) -> Vec<i32> {
    // An ended process, or none at all, has none.
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

/// Processes and all that they started, the deepest last.
fn with_descendants(of: &[i32]) -> Vec<i32> {
    let mut all = of.to_vec();
    let mut at = 0;
    while at < all.len() {
        let more = children(all[at]);
        all.extend(more.into_iter().filter(|child| !of.contains(child)));
        at += 1;
    }
    all
}

fn kill_all(pids: &[i32]) {
    for pid in pids.iter().filter_map(|pid| rustix::process::Pid::from_raw(*pid)) {
        // One that just ended is as good as killed.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

fn running(container: &Container) -> Result<(), RuntimeError> {
    if container.record().state == ContainerState::Running {
        Ok(())
    } else {
        Err(RuntimeError::State(format!("container {:?} is not running", container.id)))
    }
}

/// Starts a command with the given ends of its streams.
async fn start(
    shared: &Arc<Shared>,
    container: &Arc<Container>,
    spec: &ExecSpec,
    stdio: [Option<OwnedFd>; 3],
) -> Result<Running, RuntimeError> {
    running(container)?;
    let link = container.sandbox.link()?;
    let id = shared.next_exec.fetch_add(1, Ordering::Relaxed);
    let (with, target, spec) = (shared.clone(), container.clone(), spec.clone());
    let (request, bundle) = blocking(move || prepare(&with, &target, id, &spec, stdio)).await?;
    let (sender, exit) = oneshot::channel();
    container.sandbox.execs().insert(id, sender);
    let mut guard = Guard { sandbox: container.sandbox.clone(), exec: id, pid: 0, ended: false };
    let answer = link.call(&Request::Exec(Box::new(request)), &bundle.borrowed()).await;
    match answer.map_err(|error| shim_failed(&error))? {
        (Reply::Started(pid, _), mut fds) => {
            guard.pid = pid;
            Ok(Running { exit, guard, terminal: fds.pop() })
        }
        (Reply::Failed(why), _) => {
            guard.ended = true;
            Err(RuntimeError::Start(why))
        }
        (Reply::Refused(why), _) => {
            guard.ended = true;
            Err(RuntimeError::State(why))
        }
        (other, _) => Err(RuntimeError::State(format!("unexpected answer of the shim: {other:?}"))),
    }
}

fn prepare(
    shared: &Shared,
    container: &Container,
    exec: u64,
    spec: &ExecSpec,
    stdio: [Option<OwnedFd>; 3],
) -> Result<(Exec, Bundle), RuntimeError> {
    let record = container.record();
    let (uid, gid, groups) = record.user.unwrap_or_default();
    let identity = Identity { uid, gid, groups, home: record.home };
    let hostname = container::hostname(&container.sandbox);
    let mut process = plan::process(&container.spec, &identity, &hostname, seccomp::filter(&container.spec)?);
    process.args.clone_from(&spec.command);
    process.tty = spec.tty;
    if spec.tty && !process.env.iter().any(|item| item.starts_with("TERM=")) {
        process.env.push("TERM=xterm".to_owned());
    }
    let mut bundle = Bundle::default();
    let (cgroups, _, _) = container::join(shared.cgroups.open(&container.cgroup())?, &mut bundle);
    let [stdin, stdout, stderr] = stdio.map(|end| end.map(|end| bundle.add(end)));
    Ok((Exec { id: container.id.clone(), exec, cgroups, stdin, stdout, stderr, process }, bundle))
}

async fn wait(exit: oneshot::Receiver<i32>, mut guard: Guard) -> Result<i32, RuntimeError> {
    let code = exit.await.map_err(|_| RuntimeError::State("the sandbox ended before the command".into()))?;
    guard.ended = true;
    Ok(code)
}

/// Runs a command with streams.
pub(super) async fn run(
    shared: &Arc<Shared>,
    container: &Arc<Container>,
    spec: ExecSpec,
) -> Result<Session, RuntimeError> {
    check(&spec.command)?;
    if spec.tty {
        let Running { exit, guard, terminal } = start(shared, container, &spec, [None, None, None]).await?;
        let master = terminal.ok_or_else(|| RuntimeError::State("the shim sent no terminal".into()))?;
        let terminal = Terminal::new(master)?;
        return Ok(Session {
            stdin: spec.stdin.then(|| Box::new(terminal.clone()) as streams::Writer),
            resize: Some(terminal.resizer()),
            stdout: Box::new(terminal),
            stderr: None,
            exit: Box::pin(wait(exit, guard)),
        });
    }
    let (stdin, stdin_ours) =
        if spec.stdin { streams::pipe_pair().map(|(r, w)| (Some(r), Some(w)))? } else { (None, None) };
    let (stdout, stdout_theirs) = streams::pipe_pair()?;
    let (stderr, stderr_theirs) = streams::pipe_pair()?;
    let stdio = [stdin, Some(stdout_theirs), Some(stderr_theirs)];
    let Running { exit, guard, .. } = start(shared, container, &spec, stdio).await?;
    Ok(Session {
        stdin: stdin_ours.map(streams::writer).transpose()?,
        stdout: streams::reader(stdout)?,
        stderr: Some(streams::reader(stderr)?),
        resize: None,
        exit: Box::pin(wait(exit, guard)),
    })
}

fn check(command: &[String]) -> Result<(), RuntimeError> {
    if command.is_empty() { Err(RuntimeError::State("no command specified".into())) } else { Ok(()) }
}

/// Runs a command and collects what it says; at `timeout` it is killed with all it started.
pub(super) async fn collect(
    shared: &Arc<Shared>,
    container: &Arc<Container>,
    command: Vec<String>,
    timeout: Option<Duration>,
) -> Result<ExecOutput, RuntimeError> {
    let limit = timeout.filter(|limit| !limit.is_zero());
    let deadline = limit.map(|limit| tokio::time::Instant::now() + limit);
    let spec = ExecSpec { command, tty: false, stdin: false };
    // A container that is frozen does not even let it start.
    let session = within(deadline, run(shared, container, spec)).await.ok_or_else(|| timed_out(limit))??;
    let Session { stdout, stderr, exit, .. } = session;
    let stdout = tokio::spawn(keep(Some(stdout)));
    let stderr = tokio::spawn(keep(stderr));
    // Dropping the wait kills the tree.
    let Some(exit_code) = within(deadline, exit).await else {
        stdout.abort();
        stderr.abort();
        return Err(timed_out(limit));
    };
    let exit_code = exit_code?;
    let mut output = ExecOutput { exit_code, ..ExecOutput::default() };
    for (mut task, kept) in [(stdout, &mut output.stdout), (stderr, &mut output.stderr)] {
        match tokio::time::timeout(DRAIN, &mut task).await {
            Ok(Ok(bytes)) => *kept = bytes,
            Ok(Err(error)) => return Err(RuntimeError::State(error.to_string())),
            // Children that were left behind hold the stream; the command itself is done.
            Err(_) => task.abort(),
        }
    }
    Ok(output)
}

/// The work's result, `None` if it is not there by the deadline.
async fn within<T>(deadline: Option<tokio::time::Instant>, work: impl Future<Output = T>) -> Option<T> {
    match deadline {
        Some(deadline) => tokio::time::timeout_at(deadline, work).await.ok(),
        None => Some(work.await),
    }
}

fn timed_out(limit: Option<Duration>) -> RuntimeError {
    RuntimeError::Timeout(limit.unwrap_or_default())
}

/// Reads to the end and keeps the beginning.
async fn keep(stream: Option<Reader>) -> Vec<u8> {
    let mut kept = Vec::new();
    let Some(mut stream) = stream else { return kept };
    let mut chunk = [0; 4096];
    // An error is an end too: the output up to it is what there is.
    while let Ok(count) = stream.read(&mut chunk).await
        && count > 0
    {
        let room = KEPT - kept.len();
        kept.extend_from_slice(&chunk[..count.min(room)]);
    }
    kept
}

/// Joins the streams of the first process.
pub(super) async fn attach(container: &Arc<Container>, stdin: bool) -> Result<Session, RuntimeError> {
    running(container)?;
    let link = container.sandbox.link()?;
    let answer = link.call(&Request::Attach(container.id.clone(), stdin), &[]).await;
    let (has, fds) = match answer.map_err(|error| shim_failed(&error))? {
        (Reply::Streams(stdin, stdout, stderr, tty), fds) => ([stdin, stdout, stderr, tty], fds),
        (Reply::Refused(why), _) => return Err(RuntimeError::State(why)),
        (other, _) => return Err(RuntimeError::State(format!("unexpected answer of the shim: {other:?}"))),
    };
    let mut fds = fds.into_iter();
    let [stdin, stdout, stderr, master] = has.map(|has| if has { fds.next() } else { None });
    let terminal = master.map(Terminal::new).transpose()?;
    let stdin = match (stdin, &terminal) {
        (Some(fd), Some(_)) => Some(Box::new(Terminal::new(fd)?) as streams::Writer),
        (Some(fd), None) => Some(streams::writer(fd)?),
        (None, _) => None,
    };
    let mut state = container.state.subscribe();
    let ended = container.clone();
    let exit = async move {
        let wait = state.wait_for(|state| *state != ContainerState::Running).await;
        wait.map_err(|error| RuntimeError::State(error.to_string()))?;
        Ok(ended.record().exit_code)
    };
    Ok(Session {
        stdin,
        stdout: match stdout {
            Some(fd) => streams::reader(fd)?,
            None => Box::new(tokio::io::empty()),
        },
        stderr: stderr.map(streams::reader).transpose()?,
        resize: terminal.as_ref().map(Terminal::resizer),
        exit: Box::pin(exit),
    })
}
