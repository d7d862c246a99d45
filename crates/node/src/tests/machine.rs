//! A machine in memory: sandboxes and containers that are what they were asked to be, a network of one address, images
//! that are all there.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use images::{Collected, Credential, Image, ImageService, PullError};
use net::{Attachment, Cidr, HostPort, NetError, PodName, PodNetwork};
use runtime::{
    ContainerSpec, ContainerState, ContainerStatus, ExecOutput, ExecSpec, Resources, Runtime, RuntimeError,
    RuntimeEvent, SandboxSpec, SandboxState, SandboxStatus, Session, Stats,
};
use tokio::sync::broadcast;

pub(super) struct Machine {
    sandboxes: Mutex<BTreeMap<String, SandboxStatus>>,
    containers: Mutex<BTreeMap<String, BTreeMap<String, ContainerStatus>>>,
    pub(super) events: broadcast::Sender<RuntimeEvent>,
}

impl Machine {
    pub(super) fn new() -> Arc<Self> {
        let events = broadcast::Sender::new(1024);
        Arc::new(Self { sandboxes: Mutex::default(), containers: Mutex::default(), events })
    }

    /// Something of the Pod changed, or so it is said.
    pub(super) fn wake(&self, uid: &str) {
        self.events.send(RuntimeEvent { pod_uid: uid.to_owned(), container_id: None }).unwrap();
    }

    fn change(&self, id: &str, change: impl FnOnce(&mut ContainerStatus)) {
        let mut all = self.containers.lock().unwrap();
        change(all.values_mut().find_map(|of| of.get_mut(id)).unwrap());
    }
}

fn absent<T>() -> Result<T, RuntimeError> {
    Err(RuntimeError::State("not on this machine".into()))
}

#[async_trait]
impl Runtime for Machine {
    fn version(&self) -> (String, String) {
        ("machine".into(), "0".into())
    }
    async fn apply_cgroup(&self, _: &str, _: &Resources) -> Result<(), RuntimeError> {
        Ok(())
    }
    async fn remove_cgroup(&self, _: &str) -> Result<(), RuntimeError> {
        Ok(())
    }
    async fn cgroups(&self, _: &str) -> Result<Vec<String>, RuntimeError> {
        absent()
    }
    async fn run_sandbox(&self, spec: SandboxSpec) -> Result<SandboxStatus, RuntimeError> {
        let status = SandboxStatus {
            id: format!("s-{}", spec.uid),
            name: spec.name,
            namespace: spec.namespace,
            uid: spec.uid.clone(),
            attempt: spec.attempt,
            state: SandboxState::Ready,
            created_at: 1,
            pid: None,
            host_network: spec.netns.is_none(),
            labels: spec.labels,
        };
        self.sandboxes.lock().unwrap().insert(spec.uid, status.clone());
        Ok(status)
    }
    async fn stop_sandbox(&self, _: &str) -> Result<(), RuntimeError> {
        absent()
    }
    async fn remove_sandbox(&self, _: &str) -> Result<(), RuntimeError> {
        absent()
    }
    async fn sandboxes(&self, pod: Option<&str>) -> Result<Vec<SandboxStatus>, RuntimeError> {
        let all = self.sandboxes.lock().unwrap();
        Ok(match pod {
            Some(uid) => all.get(uid).cloned().into_iter().collect(),
            None => all.values().cloned().collect(),
        })
    }
    async fn create_container(&self, sandbox: &str, spec: ContainerSpec) -> Result<String, RuntimeError> {
        let id = format!("{sandbox}-{}", spec.name);
        let status = ContainerStatus {
            id: id.clone(),
            sandbox_id: sandbox.into(),
            name: spec.name,
            attempt: spec.attempt,
            state: ContainerState::Created,
            image: spec.image,
            image_ref: spec.image_ref,
            created_at: 1,
            started_at: 0,
            finished_at: 0,
            exit_code: 0,
            reason: String::new(),
            message: String::new(),
            pid: None,
            user: None,
            resources: spec.resources,
            log_path: spec.log_path,
            labels: spec.labels,
        };
        self.containers.lock().unwrap().entry(sandbox.into()).or_default().insert(id.clone(), status);
        Ok(id)
    }
    async fn start_container(&self, id: &str) -> Result<(), RuntimeError> {
        self.change(id, |c| (c.state, c.started_at) = (ContainerState::Running, 2));
        Ok(())
    }
    async fn stop_container(&self, _: &str, _: Duration) -> Result<(), RuntimeError> {
        absent()
    }
    async fn remove_container(&self, _: &str) -> Result<(), RuntimeError> {
        absent()
    }
    async fn containers(&self, sandbox: Option<&str>) -> Result<Vec<ContainerStatus>, RuntimeError> {
        let all = self.containers.lock().unwrap();
        Ok(match sandbox {
            Some(id) => all.get(id).into_iter().flat_map(BTreeMap::values).cloned().collect(),
            None => all.values().flat_map(BTreeMap::values).cloned().collect(),
        })
    }
    async fn container(&self, _: &str) -> Result<ContainerStatus, RuntimeError> {
        absent()
    }
    async fn exec_sync(
        &self,
        _: &str,
        _: Vec<String>,
        _: Option<Duration>,
    ) -> Result<ExecOutput, RuntimeError> {
        absent()
    }
    async fn exec(&self, _: &str, _: ExecSpec) -> Result<Session, RuntimeError> {
        absent()
    }
    async fn attach(&self, _: &str, _: bool) -> Result<Session, RuntimeError> {
        absent()
    }
    async fn connect(&self, _: &str, _: u16) -> Result<tokio::net::TcpStream, RuntimeError> {
        absent()
    }
    async fn reopen_log(&self, _: &str) -> Result<(), RuntimeError> {
        absent()
    }
    async fn update_resources(&self, _: &str, _: &Resources) -> Result<(), RuntimeError> {
        absent()
    }
    async fn writable_layer(&self, _: &str) -> Result<PathBuf, RuntimeError> {
        absent()
    }
    async fn stats(&self, _: &str) -> Result<Stats, RuntimeError> {
        absent()
    }
    fn events(&self) -> broadcast::Receiver<RuntimeEvent> {
        self.events.subscribe()
    }
    fn clamps(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The same address for every Pod.
pub(super) struct Wire;

#[async_trait]
impl PodNetwork for Wire {
    fn pod_cidr(&self) -> Option<Cidr> {
        None
    }
    async fn attach(&self, _: PodName<'_>, _: &[HostPort]) -> Result<Attachment, NetError> {
        let netns = std::fs::File::open("/dev/null").unwrap().into();
        Ok(Attachment { netns, ips: vec![IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))] })
    }
    async fn adopt(&self, uid: &str, _: &Path) -> Result<Attachment, NetError> {
        Err(NetError::NotAttached(uid.into()))
    }
    async fn detach(&self, _: &str) -> Result<(), NetError> {
        Ok(())
    }
    async fn unclaimed(&self) -> Result<Vec<String>, NetError> {
        Ok(Vec::new())
    }
}

/// Every image.
pub(super) struct Album;

#[async_trait]
impl ImageService for Album {
    fn list(&self) -> Result<Vec<Image>, images::Error> {
        Ok(Vec::new())
    }
    fn resolve(&self, reference: &str) -> Option<Image> {
        Some(Image { id: reference.into(), entrypoint: vec!["/x".into()], ..Image::default() })
    }
    async fn pull(self: Arc<Self>, reference: &str, _: &[Credential]) -> Result<Image, PullError> {
        Ok(self.resolve(reference).unwrap())
    }
    fn mark_used(&self, _: &HashSet<String>) {}
    async fn gc(
        self: Arc<Self>,
        _: HashSet<String>,
        _: u64,
        _: Duration,
    ) -> Result<Collected, images::Error> {
        Ok(Collected::default())
    }
}
