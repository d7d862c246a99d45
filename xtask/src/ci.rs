//! `cargo xtask ci`: exactly what CI runs, stage by stage, with the time of each beside its budget.

use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};

use crate::kit::packages;
use crate::shell::run;
use crate::tidy;

/// A stage: name, budget in minutes, what it does.
type Stage = (&'static str, u64, fn() -> Result<()>);

/// Stages in their order; those of one row run at once. The end-to-end tests mostly wait, and the machine of `vm` has one core.
const STAGES: &[&[Stage]] = &[
    &[("packages", 5, tools)],
    &[("tidy", 1, tidy::check)],
    &[("build", 10, build)],
    &[("clippy", 4, clippy)],
    &[("schema", 1, schema)],
    &[("unit", 4, unit)],
    &[("end-to-end", 10, e2e), ("vm", 5, vm)],
];

/// Runs all stages, or only the named ones; ends after the first row in which one fails.
///
/// # Errors
/// If a stage fails or a name is unknown.
pub fn run_stages(only: &[String]) -> Result<()> {
    let names: Vec<&str> = STAGES.iter().copied().flatten().map(|stage| stage.0).collect();
    if let Some(unknown) = only.iter().find(|name| !names.contains(&name.as_str())) {
        bail!("no stage {unknown:?}; there are {}", names.join(", "));
    }
    let mut lines = Vec::new();
    let start = Instant::now();
    for row in STAGES {
        let row = row.iter().filter(|stage| only.is_empty() || only.iter().any(|name| name == stage.0));
        for (ended, line) in at_once(row) {
            ended?;
            lines.push(line);
        }
    }
    let spent = start.elapsed().as_secs();
    print(&format!("\n{}\nin all {} min {:02} s", lines.join("\n"), spent / 60, spent % 60));
    Ok(())
}

/// Runs the stages of a row and waits for all; how each ended, and the line about its time.
fn at_once(row: impl Iterator<Item = &'static Stage>) -> Vec<(Result<()>, String)> {
    let running: Vec<_> = row.map(|stage| (stage.0, std::thread::spawn(|| timed(stage)))).collect();
    let ended = running.into_iter().map(|(name, thread)| {
        thread.join().unwrap_or_else(|_| (Err(anyhow!("stage {name} panicked")), String::new()))
    });
    ended.collect()
}

fn timed((name, budget, stage): &Stage) -> (Result<()>, String) {
    print(&format!("==> {name}"));
    let from = Instant::now();
    let ended = stage().with_context(|| format!("stage {name}"));
    let spent = from.elapsed().as_secs();
    let note = if spent > budget * 60 { "  OVER BUDGET" } else { "" };
    (ended, format!("{name:<12}{:>3} min {:02} s  (budget {budget} min){note}", spent / 60, spent % 60))
}

#[expect(clippy::print_stdout, reason = "a command-line tool speaks on stdout")]
fn print(line: &str) {
    println!("{line}");
}

fn tools() -> Result<()> {
    packages::provide(&[])?;
    packages::kubectl()?;
    Ok(())
}

fn build() -> Result<()> {
    run("cargo", &["build", "--locked", "--workspace", "--all-targets"])
}

fn clippy() -> Result<()> {
    run("cargo", &["fmt", "--all", "--check"])?;
    run("cargo", &["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"])
}

fn schema() -> Result<()> {
    crate::schema::run(true)
}

/// Always the whole workspace: another selection of packages would mean other features and a build of its own.
fn unit() -> Result<()> {
    run(
        "cargo",
        &[
            "test",
            "--locked",
            "--workspace",
            "--lib",
            "--bin",
            "minke",
            "--test",
            "it",
            "--test",
            "one_pod",
            "--test",
            "flat",
            "--test",
            "nodes",
            "--test",
            "rights",
        ],
    )
}

fn e2e() -> Result<()> {
    run("cargo", &["test", "--locked", "--workspace", "--test", "e2e", "--", "--test-threads", "2"])
}

fn vm() -> Result<()> {
    crate::vm::run(&[])
}
