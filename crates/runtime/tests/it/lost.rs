//! What is found again when more than the daemon died: shims, sockets, records; and shims that live and are silent.

use std::path::{Path, PathBuf};
use std::time::Duration;

use runtime::{ContainerState, ContainerStatus, Runtime, SandboxState};
use rustix::process::{Pid, Signal, kill_process};

use crate::kit::{Kit, container};

/// A sandbox and a container that runs in it, with the PIDs of the shim and the container.
async fn started(kit: &Kit) -> (String, String, i32, i32) {
    let sandbox = kit.sandbox().await;
    let id = kit.start(&sandbox, container(&["sleep", "1000"])).await;
    let pid = kit.rt().container(&id).await.unwrap().pid.unwrap();
    let shim = kit.rt().sandboxes(None).await.unwrap()[0].pid.unwrap();
    // It is moved there in the background.
    let name = format!("{}/shims", kit.config.cgroup_root);
    kit.until(async || in_group(&name, shim).then_some(())).await;
    (sandbox, id, shim, pid)
}

/// Whether a process is in a group, in whatever tree.
fn in_group(group: &str, pid: i32) -> bool {
    let own = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    own.lines().any(|line| line.ends_with(group))
}

fn signal(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// Gone, or a zombie at most: this test's init does not reap.
async fn until_dead(kit: &Kit, pid: i32) {
    let dead = |text: String| text.contains(") Z ") || text.contains(") X ");
    kit.until(async || std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, dead).then_some(()))
        .await;
}

fn assert_lost(status: &ContainerStatus) {
    assert_eq!((status.state, status.exit_code, &*status.reason), (ContainerState::Exited, 255, "Unknown"));
    assert!(status.started_at > 0 && status.finished_at >= status.started_at && status.pid.is_none());
}

fn sandbox_dir(kit: &Kit, sandbox: &str) -> PathBuf {
    kit.config.data_dir.join("sandboxes").join(sandbox)
}

fn empty(dir: &Path) {
    std::fs::remove_dir_all(dir).unwrap();
    std::fs::create_dir(dir).unwrap();
}

/// As after a reboot: no process, nothing in the run directory, all records.
pub async fn shim_and_sockets(mut kit: Kit) {
    let (sandbox, id, shim, pid) = started(&kit).await;
    let ended = kit.run(&sandbox, container(&["sh", "-c", "exit 7"])).await;
    let unstarted = kit.create(&sandbox, container(&["true"])).await;
    kit.runtime = None;
    signal(shim, Signal::KILL);
    until_dead_without(pid);
    empty(&kit.config.run_dir);
    kit.restart().await;
    assert_lost(&kit.rt().container(&id).await.unwrap());
    let ended = kit.rt().container(&ended.id).await.unwrap();
    assert_eq!((ended.exit_code, &*ended.reason), (7, "Error"));
    assert_eq!(kit.rt().container(&unstarted).await.unwrap().state, ContainerState::Created);
    assert_eq!(kit.rt().sandboxes(None).await.unwrap()[0].state, SandboxState::NotReady);
    kit.rt().remove_sandbox(&sandbox).await.unwrap();
    assert!(kit.rt().containers(None).await.unwrap().is_empty());
}

/// Waits for the end of a container whose shim was killed, while no daemon runs.
fn until_dead_without(pid: i32) {
    let alive =
        || std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|text| !text.contains(") Z "));
    while alive() {
        std::thread::yield_now();
    }
}

/// A shim that lives and cannot be reached any more is ended, and its container with it.
pub async fn sockets_only(mut kit: Kit) {
    let (sandbox, id, shim, pid) = started(&kit).await;
    kit.runtime = None;
    empty(&kit.config.run_dir);
    kit.restart().await;
    until_dead(&kit, shim).await;
    until_dead(&kit, pid).await;
    assert_lost(&kit.rt().container(&id).await.unwrap());
    kit.rt().remove_sandbox(&sandbox).await.unwrap();
}

/// A shim of which the daemon knows nothing is ended, with its container, group and socket.
pub async fn records(mut kit: Kit) {
    let (sandbox, id, shim, pid) = started(&kit).await;
    kit.runtime = None;
    std::fs::remove_dir_all(sandbox_dir(&kit, &sandbox)).unwrap();
    kit.restart().await;
    until_dead(&kit, shim).await;
    until_dead(&kit, pid).await;
    assert!(kit.rt().sandboxes(None).await.unwrap().is_empty());
    let sockets = std::fs::read_dir(&kit.config.run_dir).unwrap().count();
    assert_eq!(sockets, 0, "its socket stays");
    let found = std::process::Command::new("find").args(["/sys/fs/cgroup", "-name", &id]).output().unwrap();
    assert_eq!(String::from_utf8(found.stdout).unwrap(), "", "its group stays");
}

/// Files that lost their content with the power hide nothing else and do not keep the daemon from starting.
pub async fn damaged_records(mut kit: Kit) {
    let (first, id, ..) = started(&kit).await;
    let second = kit.create(&first, container(&["true"])).await;
    let spec = kit.sandbox_spec();
    let other = kit.rt().run_sandbox(spec).await.unwrap().id;
    kit.runtime = None;
    let cut = |path: PathBuf| std::fs::write(path, "").unwrap();
    cut(sandbox_dir(&kit, &first).join("c").join(&second).join("spec.json"));
    cut(sandbox_dir(&kit, &first).join("c").join(&id).join("exit"));
    cut(sandbox_dir(&kit, &other).join("sandbox.json"));
    kit.restart().await;
    let left: Vec<String> = kit.rt().sandboxes(None).await.unwrap().into_iter().map(|s| s.id).collect();
    assert_eq!(left, std::slice::from_ref(&first));
    assert_eq!(kit.rt().container(&id).await.unwrap().state, ContainerState::Running);
    assert!(kit.rt().container(&second).await.is_err());
    kit.rt().remove_sandbox(&first).await.unwrap();
}

/// A shim that does not answer keeps nobody from starting; it is heard as soon as it speaks.
pub async fn silent_shim(mut kit: Kit) {
    let (sandbox, id, shim, _) = started(&kit).await;
    kit.runtime = None;
    signal(shim, Signal::STOP);
    kit.restart().await;
    assert_eq!(kit.rt().sandboxes(None).await.unwrap()[0].state, SandboxState::Ready);
    assert_eq!(kit.rt().container(&id).await.unwrap().state, ContainerState::Running);
    let true_there = async || {
        let ran = kit.rt().exec_sync(&id, vec!["true".into()], None).await;
        ran.is_ok_and(|ran| ran.exit_code == 0).then_some(())
    };
    assert!(true_there().await.is_none(), "nobody can run anything there");
    signal(shim, Signal::CONT);
    kit.until(true_there).await;
    kit.rt().remove_sandbox(&sandbox).await.unwrap();
}

/// Who must end ends, whether its shim answers or not: one that was silent at the start, one that is so now.
pub async fn silent_shim_stopped(mut kit: Kit) {
    for restart in [true, false] {
        let (sandbox, id, shim, pid) = started(&kit).await;
        signal(shim, Signal::STOP);
        if restart {
            kit.restart().await;
        }
        kit.rt().stop_container(&id, Duration::ZERO).await.unwrap();
        assert_lost(&kit.rt().container(&id).await.unwrap());
        until_dead(&kit, shim).await;
        until_dead(&kit, pid).await;
        kit.rt().remove_sandbox(&sandbox).await.unwrap();
    }
}
