//! One `minke up` in the test's namespaces, and the real kubectl that speaks to it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, OnceLock};

use super::isolate::cgroup_root;

/// A data dir with a daemon that may be started, killed and started again.
pub struct Cluster {
    /// The directory of everything of this test.
    pub dir: tempfile::TempDir,
    /// What a shell does right before it becomes the daemon.
    pub shell: Option<String>,
    said: Arc<Mutex<String>>,
    daemon: Option<Child>,
    extra: Vec<String>,
}

/// The busybox archive, made once per test process.
fn archive(dir: &Path) -> PathBuf {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    let path = dir.join("busybox.tar");
    let bytes = BYTES.get_or_init(|| {
        let image = xtask::kit::image::busybox().expect("busybox-static");
        xtask::kit::image::save(&image, &["busybox:latest", "busybox:1.36"], &path).expect("an archive");
        fs::read(&path).expect("the archive")
    });
    fs::write(&path, bytes).expect("the archive");
    path
}

impl Cluster {
    /// A data dir without a daemon yet; `extra` are more flags for `minke up`.
    pub fn new(extra: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(
            dir.path().join("minke.yaml"),
            format!("apiVersion: minke.dev/v1alpha1\nkind: Config\ncgroupRoot: {}\n", cgroup_root()),
        )
        .expect("the configuration");
        let mut cluster = Self { dir, shell: None, said: Arc::default(), daemon: None, extra: Vec::new() };
        cluster.extra(extra);
        cluster
    }

    /// A running daemon with the busybox image imported.
    pub fn up(extra: &[&str]) -> Self {
        let mut cluster = Self::new(extra);
        cluster.start();
        cluster
    }

    /// The data dir.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The admin kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("kubeconfig")
    }

    /// A minke command on this data dir, not yet run.
    pub fn minke(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_minke"));
        command.args(args).stdin(Stdio::null());
        command
    }

    /// Starts the daemon and waits until it says that it is ready.
    pub fn start(&mut self) {
        assert!(self.daemon.is_none(), "the daemon runs already");
        let image = archive(self.dir.path());
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join("daemon.log"))
            .expect("a log");
        let mut command = match &self.shell {
            Some(line) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("{line}; exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_minke")]);
                shell
            }
            None => Command::new(env!("CARGO_BIN_EXE_minke")),
        };
        let mut child = command
            .arg("up")
            .arg("--data-dir")
            .arg(self.data())
            .arg("--kubeconfig")
            .arg(self.kubeconfig())
            .arg("--config")
            .arg(self.dir.path().join("minke.yaml"))
            .arg("--image-archive")
            .arg(image)
            .args(&self.extra)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("minke");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let said = self.said.clone();
        let ready = lines.by_ref().map_while(Result::ok).any(|line| {
            eprintln!("minke: {line}");
            *said.lock().expect("no panic while held") += &format!("{line}\n");
            line.starts_with("ready")
        });
        assert!(ready, "minke up did not become ready: {}", self.daemon_log());
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| eprintln!("minke: {line}")));
        self.daemon = Some(child);
    }

    /// More flags for the next starts, in the place of those before.
    pub fn extra(&mut self, extra: &[&str]) {
        self.extra = extra.iter().map(|&s| s.to_owned()).collect();
        if !self.extra.iter().any(|flag| flag == "--listen") {
            self.extra.extend(["--listen", "127.0.0.1:0"].map(str::to_owned));
        }
    }

    /// What all daemons so far wrote to stdout until they were ready.
    pub fn said(&self) -> String {
        self.said.lock().expect("no panic while held").clone()
    }

    /// What the daemon wrote to stderr.
    pub fn daemon_log(&self) -> String {
        fs::read_to_string(self.dir.path().join("daemon.log")).unwrap_or_default()
    }

    /// kill -9 of the daemon; Pods must not notice.
    pub fn kill(&mut self) {
        let mut child = self.daemon.take().expect("a running daemon");
        child.kill().expect("kill");
        child.wait().expect("wait");
    }

    /// Waits for the daemon to end by itself and returns whether it ended with 0.
    pub fn terminate(&mut self) -> bool {
        let pid = self.daemon.as_ref().expect("a running daemon").id();
        super::isolate::sh(&format!("kill -TERM {pid}"));
        self.ended()
    }

    /// Waits for the daemon's end; whether it ended well.
    pub fn ended(&mut self) -> bool {
        self.daemon.take().expect("a running daemon").wait().expect("wait").success()
    }

    /// A kubectl command, not yet run.
    pub fn kubectl_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(kubectl_path());
        command
            .env("KUBECONFIG", self.kubeconfig())
            .env("HOME", self.dir.path())
            .args(args)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .stdout(Stdio::piped());
        command
    }

    /// Runs kubectl whatever comes of it.
    pub fn try_kubectl(&self, args: &[&str]) -> Output {
        self.kubectl_command(args).output().expect("kubectl")
    }

    /// Runs kubectl, which must succeed, and returns its stdout.
    pub fn kubectl(&self, args: &[&str]) -> String {
        self.succeeded(&args.join(" "), self.try_kubectl(args))
    }

    fn succeeded(&self, what: &str, out: Output) -> String {
        assert!(
            out.status.success(),
            "kubectl {what}: {}\n{}\n--- daemon\n{}",
            String::from_utf8_lossy(&out.stderr),
            self.evidence(),
            tail(&self.daemon_log()),
        );
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    /// Applies a manifest given as text.
    pub fn apply(&self, manifest: &str) -> String {
        self.succeeded("apply", self.try_apply(manifest))
    }

    /// The same with more arguments.
    pub fn apply_with(&self, manifest: &str, more: &[&str]) -> String {
        self.succeeded("apply", self.try_apply_with(manifest, more))
    }

    /// `kubectl apply` of a manifest, however it ends.
    pub fn try_apply(&self, manifest: &str) -> Output {
        self.try_apply_with(manifest, &[])
    }

    fn try_apply_with(&self, manifest: &str, more: &[&str]) -> Output {
        let file = tempfile::NamedTempFile::new_in(self.dir.path()).expect("a file");
        fs::write(file.path(), manifest).expect("the manifest");
        let apply = ["apply", "-f", file.path().to_str().expect("UTF-8")];
        self.try_kubectl(&[&apply, more].concat())
    }

    /// `kubectl wait --for=...` with a ceiling.
    pub fn wait(&self, condition: &str, object: &str) {
        self.kubectl(&["wait", &format!("--for={condition}"), object, "--timeout=60s"]);
    }

    /// GET / of `address` (`HOST PORT`) from inside a container; the body is what follows the headers. With nc, because
    /// the wget of a static busybox looks names up through libraries that an image does not have, and may crash.
    pub fn get_from(&self, pod: &str, container: &str, address: &str) -> String {
        let line = format!("printf 'GET /index.html HTTP/1.0\\r\\n\\r\\n' | nc -w 5 {address}");
        let answer = self.kubectl(&["exec", pod, "-c", container, "--", "sh", "-c", &line]);
        answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or(answer)
    }

    /// What helps to understand a failure.
    fn evidence(&self) -> String {
        ["get", "describe"]
            .map(|verb| {
                let args: &[&str] = if verb == "get" {
                    &["get", "pods,jobs,events", "-A", "-o", "wide"]
                } else {
                    &["describe", "pods"]
                };
                let out = self.try_kubectl(args);
                String::from_utf8_lossy(&out.stdout).into_owned()
            })
            .join("\n")
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

/// kubectl 1.36, fetched by `cargo xtask ci` (or now).
pub fn kubectl_path() -> PathBuf {
    xtask::shell::tools().join("kubectl")
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(mut child) = self.daemon.take() {
            // The namespaces end everything else; here only our own child is left to reap.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
