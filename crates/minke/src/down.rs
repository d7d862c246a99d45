//! `minke down`: through the daemon if one runs, else directly.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::control;
use crate::instance::{self, Instance, OpenError};
use crate::{complain, say, wiring};

/// How long a daemon that has ended its Pods may take to end itself.
const ENDS_WITHIN: Duration = Duration::from_secs(30);

/// How soon a data dir that is still held is tried again.
const AGAIN: Duration = Duration::from_millis(20);

/// Ends all Pods gracefully, the daemon, and every link, rule, mount, cgroup and process of the instance.
///
/// # Errors
/// If there is no instance, or something could not be removed; the message says what.
pub fn run(data_dir: &Path) -> Result<()> {
    let id = instance::id_of(data_dir)?;
    let run_dir = instance::run_dir(id);
    // Looked for before it is asked: while it ends it lets go of everything by which it is known.
    let holder = instance::holder(data_dir);
    let answered = control::ask_down(&run_dir)?;
    match holder {
        Ok(Some(daemon)) if answered => wait_for(&daemon)?,
        Ok(Some(daemon)) => {
            let dir = data_dir.display();
            complain(&format!("minke: PID {} holds {dir} but does not answer: ending it", daemon.pid));
            daemon.end(|text| complain(&format!("minke: {text}")))?;
        }
        Ok(None) => {}
        Err(error) if !answered => return Err(error),
        // It answers, so it ends by itself, wherever it lives.
        Err(_) => {}
    }
    // The daemon ended its Pods before it answered; what remains (or, without a daemon, everything) goes here.
    let instance = open_when_free(data_dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(wiring::remove(&instance, wiring::GRACE)).context("not everything could be removed")?;
    say(&format!(
        "down: nothing of instance {} is left but its data in {}",
        instance.hex(),
        data_dir.display()
    ));
    Ok(())
}

/// Opens the data dir as soon as its daemon has let go of it.
fn open_when_free(data_dir: &Path) -> Result<Instance> {
    let until = Instant::now() + ENDS_WITHIN;
    loop {
        match Instance::open(data_dir) {
            Err(OpenError::Busy { .. }) if Instant::now() < until => std::thread::sleep(AGAIN),
            other => return Ok(other?),
        }
    }
}

/// Waits for the end of a daemon that said that it is ending.
fn wait_for(daemon: &instance::Holder) -> Result<()> {
    if daemon.wait(ENDS_WITHIN) {
        return Ok(());
    }
    complain(&format!("minke: PID {} said that it ends, but does not", daemon.pid));
    daemon.end(|text| complain(&format!("minke: {text}")))
}
