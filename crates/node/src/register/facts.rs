//! What the machine offers, read from the kernel. Thin: no decision here.

use std::fs;
use std::path::Path;

/// A reading.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// CPUs that this process may use.
    pub cpus: u64,
    /// Bytes.
    pub memory: u64,
    /// Bytes free or easily freed.
    pub memory_available: u64,
    /// Bytes of the data dir's file system.
    pub disk: u64,
    /// Bytes free in it.
    pub disk_available: u64,
    /// Inodes in it.
    pub inodes: u64,
    /// Inodes free in it.
    pub inodes_free: u64,
    /// Huge pages: size in bytes and how many.
    pub hugepages: Vec<(u64, u64)>,
    /// Threads and processes that may exist.
    pub pids: u64,
    /// That exist.
    pub pids_used: u64,
    /// `/etc/machine-id`.
    pub machine_id: String,
    /// `product_uuid` of DMI.
    pub system_uuid: String,
    /// Random for each boot.
    pub boot_id: String,
    /// `uname -r`.
    pub kernel: String,
    /// `PRETTY_NAME`.
    pub os_image: String,
}

/// What a machine does not offer is empty in the Node's status, as upstream has it.
fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn number(path: &str) -> u64 {
    text(path).parse().unwrap_or(0)
}

impl Facts {
    /// Reads the machine; `data_dir` names the file system.
    #[must_use]
    pub fn read(data_dir: &Path) -> Self {
        let meminfo = text("/proc/meminfo");
        let memory = |name: &str| {
            let line = meminfo.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
        };
        let disk = rustix::fs::statvfs(data_dir).ok();
        let of = |f: fn(&rustix::fs::StatVfs) -> u64| disk.as_ref().map_or(0, f);
        let os = text("/etc/os-release");
        Self {
            cpus: std::thread::available_parallelism().map_or(1, |n| n.get() as u64),
            memory: memory("MemTotal"),
            memory_available: memory("MemAvailable"),
            disk: of(|d| d.f_blocks * d.f_frsize),
            disk_available: of(|d| d.f_bavail * d.f_frsize),
            inodes: of(|d| d.f_files),
            inodes_free: of(|d| d.f_favail),
            hugepages: hugepages(),
            pids: number("/proc/sys/kernel/pid_max"),
            pids_used: text("/proc/loadavg")
                .split(['/', ' '])
                .nth(4)
                .and_then(|n| n.parse().ok())
                .unwrap_or(0),
            machine_id: text("/etc/machine-id"),
            system_uuid: text("/sys/class/dmi/id/product_uuid"),
            boot_id: text("/proc/sys/kernel/random/boot_id"),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            os_image: os
                .lines()
                .find_map(|l| l.strip_prefix("PRETTY_NAME="))
                .map_or_else(|| "Linux".to_owned(), |name| name.trim_matches('"').to_owned()),
        }
    }
}

fn hugepages() -> Vec<(u64, u64)> {
    let size = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let kib: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        Some((kib * 1024, number(entry.path().join("nr_hugepages").to_str()?)))
    };
    let dir = fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten();
    let mut pages: Vec<_> = dir.flatten().filter_map(size).collect();
    pages.sort_unstable();
    pages
}
