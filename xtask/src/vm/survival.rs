//! The case `survival`: three machines on one disk. The power of the first is cut while Pods, Jobs and a static Pod run
//! and a deletion is in progress; in the second everything comes to what its policy says, and it is shut down in order
//! with the same again; in the third that does.

use std::fs;

use anyhow::{Result, bail};

use super::build::{self, Built};
use super::machine::{Extra, Machine};

/// Bytes of the disk: the store, an image, what containers write.
const DISK: u64 = 256 << 20;

/// Runs the case.
///
/// # Errors
/// If something does not converge.
pub fn run(built: &Built) -> Result<()> {
    let dir = built.dir.path();
    let data = build::data_disk(dir, "survival.img", DISK)?;
    let line = dir.join("survival.log");
    for life in ["begin", "cut", "reboot"] {
        fs::write(&line, "")?;
        let extra =
            Extra { append: format!("survival={life}"), disks: vec![&data], serial: Some(line.as_path()) };
        let machine = Machine::boot(built, &extra)?;
        if life == "begin" {
            machine.kill_when(|| fs::read_to_string(&line).is_ok_and(|text| text.contains("ready")))?;
            continue;
        }
        let console = machine.wait()?;
        if !console.lines().any(|l| l.trim() == "VM-OK survival") {
            bail!("after {life}:\n{console}");
        }
    }
    Ok(())
}
