//! The throwaway data dir of a play, and those that killed plays left behind.
//!
//! Invariant: only what a play made is removed, never while its process lives, and nothing through a mount.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::GRACE;
use crate::instance::record::{self, Made};
use crate::instance::{Instance, OpenError, remove_tree, seen_holder, write_atomic};
use crate::{complain, config, wiring};

/// How the directories are called.
const PREFIX: &str = "minke-play-";

/// The file that says that a data dir is to be thrown away.
const MARK: &str = "play";

/// An instance whose data vanish with the value.
pub struct Scratch {
    dir: PathBuf,
    instance: Instance,
}

impl Scratch {
    /// Makes the directory and an instance in it.
    ///
    /// # Errors
    /// If `wanted` is there already, or nothing can be made.
    pub fn new(wanted: Option<&Path>) -> Result<Self> {
        let dir = match wanted {
            Some(dir) => config::absolute(dir)?,
            None => private_temporary()?,
        };
        if wanted.is_some() && dir.exists() {
            bail!("{} exists: play needs a directory of its own, which it removes at the end", dir.display());
        }
        let instance = Instance::open(&dir)?;
        let scratch = Self { dir, instance };
        write_atomic(&scratch.dir.join(MARK), "thrown away once its process is gone\n")?;
        record::write(&scratch.instance, Made::Play)?;
        Ok(scratch)
    }

    /// The instance.
    pub fn instance(&self) -> &Instance {
        &self.instance
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Under the lock, so that nobody sweeps it meanwhile.
        if let Err(error) = remove_tree(&self.dir) {
            complain(&format!("minke: {error:#}"));
        }
    }
}

fn private_temporary() -> Result<PathBuf> {
    let mode = fs::Permissions::from_mode(0o700);
    let made = tempfile::Builder::new().prefix(PREFIX).permissions(mode).tempdir();
    Ok(made.context("no temporary directory")?.keep())
}

/// Removes what plays left that were killed.
pub async fn sweep() {
    for dir in left_behind() {
        match remove(&dir).await {
            Ok(true) => complain(&format!("minke: removed what a killed play left in {}", dir.display())),
            Ok(false) => {}
            Err(error) => complain(&format!("minke: a killed play left {}: {error:#}", dir.display())),
        }
    }
}

/// Data dirs of plays: by their records, and by their names, because records do not survive a reboot.
fn left_behind() -> BTreeSet<PathBuf> {
    let records = record::all().unwrap_or_default().into_iter();
    let recorded = records.filter(|(id, r)| r.made == Made::Play && r.is_of(*id)).map(|(_, r)| r.data_dir);
    let temporary = fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten();
    let named = temporary.filter(|e| e.file_name().to_string_lossy().starts_with(PREFIX)).map(|e| e.path());
    recorded.chain(named).filter(|dir| thrown_away(dir)).collect()
}

/// Whether we made a directory, and to be thrown away: anybody can make names in a temporary directory.
fn thrown_away(dir: &Path) -> bool {
    let own = |m: fs::Metadata| {
        m.is_dir() && m.uid() == rustix::process::geteuid().as_raw() && m.mode() & 0o077 == 0
    };
    fs::symlink_metadata(dir).is_ok_and(own) && dir.join(MARK).is_file()
}

/// Ends and removes an instance whose process is gone; whether it is.
async fn remove(dir: &Path) -> Result<bool> {
    if seen_holder(dir).is_some() {
        return Ok(false);
    }
    let instance = match Instance::open(dir) {
        Err(OpenError::Busy { .. }) => return Ok(false),
        other => other?,
    };
    wiring::remove(&instance, GRACE).await?;
    remove_tree(dir)?;
    Ok(true)
}
