//! `cargo xtask sim`: many seeded worlds of the simulation (`crates/sim`), or one of them again.
//!
//! Invariant: the test that CI runs, with another number. Absent: worlds of its own.

use anyhow::{Context, Result, bail};

use crate::shell::{command, root};

/// The test that runs worlds.
const WORLDS: &str = "world::tests::every_rule_holds_in_every_world";

/// Runs the first so many worlds, or the one of a seed; optimised if there are many.
///
/// # Errors
/// If a rule is broken in one of them, or the test cannot be built.
pub fn run(worlds: u64, seed: Option<u64>, optimised: bool) -> Result<()> {
    let (variable, number) = seed.map_or(("SIM_WORLDS", worlds), |seed| ("SIM_SEED", seed));
    let profile: &[&str] = if optimised { &["--release"] } else { &[] };
    let test = ["test", "--locked", "--package", "sim", "--lib"];
    let status = command("cargo")
        .args([&test[..], profile, &["--", "--exact", "--nocapture", WORLDS]].concat())
        .env(variable, number.to_string())
        .current_dir(root())
        .status()
        .context("cannot start cargo")?;
    if !status.success() {
        bail!("a world is broken, or the test: {status}");
    }
    Ok(())
}
