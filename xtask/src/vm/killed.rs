//! The case `killed`: machines in which the store writes are killed at random moments, one after the other on one
//! disk; each first verifies everything that those before it acknowledged over the serial line.
//!
//! A killed qemu loses the guest's memory, hence all of its caches; what reached the virtual disk stays in the host's
//! page cache. Lost disk caches are what dm-flakey's cases are for.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use super::build::{self, Built};
use super::machine::{Extra, Machine};

/// How many machines are killed.
const LIVES: u64 = 3;

/// Runs the case.
///
/// # Errors
/// If a machine does not verify what is on its disk, or ends by itself.
pub fn run(built: &Built) -> Result<()> {
    let dir = built.dir.path();
    let data = build::data_disk(dir, "killed.img", build::STORE_DISK)?;
    let (line, acked) = (dir.join("line.log"), dir.join("acked.log"));
    let mut known = String::new();
    let mut seed = SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos().into();
    for life in 0..=LIVES {
        fs::write(&acked, padded(&known))?;
        fs::write(&line, "")?;
        let last = life == LIVES;
        let extra = Extra {
            append: format!("killed={}", if last { "verify" } else { "write" }),
            disks: vec![&data, &acked],
            serial: Some(&line),
        };
        let machine = Machine::boot(built, &extra)?;
        if last {
            let console = machine.wait()?;
            if !console.lines().any(|l| l.trim() == "VM-OK killed") {
                bail!("the last machine did not verify\n{console}");
            }
        } else {
            // The first line comes from the verification.
            let wanted = 20 + random(&mut seed) % 400;
            machine
                .kill_when(|| acknowledged(&line).is_ok_and(|text| text.lines().count() as u64 > wanted))?;
        }
        known.push_str(&acknowledged(&line)?);
    }
    Ok(())
}

/// The whole lines that came over the serial line.
fn acknowledged(line: &Path) -> Result<String> {
    let text = fs::read_to_string(line).with_context(|| line.display().to_string())?.replace('\r', "");
    let end = text.rfind('\n').map_or(0, |at| at + 1);
    Ok(text[..end].to_owned())
}

/// As a disk: whole sectors.
fn padded(text: &str) -> String {
    let length = text.len().next_multiple_of(512).max(512);
    format!("{text}{}", "\n".repeat(length - text.len()))
}

/// A step of Knuth's linear congruential generator.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_of_lines() {
        for (text, length) in [("", 512), ("ack\n", 512), (&*"x".repeat(513), 1024)] {
            assert_eq!(padded(text).len(), length);
        }
    }
}
