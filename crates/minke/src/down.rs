//! `minke down`: through the daemon if one runs, else directly.

use std::path::Path;

use anyhow::{Context, Result};

use crate::control::{self, Request};
use crate::instance::{self, Instance};
use crate::{say, wiring};

/// Ends all Pods gracefully, the daemon, and every link, rule, mount, cgroup and process of the instance.
///
/// # Errors
/// If there is no instance, or something could not be removed; the message says what.
pub fn run(data_dir: &Path) -> Result<()> {
    let id = instance::id_of(data_dir)?;
    let run_dir = instance::run_dir(id);
    let answered = control::ask(&run_dir, &Request::Down, say)?;
    if answered.is_some() {
        wait_for_the_lock(data_dir)?;
    }
    // The daemon ended its Pods before it answered; what remains (or, without a daemon, everything) goes here.
    let instance = Instance::open(data_dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(wiring::remove(&instance)).context("not everything could be removed")?;
    say(&format!(
        "down: nothing of instance {} is left but its data in {}",
        instance.hex(),
        data_dir.display()
    ));
    Ok(())
}

/// Waits until the daemon has let go of its data dir.
fn wait_for_the_lock(data_dir: &Path) -> Result<()> {
    let lock = std::fs::File::open(data_dir.join("lock"))?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockShared)
        .context("cannot wait for the daemon to end")?;
    Ok(())
}
