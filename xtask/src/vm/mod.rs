//! `cargo xtask vm`: the shipped program on a pure cgroup v2 kernel, Debian's cloud kernel under qemu without KVM.
//!
//! A small initramfs loads the modules and switches to an ext4 disk made from a directory; `init.sh` there runs the
//! cases and prints one line for each on the serial console. Invariant: a case counts only if its line says so.

mod build;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The script that the machine runs; each case prints `VM-OK NAME` or `VM-FAIL NAME`.
const INIT: &str = include_str!("init.sh");

/// How long a machine may run at most.
const CEILING: Duration = Duration::from_secs(300);

/// Boots the machine and runs all cases.
///
/// # Errors
/// If it cannot be built or booted, or a case fails or does not report.
pub fn run() -> Result<()> {
    let machine = build::machine(INIT)?;
    let console = boot(&machine)?;
    let wanted: Vec<&str> =
        INIT.lines().filter_map(|line| line.strip_prefix("run_case ")).map(str::trim).collect();
    let mut bad = Vec::new();
    for case in &wanted {
        if console.lines().any(|line| line.trim() == format!("VM-OK {case}")) {
            say(&format!("vm: {case} ... ok"));
        } else {
            bad.push(*case);
        }
    }
    if bad.is_empty() && !wanted.is_empty() {
        return Ok(());
    }
    let lines: Vec<&str> = console.lines().collect();
    bail!(
        "in the machine these failed or did not report: {}\n{}",
        bad.join(", "),
        lines[lines.len().saturating_sub(80)..].join("\n")
    )
}

#[expect(clippy::print_stdout, reason = "a command-line tool speaks on stdout")]
fn say(line: &str) {
    println!("{line}");
}

/// Runs qemu until it powers off and returns what the console showed.
fn boot(machine: &build::Machine) -> Result<String> {
    let log = machine.dir.path().join("console.log");
    let mut child = Command::new("qemu-system-x86_64")
        .args([
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "max",
            "-smp",
            "2",
            "-m",
            "1024",
            "-display",
            "none",
            "-no-reboot",
        ])
        .args(["-append", "console=ttyS0 quiet panic=-1 cgroup_no_v1=all net.ifnames=0"])
        .args(["-nic", "none", "-monitor", "none"])
        .arg("-kernel")
        .arg(&machine.kernel)
        .arg("-initrd")
        .arg(&machine.initramfs)
        .arg("-drive")
        .arg(format!("file={},format=raw,if=virtio,cache=unsafe", machine.disk.display()))
        .arg("-serial")
        .arg(format!("file:{}", log.display()))
        .stdin(Stdio::null())
        .spawn()
        .context("cannot start qemu-system-x86_64")?;
    let until = Instant::now() + CEILING;
    loop {
        if let Some(status) = child.try_wait()? {
            if !status.success() {
                bail!("qemu ended with {status}");
            }
            break;
        }
        if Instant::now() > until {
            child.kill()?;
            child.wait()?;
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(String::from_utf8_lossy(&std::fs::read(&log)?).into_owned())
}
