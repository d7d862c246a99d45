//! `minke play`: manifests in a throwaway instance, their logs on stdout, their exit code ours.
//!
//! Invariant: however it ends, nothing of the instance is left, not even its data.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use client::{Change, Gvr, Objects, Options, Target};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};
use serde_json::Value;

use crate::instance::Instance;
use crate::up::{Ends, Shared, Stages, tokio_runtime};
use crate::wiring::{self, Cluster};
use crate::{apply, complain, host};

mod printer;
mod scratch;
mod tail;
mod trouble;
mod verdict;

use printer::Printer;
use scratch::{Scratch, sweep};
use tail::Tails;
use trouble::Patience;
use verdict::{Verdict, verdict};

/// Containers get at most this long to end: nobody waits for what is thrown away.
const GRACE: Duration = Duration::from_secs(2);

/// How often logs are looked at.
const TICK: Duration = Duration::from_millis(50);

/// How many times logs are read on before everything else is looked at again.
const ROUNDS: usize = 16;

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
    /// Seconds after which a Pod that cannot start is given up.
    #[arg(long, default_value = "20", value_name = "SECONDS")]
    give_up_after: u64,
    #[command(flatten)]
    shared: Shared,
}

/// Plays the manifests.
///
/// # Errors
/// If the instance cannot start or the API refuses a manifest.
pub fn run(args: &Args) -> Result<ExitCode> {
    host::set_daemon();
    let mut config = args.shared.config()?;
    config.listen = Some(([127, 0, 0, 1], 0).into());
    let items = args.files.iter().map(|f| apply::read(f)).collect::<Result<Vec<_>>>()?.concat();
    items.iter().try_for_each(|item| item.target().map(drop))?;
    let runtime = tokio_runtime()?;
    // From here on a signal ends the play, not the process.
    let mut ends = runtime.block_on(async { Ends::new() })?;
    runtime.block_on(sweep());
    let scratch = Scratch::new(args.data_dir.as_deref())?;
    let instance = scratch.instance();
    let outcome = runtime.block_on(async {
        let played = play(args, &config, instance, &items, &mut ends).await;
        let removed = wiring::remove(instance, GRACE).await.context("not everything could be removed");
        let code = played?;
        removed?;
        Ok(ExitCode::from(code))
    });
    // Threads that still import end before their directory does.
    drop(runtime);
    outcome
}

async fn play(
    args: &Args,
    config: &crate::config::Config,
    instance: &Instance,
    items: &[apply::Item],
    ends: &mut Ends,
) -> Result<u8> {
    let cluster = Cluster::start(instance, config, &mut Stages::new(true)).await?;
    let outcome = tokio::select! {
        code = session(args, &cluster, items) => code,
        signal = ends.next() => Ok(128 + signal),
    };
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
    let mut wanted = Wanted::default();
    let mut refused = 0;
    for item in items {
        match create_or_apply(objects, item).await {
            Ok(name) => wanted.add(item.target()?, name),
            Err(error) => {
                complain(&format!("minke: {error:#}"));
                refused += 1;
            }
        }
    }
    if refused > 0 {
        bail!("{refused} of {} objects were refused", items.len());
    }
    if wanted.pods.is_empty() && wanted.jobs.is_empty() {
        bail!("the manifests hold no Pods and no Jobs, so there is nothing to wait for");
    }
    follow(objects, cluster, &wanted, args).await
}

/// Makes an object, or brings one up to date that an instance begins with; its name.
async fn create_or_apply(objects: &Arc<dyn Objects>, item: &apply::Item) -> Result<String> {
    let name = item.target()?.name.clone();
    if !name.is_empty() {
        apply::apply(objects, item).await?;
        return Ok(name);
    }
    let made: Value = apply::create(objects, item).await?;
    Ok(made["metadata"]["name"].as_str().unwrap_or_default().to_owned())
}

/// What the manifests named and whose end is ours: namespace and name.
#[derive(Debug, Default)]
struct Wanted {
    pods: BTreeSet<(String, String)>,
    jobs: BTreeSet<(String, String)>,
}

impl Wanted {
    fn add(&mut self, target: &Target, name: String) {
        let key = (target.namespace.clone(), name);
        match target.gvr.resource.as_str() {
            "pods" => self.pods.insert(key),
            "jobs" => self.jobs.insert(key),
            _ => false,
        };
    }
}

/// The present state of what we watch.
#[derive(Debug, Default)]
struct State {
    pods: BTreeMap<(String, String), Pod>,
    jobs: BTreeMap<(String, String), Job>,
    events: BTreeMap<(String, String), Event>,
}

async fn follow(objects: &Arc<dyn Objects>, cluster: &Cluster, wanted: &Wanted, args: &Args) -> Result<u8> {
    let watch = |gvr: Gvr| {
        let target =
            Target { gvr, namespace: String::new(), name: String::new(), subresource: String::new() };
        objects.watch(target, Options::default())
    };
    let mut pods = watch(Gvr::of::<Pod>()).await?;
    let mut jobs = watch(Gvr::of::<Job>()).await?;
    let mut events = watch(Gvr::of::<Event>()).await?;
    let mut state = State::default();
    let mut told = BTreeSet::new();
    let mut patience = Patience::new(Duration::from_secs(args.give_up_after));
    let mut tails = Tails::new(cluster.log_root());
    let printer = Printer::start()?;
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            events = pods.next() => note(&mut state.pods, events?)?,
            events = jobs.next() => note(&mut state.jobs, events?)?,
            events = events.next() => {
                note(&mut state.events, events?)?;
                tell(&state, &mut told);
            }
            _ = tick.tick() => {}
        }
        print(&printer, &mut tails, &state, ROUNDS).await;
        let lost = patience.lost(Instant::now(), trouble::of(wanted, &state));
        let code = match verdict(wanted, &state, args.until_running, &lost) {
            Verdict::Waiting => continue,
            // What runs has said its first words, or has had a moment to.
            Verdict::Running if !tails.spoken() && !tails.patient(Duration::from_secs(2)) => continue,
            Verdict::Running => {
                printer.print(summary(state.pods.values()).into_bytes()).await;
                0
            }
            Verdict::Ended(code) => {
                print(&printer, &mut tails, &state, usize::MAX).await;
                printer.print(tails.flush()).await;
                code
            }
            Verdict::InVain => {
                printer.print(tails.flush()).await;
                for ((kind, _, name), why) in &lost {
                    complain(&format!("minke: {kind}/{name} cannot start: {why}"));
                }
                1
            }
        };
        printer.finish().await;
        return Ok(code);
    }
}

/// Prints what the containers wrote, at most so many rounds of it.
async fn print(printer: &Printer, tails: &mut Tails, state: &State, rounds: usize) {
    for _ in 0..rounds {
        let piece = tails.read(state.pods.values());
        if piece.is_empty() {
            return;
        }
        printer.print(piece).await;
    }
}

/// Says each warning once.
fn tell(state: &State, told: &mut BTreeSet<String>) {
    for event in state.events.values().filter(|event| trouble::is_warning(event)) {
        let about = &event.involved_object;
        let text = |t: &Option<String>| t.clone().unwrap_or_default();
        let (kind, name) = (text(&about.kind).to_lowercase(), text(&about.name));
        let line = format!("minke: {kind}/{name}: {}: {}", text(&event.reason), text(&event.message).trim());
        if told.insert(line.clone()) {
            complain(&line);
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
fn summary<'a>(pods: impl Iterator<Item = &'a Pod>) -> String {
    let mut text = String::new();
    for pod in pods {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let status = pod.status.clone().unwrap_or_default();
        for container in status.container_statuses.iter().flatten() {
            text += &format!(
                "pod/{name} container {} ran {} as {} at {}\n",
                container.name,
                container.image,
                container.container_id.as_deref().unwrap_or("?").chars().take(20).collect::<String>(),
                status.pod_ip.as_deref().unwrap_or("no address"),
            );
        }
    }
    text
}

/// Containers of all lists of a status, in the order in which they run.
fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    let init = status.and_then(|s| s.init_container_statuses.as_ref());
    let app = status.and_then(|s| s.container_statuses.as_ref());
    init.into_iter().flatten().chain(app.into_iter().flatten())
}
