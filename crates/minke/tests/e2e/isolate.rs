//! A test in network, mount and PID namespaces of its own: links, rules, mounts, ports and stray processes vanish
//! with it. Its cgroups sit under one parent, which is removed afterwards even when the test fails.
//!
//! How: the test starts this same test binary again, for this one test, as the child of a shell that is PID 1 of new
//! namespaces (the shell reaps orphans). Inside, the body runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Set inside the namespaces; its value is the name of the cgroup parent.
const INSIDE: &str = "MINKE_E2E_CGROUP";

/// Seconds after which a whole test is ended.
const CEILING: &str = "240";

/// Runs `body` in namespaces of its own. `name` is the test's full path, as the harness would filter it.
pub fn isolated(name: &str, body: fn()) {
    if std::env::var_os(INSIDE).is_some() {
        prepare();
        body();
        return;
    }
    let group = Cgroups(format!("minke-e2e-{}-{}", std::process::id(), name.replace("::", "-")));
    let exe = std::env::current_exe().expect("the test binary's path");
    let out = Command::new("unshare")
        .args([
            "--net",
            "--mount",
            "--pid",
            "--ipc",
            "--uts",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "--propagation",
            "private",
        ])
        .args(["timeout", "--signal=KILL", CEILING])
        .args(["sh", "-c", "\"$0\" \"$@\"; exit $?"])
        .arg(exe)
        .args(["--exact", name, "--nocapture", "--test-threads", "1"])
        .env(INSIDE, &group.0)
        // A tmpfs of the test: how full the machine's disk is must not decide (a node under disk pressure takes no Pods).
        .env("TMPDIR", "/run")
        .stdin(Stdio::null())
        .output()
        .expect("unshare of util-linux");
    drop(group);
    let said = [out.stdout, out.stderr].concat();
    assert!(
        out.status.success(),
        "{name} failed in its namespaces: {}\n{}",
        out.status,
        String::from_utf8_lossy(&said)
    );
}

/// The parent of all cgroups that this test may make, as minke's configuration names it.
pub fn cgroup_root() -> String {
    format!("/{}", std::env::var(INSIDE).expect("called inside `isolated`"))
}

fn prepare() {
    sh("ip link set lo up && mount -t tmpfs -o mode=755 run /run && hostname e2e");
}

/// Runs a shell line that must succeed.
pub fn sh(line: &str) -> String {
    let out = Command::new("sh").args(["-c", line]).output().expect("sh");
    assert!(out.status.success(), "{line}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Removes the test's cgroups from every hierarchy when dropped.
struct Cgroups(String);

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
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            _ => return,
        }
    }
}
