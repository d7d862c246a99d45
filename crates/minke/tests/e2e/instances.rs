//! Instances: several side by side, one lock, clear words, and nothing left.

use std::fs;
use std::path::Path;

use super::cluster::Cluster;
use super::isolate::{cgroup_root, isolated, sh};

/// Asserts that no link, rule, mount, process or cgroup of this test is left.
pub fn nothing_left(data: &Path) {
    assert!(!sh("ip -o link").contains(": mk"), "links: {}", sh("ip -o link"));
    assert_eq!(sh("nft list tables"), "", "nftables");
    let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
    assert!(!mounts.contains(data.to_str().expect("UTF-8")), "mounts: {mounts}");
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let command = fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        assert!(!command.contains("shim-"), "a shim is left: {command}");
    }
    let cgroups =
        sh(&format!("find /sys/fs/cgroup -type d -path '*{}/*' 2>/dev/null || true", cgroup_root()));
    assert!(cgroups.is_empty(), "cgroups: {cgroups}");
}

#[test]
fn two_side_by_side() {
    isolated("instances::two_side_by_side", || {
        let one = Cluster::up(&[]);
        let two = Cluster::up(&[]);
        for cluster in [&one, &two] {
            cluster.kubectl(&["run", "web", "--image=busybox:1.36", "--", "sleep", "1000"]);
        }
        for cluster in [&one, &two] {
            cluster.wait("condition=Ready", "pod/web");
        }
        let ip = |c: &Cluster| c.kubectl(&["get", "pod", "web", "-o", "jsonpath={.status.podIP}"]);
        assert_ne!(ip(&one), ip(&two));
        let data = one.data();
        assert!(
            one.minke(&["down", "--data-dir", data.to_str().expect("UTF-8")])
                .status()
                .expect("minke")
                .success()
        );
        two.kubectl(&["exec", "web", "--", "true"]);
    });
}

#[test]
fn a_second_daemon_is_told_so() {
    isolated("instances::a_second_daemon_is_told_so", || {
        let cluster = Cluster::up(&[]);
        let data = cluster.data();
        let out =
            cluster.minke(&["up", "--data-dir", data.to_str().expect("UTF-8")]).output().expect("minke");
        let words = String::from_utf8_lossy(&out.stderr);
        assert!(!out.status.success() && words.contains("another minke runs on"), "{words}");
    });
}

#[test]
fn a_port_in_use_is_named() {
    isolated("instances::a_port_in_use_is_named", || {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = taken.local_addr().expect("an address").to_string();
        let dir = tempfile::tempdir().expect("a directory");
        let out = std::process::Command::new(env!("CARGO_BIN_EXE_minke"))
            .args(["up", "--listen", &address, "--data-dir", dir.path().join("d").to_str().expect("UTF-8")])
            .output()
            .expect("minke");
        let words = String::from_utf8_lossy(&out.stderr);
        assert!(!out.status.success() && words.contains(&format!("{address} is in use")), "{words}");
    });
}

#[test]
fn check_says_what_is_offered() {
    isolated("instances::check_says_what_is_offered", || {
        let out =
            std::process::Command::new(env!("CARGO_BIN_EXE_minke")).arg("check").output().expect("minke");
        let words = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success(), "{words}");
        for what in ["privileges", "kernel", "cgroups", "capabilities", "overlayfs", "seccomp"] {
            assert!(words.contains(what), "no {what} in\n{words}");
        }
    });
}
