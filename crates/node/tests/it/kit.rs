//! A node on an empty disk with a busybox image, and waiting for conditions.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use images::Images;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use net::Network;
use node::{Config, Node, NodeHandle, PodEntry};
use runtime::{Embedded, Runtime};
use tokio_util::sync::CancellationToken;

/// Set in the re-executed program: the cgroup parent.
pub const INNER: &str = "MINKE_NODE_IT";
const PLACE: &str = "/tmp/minke-node-it";

/// A place for files that vanishes with the mount namespace, and an image archive in it.
pub fn prepare_machine() {
    std::fs::create_dir_all(PLACE).unwrap();
    rustix::mount::mount("tmpfs", PLACE, "tmpfs", rustix::mount::MountFlags::empty(), None).unwrap();
    rustix::mount::mount_change(PLACE, rustix::mount::MountPropagationFlags::SHARED).unwrap();
    std::fs::write(archive(), busybox()).unwrap();
}

fn archive() -> PathBuf {
    Path::new(PLACE).join("busybox.tar")
}

fn entry(tar: &mut tar::Builder<Vec<u8>>, name: &str, mode: u32, bytes: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    header.set_entry_type(if name.ends_with('/') {
        tar::EntryType::Directory
    } else {
        tar::EntryType::Regular
    });
    tar.append_data(&mut header, name, bytes).unwrap();
}

/// A docker archive of one layer, named busybox:1.
fn busybox() -> Vec<u8> {
    use sha2::Digest as _;
    let program = xtask::kit::packages::busybox().unwrap();
    let mut layer = tar::Builder::new(Vec::new());
    for dir in ["bin/", "etc/", "proc/", "sys/", "dev/", "root/"] {
        entry(&mut layer, dir, 0o755, b"");
    }
    let mut dir = tar::Header::new_gnu();
    dir.set_entry_type(tar::EntryType::Directory);
    dir.set_mode(0o1777);
    dir.set_size(0);
    layer.append_data(&mut dir, "tmp/", &b""[..]).unwrap();
    entry(&mut layer, "bin/busybox", 0o755, &std::fs::read(&program).unwrap());
    entry(&mut layer, "etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/:/bin/sh\n");
    let list = std::process::Command::new(&program).arg("--list").output().unwrap();
    for applet in String::from_utf8(list.stdout).unwrap().lines().filter(|applet| *applet != "busybox") {
        let mut link = tar::Header::new_gnu();
        link.set_entry_type(tar::EntryType::Symlink);
        link.set_size(0);
        link.set_mode(0o777);
        layer.append_link(&mut link, format!("bin/{applet}"), "busybox").unwrap();
    }
    let layer = layer.into_inner().unwrap();
    let digest = |bytes: &[u8]| hex::encode(sha2::Sha256::digest(bytes));
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = serde_json::json!({
        "architecture": arch, "os": "linux",
        "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", digest(&layer))]},
    })
    .to_string();
    let name = format!("{}.json", digest(config.as_bytes()));
    let manifest =
        serde_json::json!([{"Config": name, "RepoTags": ["busybox:1"], "Layers": ["layer.tar"]}]).to_string();
    let mut all = tar::Builder::new(Vec::new());
    entry(&mut all, "manifest.json", 0o644, manifest.as_bytes());
    entry(&mut all, &name, 0o644, config.as_bytes());
    entry(&mut all, "layer.tar", 0o644, &layer);
    all.into_inner().unwrap()
}

static NEXT: AtomicU32 = AtomicU32::new(1);

/// A test's node.
pub struct Kit {
    pub dir: PathBuf,
    number: u32,
    images: Arc<Images>,
    up: Option<Up>,
}

struct Up {
    handle: NodeHandle,
    runtime: Arc<Embedded>,
    network: Arc<Network>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), node::NodeError>>,
}

impl Kit {
    pub async fn new() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = PathBuf::from(format!("{PLACE}/{number}"));
        std::fs::create_dir_all(dir.join("data/manifests")).unwrap();
        let images = Images::open(&dir.join("data"), images::Config::default()).unwrap();
        images.import(&archive()).await.unwrap();
        let mut kit = Self { dir, number, images, up: None };
        kit.start().await;
        kit
    }

    /// Starts the node's daemon.
    pub async fn start(&mut self) {
        let root = format!("{}/{}", std::env::var(INNER).unwrap(), self.number);
        let data_dir = self.dir.join("data");
        let runtime = Embedded::open(runtime::Config {
            data_dir: data_dir.clone(),
            run_dir: self.dir.join("run"),
            instance_id: format!("{:08x}", self.number),
            cgroup_root: root.clone(),
        })
        .await
        .unwrap();
        let config =
            net::Config { instance_id: self.number, data_dir: data_dir.clone(), ..net::Config::default() };
        let network = tokio::task::spawn_blocking(|| Network::open(config)).await.unwrap().unwrap();
        let node = Node::new(Config {
            name: "n1".into(),
            data_dir,
            cgroup_root: root,
            runtime: runtime.clone(),
            images: self.images.clone(),
            node_ips: vec![network.host_ip()],
            network: network.clone(),
            api: None,
            volumes_api: None,
            port: 10250,
            labels: Default::default(),
            cluster_dns: vec![],
            cluster_domain: "cluster.local".into(),
            resolv_conf: None,
            own_ports: vec![([0, 0, 0, 0], 10250).into()],
            limits: node::Limits::default(),
            version: "v1.36.2".into(),
            seccomp_default: false,
        })
        .unwrap();
        let (handle, stop) = (node.handle(), CancellationToken::new());
        let task = tokio::spawn(node.run(stop.clone()));
        self.up = Some(Up { handle, runtime, network, stop, task });
    }

    /// Ends the daemon; Pods go on.
    pub async fn stop(&mut self) {
        let up = self.up.take().unwrap();
        up.stop.cancel();
        up.task.await.unwrap().unwrap();
    }

    pub fn handle(&self) -> &NodeHandle {
        &self.up.as_ref().unwrap().handle
    }

    pub fn runtime(&self) -> &Embedded {
        &self.up.as_ref().unwrap().runtime
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join("data/manifests").join(format!("{name}.yaml"))
    }

    /// Puts a manifest there; `spec` is YAML in flow form.
    pub fn put(&self, name: &str, spec: &str) {
        let text = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: ns, labels: {{app: x}}}}\nspec: {spec}\n"
        );
        std::fs::write(self.path(name), text).unwrap();
    }

    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.path(name)).unwrap();
    }

    pub fn pod(&self, name: &str) -> Option<Arc<PodEntry>> {
        self.handle().pod("ns", &format!("{name}-n1"), "")
    }

    /// Waits until the Pod is as wanted.
    pub async fn until(&self, name: &str, wanted: impl Fn(&Pod) -> bool) -> Arc<PodEntry> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let entry = self.pod(name);
            if let Some(entry) = &entry
                && wanted(&entry.pod)
            {
                return entry.clone();
            }
            assert!(
                Instant::now() < deadline,
                "{name} is {:#?}",
                entry.as_ref().map(|e| e.pod.status.clone())
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until nothing of the Pod is left.
    pub async fn until_gone(&self, name: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.pod(name).is_some() {
            assert!(
                Instant::now() < deadline,
                "{name} stays: {:#?}",
                self.pod(name).map(|e| e.pod.status.clone())
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn phase(&self, name: &str, phase: &str) -> Arc<PodEntry> {
        self.until(name, |p| p.status.as_ref().and_then(|s| s.phase.as_deref()) == Some(phase)).await
    }

    /// Everything a container wrote, all instances in order, without heads.
    pub fn log(&self, name: &str, container: &str) -> String {
        let Some(entry) = self.pod(name) else { return String::new() };
        let dir = std::fs::read_dir(entry.log_dir.join(container)).into_iter().flatten();
        let mut files: Vec<PathBuf> = dir.map(|e| e.unwrap().path()).collect();
        files.sort();
        let text: String = files.iter().map(|f| std::fs::read_to_string(f).unwrap()).collect();
        text.lines().map(|l| l.splitn(4, ' ').nth(3).unwrap_or_default().to_owned() + "\n").collect()
    }

    /// Waits until a container has written this.
    pub async fn until_log(&self, name: &str, container: &str, wanted: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let log = self.log(name, container);
            if log.contains(wanted) {
                return log;
            }
            let status = || self.pod(name).map(|e| e.pod.status.clone());
            assert!(Instant::now() < deadline, "no {wanted:?} in {log:?}: {:#?}", status());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Nothing may be left in the runtime and the network.
    pub async fn assert_clean(&self) {
        let up = self.up.as_ref().unwrap();
        assert!(up.runtime.sandboxes(None).await.unwrap().is_empty());
        assert!(up.network.unclaimed().await.unwrap().is_empty());
        let pods: Vec<_> = std::fs::read_dir(self.dir.join("data/pods")).unwrap().collect();
        assert!(pods.is_empty(), "{pods:?}");
    }
}

impl Drop for Kit {
    fn drop(&mut self) {
        if let Some(up) = &self.up {
            up.stop.cancel();
        }
    }
}

/// The status of a container of the Pod.
pub fn container(pod: &Pod, name: &str) -> ContainerStatus {
    let s = pod.status.as_ref().unwrap();
    let lists = [&s.init_container_statuses, &s.container_statuses, &s.ephemeral_container_statuses];
    lists.into_iter().flatten().flatten().find(|c| c.name == name).cloned().unwrap()
}

/// The status of a condition.
pub fn condition(pod: &Pod, kind: &str) -> Option<String> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|c| c.type_ == kind).map(|c| c.status.clone())
}
