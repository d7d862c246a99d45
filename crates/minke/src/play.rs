//! `minke play`: manifests in a throwaway instance, their logs on stdout, their exit code ours.
//!
//! Invariant: however it ends, nothing of the instance is left, not even its data.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use client::{Change, Gvr, Objects, Options, Target};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use tokio::signal::unix::{SignalKind, signal};

use crate::instance::Instance;
use crate::up::{Shared, Stages, tokio_runtime};
use crate::wiring::{self, Cluster};
use crate::{apply, complain, say};

mod tail;
mod verdict;

use tail::Tails;
use verdict::{Verdict, verdict};

/// Containers get at most this long to end: nobody waits for what is thrown away.
const GRACE: Duration = Duration::from_secs(2);

/// `minke play`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The manifests.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// End as soon as everything runs.
    #[arg(long)]
    until_running: bool,
    /// Where the throwaway data goes [default: a new directory under the system's temporary one]; removed at the end.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    shared: Shared,
}

/// Plays the manifests.
///
/// # Errors
/// If the instance cannot start or the API refuses a manifest.
pub fn run(args: &Args) -> Result<ExitCode> {
    let mut config = args.shared.config()?;
    config.listen = Some(([127, 0, 0, 1], 0).into());
    let items = args.files.iter().map(|f| apply::read(f)).collect::<Result<Vec<_>>>()?.concat();
    let dir = Scratch::new(args.data_dir.as_deref())?;
    let instance = Instance::open(&dir.0)?;
    tokio_runtime()?.block_on(async {
        let played = play(args, &config, &instance, &items).await;
        let removed = wiring::remove(&instance, GRACE).await.context("not everything could be removed");
        let code = played?;
        removed?;
        Ok(ExitCode::from(code))
    })
}

async fn play(
    args: &Args,
    config: &crate::config::Config,
    instance: &Instance,
    items: &[apply::Item],
) -> Result<u8> {
    let cluster = Cluster::start(instance, config, &mut Stages::new(true)).await?;
    let outcome = session(args, &cluster, items).await;
    let ended = cluster.end_pods(Some(GRACE)).await;
    cluster.stop().await;
    let code = outcome?;
    ended?;
    Ok(code)
}

async fn session(args: &Args, cluster: &Cluster, items: &[apply::Item]) -> Result<u8> {
    let objects = cluster.admin.as_ref().context("play needs the API server")?;
    for archive in &args.shared.image_archive {
        cluster.import(archive).await?;
    }
    for item in items {
        apply::apply(objects, item).await?;
    }
    let wanted = Wanted::of(items);
    if wanted.pods.is_empty() && wanted.jobs.is_empty() {
        bail!("the manifests hold no Pods and no Jobs, so there is nothing to wait for");
    }
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terms = signal(SignalKind::terminate())?;
    tokio::select! {
        code = follow(objects, cluster, &wanted, args.until_running) => code,
        _ = interrupts.recv() => Ok(130),
        _ = terms.recv() => Ok(143),
    }
}

/// What the manifests named and whose end is ours: namespace and name.
#[derive(Debug, Default)]
struct Wanted {
    pods: BTreeSet<(String, String)>,
    jobs: BTreeSet<(String, String)>,
}

impl Wanted {
    fn of(items: &[apply::Item]) -> Self {
        let mut wanted = Self::default();
        for item in items {
            let Some(target) = &item.target else { continue };
            let key = (target.namespace.clone(), target.name.clone());
            match target.gvr.resource.as_str() {
                "pods" => wanted.pods.insert(key),
                "jobs" => wanted.jobs.insert(key),
                _ => false,
            };
        }
        wanted
    }
}

/// The present state of what we watch.
#[derive(Debug, Default)]
struct State {
    pods: BTreeMap<(String, String), Pod>,
    jobs: BTreeMap<(String, String), Job>,
}

async fn follow(
    objects: &Arc<dyn Objects>,
    cluster: &Cluster,
    wanted: &Wanted,
    until_running: bool,
) -> Result<u8> {
    let watch = |gvr: Gvr| {
        let target =
            Target { gvr, namespace: String::new(), name: String::new(), subresource: String::new() };
        objects.watch(target, Options::default())
    };
    let mut pods = watch(Gvr::of::<Pod>()).await?;
    let mut jobs = watch(Gvr::of::<Job>()).await?;
    let mut state = State::default();
    let mut tails = Tails::new(cluster.log_root());
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    loop {
        tokio::select! {
            events = pods.next() => note(&mut state.pods, events?)?,
            events = jobs.next() => note(&mut state.jobs, events?)?,
            _ = tick.tick() => {}
        }
        tails.print(state.pods.values());
        match verdict(wanted, &state, until_running) {
            Verdict::Waiting => {}
            // What runs has said its first words, or has had a moment to.
            Verdict::Running if !tails.spoken() && !tails.patient(Duration::from_secs(2)) => {}
            Verdict::Running => {
                summary(state.pods.values());
                return Ok(0);
            }
            Verdict::Ended(code) => {
                tails.print(state.pods.values());
                return Ok(code);
            }
        }
    }
}

fn note<T: serde::de::DeserializeOwned>(
    into: &mut BTreeMap<(String, String), T>,
    events: Vec<client::WatchEvent>,
) -> Result<()> {
    for event in events {
        let Some(object) = event.object else { continue };
        let key = (object.namespace.to_string(), object.name.to_string());
        if event.change == Change::Deleted {
            into.remove(&key);
        } else {
            into.insert(key, object.parse()?);
        }
    }
    Ok(())
}

/// What ran, one line per container.
fn summary<'a>(pods: impl Iterator<Item = &'a Pod>) {
    for pod in pods {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let status = pod.status.clone().unwrap_or_default();
        for container in status.container_statuses.iter().flatten() {
            say(&format!(
                "pod/{name} container {} ran {} as {} at {}",
                container.name,
                container.image,
                container.container_id.as_deref().unwrap_or("?").chars().take(20).collect::<String>(),
                status.pod_ip.as_deref().unwrap_or("no address"),
            ));
        }
    }
}

/// Containers of all lists of a status, in the order in which they run.
fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    let init = status.and_then(|s| s.init_container_statuses.as_ref());
    let app = status.and_then(|s| s.container_statuses.as_ref());
    init.into_iter().flatten().chain(app.into_iter().flatten())
}

/// A directory that vanishes with the value.
struct Scratch(PathBuf);

impl Scratch {
    fn new(wanted: Option<&Path>) -> Result<Self> {
        let Some(dir) = wanted else {
            let dir =
                tempfile::Builder::new().prefix("minke-play-").tempdir().context("no temporary directory")?;
            return Ok(Self(dir.keep()));
        };
        if dir.exists() {
            bail!("{} exists: play needs a directory of its own, which it removes at the end", dir.display());
        }
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(Self(crate::config::absolute(dir)?))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            complain(&format!("minke: cannot remove {}: {error}", self.0.display()));
        }
    }
}
