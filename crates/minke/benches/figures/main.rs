//! How fast and how small the program is: `figures PROGRAM EXAMPLES CGROUP_ROOT` prints JSON figures. `cargo xtask
//! bench` builds and starts it in namespaces of its own.
//!
//! Invariant: times are those a client sees in a watch over HTTPS. Absent: any look inside the program.

mod cluster;
mod process;
mod watcher;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use xtask::bench::Figure;

use cluster::{Cluster, Place, Prepared};
use process::{cpu_time, pss_kib, pss_of_shims, written_bytes};

const FIRST_RUNS: usize = 5;
const SINGLE_PODS: usize = 30;
const MANY_PODS: usize = 50;
/// How long the daemon is left alone before its memory is read.
const SETTLE: Duration = Duration::from_secs(60);
/// How long an idle daemon is watched.
const IDLE: Duration = Duration::from_secs(30);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [program, examples, cgroup_root] = &arguments[..] else {
        bail!("usage: figures PROGRAM EXAMPLES CGROUP_ROOT; `cargo xtask bench` calls it so")
    };
    let place = Place::new(Path::new(program), cgroup_root)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut figures = runtime.block_on(measure(&place))?;
    figures.extend(alone(&PathBuf::from(examples))?);
    serde_json::to_writer(std::io::stdout(), &figures)?;
    Ok(())
}

/// A figure; it is also told at once, because all of them take minutes.
fn figure(name: &str, unit: &str, reach: Option<f64>, measured: f64) -> Figure {
    // Who does not listen misses nothing that the end does not tell.
    let _ = writeln!(std::io::stderr(), "{name}: {measured:.2} {unit}");
    Figure { name: name.into(), unit: unit.into(), reach, measured }
}

async fn measure(place: &Place) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    let mut first = Vec::new();
    for _ in 0..FIRST_RUNS {
        first.push(first_pod(place).await?);
    }
    figures.push(figure("first Pod Running after `minke up`", "ms", Some(500.0), median(first)));
    let cluster = Prepared::new(place)?.up(None)?;
    let outcome = one_cluster(&cluster, &mut figures).await;
    cluster.finish(outcome)?;
    Ok(figures)
}

/// From the start of the program on an empty data dir, with the image imported, to Running in a watch.
async fn first_pod(place: &Place) -> Result<f64> {
    let manifest = place.pod_file("first")?;
    let prepared = Prepared::new(place)?;
    let begin = Instant::now();
    let cluster = prepared.up(Some(&manifest))?;
    let outcome = async {
        let mut pods = cluster.pods().await?;
        pods.until(|pods| pods.running() == 1).await?;
        Ok(ms(begin))
    }
    .await;
    cluster.finish(outcome)
}

async fn one_cluster(cluster: &Cluster<'_>, figures: &mut Vec<Figure>) -> Result<()> {
    idle(cluster, figures).await?;
    single(cluster, figures).await?;
    many(cluster, figures).await
}

async fn idle(cluster: &Cluster<'_>, figures: &mut Vec<Figure>) -> Result<()> {
    let pid = cluster.pid();
    tokio::time::sleep(SETTLE).await;
    figures.push(figure("memory (PSS) idle after 60 s", "MB", Some(40.0), mb(pss_kib(pid)?)));
    let (worked, written) = (cpu_time(pid)?, written_bytes(pid)?);
    tokio::time::sleep(IDLE).await;
    let spent = (cpu_time(pid)? - worked).as_secs_f64() / IDLE.as_secs_f64();
    figures.push(figure("CPU idle", "% of a core", Some(0.2), spent * 100.0));
    let rate = (written_bytes(pid)? - written) as f64 / 1024.0 / IDLE.as_secs_f64();
    figures.push(figure("writes idle (Lease renewals)", "KiB/s", None, rate));
    Ok(())
}

async fn single(cluster: &Cluster<'_>, figures: &mut Vec<Figure>) -> Result<()> {
    let mut pods = cluster.pods().await?;
    let (mut starts, mut ends) = (Vec::new(), Vec::new());
    for number in 0..SINGLE_PODS {
        let name = format!("single-{number}");
        let begin = Instant::now();
        cluster.create(&name).await?;
        pods.until(|pods| pods.running() == 1).await?;
        starts.push(ms(begin));
        let begin = Instant::now();
        cluster.delete(&name).await?;
        pods.until(|pods| pods.count() == 0).await?;
        ends.push(ms(begin));
    }
    figures.push(figure("one Pod, create to Running", "ms", Some(30.0), median(starts)));
    figures.push(figure("one Pod that ends on TERM, delete to gone", "ms", Some(30.0), median(ends)));
    Ok(())
}

async fn many(cluster: &Cluster<'_>, figures: &mut Vec<Figure>) -> Result<()> {
    let mut pods = cluster.pods().await?;
    let names: Vec<String> = (0..MANY_PODS).map(|number| format!("many-{number}")).collect();
    let begin = Instant::now();
    let created = futures_util::future::try_join_all(names.iter().map(|name| cluster.create(name)));
    tokio::try_join!(created, pods.until(|pods| pods.running() == MANY_PODS))?;
    figures.push(figure("50 Pods at once, all Running", "ms", Some(1000.0), ms(begin)));
    let (shims, count) = pss_of_shims()?;
    if count != MANY_PODS {
        bail!("{count} shims run for {MANY_PODS} Pods");
    }
    figures.push(figure("memory (PSS) of a Pod's shim", "MB", Some(0.2), mb(shims) / MANY_PODS as f64));
    figures.push(figure("memory (PSS) of the daemon with 50 Pods", "MB", None, mb(pss_kib(cluster.pid())?)));
    let begin = Instant::now();
    let deleted = futures_util::future::try_join_all(names.iter().map(|name| cluster.delete(name)));
    tokio::try_join!(deleted, pods.until(|pods| pods.count() == 0))?;
    figures.push(figure("50 Pods at once, all deleted", "ms", Some(500.0), ms(begin)));
    Ok(())
}

/// The runtime and the store without the rest, by their own examples.
fn alone(examples: &Path) -> Result<Vec<Figure>> {
    let start = output(Command::new(examples.join("pod_start")).arg("100"))?;
    let dir = tempfile::tempdir()?;
    let store = output(Command::new(examples.join("commits")).arg(dir.path()))?;
    Ok(vec![
        figure(
            "runtime alone: sandbox and first container",
            "ms",
            Some(8.0),
            number(&start, "sandbox and container:", "median ")?,
        ),
        figure("store: durable commits, one at a time", "/s", None, number(&store, "store: single:", "")?),
        figure(
            "store: durable commits in groups of 100",
            "/s",
            None,
            number(&store, "store: groups of 100:", "")?,
        ),
    ])
}

fn output(command: &mut Command) -> Result<String> {
    let out = command.output().with_context(|| format!("{command:?}"))?;
    if !out.status.success() {
        bail!("{command:?} ended with {}: {}", out.status, String::from_utf8_lossy(&out.stderr));
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// The number after `word` in the line that starts with `line`.
fn number(text: &str, line: &str, word: &str) -> Result<f64> {
    text.lines()
        .find_map(|l| l.strip_prefix(line))
        .and_then(|rest| rest[rest.find(word)? + word.len()..].split_whitespace().next()?.parse().ok())
        .with_context(|| format!("no number after {line:?} {word:?} in {text}"))
}

/// A Pod whose container ends on TERM.
fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [{
            "name": "main",
            "image": "busybox:1.36",
            "command": ["sh", "-c", "trap 'exit 0' TERM; sleep 3600 & wait"],
        }]},
    })
}

fn ms(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1e3
}

fn mb(kib: u64) -> f64 {
    kib as f64 * 1024.0 / 1e6
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
