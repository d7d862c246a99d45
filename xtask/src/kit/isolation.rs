//! Namespaces of their own for tests and benchmarks that make links, mounts and cgroups, so that nothing on the host
//! is touched: links, rules, mounts, ports and stray processes vanish with the namespaces, cgroups with [`Cgroups`].

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

/// A command in new network, mount, PID, IPC and UTS namespaces, killed after `ceiling` seconds. A shell is PID 1: it
/// reaps orphans. `/run` is empty, `lo` is up, the hostname is `e2e`.
#[must_use]
pub fn command(program: &Path, ceiling: u32) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--net", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child", "--mount-proc"])
        .args(["--propagation", "private", "sh", "-c"])
        .arg(format!(
            "ip link set lo up && mount -t tmpfs -o mode=755 run /run && hostname e2e || exit 125\n\
             timeout --signal=KILL {ceiling} \"$0\" \"$@\"; exit $?"
        ))
        .arg(program)
        .stdin(Stdio::null());
    command
}

/// Runs this program again, with the same arguments, in such namespaces; `inner` is set there to the parent of all
/// cgroups, which is called `name` and this process's number, and is gone afterwards.
///
/// # Panics
/// Where there is no `unshare` of util-linux.
#[must_use]
pub fn again(inner: &str, name: &str, ceiling: u32) -> ExitCode {
    let group = Cgroups::new(&format!("{name}-{}", std::process::id()));
    let own = std::env::current_exe().expect("a running program has a file");
    let status = command(&own, ceiling)
        .args(std::env::args_os().skip(1))
        .env(inner, group.root())
        .status()
        .expect("unshare is installed");
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A parent for cgroups, removed from every hierarchy when dropped.
#[derive(Debug)]
pub struct Cgroups(String);

impl Cgroups {
    /// Names the parent; nothing is made.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// The parent as minke's configuration names it.
    #[must_use]
    pub fn root(&self) -> String {
        format!("/{}", self.0)
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        for hierarchy in hierarchies() {
            remove(&hierarchy.join(&self.0));
        }
    }
}

/// Mount points of all cgroup hierarchies.
fn hierarchies() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (at, kind) = (words.nth(1)?, words.next()?);
            kind.starts_with("cgroup").then(|| PathBuf::from(at))
        })
        .collect()
}

/// Removes a cgroup and its children. The PID namespace is gone, so only dying processes can still be inside.
fn remove(group: &Path) {
    for child in fs::read_dir(group).into_iter().flatten().flatten() {
        if child.path().is_dir() {
            remove(&child.path());
        }
    }
    for _ in 0..200 {
        match fs::remove_dir(group) {
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {
                std::thread::sleep(Duration::from_millis(10));
            }
            _ => return,
        }
    }
}
