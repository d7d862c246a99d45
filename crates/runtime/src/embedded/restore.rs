//! After a start of the daemon: what is on disk, completed by what living shims say.
//!
//! Invariants: one damaged record, dead or silent shim never hides the others; what no record explains does not live
//! on. Absent: starting anything.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use shim::{Hello, Reply, Request};
use tokio::sync::mpsc;

use super::record::{self, ContainerRecord, SandboxRecord, failed};
use super::state::{Container, Sandbox};
use super::{Embedded, Shared, blocking, container, sandbox};
use crate::link::Link;
use crate::{ContainerSpec, RuntimeError, sys};

/// So long the start waits for shims to answer; who is silent then is heard later.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks whether a silent shim is still wanted, and at most between two attempts to connect to it.
const PAUSE: Duration = Duration::from_secs(30);

type Greeting = (Arc<Link>, Hello, mpsc::UnboundedReceiver<Reply>);

/// Fills a new runtime's memory.
pub(super) async fn restore(runtime: &Arc<Embedded>) -> Result<(), RuntimeError> {
    let with = runtime.clone();
    let (found, mut shims) = blocking(move || Ok((load_all(&with)?, living_shims(&with)))).await?;
    let mut asking = Vec::new();
    for sandbox in found {
        if let Some(pid) = shims.remove(short(&sandbox.id))
            && let Ok(process) = sys::pidfd(pid)
        {
            let mut live = sandbox.live();
            (live.pid, live.process) = (Some(pid), Some(Arc::new(process)));
        }
        sandbox.live().silent = true;
        let asked = tokio::spawn(ask(runtime.shared.clone(), sandbox.clone()));
        asking.push((sandbox, asked));
    }
    let until = tokio::time::Instant::now() + PATIENCE;
    for (sandbox, asked) in &mut asking {
        if tokio::time::timeout_at(until, asked).await.is_err() && sandbox.live().silent {
            tracing::warn!(
                pod = format!("{}/{}", sandbox.record.namespace, sandbox.record.name),
                sandbox = sandbox.id,
                "the Pod's shim does not answer; the Pod waits until it does, or ends with it when it is stopped"
            );
        }
    }
    let with = runtime.clone();
    blocking(move || {
        end_strangers(&with, &shims);
        Ok(())
    })
    .await
}

/// Hears a shim out, however long it is silent.
async fn ask(shared: Arc<Shared>, sandbox: Arc<Sandbox>) {
    let mut pause = Duration::from_secs(1);
    let greeting = loop {
        match connect(&shared, &sandbox).await {
            // It accepts nobody: too many ask already.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::time::sleep(pause).await,
            other => break other,
        }
        pause = (pause * 2).min(PAUSE);
        if shared.closed.load(Ordering::Relaxed) || !sandbox.live().silent {
            return;
        }
    };
    let was_silent = std::mem::take(&mut sandbox.live().silent);
    if !was_silent || shared.closed.load(Ordering::Relaxed) {
        return;
    }
    match greeting {
        Ok(greeting) if greeting.1.ready => take(&shared, &sandbox, greeting).await,
        Ok((link, ..)) => {
            // Half made when the daemon died: nothing runs in it, and nobody will finish it.
            let _ = link.call(&Request::Shutdown, &[]).await;
            sandbox::on_death(&shared, &sandbox).await;
        }
        Err(error) => {
            tracing::info!(sandbox = sandbox.id, %error, "sandbox is not ready");
            sandbox::on_death(&shared, &sandbox).await;
        }
    }
}

/// Connects; as long as that takes, but not beyond this runtime's or the sandbox's end.
async fn connect(shared: &Shared, sandbox: &Sandbox) -> io::Result<Greeting> {
    let mut connecting = std::pin::pin!(Link::connect(&sandbox.socket));
    loop {
        if let Ok(connected) = tokio::time::timeout(PAUSE, &mut connecting).await {
            return connected;
        }
        if shared.closed.load(Ordering::Relaxed) || !sandbox.live().silent {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
}

async fn take(shared: &Arc<Shared>, sandbox: &Arc<Sandbox>, (link, hello, events): Greeting) {
    for state in &hello.containers {
        container::on_state(shared, state);
    }
    settle(shared, sandbox, &hello);
    if let Err(error) = sandbox::adopt(shared, sandbox, link, &hello, events) {
        tracing::info!(sandbox = sandbox.id, %error, "its shim has just ended");
        sandbox::on_death(shared, sandbox).await;
    }
    shared.wake(sandbox, None);
}

/// Containers that ended and that the shim has already forgotten.
fn settle(shared: &Arc<Shared>, sandbox: &Sandbox, hello: &Hello) {
    for container in shared.containers_of(&sandbox.id) {
        if !hello.containers.iter().any(|state| state.id == container.id)
            && let Some(state) = record::exit_record(&container.dir)
        {
            container::on_state(shared, &state);
        }
    }
}

fn load_all(runtime: &Embedded) -> Result<Vec<Arc<Sandbox>>, RuntimeError> {
    let mut found = Vec::new();
    for dir in directories(&runtime.config.data_dir.join("sandboxes"))? {
        match load(runtime, &dir) {
            Ok(sandbox) => found.push(sandbox),
            // Made by a daemon that died before the record was written, or lost with the power.
            Err(error) => put_away(runtime, "sandbox", &dir, &error),
        }
    }
    Ok(found)
}

/// What cannot be read helps nobody, and must not keep the daemon from starting.
fn put_away(runtime: &Embedded, what: &str, dir: &Path, error: &RuntimeError) {
    tracing::warn!(path = %dir.display(), %error, "unreadable {what} removed");
    if let Err(error) = runtime.shared.trash.put(dir) {
        tracing::warn!(path = %dir.display(), %error, "it cannot be removed");
    }
}

fn directories(path: &Path) -> Result<Vec<PathBuf>, RuntimeError> {
    let entries = std::fs::read_dir(path).map_err(|error| failed("read", path, &error))?;
    Ok(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect())
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// What a shim is called by: the first digits of its sandbox's id.
fn short(id: &str) -> &str {
    id.get(..16).unwrap_or(id)
}

fn load(runtime: &Embedded, dir: &Path) -> Result<Arc<Sandbox>, RuntimeError> {
    let record: SandboxRecord = record::load(&dir.join("sandbox.json"))?;
    let id = name_of(dir);
    let socket = runtime.config.run_dir.join(format!("{}.sock", short(&id)));
    let sandbox = Sandbox::new(id, dir.to_owned(), socket, record);
    for dir in directories(&dir.join("c")).unwrap_or_default() {
        let spec: Result<ContainerSpec, _> = record::load(&dir.join("spec.json"));
        let state: Result<ContainerRecord, _> = record::load(&dir.join("state.json"));
        match (spec, state) {
            (Ok(spec), Ok(state)) => {
                let container = Container::new(name_of(&dir), dir, sandbox.clone(), spec, state);
                runtime.shared.containers().insert(container);
            }
            (Err(error), _) | (_, Err(error)) => put_away(runtime, "container", &dir, &error),
        }
    }
    runtime.shared.sandboxes().insert(sandbox.clone());
    Ok(sandbox)
}

fn shims_group(runtime: &Embedded) -> String {
    format!("{}/shims", runtime.config.cgroup_root.trim_end_matches('/'))
}

/// The shims in their group by the name that each was started with.
fn living_shims(runtime: &Embedded) -> BTreeMap<String, i32> {
    let pids = runtime.shared.cgroups.processes(&shims_group(runtime));
    // What ended meanwhile has neither.
    let read = |pid: i32, file: &str| std::fs::read(format!("/proc/{pid}/{file}")).ok();
    shims_among(pids.into_iter().filter_map(|pid| Some((pid, read(pid, "status")?, read(pid, "cmdline")?))))
}

/// Of processes with their `status` and `cmdline`: those that no other one of them made. A shim's children (the pause
/// process, what prepares a start) may be in its group and have its arguments.
fn shims_among(processes: impl Iterator<Item = (i32, Vec<u8>, Vec<u8>)>) -> BTreeMap<String, i32> {
    let parent = |status: &[u8]| -> Option<i32> {
        let status = String::from_utf8_lossy(status);
        status.lines().find_map(|line| line.strip_prefix("PPid:")).and_then(|pid| pid.trim().parse().ok())
    };
    let name = |cmdline: &[u8]| {
        let word = cmdline.split(|byte| *byte == 0).nth(1).unwrap_or_default();
        String::from_utf8_lossy(word).into_owned()
    };
    let all: Vec<_> = processes.map(|(pid, status, line)| (pid, parent(&status), name(&line))).collect();
    let pids: Vec<i32> = all.iter().map(|(pid, ..)| *pid).collect();
    all.into_iter()
        .filter(|(_, parent, _)| parent.is_none_or(|parent| !pids.contains(&parent)))
        .map(|(pid, _, name)| (name, pid))
        .collect()
}

/// Ends shims without a sandbox and groups of containers without a record, and removes sockets without either.
fn end_strangers(runtime: &Embedded, shims: &BTreeMap<String, i32>) {
    for (name, pid) in shims {
        tracing::warn!(pid, "the shim {name:?} belongs to no sandbox and is killed");
        if let Ok(process) = sys::pidfd(*pid) {
            // One that just ended is as good as killed.
            let _ = sys::pidfd_signal(std::os::fd::AsFd::as_fd(&process), libc::SIGKILL);
        }
    }
    let cgroups = &runtime.shared.cgroups;
    let is_id = |name: &str| name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    let unknown = |path: &String| {
        path.rsplit('/').next().is_some_and(|name| is_id(name) && runtime.shared.container(name).is_err())
    };
    for group in cgroups.below(&runtime.config.cgroup_root).into_iter().filter(unknown) {
        tracing::warn!(group, "a container without a record is killed");
        if let Err(error) = cgroups.remove(&group) {
            tracing::warn!(group, %error, "it cannot be removed");
        }
    }
    let known: Vec<PathBuf> =
        runtime.shared.sandboxes().all().map(|sandbox| sandbox.socket.clone()).collect();
    let entries = std::fs::read_dir(&runtime.config.run_dir).into_iter().flatten().flatten();
    let sockets = entries.map(|entry| entry.path()).filter(|path| {
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let of_shim = path.extension().is_some_and(|end| end == "sock") && stem.len() == 16;
        of_shim && stem.bytes().all(|byte| byte.is_ascii_hexdigit()) && !known.contains(path)
    });
    for socket in sockets {
        if let Err(error) = std::fs::remove_file(&socket) {
            tracing::warn!(path = %socket.display(), %error, "a socket of nobody stays");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shims_children_are_no_shims() {
        let process = |pid: i32, parent: i32, name: &str| {
            let status = format!("Name:\tx\nPPid:\t{parent}\nUid:\t0\n");
            (pid, status.into_bytes(), format!("minke-shim\0{name}\0").into_bytes())
        };
        let all = [process(7, 1, "a"), process(8, 7, "a"), process(5, 9, "b"), process(9, 2, "b")];
        let want = [("a".to_owned(), 7), ("b".to_owned(), 9)];
        assert_eq!(shims_among(all.into_iter()), BTreeMap::from(want));
    }
}
