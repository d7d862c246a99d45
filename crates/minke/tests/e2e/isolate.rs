//! A test in network, mount and PID namespaces of its own: links, rules, mounts, ports and stray processes vanish
//! with it. Its cgroups sit under one parent, which is removed afterwards even when the test fails.
//!
//! How: the test starts this same test binary again, for this one test, as the child of a shell that is PID 1 of new
//! namespaces (the shell reaps orphans). Inside, the body runs.

use std::process::Command;
use std::time::{Duration, Instant};

use xtask::kit::isolation::{self, Cgroups};

/// Set inside the namespaces; its value is the parent of all cgroups.
const INSIDE: &str = "MINKE_E2E_CGROUP";

/// Seconds after which a whole test is ended.
const CEILING: u32 = 240;

/// Runs `body` in namespaces of its own. `name` is the test's full path, as the harness would filter it.
pub fn isolated(name: &str, body: fn()) {
    if std::env::var_os(INSIDE).is_some() {
        body();
        return;
    }
    let group = Cgroups::new(&format!("minke-e2e-{}-{}", std::process::id(), name.replace("::", "-")));
    let exe = std::env::current_exe().expect("the test binary's path");
    let out = isolation::command(&exe, CEILING)
        .args(["--exact", name, "--nocapture", "--test-threads", "1"])
        .env(INSIDE, group.root())
        // A tmpfs of the test: how full the machine's disk is must not decide (a node under disk pressure takes no Pods).
        .env("TMPDIR", "/run")
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
    std::env::var(INSIDE).expect("called inside `isolated`")
}

/// Runs a shell line that must succeed.
pub fn sh(line: &str) -> String {
    let out = Command::new("sh").args(["-c", line]).output().expect("sh");
    assert!(out.status.success(), "{line}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Waits for what has no watch that a test could follow: the file system, the kernel's tables.
pub fn until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < end, "{what} did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}
