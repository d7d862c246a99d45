//! The life of a sandbox: spawn a shim, follow what it says, end it.
//!
//! Invariant: a sandbox is ready exactly while its shim answers. Absent: restarting a dead one (a new attempt is the
//! caller's).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use shim::{Fd, Hello, Init, Reply, Request};
use tokio::sync::mpsc;

use super::record::{self, SandboxRecord, failed};
use super::state::{Live, Sandbox};
use super::{Embedded, Shared, blocking, container, new_id, shim_failed};
use crate::link::{self, Link};
use crate::{ContainerState, NamespaceMode, RuntimeError, SandboxSpec, SandboxStatus, sys};

/// Upstream's default size of `/dev/shm`.
const SHM_SIZE: u64 = 64 << 20;
/// How long a killed shim may take to disappear.
const ENDING: Duration = Duration::from_secs(10);

/// Makes a sandbox and returns once it is ready; on failure nothing is left.
pub(super) async fn run(runtime: &Embedded, spec: SandboxSpec) -> Result<SandboxStatus, RuntimeError> {
    let shared = &runtime.shared;
    let id = new_id();
    let sandbox = Sandbox::new(
        id.clone(),
        runtime.config.data_dir.join("sandboxes").join(&id),
        runtime.config.run_dir.join(format!("{}.sock", &id[..16])),
        SandboxRecord::new(&spec),
    );
    match bring_up(runtime, &sandbox, spec).await {
        Ok(()) => {
            shared.sandboxes().insert(sandbox.clone());
            Ok(sandbox.status())
        }
        Err(error) => {
            let dead = sandbox.live().process.take();
            if let Some(process) = dead {
                // It may have ended by itself, which is why this failed.
                let _ = sys::pidfd_signal(process.as_fd(), libc::SIGKILL);
                wait_end(&process).await;
            }
            clean_up(shared, &sandbox).await?;
            Err(error)
        }
    }
}

async fn bring_up(runtime: &Embedded, sandbox: &Arc<Sandbox>, spec: SandboxSpec) -> Result<(), RuntimeError> {
    let (shared, with) = (runtime.shared.clone(), sandbox.clone());
    let log_dir = blocking(move || spawn(&shared, &with)).await?;
    move_to_shims(runtime, sandbox);
    let (link, hello, events) = Link::connect(&sandbox.socket).await.map_err(|error| shim_failed(&error))?;
    let mut fds: Vec<BorrowedFd<'_>> = vec![log_dir.as_fd()];
    fds.extend(spec.netns.as_ref().map(AsFd::as_fd));
    let init = Init {
        hostname: spec.hostname.clone(),
        shm_size: spec.shm_size.unwrap_or(SHM_SIZE),
        host_ipc: spec.host_ipc,
        share_pid: spec.pid == NamespaceMode::Pod,
        sysctls: spec.sysctls.iter().map(|(name, value)| (sysctl_path(name), value.clone())).collect(),
        netns: spec.netns.as_ref().map(|_| Fd { index: 1 }),
        log_dir: Fd { index: 0 },
    };
    let (reply, _) = link.call(&Request::Init(init), &fds).await.map_err(|error| shim_failed(&error))?;
    match reply {
        Reply::Done(_) => {}
        Reply::Refused(message) => {
            return Err(RuntimeError::System { operation: "make sandbox".to_owned(), message });
        }
        other => return Err(RuntimeError::State(format!("unexpected answer of the shim: {other:?}"))),
    }
    adopt(&runtime.shared, sandbox, link, &hello, events)
}

/// Puts the shim outside the Pod's groups, so that the Pod's limits never kill its keeper. In the background: the
/// kernel may make it wait for an RCU grace period.
fn move_to_shims(runtime: &Embedded, sandbox: &Sandbox) {
    let (shared, id) = (runtime.shared.clone(), sandbox.id.clone());
    let Some(pid) = sandbox.live().pid else { return };
    let group = format!("{}/shims", runtime.config.cgroup_root.trim_end_matches('/'));
    tokio::task::spawn_blocking(move || {
        if let Err(error) = shared.cgroups.adopt(&group, pid) {
            // It still works where it is: in the daemon's own group.
            tracing::warn!(sandbox = id, %error, "shim not moved to its cgroup");
        }
    });
}

/// `net.ipv4.ip_forward` as a path; slashes may be used instead, as sysctl(8).
fn sysctl_path(name: &str) -> String {
    let (first_dot, first_slash) = (name.find('.'), name.find('/'));
    match (first_dot, first_slash) {
        (Some(dot), Some(slash)) if slash < dot => name.to_owned(),
        (None, _) => name.to_owned(),
        _ => name
            .chars()
            .map(|c| {
                if c == '.' {
                    '/'
                } else if c == '/' {
                    '.'
                } else {
                    c
                }
            })
            .collect(),
    }
}

/// Makes files and socket and starts the shim; returns the opened log directory.
fn spawn(shared: &Shared, sandbox: &Sandbox) -> Result<OwnedFd, RuntimeError> {
    record::make_dir(&sandbox.dir.join("c"))?;
    record::save(&sandbox.dir.join("sandbox.json"), &sandbox.record)?;
    let logs = &sandbox.record.log_directory;
    std::fs::create_dir_all(logs).map_err(|error| failed("make directory", logs, &error))?;
    let log_dir = std::fs::File::open(logs).map_err(|error| failed("open", logs, &error))?;
    let listener =
        link::listen(&sandbox.socket).map_err(|error| failed("listen at", &sandbox.socket, &error))?;
    let start = || {
        let pid = sys::spawn_shim(shared.shim.as_fd(), &sandbox.id[..16], listener.as_fd())?;
        Ok((pid, sys::pidfd(pid)?))
    };
    let (pid, process) = start().map_err(|error: std::io::Error| RuntimeError::System {
        operation: "start the sandbox's shim".to_owned(),
        message: error.to_string(),
    })?;
    let mut live = sandbox.live();
    (live.pid, live.process) = (Some(pid), Some(Arc::new(process)));
    Ok(log_dir.into())
}

/// Takes a connected shim as this sandbox's and follows it.
pub(super) fn adopt(
    shared: &Arc<Shared>,
    sandbox: &Arc<Sandbox>,
    link: Arc<Link>,
    hello: &Hello,
    events: mpsc::UnboundedReceiver<Reply>,
) -> Result<(), RuntimeError> {
    {
        let mut live = sandbox.live();
        if live.process.is_none() {
            let process = sys::pidfd(hello.pid).map_err(|error| shim_failed(&error))?;
            (live.pid, live.process) = (Some(hello.pid), Some(Arc::new(process)));
        }
        live.link = Some(link);
    }
    sandbox.ready.send_replace(true);
    tokio::spawn(follow(shared.clone(), sandbox.clone(), events));
    Ok(())
}

/// Hears what the shim says until it is gone or this runtime is closed.
async fn follow(shared: Arc<Shared>, sandbox: Arc<Sandbox>, mut events: mpsc::UnboundedReceiver<Reply>) {
    loop {
        while let Some(event) = events.recv().await {
            match event {
                Reply::Exited(state) => container::on_state(&shared, &state),
                Reply::ExecExited(exec, code) => {
                    if let Some(waiter) = sandbox.execs().remove(&exec) {
                        // Who asked may have given up.
                        let _ = waiter.send(code);
                    }
                }
                other => tracing::warn!(sandbox = sandbox.id, ?other, "unexpected event of the shim"),
            }
        }
        if shared.closed.load(Ordering::Relaxed) {
            return;
        }
        match reconnect(&shared, &sandbox).await {
            Some(again) => events = again,
            None => return on_death(&shared, &sandbox).await,
        }
    }
}

/// A living shim whose socket closed is connected to again (it hangs up on a daemon that does not keep up).
async fn reconnect(shared: &Arc<Shared>, sandbox: &Arc<Sandbox>) -> Option<mpsc::UnboundedReceiver<Reply>> {
    let process = sandbox.live().process.clone()?;
    let ended = tokio::time::timeout(Duration::from_secs(1), wait_end(&process)).await.is_ok();
    if ended {
        return None;
    }
    let greeting = tokio::time::timeout(ENDING, Link::connect(&sandbox.socket)).await.ok()?;
    let (link, hello, events) = greeting.ok()?;
    sandbox.live().link = Some(link);
    for state in &hello.containers {
        container::on_state(shared, state);
    }
    Some(events)
}

async fn wait_end(process: &Arc<OwnedFd>) {
    let Ok(watched) = sys::watch(process.as_fd(), tokio::io::Interest::READABLE) else { return };
    // Errors mean the reactor is gone, and with it whoever waits.
    let _ = watched.readable().await;
    sys::reap(process.as_fd());
}

/// A dead shim is a dead sandbox: its containers were killed with it (parent death signal); make sure of it.
pub(super) async fn on_death(shared: &Arc<Shared>, sandbox: &Arc<Sandbox>) {
    let process = {
        let mut live = sandbox.live();
        (live.link, live.pid, live.silent) = (None, None, false);
        live.process.take()
    };
    if let Some(process) = process {
        // Unresponsive or gone; either way it must not live on half.
        let _ = sys::pidfd_signal(process.as_fd(), libc::SIGKILL);
        let _ = tokio::time::timeout(ENDING, wait_end(&process)).await;
    }
    sandbox.execs().clear();
    for container in shared.containers_of(&sandbox.id) {
        container::on_shim_gone(shared, &container).await;
    }
    sandbox.ready.send_replace(false);
    shared.wake(sandbox, None);
}

/// Ends a shim that does not answer, and the sandbox with it.
pub(super) async fn condemn(shared: &Arc<Shared>, sandbox: &Arc<Sandbox>) {
    tracing::warn!(
        pod = format!("{}/{}", sandbox.record.namespace, sandbox.record.name),
        sandbox = sandbox.id,
        "the Pod's shim does not answer and is killed"
    );
    on_death(shared, sandbox).await;
}

/// Kills all and ends the shim.
pub(super) async fn stop(shared: &Arc<Shared>, sandbox: &Arc<Sandbox>) -> Result<(), RuntimeError> {
    if sandbox.live().silent {
        condemn(shared, sandbox).await;
    }
    let Some(link) = sandbox.live().link.clone() else { return Ok(()) };
    let mut ready = sandbox.ready.subscribe();
    // A shim that is dying right now needs no telling.
    let _ = link.call_within(ENDING, &Request::Shutdown, &[]).await;
    kill_running(shared, sandbox).await?;
    let gone = tokio::time::timeout(ENDING, ready.wait_for(|ready| !ready)).await.is_ok();
    if !gone {
        let process = sandbox.live().process.clone();
        if let Some(process) = process {
            // The pidfd names exactly it; an ended process is what is wanted.
            let _ = sys::pidfd_signal(process.as_fd(), libc::SIGKILL);
        }
        tokio::time::timeout(ENDING, ready.wait_for(|ready| !ready))
            .await
            .map_err(|_| RuntimeError::State(format!("sandbox {:?}: its shim does not end", sandbox.id)))?
            .map_err(|error| RuntimeError::State(error.to_string()))?;
    }
    let (shared, containers) = (shared.clone(), shared.containers_of(&sandbox.id));
    // Processes in the host's PID namespace do not die with an init.
    blocking(move || containers.iter().try_for_each(|container| shared.cgroups.kill(&container.cgroup())))
        .await
}

/// Where a container froze itself the shim's signal alone does not end it.
async fn kill_running(shared: &Arc<Shared>, sandbox: &Sandbox) -> Result<(), RuntimeError> {
    let mut containers = shared.containers_of(&sandbox.id);
    containers.retain(|container| container.record().state == ContainerState::Running);
    if containers.is_empty() {
        return Ok(());
    }
    let shared = shared.clone();
    blocking(move || containers.iter().try_for_each(|container| shared.cgroups.kill(&container.cgroup())))
        .await
}

/// Removes a stopped sandbox, its containers and files.
pub(super) async fn remove(shared: &Arc<Shared>, sandbox: &Arc<Sandbox>) -> Result<(), RuntimeError> {
    stop(shared, sandbox).await?;
    for container in shared.containers_of(&sandbox.id) {
        container::remove(shared, &container).await?;
    }
    clean_up(shared, sandbox).await?;
    shared.sandboxes().remove(&sandbox.id);
    Ok(())
}

async fn clean_up(shared: &Arc<Shared>, sandbox: &Arc<Sandbox>) -> Result<(), RuntimeError> {
    let (dir, socket): (PathBuf, PathBuf) = (sandbox.dir.clone(), sandbox.socket.clone());
    *sandbox.live() = Live::default();
    let shared = shared.clone();
    blocking(move || {
        shared.trash.put(&dir).map_err(|error| failed("remove", &dir, &error))?;
        match std::fs::remove_file(&socket) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(failed("remove", &socket, &error))
            }
            _ => Ok(()),
        }
    })
    .await
}

/// A connection made by a thread that moves into the sandbox's network for it and ends.
pub(super) async fn connect(
    sandbox: &Arc<Sandbox>,
    port: u16,
) -> Result<tokio::net::TcpStream, RuntimeError> {
    let status = sandbox.status();
    let pid =
        status.pid.ok_or_else(|| RuntimeError::State(format!("sandbox {:?} is not ready", sandbox.id)))?;
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let say = move |error: std::io::Error| RuntimeError::System {
        operation: format!("connect to port {port} of the sandbox"),
        message: error.to_string(),
    };
    let dial = move || -> std::io::Result<std::net::TcpStream> {
        if !status.host_network {
            let namespace = std::fs::File::open(format!("/proc/{pid}/ns/net"))?;
            sys::enter_network(&namespace.into())?;
        }
        let first = std::net::TcpStream::connect((std::net::Ipv4Addr::LOCALHOST, port));
        let stream = match first {
            Ok(stream) => stream,
            Err(error) => {
                std::net::TcpStream::connect((std::net::Ipv6Addr::LOCALHOST, port)).map_err(|_| error)?
            }
        };
        stream.set_nonblocking(true)?;
        Ok(stream)
    };
    std::thread::Builder::new()
        .name("sandbox-connect".to_owned())
        // A caller that gave up does not want the stream.
        .spawn(move || drop(sender.send(dial())))
        .map_err(say)?;
    let stream = receiver.await.map_err(|_| RuntimeError::State("the connecting thread ended".into()))?;
    stream.and_then(tokio::net::TcpStream::from_std).map_err(say)
}
