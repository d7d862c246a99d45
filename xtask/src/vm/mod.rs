//! `cargo xtask vm`: the shipped program on a pure cgroup v2 kernel, Debian's cloud kernel under qemu without KVM, and
//! the store through power cuts.
//!
//! A small initramfs loads the modules and switches to an ext4 disk made from a directory; `init.sh` there runs the
//! cases and prints one line for each on the serial console. Invariants: a case counts only if its line says so;
//! nothing on the host is touched but files under the target directory.

mod build;
mod killed;
mod machine;
mod survival;

use anyhow::{Result, bail};

use machine::{Extra, Machine};

/// The script that the machine runs; each case prints `VM-OK NAME` or `VM-FAIL NAME`.
const INIT: &str = include_str!("init.sh");

/// A case that takes several machines.
type Several = (&'static str, fn(&build::Built) -> Result<()>);

const SEVERAL: &[Several] = &[("killed", killed::run), ("survival", survival::run)];

/// Boots machines and runs all cases, or the named ones.
///
/// # Errors
/// If a machine cannot be built or booted, or a case fails or does not report.
pub fn run(only: &[String]) -> Result<()> {
    let mut cases: Vec<&str> =
        INIT.lines().filter_map(|line| line.strip_prefix("run_case ")).map(str::trim).collect();
    cases.extend(SEVERAL.iter().map(|(name, _)| *name));
    if let Some(unknown) = only.iter().find(|name| !cases.contains(&name.as_str())) {
        bail!("no case {unknown:?}; there are {}", cases.join(", "));
    }
    cases.retain(|case| only.is_empty() || only.iter().any(|name| name == case));
    let built = build::build(INIT)?;
    let (several, inside): (Vec<&str>, Vec<&str>) =
        cases.into_iter().partition(|case| SEVERAL.iter().any(|(name, _)| name == case));
    let mut bad = Vec::new();
    if !inside.is_empty() {
        bad.extend(in_one_machine(&built, &inside)?);
    }
    for (name, case) in SEVERAL.iter().filter(|(name, _)| several.contains(name)) {
        match case(&built) {
            Ok(()) => say(&format!("vm: {name} ... ok")),
            Err(error) => bad.push(format!("{name}: {error:#}")),
        }
    }
    if bad.is_empty() { Ok(()) } else { bail!("{}", bad.join("\n")) }
}

/// Runs these cases in one machine; returns what went wrong.
fn in_one_machine(built: &build::Built, cases: &[&str]) -> Result<Option<String>> {
    let data = build::data_disk(built.dir.path(), "data.img", build::STORE_DISK)?;
    let extra =
        Extra { append: format!("cases={}", cases.join(",")), disks: vec![&data], ..Extra::default() };
    let console = Machine::boot(built, &extra)?.wait()?;
    let mut bad = Vec::new();
    for case in cases {
        if console.lines().any(|line| line.trim() == format!("VM-OK {case}")) {
            say(&format!("vm: {case} ... ok"));
        } else {
            bad.push(*case);
        }
    }
    if bad.is_empty() {
        return Ok(None);
    }
    let lines: Vec<&str> = console.lines().collect();
    Ok(Some(format!(
        "in the machine these failed or did not report: {}\n{}",
        bad.join(", "),
        lines[lines.len().saturating_sub(80)..].join("\n")
    )))
}

#[expect(clippy::print_stdout, reason = "a command-line tool speaks on stdout")]
fn say(line: &str) {
    println!("{line}");
}
