//! `cargo xtask ci`: exactly what CI runs, stage by stage, with the time of each beside its budget.

use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::kit::packages;
use crate::shell::run;
use crate::tidy;

/// A stage: name, budget in minutes, what it does.
type Stage = (&'static str, u64, fn() -> Result<()>);

const STAGES: &[Stage] = &[
    ("packages", 5, tools),
    ("tidy", 1, tidy::check),
    ("build", 10, build),
    ("clippy", 4, clippy),
    ("schema", 1, schema),
    ("unit", 3, unit),
    ("end-to-end", 10, e2e),
    ("vm", 3, vm),
];

/// Runs all stages, or only the named ones; ends at the first failure.
///
/// # Errors
/// If a stage fails or a name is unknown.
pub fn run_stages(only: &[String]) -> Result<()> {
    if let Some(unknown) = only.iter().find(|name| !STAGES.iter().any(|(stage, ..)| stage == name)) {
        bail!(
            "no stage {unknown:?}; there are {}",
            STAGES.iter().map(|s| s.0).collect::<Vec<_>>().join(", ")
        );
    }
    let mut lines = Vec::new();
    let start = Instant::now();
    for (name, budget, stage) in STAGES.iter().filter(|s| only.is_empty() || only.iter().any(|o| o == s.0)) {
        print(&format!("==> {name}"));
        let from = Instant::now();
        stage().with_context(|| format!("stage {name}"))?;
        let spent = from.elapsed().as_secs();
        let note = if spent > budget * 60 { "  OVER BUDGET" } else { "" };
        lines.push(format!(
            "{name:<12}{:>3} min {:02} s  (budget {budget} min){note}",
            spent / 60,
            spent % 60
        ));
    }
    print(&format!(
        "\n{}\nin all {} min {:02} s",
        lines.join("\n"),
        start.elapsed().as_secs() / 60,
        start.elapsed().as_secs() % 60
    ));
    Ok(())
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
