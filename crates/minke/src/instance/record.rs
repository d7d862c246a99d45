//! What `/run/minke/ID/` says of each instance of this machine: where its data are and what started it.
//!
//! Invariant: a record is there from before the first thing of an instance is made until the last one is gone.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::files::{make_private_dir, write_atomic};
use super::{Instance, id_of, run_dir};

/// Where the records of all instances are.
const ALL: &str = "/run/minke";

/// The command that made an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Made {
    /// `minke up`.
    Up,
    /// `minke play`: to be thrown away once its process is gone.
    Play,
}

/// One instance of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its data dir, absolute.
    pub data_dir: PathBuf,
    /// By what it was started.
    pub made: Made,
    /// When its record was written, in Unix seconds.
    #[serde(skip)]
    pub since: i64,
}

/// Writes the record of an instance.
///
/// # Errors
/// If it cannot be written.
pub fn write(instance: &Instance, made: Made) -> Result<()> {
    let dir = instance.run_dir();
    make_private_dir(&dir)?;
    let record = Record { data_dir: instance.dir.clone(), made, since: 0 };
    write_atomic(&file(&dir), &serde_json::to_string(&record)?)
}

/// All instances that have a record, by id. One whose data dir is gone, or holds another instance now, is among them.
///
/// # Errors
/// If the records cannot be listed.
pub fn all() -> Result<Vec<(u32, Record)>> {
    let entries = match fs::read_dir(ALL) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.with_context(|| format!("cannot read {ALL}"))?,
    };
    let ids = entries.flatten().filter_map(|e| u32::from_str_radix(e.file_name().to_str()?, 16).ok());
    let mut all: Vec<(u32, Record)> = ids.filter_map(|id| Some((id, read(&run_dir(id))?))).collect();
    all.sort_by_key(|(id, _)| *id);
    Ok(all)
}

impl Record {
    /// Whether the data dir still is that of instance `id`.
    #[must_use]
    pub fn is_of(&self, id: u32) -> bool {
        id_of(&self.data_dir).is_ok_and(|found| found == id)
    }
}

fn file(run_dir: &Path) -> PathBuf {
    run_dir.join("instance.json")
}

/// A directory without a readable record is none of ours.
fn read(run_dir: &Path) -> Option<Record> {
    let path = file(run_dir);
    let mut record: Record = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
    let written = fs::metadata(&path).ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    record.since = i64::try_from(written.as_secs()).ok()?;
    Some(record)
}
