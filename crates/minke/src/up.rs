//! `minke up`: one line per stage with its milliseconds, then what to do next, then quiet until a signal.
//!
//! Invariant: whatever ends the daemon, Pods live on; only `minke down` ends them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::config::{Config, Part, absolute};
use crate::control::{self, Handler, Request};
use crate::instance::Instance;
use crate::instance::record::{self, Made};
use crate::wiring::Cluster;
use crate::{DataDir, apply, complain, host, image, kubeconfig, say};

/// `minke up`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    dir: DataDir,
    /// Where the API server listens [default: 127.0.0.1:6443]; port 0 picks one once and keeps it.
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// A name or an address under which the API server is reached too, for its certificate; may be repeated.
    #[arg(long, value_name = "NAME|IP", value_parser = crate::config::tls_san)]
    tls_san: Vec<String>,
    /// Ranges of Services' addresses, one for each family [default: 10.96.0.0/12, or those of the first start].
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    service_cidr: Vec<base::Cidr>,
    /// Where the admin kubeconfig goes [default: DATA_DIR/kubeconfig]; entries of other clusters stay in it.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    shared: Shared,
    /// A manifest to apply at the start; may be repeated.
    #[arg(long)]
    apply: Vec<PathBuf>,
    /// The scheduler's configuration, in the form kubescheduler.config.k8s.io/v1.
    #[arg(long, value_name = "FILE")]
    scheduler_config: Option<PathBuf>,
    /// Parts not to run.
    #[arg(long, value_enum, value_delimiter = ',')]
    disable: Vec<Part>,
}

/// What `up` and `play` have in common.
#[derive(Debug, clap::Args)]
pub struct Shared {
    /// A docker-archive or OCI-archive to import at the start; may be repeated.
    #[arg(long)]
    pub image_archive: Vec<PathBuf>,
    /// A registry tried instead of another, as HOST=URL; may be repeated.
    #[arg(long, value_parser = crate::config::mirror)]
    pub registry_mirror: Vec<(String, String)>,
    /// A configuration file.
    #[arg(long)]
    pub config: Option<PathBuf>,
}

impl Shared {
    /// The configuration: file, then flags.
    ///
    /// # Errors
    /// If the file is not a configuration.
    pub fn config(&self) -> Result<Config> {
        let mut config = self.config.as_deref().map_or_else(|| Ok(Config::default()), Config::read)?;
        for (host, url) in &self.registry_mirror {
            config.registry_mirrors.entry(host.clone()).or_default().push(url.clone());
        }
        Ok(config)
    }
}

/// Prints how long each stage took.
pub struct Stages {
    start: Instant,
    last: Instant,
    quiet: bool,
}

impl Stages {
    /// Starts the clock; a quiet one prints nothing.
    pub fn new(quiet: bool) -> Self {
        let now = Instant::now();
        Self { start: now, last: now, quiet }
    }

    /// The stage that just ended.
    pub fn done(&mut self, stage: &str, detail: &str) {
        let now = Instant::now();
        if !self.quiet {
            let spent = (now - self.last).as_secs_f64() * 1e3;
            say(&format!("{stage:<12} {spent:>7.1} ms  {detail}"));
        }
        self.last = now;
    }

    /// Milliseconds since the start.
    pub fn total(&self) -> f64 {
        self.start.elapsed().as_secs_f64() * 1e3
    }
}

/// The tokio runtime of a daemon: a worker for each core, two at least, so that one that computes stops nobody.
///
/// # Errors
/// If threads cannot be made.
pub fn tokio_runtime() -> Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    builder
        .worker_threads(cores.max(2))
        .max_blocking_threads(16)
        .thread_keep_alive(std::time::Duration::from_secs(2))
        .enable_all();
    builder.build().context("cannot start threads")
}

/// The signals that ask a program to end.
pub struct Ends {
    hangup: Option<Signal>,
    interrupt: Signal,
    terminate: Signal,
}

impl Ends {
    /// From now on they are ours, and end nothing by themselves.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn new() -> Result<Self> {
        Ok(Self {
            // What nohup(1) made to be ignored stays ignored.
            hangup: if host::ignores_hangup() { None } else { Some(signal(SignalKind::hangup())?) },
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// The next of them, by its number.
    pub async fn next(&mut self) -> u8 {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = hangup => 1,
            _ = self.interrupt.recv() => 2,
            _ = self.terminate.recv() => 15,
        }
    }
}

/// Runs the daemon until SIGTERM, SIGINT, SIGHUP or `minke down`.
///
/// # Errors
/// If a part cannot start; nothing half-started is left behind but the data dir.
pub fn run(args: &Args) -> Result<ExitCode> {
    let mut stages = Stages::new(false);
    host::set_daemon();
    let mut config = args.shared.config()?;
    config.listen = args.listen.or(config.listen);
    if let Some(file) = &args.scheduler_config {
        config.scheduler_config = Some(absolute(file)?);
    }
    config.tls_sans.extend_from_slice(&args.tls_san);
    config.disable.extend(&args.disable);
    if !args.service_cidr.is_empty() {
        config.service_cidr.clone_from(&args.service_cidr);
    }
    // What cannot be read is said before anything is started.
    let items = args.apply.iter().map(|file| apply::read(file)).collect::<Result<Vec<_>>>()?;
    let instance = Instance::open(&args.dir.data_dir)?;
    let file = absolute(args.kubeconfig.as_deref().unwrap_or(&instance.dir.join("kubeconfig")))?;
    kubeconfig::check(&file)?;
    record::write(&instance, Made::Up)?;
    let plan =
        Plan { images: &args.shared.image_archive, kubeconfig: file, apply: &args.apply, manifests: items };
    tokio_runtime()?.block_on(daemon(&plan, &config, instance, &mut stages))?;
    Ok(ExitCode::SUCCESS)
}

/// Runs a node of a cluster elsewhere until SIGTERM, SIGINT, SIGHUP or `minke down`.
///
/// # Errors
/// If it cannot join or a part cannot start.
pub fn run_node(data_dir: &Path, images: &[PathBuf], config: &Config) -> Result<ExitCode> {
    let mut stages = Stages::new(false);
    let instance = Instance::open(data_dir)?;
    record::write(&instance, Made::Up)?;
    let kubeconfig = instance.dir.join("kubeconfig");
    let plan = Plan { images, kubeconfig, apply: &[], manifests: Vec::new() };
    tokio_runtime()?.block_on(daemon(&plan, config, instance, &mut stages))?;
    Ok(ExitCode::SUCCESS)
}

/// What a daemon does once before it is ready.
struct Plan<'a> {
    images: &'a [PathBuf],
    kubeconfig: PathBuf,
    apply: &'a [PathBuf],
    manifests: Vec<Vec<apply::Item>>,
}

async fn daemon(plan: &Plan<'_>, config: &Config, instance: Instance, stages: &mut Stages) -> Result<()> {
    let cluster = Arc::new(Cluster::start(&instance, config, stages).await?);
    for archive in plan.images {
        cluster.import(archive).await?;
        stages.done("image", &archive.display().to_string());
    }
    let url = match cluster.kubeconfig(&format!("minke-{}", instance.hex()))? {
        Some((url, text)) => {
            kubeconfig::write(&plan.kubeconfig, &text)?;
            Some(url)
        }
        None => None,
    };
    for (file, items) in plan.apply.iter().zip(&plan.manifests) {
        apply_all(&cluster, file, items).await?;
        stages.done("apply", &file.display().to_string());
    }
    let (down, mut downs) = mpsc::channel(1);
    let serving = control::serve(&instance.run_dir(), Arc::new(Control { cluster: cluster.clone(), down }))?;
    let control = tokio::spawn(serving);
    say(&format!(
        "ready in {:.0} ms{}",
        stages.total(),
        url.map(|u| format!(", API at {u}")).unwrap_or_default()
    ));
    if cluster.admin.is_some() {
        say(&format!("next: export KUBECONFIG={} && kubectl get nodes", plan.kubeconfig.display()));
    }
    // Not started by systemd: then there is nobody to tell.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let settling = tokio::spawn(crate::memory::give_back_after_start());
    let mut ends = Ends::new()?;
    tokio::select! {
        _ = ends.next() => {}
        _ = downs.recv() => {}
    }
    settling.abort();
    control.abort();
    cluster.stop().await;
    Ok(())
}

/// Applies a manifest and says what became of each object. One that is refused is told, and the daemon goes on: it is
/// there for all the others too.
async fn apply_all(cluster: &Cluster, file: &Path, items: &[apply::Item]) -> Result<()> {
    let objects = cluster.admin.as_ref().context("--apply needs the API server")?;
    for item in items {
        match apply::apply(objects, item).await {
            Ok(outcome) => say(&format!("{} {outcome}", item.label)),
            Err(error) => complain(&format!("minke: --apply {}: {error:#}", file.display())),
        }
    }
    Ok(())
}

/// Carries out what other commands ask over the control socket.
struct Control {
    cluster: Arc<Cluster>,
    down: mpsc::Sender<()>,
}

#[async_trait::async_trait]
impl Handler for Control {
    async fn handle(&self, request: Request, progress: mpsc::Sender<String>) -> Result<Vec<String>> {
        match request {
            Request::Down => {
                // That it has begun: Pods may take long to end.
                progress.send(String::new()).await.context("the caller went away")?;
                let ended = self.cluster.end_pods(None).await?;
                self.down.send(()).await.context("the daemon is ending already")?;
                Ok(vec![format!("{ended} Pods ended")])
            }
            Request::TokenCreate { hours } => self.cluster.token(hours).await,
            request => image::handle(&self.cluster.images, request, progress).await,
        }
    }
}
