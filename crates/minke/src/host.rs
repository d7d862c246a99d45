//! What this process takes from the machine that started it, set right before anything else: umask, descriptors, and
//! how readily the kernel kills it when memory is short.
//!
//! Invariant: containers inherit none of it; the runtime sets theirs. Absent: cgroups.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// As upstream's kubelet: the daemon is what can free memory, by ending Pods in their order.
pub const OOM_SCORE: i32 = -999;

/// Where the kernel keeps it.
const OOM_FILE: &str = "/proc/self/oom_score_adj";

/// Files are made as their makers mean them, whatever the caller's shell masks.
pub fn set_umask() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
}

/// Takes what a daemon needs. What these privileges do not allow stays as it is; `minke check` tells.
pub fn set_daemon() {
    if let Err(error) = raise_descriptors() {
        tracing::warn!(%error, "the limit of open files stays at {:?}", getrlimit(Resource::Nofile).current);
    }
    if let Err(error) = fs::write(OOM_FILE, OOM_SCORE.to_string()) {
        tracing::debug!(%error, "oom_score_adj stays at {}", oom_score());
    }
}

/// Whether whoever started this process wants it to outlive its terminal.
#[must_use]
pub fn ignores_hangup() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or_default();
    u64::from_str_radix(set.trim(), 16).is_ok_and(|set| set & 1 != 0)
}

/// Every connection, watch and Pod takes descriptors: as many as are allowed.
fn raise_descriptors() -> rustix::io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
}

/// Whether [`set_daemon`] could set the score here, and otherwise the lowest that it can have.
#[must_use]
pub fn lowest_oom_score(may_lower: bool) -> i32 {
    if may_lower { OOM_SCORE } else { oom_score().max(OOM_SCORE) }
}

fn oom_score() -> i32 {
    fs::read_to_string(OOM_FILE).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}
