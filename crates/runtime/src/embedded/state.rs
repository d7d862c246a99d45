//! Sandboxes and containers in memory.
//!
//! Invariant: locks are held for plain assignments and a record's saving only, never across a wait. Absent: I/O except saving a record.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{oneshot, watch};

use super::grouped::Member;
use super::record::{self, ContainerRecord, SandboxRecord};
use crate::link::Link;
use crate::{
    ContainerSpec, ContainerState, ContainerStatus, NamespaceMode, RuntimeError, SandboxState, SandboxStatus,
};

/// The part of a sandbox that changes.
#[derive(Default)]
pub(super) struct Live {
    pub(super) link: Option<Arc<Link>>,
    pub(super) pid: Option<i32>,
    pub(super) process: Option<Arc<OwnedFd>>,
    /// Its shim lives, as far as is known, and has not answered since the daemon started.
    pub(super) silent: bool,
}

pub(super) struct Sandbox {
    pub(super) id: String,
    pub(super) dir: PathBuf,
    pub(super) socket: PathBuf,
    pub(super) record: SandboxRecord,
    live: Mutex<Live>,
    /// Turns false once the shim is gone.
    pub(super) ready: watch::Sender<bool>,
    /// Who waits for the end of an exec.
    execs: Mutex<HashMap<u64, oneshot::Sender<i32>>>,
}

impl Sandbox {
    pub(super) fn new(id: String, dir: PathBuf, socket: PathBuf, record: SandboxRecord) -> Arc<Self> {
        let (live, execs) = (Mutex::new(Live::default()), Mutex::default());
        Arc::new(Self { id, dir, socket, record, live, ready: watch::Sender::new(false), execs })
    }

    pub(super) fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().expect("no code panics while holding it")
    }

    pub(super) fn execs(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<i32>>> {
        self.execs.lock().expect("no code panics while holding it")
    }

    /// The connection to the shim.
    pub(super) fn link(&self) -> Result<Arc<Link>, RuntimeError> {
        self.live()
            .link
            .clone()
            .ok_or_else(|| RuntimeError::State(format!("sandbox {:?} is not ready", self.id)))
    }

    pub(super) fn status(&self) -> SandboxStatus {
        let live = self.live();
        // What cannot be asked is held to be as it was.
        let ready = live.link.is_some() || live.silent;
        SandboxStatus {
            id: self.id.clone(),
            name: self.record.name.clone(),
            namespace: self.record.namespace.clone(),
            uid: self.record.uid.clone(),
            attempt: self.record.attempt,
            state: if ready { SandboxState::Ready } else { SandboxState::NotReady },
            created_at: self.record.created_at,
            pid: live.pid.filter(|_| ready),
            host_network: self.record.host_network,
            labels: self.record.labels.clone(),
        }
    }
}

impl Member for Sandbox {
    fn id(&self) -> &str {
        &self.id
    }

    /// Its Pod.
    fn group(&self) -> &str {
        &self.record.uid
    }
}

pub(super) struct Container {
    pub(super) id: String,
    pub(super) dir: PathBuf,
    pub(super) sandbox: Arc<Sandbox>,
    pub(super) spec: ContainerSpec,
    record: Mutex<ContainerRecord>,
    /// Held while the record is saved and told, so that an older one never follows a newer one.
    telling: Mutex<()>,
    /// Changes with the state.
    pub(super) state: watch::Sender<ContainerState>,
}

impl Member for Container {
    fn id(&self) -> &str {
        &self.id
    }

    /// Its sandbox.
    fn group(&self) -> &str {
        &self.sandbox.id
    }
}

impl Container {
    pub(super) fn new(
        id: String,
        dir: PathBuf,
        sandbox: Arc<Sandbox>,
        spec: ContainerSpec,
        record: ContainerRecord,
    ) -> Arc<Self> {
        let state = watch::Sender::new(record.state);
        Arc::new(Self { id, dir, sandbox, spec, record: Mutex::new(record), telling: Mutex::new(()), state })
    }

    pub(super) fn record(&self) -> ContainerRecord {
        self.record.lock().expect("no code panics while holding it").clone()
    }

    pub(super) fn cgroup(&self) -> String {
        format!("{}/{}", self.sandbox.record.cgroup_parent, self.id)
    }

    /// Where its first process's PID namespace comes from.
    pub(super) fn pid_mode(&self) -> NamespaceMode {
        match self.spec.pid {
            NamespaceMode::Pod => self.sandbox.record.pid,
            mode => mode,
        }
    }

    /// Changes the record, saves it, and wakes who waits for the state.
    pub(super) fn update(&self, change: impl FnOnce(&mut ContainerRecord)) {
        change(&mut self.record.lock().expect("no code panics while holding it"));
        let _turn = self.telling.lock().expect("no code panics while holding it");
        let record = self.record();
        if let Err(error) = record::save(&self.dir.join("state.json"), &record) {
            // Memory has it, and after a restart the shim and its exit file do.
            tracing::warn!(container = self.id, %error, "container state not saved");
        }
        self.state.send_replace(record.state);
    }

    pub(super) fn log_path(&self) -> PathBuf {
        self.sandbox.record.log_directory.join(&self.spec.log_path)
    }

    pub(super) fn status(&self) -> ContainerStatus {
        let record = self.record();
        ContainerStatus {
            id: self.id.clone(),
            sandbox_id: self.sandbox.id.clone(),
            name: self.spec.name.clone(),
            attempt: self.spec.attempt,
            state: record.state,
            image: self.spec.image.clone(),
            image_ref: self.spec.image_ref.clone(),
            created_at: record.created_at,
            started_at: record.started_at,
            finished_at: record.finished_at,
            exit_code: record.exit_code,
            reason: record.reason,
            message: record.message,
            pid: record.pid,
            user: record.user,
            resources: record.resources,
            log_path: self.log_path(),
            labels: self.spec.labels.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(dir: PathBuf) -> Arc<Container> {
        let sandbox = SandboxRecord::new(&crate::SandboxSpec::default());
        let sandbox = Sandbox::new("s".into(), dir.clone(), dir.join("s.sock"), sandbox);
        let record = ContainerRecord::new(crate::Resources::default());
        Container::new("c".into(), dir, sandbox, ContainerSpec::default(), record)
    }

    /// A start that is told and an end that is told at the same time: whoever waits and who reads the file afterwards
    /// must see the end.
    #[test]
    fn what_is_told_and_saved_is_the_newest() {
        let dir = tempfile::tempdir().expect("a directory");
        for _ in 0..200 {
            let container = container(dir.path().to_owned());
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    container.update(|record| {
                        if record.state == ContainerState::Created {
                            record.state = ContainerState::Running;
                        }
                    });
                });
                scope.spawn(|| container.update(|record| record.state = ContainerState::Exited));
            });
            assert_eq!(*container.state.borrow(), ContainerState::Exited);
            let saved: ContainerRecord = record::load(&dir.path().join("state.json")).expect("the record");
            assert_eq!(saved.state, ContainerState::Exited);
        }
    }
}
