//! `minke check`: what this kernel and these privileges offer, and what will be clamped.
//!
//! Each line is probed, not guessed from a version. Absent: changes of any kind.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;

use crate::{host, say};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Ok,
    Clamped,
    Missing,
}

/// One line.
struct Finding {
    verdict: Verdict,
    what: &'static str,
    detail: String,
}

/// Prints the findings; the exit code is 1 if something is missing without which no Pod runs.
///
/// # Errors
/// Never: what cannot be probed is a finding.
pub fn run(data_dir: &Path) -> Result<ExitCode> {
    let findings = [
        root(),
        kernel(),
        cgroups(),
        capabilities(),
        files(),
        oom(),
        overlay(data_dir),
        seccomp(),
        forwarding(),
        names(),
    ];
    for finding in &findings {
        let word = match finding.verdict {
            Verdict::Ok => "ok     ",
            Verdict::Clamped => "clamped",
            Verdict::Missing => "MISSING",
        };
        say(&format!("{word}  {:<14} {}", finding.what, finding.detail));
    }
    let fine = findings.iter().all(|f| f.verdict != Verdict::Missing);
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn finding(verdict: Verdict, what: &'static str, detail: impl Into<String>) -> Finding {
    Finding { verdict, what, detail: detail.into() }
}

fn root() -> Finding {
    if rustix::process::geteuid().is_root() {
        finding(Verdict::Ok, "privileges", "root")
    } else {
        finding(Verdict::Missing, "privileges", "Pods need root: run minke with sudo")
    }
}

fn kernel() -> Finding {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map_while(|n| n.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= (5, 15) {
        finding(Verdict::Ok, "kernel", release)
    } else {
        finding(
            Verdict::Missing,
            "kernel",
            format!("{release} is older than 5.15: clone3, openat2 and pidfd are needed"),
        )
    }
}

fn cgroups() -> Finding {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let of = |kind: &str| mounts.lines().filter(|l| l.split(' ').nth(2) == Some(kind)).count();
    match (of("cgroup2"), of("cgroup")) {
        (0, 0) => finding(Verdict::Missing, "cgroups", "none mounted at /sys/fs/cgroup"),
        (_, 0) => {
            let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
            finding(Verdict::Ok, "cgroups", format!("v2 with {}", controllers.trim()))
        }
        (0, n) => finding(Verdict::Ok, "cgroups", format!("v1, {n} hierarchies")),
        (_, n) => {
            finding(Verdict::Ok, "cgroups", format!("hybrid: v1 limits in {n} hierarchies beside a v2 tree"))
        }
    }
}

/// The bit of CAP_SYS_RESOURCE.
const SYS_RESOURCE: u32 = 24;

/// Capabilities that Pods may ask for, by bit.
const WANTED: &[(u32, &str, &str)] = &[
    (21, "SYS_ADMIN", "no Pod runs without it"),
    (12, "NET_ADMIN", "no Pod network without it"),
    (SYS_RESOURCE, "SYS_RESOURCE", "negative oom_score_adj and raised hard limits are clamped"),
    (27, "MKNOD", "devices are bound from the host instead"),
];

/// A set of capabilities of this process, by the name of its line.
fn capability_set(line: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let hex = status.lines().find_map(|l| l.strip_prefix(line)).unwrap_or_default();
    u64::from_str_radix(hex.trim(), 16).unwrap_or(0)
}

fn capabilities() -> Finding {
    let bounding = capability_set("CapBnd:");
    let missing: Vec<_> = WANTED.iter().filter(|(bit, ..)| bounding & (1 << bit) == 0).collect();
    let words: Vec<String> = missing.iter().map(|(_, name, why)| format!("CAP_{name}: {why}")).collect();
    match missing.iter().any(|(bit, ..)| *bit == 21 || *bit == 12) {
        true => finding(Verdict::Missing, "capabilities", words.join("; ")),
        false if !words.is_empty() => finding(Verdict::Clamped, "capabilities", words.join("; ")),
        false => finding(Verdict::Ok, "capabilities", "all that Pods may ask for"),
    }
}

fn files() -> Finding {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    match limit.maximum {
        Some(n) if n < 65_536 => {
            finding(Verdict::Clamped, "open files", format!("hard limit {n}: containers cannot have more"))
        }
        Some(n) => finding(Verdict::Ok, "open files", format!("hard limit {n}")),
        None => finding(Verdict::Ok, "open files", "no hard limit"),
    }
}

/// How readily the kernel kills the daemon; without CAP_SYS_RESOURCE it stays as it was given.
fn oom() -> Finding {
    let may_lower = capability_set("CapEff:") & (1 << SYS_RESOURCE) != 0;
    let (lowest, wanted) = (host::lowest_oom_score(may_lower), host::OOM_SCORE);
    if lowest == wanted {
        finding(Verdict::Ok, "oom score", format!("{wanted} for the daemon"))
    } else {
        let why = format!("{lowest} instead of {wanted} for the daemon: no CAP_SYS_RESOURCE");
        finding(Verdict::Clamped, "oom score", why)
    }
}

fn overlay(data_dir: &Path) -> Finding {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let loadable = fs::read_to_string("/proc/modules").is_ok();
    if known.lines().any(|line| line.trim_end().ends_with("overlay")) {
        finding(Verdict::Ok, "overlayfs", format!("for container roots under {}", data_dir.display()))
    } else if loadable {
        finding(Verdict::Missing, "overlayfs", "not loaded: run `modprobe overlay`")
    } else {
        finding(Verdict::Missing, "overlayfs", "this kernel has none")
    }
}

fn seccomp() -> Finding {
    match fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail") {
        Ok(actions) => finding(Verdict::Ok, "seccomp", actions.trim().to_owned()),
        Err(_) => finding(Verdict::Clamped, "seccomp", "not in this kernel: profiles cannot be applied"),
    }
}

/// Whether Pods will resolve names.
fn names() -> Finding {
    let servers = node::resolver::of_pods(None, false).servers;
    if servers.is_empty() {
        finding(
            Verdict::Clamped,
            "names",
            "only loopback name servers, which Pods do not reach: set resolvConf",
        )
    } else {
        finding(Verdict::Ok, "names", format!("Pods ask {}", servers.join(", ")))
    }
}

fn forwarding() -> Finding {
    match fs::read_to_string("/proc/sys/net/ipv4/ip_forward") {
        Ok(value) if value.trim() == "1" => finding(Verdict::Ok, "forwarding", "on"),
        Ok(_) => finding(Verdict::Ok, "forwarding", "off now; `minke up` turns it on"),
        Err(error) => {
            finding(Verdict::Missing, "forwarding", format!("/proc/sys/net/ipv4/ip_forward: {error}"))
        }
    }
}
