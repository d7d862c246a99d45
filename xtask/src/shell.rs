//! Running other programs: echoed, checked, with the failing command in the error.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The workspace's root.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace").to_path_buf()
}

/// Cargo's target directory.
#[must_use]
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Where fetched and unpacked tools lie.
#[must_use]
pub fn tools() -> PathBuf {
    target().join("tools")
}

/// Where programs are looked for: PATH, the administrator's programs, and what has been unpacked.
fn places() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    for more in ["/usr/sbin".into(), "/sbin".into(), tools().join("bin")] {
        if !places.contains(&more) {
            places.push(more);
        }
    }
    places
}

/// A command that finds its program, and whatever that runs in its turn, where [`find`] does.
#[must_use]
pub fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    // Only a place with a colon in its name cannot be joined; PATH itself gave none such.
    if let Ok(path) = std::env::join_paths(places()) {
        command.env("PATH", path);
    }
    command
}

/// Runs a command in the workspace's root with its output on ours.
///
/// # Errors
/// If it cannot be started or does not exit with 0.
pub fn run(program: &str, args: &[&str]) -> Result<()> {
    let status = command(program)
        .args(args)
        .current_dir(root())
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start {program}"))?;
    if !status.success() {
        bail!("`{program} {}` ended with {status}", args.join(" "));
    }
    Ok(())
}

/// Runs a command and returns what it printed.
///
/// # Errors
/// If it cannot be started or does not exit with 0; the message holds its stderr.
pub fn output(program: &str, args: &[&str]) -> Result<String> {
    let out = command(program)
        .args(args)
        .current_dir(root())
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {program}"))?;
    if !out.status.success() {
        bail!(
            "`{program} {}` ended with {}: {}",
            args.join(" "),
            out.status,
            String::from_utf8_lossy(&out.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// The file of a program: in PATH, among the administrator's programs, or unpacked.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    places().iter().map(|place| place.join(program)).find(|path| path.is_file())
}
