//! Removing an instance from the machine: what `minke down` and the end of `minke play` leave is only data.
//!
//! Invariant: only what an instance makes is removed. The file system that holds the data dir, and what its owner
//! mounted in it, stay.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use runtime::{ContainerState, Embedded, MountPoint, Runtime, SandboxState};
use rustix::mount::UnmountFlags;

use crate::instance::{Instance, remove_tree};

/// Without a daemon nobody knows a Pod's own grace: upstream's default.
pub const GRACE: Duration = Duration::from_secs(30);

/// Ends what still runs, within `grace`, and removes every process, mount, link, rule and cgroup of an instance. The
/// caller holds its lock, so no daemon runs.
///
/// # Errors
/// If something could not be removed; the rest is removed all the same.
pub async fn remove(instance: &Instance, grace: Duration) -> Result<()> {
    let sandboxes = sandboxes(instance, grace).await;
    let network = network(instance).await;
    let volumes = unmount(&instance.dir);
    let trash = remove_tree(&instance.dir.join("trash"));
    let failed = [sandboxes, network, volumes, trash].into_iter().find_map(Result::err);
    match failed {
        // Its record stays with the sockets, so that what is left can be found.
        Some(error) => Err(error),
        None => remove_tree(&instance.run_dir()),
    }
}

async fn sandboxes(instance: &Instance, grace: Duration) -> Result<()> {
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
        async move { runtime.stop_container(&container.id, grace).await }
    });
    for stopped in futures_util::future::join_all(stops).await {
        stopped.context("cannot stop a container")?;
    }
    for sandbox in runtime.sandboxes(None).await? {
        if sandbox.state == SandboxState::Ready {
            runtime.stop_sandbox(&sandbox.id).await?;
        }
        runtime.remove_sandbox(&sandbox.id).await?;
    }
    runtime.remove_cgroup(&root).await.context("cannot remove the cgroups")
}

async fn network(instance: &Instance) -> Result<()> {
    let config =
        net::Config { instance_id: instance.id, data_dir: instance.dir.clone(), ..net::Config::default() };
    let removed = tokio::task::spawn_blocking(move || net::Network::remove(&config)).await?;
    removed.context("cannot remove the Pod network")
}

/// Unmounts what the instance mounted in its data dir, last mounted first.
fn unmount(dir: &Path) -> Result<()> {
    // Canonical, because the kernel's table is.
    let dir = fs::canonicalize(dir).with_context(|| format!("cannot resolve {}", dir.display()))?;
    let table = runtime::mount_points().context("cannot read the table of mounts")?;
    for index in (0..table.len()).rev().filter(|index| ours(&dir, &table, *index)) {
        let point = &table[index].at;
        rustix::mount::unmount(point, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH)
            .with_context(|| format!("cannot unmount {}", point.display()))?;
    }
    Ok(())
}

/// Whether an instance in `dir` made the mount at `index` of the table: volumes in a Pod's directory, roots in a
/// sandbox's, and the Pods' directory as a mount of its own. Nothing else in a data dir is ever mounted by minke.
fn ours(dir: &Path, table: &[MountPoint], index: usize) -> bool {
    let Ok(inside) = table[index].at.strip_prefix(dir) else { return false };
    let mut parts = inside.iter();
    let (first, deeper) = (parts.next().and_then(|part| part.to_str()), parts.next().is_some());
    match first {
        Some("pods" | "sandboxes") if deeper => true,
        Some("pods") => on_itself(table, index),
        _ => false,
    }
}

/// Whether a mount shows the very directory that it covers, in contrast to a disk that somebody mounted there.
fn on_itself(table: &[MountPoint], index: usize) -> bool {
    let mount = &table[index];
    let beneath = table[..index].iter().rev().filter(|other| mount.at.starts_with(&other.at));
    let Some(beneath) = beneath.max_by_key(|other| other.at.components().count()) else { return false };
    let inside = mount.at.strip_prefix(&beneath.at).unwrap_or(Path::new(""));
    mount.device == beneath.device && mount.root == beneath.root.join(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_an_instance_mounts_is_unmounted() {
        let mount = |device: &str, root: &str, at: &str| MountPoint {
            at: at.into(),
            root: root.into(),
            device: device.to_owned(),
            ..MountPoint::default()
        };
        let table = [
            (mount("8:1", "/", "/"), false),
            (mount("8:16", "/", "/var/lib/minke"), false),
            (mount("8:32", "/", "/var/lib/minke/images"), false),
            (mount("8:16", "/pods", "/var/lib/minke/pods"), true),
            (mount("0:60", "/", "/var/lib/minke/pods/U/volumes/empty-dir/m"), true),
            (mount("8:16", "/pods/U/volumes/empty-dir/v", "/var/lib/minke/pods/U/volumes/empty-dir/v"), true),
            (mount("0:62", "/", "/var/lib/minke/pods/U/volumes/empty-dir/v/of-a-container"), true),
            (mount("0:61", "/", "/var/lib/minke/sandboxes/S/containers/C/root"), true),
            (mount("8:48", "/", "/var/lib/minke/log"), false),
            (mount("8:48", "/", "/var/lib/minke/pods-of-mine"), false),
            (mount("8:48", "/", "/var/lib/minkey/pods/U"), false),
            (mount("8:64", "/", "/var/lib/minke/pods"), false),
        ];
        let points: Vec<MountPoint> = table.iter().map(|(mount, _)| mount.clone()).collect();
        for (index, (mount, want)) in table.iter().enumerate() {
            assert_eq!(ours(Path::new("/var/lib/minke"), &points, index), *want, "{mount:?}");
        }
    }
}
