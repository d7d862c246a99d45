//! One `minke up` on a new data dir with the busybox image imported, and a client of it.

use std::cell::OnceCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::{Call, Credential, Gvr, Https, Objects, Options, Target, Verb};
use serde_json::Value;

use crate::pod;
use crate::watcher::Pods;

/// How long the daemon may take to say where it is.
const CEILING: Duration = Duration::from_secs(60);

/// What all clusters share.
pub struct Place {
    program: PathBuf,
    dir: tempfile::TempDir,
    config: PathBuf,
    archive: PathBuf,
}

impl Place {
    /// Writes the configuration and the image's archive.
    pub fn new(program: &Path, cgroup_root: &str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let (config, archive) = (dir.path().join("minke.yaml"), dir.path().join("busybox.tar"));
        fs::write(
            &config,
            format!("apiVersion: minke.dev/v1alpha1\nkind: Config\ncgroupRoot: {cgroup_root}\n"),
        )?;
        xtask::kit::image::save(&xtask::kit::image::busybox()?, &["busybox:1.36"], &archive)?;
        Ok(Self { program: program.to_owned(), dir, config, archive })
    }

    /// A manifest of one Pod.
    pub fn pod_file(&self, name: &str) -> Result<PathBuf> {
        let path = self.dir.path().join("pod.json");
        fs::write(&path, pod(name).to_string())?;
        Ok(path)
    }

    fn checked(&self, args: &[&str], data: &Path) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.args(args).arg("--data-dir").arg(data).stdin(Stdio::null());
        let out = command.output().context("the program")?;
        if !out.status.success() {
            bail!("{command:?}: {}", String::from_utf8_lossy(&out.stderr));
        }
        Ok(())
    }
}

/// A new data dir with the image imported.
pub struct Prepared<'a> {
    place: &'a Place,
    dir: tempfile::TempDir,
}

impl<'a> Prepared<'a> {
    /// Makes it.
    pub fn new(place: &'a Place) -> Result<Self> {
        let dir = tempfile::tempdir_in(place.dir.path())?;
        let archive = place.archive.to_str().context("a UTF-8 path")?;
        place.checked(&["image", "import", archive], &dir.path().join("data"))?;
        Ok(Self { place, dir })
    }

    /// Starts the daemon, does not wait for it.
    pub fn up(self, manifest: Option<&Path>) -> Result<Cluster<'a>> {
        let at = |name: &str| self.dir.path().join(name);
        let mut command = Command::new(&self.place.program);
        command.arg("up").arg("--data-dir").arg(at("data")).arg("--kubeconfig").arg(at("kubeconfig"));
        command.arg("--config").arg(&self.place.config).args(["--listen", "127.0.0.1:0"]);
        if let Some(manifest) = manifest {
            command.arg("--apply").arg(manifest);
        }
        command
            .stdin(Stdio::null())
            .stdout(fs::File::create(at("out"))?)
            .stderr(fs::File::create(at("err"))?);
        let daemon = command.spawn().context("the program")?;
        Ok(Cluster { place: self.place, dir: self.dir, daemon, objects: OnceCell::new() })
    }
}

/// A running daemon.
pub struct Cluster<'a> {
    place: &'a Place,
    dir: tempfile::TempDir,
    daemon: Child,
    objects: OnceCell<Arc<dyn Objects>>,
}

impl Cluster<'_> {
    /// The daemon's PID.
    pub fn pid(&self) -> u32 {
        self.daemon.id()
    }

    /// Ends it with `minke down`; if what was measured failed, the error gets the daemon's own words.
    pub fn finish<T>(mut self, outcome: Result<T>) -> Result<T> {
        let said = |name: &str| fs::read_to_string(self.dir.path().join(name)).unwrap_or_default();
        let outcome = outcome.with_context(|| format!("minke up said:\n{}{}", said("out"), said("err")))?;
        self.place.checked(&["down"], &self.dir.path().join("data"))?;
        self.daemon.wait()?;
        Ok(outcome)
    }

    /// A watch of the Pods, as soon as there is an API.
    pub async fn pods(&self) -> Result<Pods> {
        let watch = self.objects().await?.watch(target(""), Options::default()).await?;
        Ok(Pods::new(watch))
    }

    /// Creates a Pod.
    pub async fn create(&self, name: &str) -> Result<()> {
        self.call(target(""), Verb::Create(pod(name))).await
    }

    /// Deletes a Pod with its own grace period.
    pub async fn delete(&self, name: &str) -> Result<()> {
        self.call(target(name), Verb::Delete(None)).await
    }

    async fn call(&self, target: Target, verb: Verb) -> Result<()> {
        self.objects().await?.call(Call { target, verb, options: Options::default() }).await?;
        Ok(())
    }

    async fn objects(&self) -> Result<Arc<dyn Objects>> {
        if let Some(objects) = self.objects.get() {
            return Ok(objects.clone());
        }
        let until = Instant::now() + CEILING;
        let path = self.dir.path().join("kubeconfig");
        let text = loop {
            // Complete once it has its last part.
            match fs::read_to_string(&path).ok().filter(|text| text.contains("current-context")) {
                Some(text) => break text,
                None if Instant::now() > until => bail!("no kubeconfig after {} s", CEILING.as_secs()),
                None => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        };
        let objects: Arc<dyn Objects> = client(&text)?;
        Ok(self.objects.get_or_init(|| objects).clone())
    }
}

impl Drop for Cluster<'_> {
    fn drop(&mut self) {
        // The namespaces end everything else; after `finish` there is nothing to end.
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// A Pod of the namespace `default`, or all of them.
fn target(name: &str) -> Target {
    Target {
        gvr: Gvr::new("", "v1", "pods"),
        namespace: "default".into(),
        name: name.into(),
        subresource: String::new(),
    }
}

/// A client as a kubeconfig describes it.
fn client(kubeconfig: &str) -> Result<Arc<Https>> {
    let value: Value = serde_saphyr::from_str(kubeconfig)?;
    let (cluster, user) = (&value["clusters"][0]["cluster"], &value["users"][0]["user"]);
    let pem = |from: &Value, field: &str| -> Result<String> {
        let text = from[field].as_str().with_context(|| format!("no {field} in the kubeconfig"))?;
        Ok(String::from_utf8(STANDARD.decode(text)?)?)
    };
    let credential = Credential::Certificate {
        cert_pem: pem(user, "client-certificate-data")?,
        key_pem: pem(user, "client-key-data")?,
    };
    let server = cluster["server"].as_str().context("a server in the kubeconfig")?;
    Ok(Https::new(server, &pem(cluster, "certificate-authority-data")?, &credential, "bench")?)
}
