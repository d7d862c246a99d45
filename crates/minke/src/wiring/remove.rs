//! Removing an instance from the machine: what `minke down` and the end of `minke play` leave is only data.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use runtime::{ContainerState, Embedded, Runtime, SandboxState};

use crate::instance::Instance;

/// Without a daemon nobody knows a Pod's own grace: upstream's default.
const GRACE: Duration = Duration::from_secs(30);

/// Ends what still runs and removes every process, mount, link, rule and cgroup of an instance. The caller holds its
/// lock, so no daemon runs.
///
/// # Errors
/// If something could not be removed; the rest is removed all the same.
pub async fn remove(instance: &Instance) -> Result<()> {
    let sandboxes = sandboxes(instance).await;
    let network = network(instance).await;
    let volumes = unmount_below(&instance.dir);
    let sockets = remove_dir(&instance.run_dir());
    let trash = remove_dir(&instance.dir.join("trash"));
    sandboxes.and(network).and(volumes).and(sockets).and(trash)
}

fn remove_dir(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

async fn sandboxes(instance: &Instance) -> Result<()> {
    let root = fs::read_to_string(instance.dir.join("cgroup-root")).unwrap_or_default();
    if root.is_empty() {
        // No node ever ran here.
        return Ok(());
    }
    let config = runtime::Config {
        data_dir: instance.dir.clone(),
        run_dir: instance.run_dir(),
        instance_id: instance.hex(),
        cgroup_root: root.clone(),
    };
    let runtime = Embedded::open(config).await.context("cannot reach the shims")?;
    let running = runtime.containers(None).await?.into_iter().filter(|c| c.state == ContainerState::Running);
    let stops = running.map(|container| {
        let runtime = runtime.clone();
        async move { runtime.stop_container(&container.id, GRACE).await }
    });
    for stopped in futures_util::future::join_all(stops).await {
        stopped.context("cannot stop a container")?;
    }
    for sandbox in runtime.sandboxes().await? {
        if sandbox.state == SandboxState::Ready {
            runtime.stop_sandbox(&sandbox.id).await?;
        }
        runtime.remove_sandbox(&sandbox.id).await?;
    }
    runtime.remove_cgroup(&root).await.context("cannot remove the cgroups")
}

async fn network(instance: &Instance) -> Result<()> {
    let config =
        net::Config { instance_id: instance.id, data_dir: instance.dir.clone(), pod_cidr: None, mtu: None };
    let removed = tokio::task::spawn_blocking(move || net::Network::remove(&config)).await?;
    removed.context("cannot remove the Pod network")
}

/// Unmounts everything below a directory, last mounted first.
fn unmount_below(dir: &Path) -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("/proc/self/mountinfo")?;
    let points =
        mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(|point| point.replace("\\040", " "));
    let mut ours: Vec<String> = points.filter(|point| Path::new(point).starts_with(dir)).collect();
    ours.reverse();
    for point in ours {
        rustix::mount::unmount(&point, rustix::mount::UnmountFlags::DETACH)
            .with_context(|| format!("cannot unmount {point}"))?;
    }
    Ok(())
}
