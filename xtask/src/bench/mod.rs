//! `cargo xtask bench`: how fast and how small the shipped binary is, measured on this machine.
//!
//! The measuring program is `crates/minke/benches/figures`; here it is built, put into namespaces of its own and its
//! figures are shown beside what they should reach. `cargo xtask bench scheduler` builds and starts
//! `crates/sim/benches/scheduler`. Invariant: nothing on the host is touched but files under the target and the temporary
//! directory. Absent: a verdict by exit code; a busy machine is not a failure.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::kit::isolation::{self, Cgroups};
use crate::shell::{output, root, run as command, target};

/// Seconds that everything may take.
const CEILING: u32 = 900;

/// One figure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// The unit of both numbers.
    pub unit: String,
    /// At most this should be measured, if there is such an aim.
    pub reach: Option<f64>,
    /// What was measured.
    pub measured: f64,
}

/// Measures `program` (by default `dist/minke`, which `make` builds) and prints the figures.
///
/// # Errors
/// If the program is not built, or something that is measured does not work.
pub fn run(program: Option<&Path>, json: bool) -> Result<()> {
    let program = program.map_or_else(|| root().join("dist/minke"), Path::to_path_buf);
    if !program.is_file() {
        bail!("{} is not there; `make` builds it", program.display());
    }
    let measuring = measuring()?;
    let examples = examples()?;
    let cgroups = Cgroups::new(&format!("minke-bench-{}", std::process::id()));
    let out = isolation::command(&measuring, CEILING)
        .arg(std::path::absolute(&program)?)
        .arg(examples)
        .arg(cgroups.root())
        .stderr(Stdio::inherit())
        .output()
        .context("unshare of util-linux")?;
    if !out.status.success() {
        bail!("measuring ended with {}", out.status);
    }
    let figures: Vec<Figure> = serde_json::from_slice(&out.stdout).context("the figures")?;
    say(&if json { serde_json::to_string_pretty(&figures)? } else { table(&figures) });
    Ok(())
}

/// Measures the scheduler by upstream's workloads and prints a line for each.
///
/// # Errors
/// If the measuring program cannot be built, or fails.
pub fn scheduler(scale: usize, workloads: &[String]) -> Result<()> {
    let measuring = built(&["--release", "--package", "sim", "--bench", "scheduler"], "scheduler")?;
    let status = std::process::Command::new(&measuring)
        .args(["--scale", &scale.to_string()])
        .args(workloads)
        .status()
        .with_context(|| format!("{}", measuring.display()))?;
    if !status.success() {
        bail!("measuring ended with {status}");
    }
    Ok(())
}

/// Builds the measuring program, which is not what is measured: without optimisation, to be there at once.
fn measuring() -> Result<PathBuf> {
    built(&["--package", "minke", "--bench", "figures"], "figures")
}

/// Builds a bench and tells where it is.
fn built(what: &[&str], name: &str) -> Result<PathBuf> {
    let arguments = [&["build", "--locked", "--quiet", "--message-format", "json"], what].concat();
    output("cargo", &arguments)?
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .with_context(|| format!("cargo names no executable of the bench {name}"))
}

/// Builds the optimised examples that measure the runtime and the store alone; returns where they are.
fn examples() -> Result<PathBuf> {
    command(
        "cargo",
        &[
            "build",
            "--locked",
            "--quiet",
            "--release",
            "--package",
            "runtime",
            "--package",
            "store",
            "--example",
            "pod_start",
            "--example",
            "commits",
        ],
    )?;
    Ok(target().join(format!("{}-unknown-linux-gnu/release/examples", std::env::consts::ARCH)))
}

fn table(figures: &[Figure]) -> String {
    let width = figures.iter().map(|f| f.name.len()).max().unwrap_or(0);
    let mut lines = vec![format!("{:<width$} | {:>14} | measured", "figure", "reach")];
    for figure in figures {
        let reach =
            figure.reach.map_or_else(String::new, |reach| format!("≤ {} {}", number(reach), figure.unit));
        let mark = if figure.reach.is_some_and(|reach| figure.measured > reach) { "  (missed)" } else { "" };
        lines.push(format!(
            "{:<width$} | {reach:>14} | {} {}{mark}",
            figure.name,
            number(figure.measured),
            figure.unit
        ));
    }
    lines.join("\n")
}

/// Three significant digits, whole numbers whole.
fn number(value: f64) -> String {
    if value.fract() == 0.0 || value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 1.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.3}")
    }
}

#[expect(clippy::print_stdout, reason = "a command-line tool speaks on stdout")]
fn say(text: &str) {
    println!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_figure_says_so() {
        let figure = |measured| Figure { name: "x".into(), unit: "ms".into(), reach: Some(30.0), measured };
        assert!(!table(&[figure(12.34)]).contains("missed"));
        assert!(table(&[figure(31.0)]).ends_with("≤ 30 ms | 31 ms  (missed)"));
    }

    #[test]
    fn numbers() {
        for (value, text) in [(0.5, "0.500"), (40.0, "40"), (7.25, "7.2"), (6789.6, "6790"), (0.0, "0")] {
            assert_eq!(number(value), text);
        }
    }
}
