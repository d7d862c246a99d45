//! From limits to the files and values of each layout.
//!
//! Invariant: pure. Formulas are the kubelet's (`pkg/kubelet/cm`) and runc's. Absent: reading, writing.

use crate::Resources;

/// How cgroups are mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// One tree with all controllers.
    V2,
    /// A tree for each controller.
    V1,
    /// v1 trees for limits, a v2 tree for killing.
    Hybrid,
}

/// One value for one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Write {
    /// The v1 controller; `None` is the v2 tree.
    pub(crate) controller: Option<&'static str>,
    pub(crate) file: String,
    pub(crate) value: String,
    /// The file may be missing.
    pub(crate) optional: bool,
    /// Worth a second try after the others.
    pub(crate) retry: bool,
}

/// `cpu.weight` for `cpu.shares`: ceil(10^((l²+125l)/612 − 7/34)), l = log2(shares); 2→1, 1024→100, 262144→10000.
pub(crate) fn weight_of_shares(shares: u64) -> u64 {
    if shares == 0 {
        return 0;
    }
    if shares <= 2 {
        return 1;
    }
    if shares >= 262_144 {
        return 10_000;
    }
    let log = (shares as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    10f64.powf(exponent).ceil() as u64
}

fn limit(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

/// The writes for limits, in the order in which they are made.
pub(crate) fn writes(layout: Layout, resources: &Resources) -> Vec<Write> {
    if layout == Layout::V2 { writes_v2(resources) } else { writes_v1(resources) }
}

fn writes_v2(resources: &Resources) -> Vec<Write> {
    let mut list = Vec::new();
    let mut put = |file: &str, value: String, optional: bool| {
        list.push(Write { controller: None, file: file.to_owned(), value, optional, retry: false });
    };
    if let Some(shares) = resources.cpu_shares {
        put("cpu.weight", weight_of_shares(shares).to_string(), false);
    }
    if let Some(quota) = resources.cpu_quota {
        put("cpu.max", format!("{} {}", limit(quota), resources.cpu_period.unwrap_or(100_000)), false);
    }
    if let Some(cpus) = &resources.cpuset_cpus {
        put("cpuset.cpus", cpus.clone(), false);
    }
    if let Some(both) = resources.memory_swap {
        let swap = match resources.memory_limit {
            Some(memory) if both >= 0 && memory >= 0 => (both - memory).max(0),
            _ => -1,
        };
        put("memory.swap.max", limit(swap), true);
    }
    if let Some(memory) = resources.memory_limit {
        put("memory.max", limit(memory), false);
    }
    if let Some(pids) = resources.pids_limit {
        put("pids.max", limit(pids), false);
    }
    for (size, bytes) in &resources.hugepages {
        put(&format!("hugetlb.{size}.max"), bytes.to_string(), *bytes == 0);
    }
    for (file, value) in &resources.unified {
        put(file, value.clone(), false);
    }
    list
}

fn writes_v1(resources: &Resources) -> Vec<Write> {
    let mut list = Vec::new();
    let mut put = |controller, file: &str, value: String, optional, retry| {
        list.push(Write { controller: Some(controller), file: file.to_owned(), value, optional, retry });
    };
    if let Some(shares) = resources.cpu_shares {
        put("cpu", "cpu.shares", shares.clamp(2, 262_144).to_string(), false, false);
    }
    if let Some(quota) = resources.cpu_quota {
        put("cpu", "cpu.cfs_period_us", resources.cpu_period.unwrap_or(100_000).to_string(), false, true);
        put("cpu", "cpu.cfs_quota_us", quota.max(-1).to_string(), false, true);
    }
    if let Some(cpus) = &resources.cpuset_cpus {
        put("cpuset", "cpuset.cpus", cpus.clone(), false, false);
    }
    if let Some(memory) = resources.memory_limit {
        put("memory", "memory.limit_in_bytes", memory.max(-1).to_string(), false, true);
    }
    if let Some(both) = resources.memory_swap {
        put("memory", "memory.memsw.limit_in_bytes", both.max(-1).to_string(), true, true);
    }
    if let Some(pids) = resources.pids_limit {
        put("pids", "pids.max", limit(pids), false, false);
    }
    for (size, bytes) in &resources.hugepages {
        put("hugetlb", &format!("hugetlb.{size}.limit_in_bytes"), bytes.to_string(), *bytes == 0, false);
    }
    list
}
