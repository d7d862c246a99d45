//! A runtime on an empty disk, a busybox root, and waiting for conditions.

use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use runtime::{
    Config, ContainerSpec, ContainerState, ContainerStatus, Embedded, NamespaceMode, Runtime, SandboxSpec,
    User,
};

/// Set in the re-executed program: the cgroup parent.
pub const INNER: &str = "MINKE_RUNTIME_IT";

/// A place for files that vanishes with the mount namespace.
pub fn prepare_machine() {
    std::fs::create_dir_all("/tmp/minke-it").unwrap();
    rustix::mount::mount("tmpfs", "/tmp/minke-it", "tmpfs", rustix::mount::MountFlags::empty(), None)
        .unwrap();
    rustix::mount::mount_change("/tmp/minke-it", rustix::mount::MountPropagationFlags::SHARED).unwrap();
    let root = Path::new("/tmp/minke-it/layer");
    for dir in ["bin", "etc", "tmp", "root", "proc", "sys", "dev", "home/app"] {
        std::fs::create_dir_all(root.join(dir)).unwrap();
    }
    let busybox = xtask::kit::packages::busybox().unwrap();
    std::fs::copy(&busybox, root.join("bin/busybox")).unwrap();
    std::fs::copy("/proc/self/exe", root.join("bin/probe")).unwrap();
    let list = std::process::Command::new(&busybox).arg("--list").output().unwrap();
    for applet in String::from_utf8(list.stdout).unwrap().lines().filter(|applet| *applet != "busybox") {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    std::fs::write(
        root.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n",
    )
    .unwrap();
    std::fs::write(root.join("etc/group"), "root:x:0:\nappg:x:1001:\nextra:x:2000:app\n").unwrap();
}

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A test's runtime.
pub struct Kit {
    pub runtime: Option<Arc<Embedded>>,
    pub dir: PathBuf,
    pub config: Config,
}

impl Kit {
    pub async fn new() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = PathBuf::from(format!("/tmp/minke-it/{number}"));
        let parent = std::env::var(INNER).unwrap();
        let config = Config {
            data_dir: dir.join("data"),
            run_dir: dir.join("run"),
            instance_id: format!("{number:08x}"),
            cgroup_root: format!("{parent}/{number}"),
        };
        let runtime = Embedded::open(config.clone()).await.unwrap();
        Self { runtime: Some(runtime), dir, config }
    }

    pub fn rt(&self) -> &Embedded {
        self.runtime.as_deref().unwrap()
    }

    /// The daemon ends and a new one begins.
    pub async fn restart(&mut self) {
        self.runtime = None;
        self.runtime = Some(Embedded::open(self.config.clone()).await.unwrap());
    }

    pub fn sandbox_spec(&self) -> SandboxSpec {
        SandboxSpec {
            name: "pod".into(),
            namespace: "default".into(),
            uid: "uid-1".into(),
            hostname: "pod-host".into(),
            log_directory: self.dir.join("logs"),
            netns: Some(new_netns()),
            pid: NamespaceMode::Container,
            cgroup_parent: format!("{}/kubepods/pod1", self.config.cgroup_root),
            ..SandboxSpec::default()
        }
    }

    pub async fn sandbox(&self) -> String {
        self.rt().run_sandbox(self.sandbox_spec()).await.unwrap().id
    }

    pub async fn create(&self, sandbox: &str, spec: ContainerSpec) -> String {
        self.rt().create_container(sandbox, spec).await.unwrap()
    }

    /// Creates and starts.
    pub async fn start(&self, sandbox: &str, spec: ContainerSpec) -> String {
        let id = self.create(sandbox, spec).await;
        self.rt().start_container(&id).await.unwrap();
        id
    }

    /// Starts and waits for the end.
    pub async fn run(&self, sandbox: &str, spec: ContainerSpec) -> ContainerStatus {
        let id = self.start(sandbox, spec).await;
        self.ended(&id).await
    }

    /// Waits for the end.
    pub async fn ended(&self, id: &str) -> ContainerStatus {
        self.until(async || {
            let status = self.rt().container(id).await.unwrap();
            (!matches!(status.state, ContainerState::Created | ContainerState::Running)).then_some(status)
        })
        .await
    }

    /// Waits until something is there.
    pub async fn until<T>(&self, mut look: impl AsyncFnMut() -> Option<T>) -> T {
        let mut events = self.rt().events();
        loop {
            if let Some(found) = look().await {
                return found;
            }
            // Woken by events, and now and then for what makes none (files).
            let _ = tokio::time::timeout(Duration::from_millis(5), events.recv()).await;
        }
    }

    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.join("logs").join(name)).unwrap_or_default()
    }

    /// The text of a log, without stamps and tags, of one stream.
    pub fn text(&self, name: &str, stream: &str) -> String {
        let mut out = String::new();
        for line in self.log(name).lines() {
            let mut parts = line.splitn(4, ' ');
            let (_, of, tag) = (parts.next(), parts.next().unwrap(), parts.next().unwrap());
            if of == stream {
                out.push_str(parts.next().unwrap_or(""));
                if tag == "F" {
                    out.push('\n');
                }
            }
        }
        out
    }

    /// Runs a shell script to its end and returns its standard output.
    pub async fn script(
        &self,
        sandbox: &str,
        change: impl FnOnce(&mut ContainerSpec),
        script: &str,
    ) -> String {
        let mut spec = container(&["sh", "-c", script]);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        spec.log_path = PathBuf::from(format!("script/{number}.log"));
        change(&mut spec);
        let log = spec.log_path.to_string_lossy().into_owned();
        let status = self.run(sandbox, spec).await;
        let text = self.text(&log, "stdout");
        assert_eq!(status.exit_code, 0, "{script}: {status:?}\n{}", self.log(&log));
        text
    }
}

/// A container of the busybox root.
pub fn container(args: &[&str]) -> ContainerSpec {
    ContainerSpec {
        name: "c".into(),
        image: "busybox".into(),
        image_ref: "busybox@sha256:0".into(),
        layers: vec!["/tmp/minke-it/layer".into()],
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        log_path: "c/0.log".into(),
        user: User::default(),
        ..ContainerSpec::default()
    }
}

/// A network namespace with its loopback up.
pub fn new_netns() -> OwnedFd {
    std::thread::spawn(|| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        loopback_up();
        std::fs::File::open("/proc/thread-self/ns/net").unwrap().into()
    })
    .join()
    .unwrap()
}

fn loopback_up() {
    let socket = nix::sys::socket::socket(
        nix::sys::socket::AddressFamily::Inet,
        nix::sys::socket::SockType::Datagram,
        nix::sys::socket::SockFlag::empty(),
        None,
    )
    .unwrap();
    // SAFETY: plain data, zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[..2].copy_from_slice(&[b'l' as libc::c_char, b'o' as libc::c_char]);
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: a valid request for this call.
    let done = unsafe { libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(&socket), libc::SIOCSIFFLAGS, &request) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}
