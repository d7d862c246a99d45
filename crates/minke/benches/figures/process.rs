//! What /proc says about processes.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

fn read(pid: u32, file: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{file}");
    fs::read_to_string(&path).context(path)
}

fn field(text: &str, name: &str) -> Result<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .with_context(|| format!("no {name} in {text}"))
}

/// Proportional set size in KiB.
pub fn pss_kib(pid: u32) -> Result<u64> {
    field(&read(pid, "smaps_rollup")?, "Pss:")
}

/// Bytes that were sent to the disk.
pub fn written_bytes(pid: u32) -> Result<u64> {
    field(&read(pid, "io")?, "write_bytes:")
}

/// User and system time of all threads, ended ones too.
pub fn cpu_time(pid: u32) -> Result<Duration> {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid)?);
    let clock = nix::time::clock_getcpuclockid(pid).context("the process' CPU clock")?;
    Ok(nix::time::clock_gettime(clock)?.into())
}

/// Memory of all shims of this PID namespace in KiB, and how many there are.
pub fn pss_of_shims() -> Result<(u64, usize)> {
    let (mut sum, mut count) = (0, 0);
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // By its arguments: a shim has left the file system in which its program lies.
        let Ok(arguments) = fs::read(entry.path().join("cmdline")) else { continue };
        if arguments.starts_with(b"minke-shim\0") {
            sum += pss_kib(pid)?;
            count += 1;
        }
    }
    Ok((sum, count))
}
