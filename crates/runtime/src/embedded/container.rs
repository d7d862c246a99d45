//! The life of a container: files, start, end, removal.
//!
//! Invariant: its state follows the shim's word or, without one, the exit file. Absent: restarts.

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use shim::{Cgroups, Fd, PidMode, Reply, Request, Signal, Start};

use super::record::{self, ContainerRecord, failed};
use super::state::{Container, Sandbox};
use super::{Shared, blocking, new_id, sandbox, shim_failed};
use crate::cgroup::Handles;
use crate::plan::{self, Bundle};
use crate::users::{self, Identity};
use crate::{
    ContainerSpec, ContainerState, Mount, NamespaceMode, Propagation, Resources, RuntimeError, caps, mounts,
    rootfs, seccomp, signal, sys,
};

/// How long a killed process may take to disappear.
const ENDING: Duration = Duration::from_secs(30);
/// How long a shim may take to pass a signal on.
const ANSWER: Duration = Duration::from_secs(10);

/// Exit code of a container of whose end nothing is known.
const LOST: i32 = 255;

/// Makes a container's files.
pub(super) async fn create(
    shared: &Arc<Shared>,
    sandbox: &Arc<Sandbox>,
    spec: ContainerSpec,
) -> Result<String, RuntimeError> {
    sandbox.link()?;
    check(&spec)?;
    let id = new_id();
    let dir = sandbox.dir.join("c").join(&id);
    let record = ContainerRecord::new(spec.resources.clone());
    let container = Container::new(id.clone(), dir, sandbox.clone(), spec, record);
    let with = container.clone();
    blocking(move || {
        // A bad profile is known before there is anything to start.
        seccomp::filter(&with.spec)?;
        check_propagation(&with.spec)?;
        record::make_dir(&with.dir.join("work"))?;
        make_public_dir(&with.dir.join("upper"))?;
        record::save(&with.dir.join("spec.json"), &with.spec)?;
        record::save(&with.dir.join("state.json"), &with.record())
    })
    .await?;
    shared.containers().insert(container);
    Ok(id)
}

/// The upper directory's mode is what the container sees of its `/`.
fn make_public_dir(path: &Path) -> Result<(), RuntimeError> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().mode(0o755).create(path);
    made.map_err(|error| failed("make directory", path, &error))
}

fn check(spec: &ContainerSpec) -> Result<(), RuntimeError> {
    if spec.args.is_empty() {
        return Err(RuntimeError::State("no command specified".into()));
    }
    if !spec.working_dir.is_empty() && !spec.working_dir.starts_with('/') {
        return Err(RuntimeError::State(format!("working directory {:?} is not absolute", spec.working_dir)));
    }
    if let Some(name) = &spec.stop_signal
        && signal::parse(name).is_none()
    {
        return Err(RuntimeError::State(format!("unknown stop signal {name:?}")));
    }
    let unknown = caps::unknown(spec.add_capabilities.iter().chain(&spec.drop_capabilities));
    if !unknown.is_empty() {
        tracing::warn!(container = spec.name, names = unknown.join(", "), "unknown capabilities are ignored");
    }
    Ok(())
}

/// What cannot let mounts through is refused, rather than mounted without.
fn check_propagation(spec: &ContainerSpec) -> Result<(), RuntimeError> {
    let wanting = |mount: &&Mount| mount.propagation != Propagation::Private;
    let all: Vec<&Mount> = spec.mounts.iter().filter(wanting).collect();
    if all.is_empty() {
        return Ok(());
    }
    let table = mounts::mount_points().map_err(|error| failed("read", Path::new("mountinfo"), &error))?;
    for mount in all {
        // Canonical, because the kernel's table is.
        let source = std::fs::canonicalize(&mount.source);
        let source = source.map_err(|error| failed("resolve", &mount.source, &error))?;
        if let Some(why) = mounts::refusal(&table, &source, mount.propagation) {
            return Err(RuntimeError::State(why));
        }
    }
    Ok(())
}

/// Starts the first process; a failure is also the container's end, with reason and words.
pub(super) async fn start(shared: &Arc<Shared>, container: &Arc<Container>) -> Result<(), RuntimeError> {
    if container.record().state != ContainerState::Created {
        return Err(RuntimeError::State(format!("container {:?} was started already", container.id)));
    }
    let link = container.sandbox.link()?;
    let target = target_pid(shared, container)?;
    let (with, container_for_plan, version) = (shared.clone(), container.clone(), link.version());
    let prepared = blocking(move || prepare(&with, &container_for_plan, target, version)).await;
    let (start, bundle, identity) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => return Err(not_started(container, error)),
    };
    let answer = link.call(&Request::Start(Box::new(start)), &bundle.borrowed()).await;
    match answer.map_err(|error| shim_failed(&error))? {
        (Reply::Started(pid, at), _) => {
            container.update(|record| {
                // An end that was told before this answer was read stays the end.
                if record.state == ContainerState::Created {
                    record.state = ContainerState::Running;
                    record.pid = Some(pid);
                }
                record.started_at = at;
                record.user = Some((identity.uid, identity.gid, identity.groups.clone()));
                record.home = identity.home.clone();
            });
            Ok(())
        }
        (Reply::Failed(why) | Reply::Refused(why), _) => {
            Err(not_started(container, RuntimeError::Start(why)))
        }
        (other, _) => Err(RuntimeError::State(format!("unexpected answer of the shim: {other:?}"))),
    }
}

fn not_started(container: &Container, error: RuntimeError) -> RuntimeError {
    container.update(|record| {
        record.state = ContainerState::Exited;
        record.finished_at = sys::now();
        record.exit_code = 128;
        record.reason = "StartError".to_owned();
        record.message = error.to_string();
    });
    error
}

fn target_pid(shared: &Shared, container: &Container) -> Result<Option<i32>, RuntimeError> {
    if container.pid_mode() != NamespaceMode::Target {
        return Ok(None);
    }
    let id = container.spec.target.as_deref().unwrap_or_default();
    let target = shared.container(id)?;
    let pid = target.record().pid;
    pid.map(Some).ok_or_else(|| RuntimeError::State(format!("target container {id:?} is not running")))
}

/// Everything that happens in the daemon before a container's process exists.
fn prepare(
    shared: &Shared,
    container: &Container,
    target: Option<i32>,
    version: u32,
) -> Result<(Start, Bundle, Identity), RuntimeError> {
    let spec = &container.spec;
    let log = container.log_path();
    if let Some(parent) = log.parent() {
        std::fs::create_dir_all(parent).map_err(|error| failed("make directory", parent, &error))?;
    }
    let mut bundle = Bundle::default();
    let root = rootfs::overlay(&spec.layers, &container.dir)?;
    let identity = identity(container, root.as_fd())?;
    let cgroup = container.cgroup();
    let rules = plan::device_rules(spec)?;
    let handles = shared.cgroups.prepare(&cgroup, &container.record().resources, rules.as_deref())?;
    let around = plan::Surroundings {
        host_ipc: container.sandbox.record.host_ipc,
        shim: version,
        layout: shared.cgroups.layout(),
        v2: shared.cgroups.v2(),
        v1: shared.cgroups.v1_directories(&cgroup)?,
        hostname: &hostname(&container.sandbox),
    };
    let ops = plan::steps(spec, &around, &mut bundle)?;
    let filter = seccomp::filter(spec)?;
    let process = plan::process(spec, &identity, around.hostname, filter);
    let dir = std::fs::File::open(&container.dir).map_err(|error| failed("open", &container.dir, &error))?;
    let (cgroups, oom, kill) = join(handles, &mut bundle);
    let pid = match (container.pid_mode(), target) {
        (NamespaceMode::Container, _) => PidMode::New,
        (NamespaceMode::Pod, _) => PidMode::Pod,
        (NamespaceMode::Target, Some(pid)) => {
            let path = format!("/proc/{pid}/ns/pid");
            let file =
                std::fs::File::open(&path).map_err(|error| failed("open", Path::new(&path), &error))?;
            PidMode::Join(bundle.add(file.into()))
        }
        (NamespaceMode::Node | NamespaceMode::Target, _) => PidMode::Host,
    };
    let start = Start {
        id: container.id.clone(),
        log_path: spec.log_path.to_string_lossy().into_owned(),
        stdin: spec.stdin,
        stdin_once: spec.stdin_once,
        kill_rest: pid != PidMode::New,
        pid,
        cgroup_namespace: !spec.privileged,
        cgroups,
        oom,
        kill,
        rootfs: bundle.add(root),
        dir: bundle.add(dir.into()),
        read_only_root: spec.read_only_rootfs,
        ops,
        process,
    };
    Ok((start, bundle, identity))
}

fn identity(container: &Container, root: std::os::fd::BorrowedFd<'_>) -> Result<Identity, RuntimeError> {
    let read = |path: &str| {
        users::read_in(root, path).map_err(|error| RuntimeError::System {
            operation: format!("read {path} of the image"),
            message: error.to_string(),
        })
    };
    users::resolve(&container.spec.user, &read("etc/passwd")?, &read("etc/group")?)
        .map_err(RuntimeError::Start)
}

pub(super) fn hostname(sandbox: &Sandbox) -> String {
    if sandbox.record.hostname.is_empty() {
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    } else {
        sandbox.record.hostname.clone()
    }
}

/// A group's handles as parts of a message.
pub(super) fn join(handles: Handles, bundle: &mut Bundle) -> (Cgroups, Option<Fd>, Option<Fd>) {
    let cgroups = Cgroups {
        v2: handles.v2.map(|fd| bundle.add(fd)),
        v1: handles.procs.into_iter().map(|fd| bundle.add(fd)).collect(),
    };
    let oom = handles.oom.map(|fd| bundle.add(fd));
    (cgroups, oom, handles.kill.map(|fd| bundle.add(fd)))
}

/// Takes the shim's word about a container.
pub(super) fn on_state(shared: &Arc<Shared>, state: &shim::ContainerState) {
    let Ok(container) = shared.container(&state.id) else { return };
    let current = container.record();
    let known = current.state == ContainerState::Exited
        || (current.state == ContainerState::Running && state.finished_at == 0);
    if known {
        return;
    }
    container.update(|record| {
        record.started_at = state.started_at;
        if state.finished_at == 0 {
            record.state = ContainerState::Running;
            record.pid = Some(state.pid);
        } else {
            ended(record, state);
        }
    });
    if state.finished_at != 0 && container.pid_mode() != NamespaceMode::Container {
        kill_rest(shared, &container);
    }
    shared.wake(&container.sandbox, Some(&container.id));
}

/// What a first process leaves behind where it was not the init of its namespace; the shim has done it already where
/// there is `cgroup.kill`.
fn kill_rest(shared: &Arc<Shared>, container: &Arc<Container>) {
    let (shared, container) = (shared.clone(), container.clone());
    tokio::task::spawn_blocking(move || {
        if let Err(error) = shared.cgroups.kill(&container.cgroup()) {
            tracing::warn!(container = container.id, %error, "left-behind processes not killed");
        }
    });
}

/// Reason as containerd's: an OOM kill of any of its processes counts, whatever the first one's exit code.
fn ended(record: &mut ContainerRecord, state: &shim::ContainerState) {
    record.state = ContainerState::Exited;
    record.pid = None;
    record.started_at = state.started_at;
    record.finished_at = state.finished_at;
    record.exit_code = state.exit_code;
    let reason = match (state.oom_killed, state.exit_code) {
        (true, _) => "OOMKilled",
        (false, 0) => "Completed",
        _ => "Error",
    };
    record.reason = reason.to_owned();
}

/// The shim is dead: its exit file counts. Without one the container is lost: it ended, as containerd says it of a
/// task whose shim is gone.
pub(super) async fn on_shim_gone(shared: &Arc<Shared>, container: &Arc<Container>) {
    let state = container.record().state;
    if state != ContainerState::Exited
        && let Some(state) = record::exit_record(&container.dir)
    {
        on_state(shared, &state);
    } else if state == ContainerState::Running {
        container.update(|record| {
            record.state = ContainerState::Exited;
            record.pid = None;
            record.finished_at = sys::now();
            record.exit_code = LOST;
            record.reason = "Unknown".to_owned();
            record.message = "the container's shim was lost, and the exit code with it".to_owned();
        });
        shared.wake(&container.sandbox, Some(&container.id));
    }
    let (shared, cgroup) = (shared.clone(), container.cgroup());
    if let Err(error) = blocking(move || shared.cgroups.kill(&cgroup)).await {
        tracing::warn!(container = container.id, %error, "processes of a dead sandbox not killed");
    }
}

/// Asks it to end, waits, makes it end.
pub(super) async fn stop(
    shared: &Arc<Shared>,
    container: &Arc<Container>,
    grace: Duration,
) -> Result<(), RuntimeError> {
    let mut state = container.state.subscribe();
    let ended = |state: &ContainerState| *state != ContainerState::Running;
    if ended(&state.borrow_and_update()) {
        return Ok(());
    }
    if container.sandbox.live().silent {
        sandbox::condemn(shared, &container.sandbox).await;
        return wait_ended(container, &mut state).await;
    }
    let Ok(link) = container.sandbox.link() else {
        // The shim is dying; its end decides the state.
        return wait_ended(container, &mut state).await;
    };
    let ask = |signal: i32| Request::Signal(Signal { id: container.id.clone(), signal });
    if !grace.is_zero() {
        let wanted = container.spec.stop_signal.as_deref().and_then(signal::parse).unwrap_or(libc::SIGTERM);
        // Refused when it just ended, which the state tells.
        let asked = async {
            let _ = link.call_within(ANSWER, &ask(wanted), &[]).await;
            state.wait_for(ended).await.is_ok()
        };
        if tokio::time::timeout(grace, asked).await.is_ok_and(|ended| ended) {
            return Ok(());
        }
    }
    let heard = link.call_within(ANSWER, &ask(libc::SIGKILL), &[]).await;
    let (with, cgroup) = (shared.clone(), container.cgroup());
    blocking(move || with.cgroups.kill(&cgroup)).await?;
    if heard.is_err_and(|error| error.kind() == std::io::ErrorKind::TimedOut) {
        // Nobody is there to tell the end.
        sandbox::condemn(shared, &container.sandbox).await;
    }
    wait_ended(container, &mut state).await
}

async fn wait_ended(
    container: &Container,
    state: &mut tokio::sync::watch::Receiver<ContainerState>,
) -> Result<(), RuntimeError> {
    match tokio::time::timeout(ENDING, state.wait_for(|state| *state != ContainerState::Running)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(RuntimeError::State(error.to_string())),
        Err(_) => Err(RuntimeError::State(format!("container {:?} does not die", container.id))),
    }
}

/// Removes a container's files and group; one that runs is killed, as CRI wants it.
pub(super) async fn remove(shared: &Arc<Shared>, container: &Arc<Container>) -> Result<(), RuntimeError> {
    stop(shared, container, Duration::ZERO).await?;
    if let Ok(link) = container.sandbox.link() {
        // A shim that is gone has nothing to forget.
        let _ = link.call(&Request::Remove(container.id.clone()), &[]).await;
    }
    let (with, gone) = (shared.clone(), container.clone());
    blocking(move || {
        with.cgroups.remove(&gone.cgroup())?;
        with.trash.put(&gone.dir).map_err(|error| failed("remove", &gone.dir, &error))
    })
    .await?;
    shared.containers().remove(&container.id);
    Ok(())
}

/// Makes the shim open the log file anew.
pub(super) async fn reopen_log(container: &Container) -> Result<(), RuntimeError> {
    let link = container.sandbox.link()?;
    let answer = link.call(&Request::Reopen(container.id.clone()), &[]).await;
    match answer.map_err(|error| shim_failed(&error))? {
        (Reply::Done(_), _) => Ok(()),
        (Reply::Refused(why), _) => Err(RuntimeError::State(why)),
        (other, _) => Err(RuntimeError::State(format!("unexpected answer of the shim: {other:?}"))),
    }
}

/// Changes limits; what is `None` stays.
pub(super) async fn update_resources(
    shared: &Arc<Shared>,
    container: &Arc<Container>,
    resources: &Resources,
) -> Result<(), RuntimeError> {
    let (with, cgroup, wanted) = (shared.clone(), container.cgroup(), resources.clone());
    if container.record().state == ContainerState::Running {
        blocking(move || with.cgroups.apply(&cgroup, &wanted)).await?;
    }
    container.update(|record| merge(&mut record.resources, resources));
    Ok(())
}

fn merge(current: &mut Resources, change: &Resources) {
    let change = change.clone();
    current.cpu_shares = change.cpu_shares.or(current.cpu_shares);
    current.cpu_quota = change.cpu_quota.or(current.cpu_quota);
    current.cpu_period = change.cpu_period.or(current.cpu_period);
    current.cpuset_cpus = change.cpuset_cpus.or_else(|| current.cpuset_cpus.take());
    current.memory_limit = change.memory_limit.or(current.memory_limit);
    current.memory_swap = change.memory_swap.or(current.memory_swap);
    current.pids_limit = change.pids_limit.or(current.pids_limit);
    current.hugepages.extend(change.hugepages);
    current.unified.extend(change.unified);
}
