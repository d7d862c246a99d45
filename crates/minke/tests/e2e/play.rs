//! `minke play` and real pulls.

use std::process::Command;

use super::isolate::{cgroup_root, isolated};
use xtask::kit::image::busybox;
use xtask::kit::registry::Registry;

fn play(args: &[&str]) -> std::process::Output {
    let dir = tempfile::tempdir().expect("a directory");
    let config = dir.path().join("minke.yaml");
    std::fs::write(
        &config,
        format!("apiVersion: minke.dev/v1alpha1\nkind: Config\ncgroupRoot: {}\n", cgroup_root()),
    )
    .expect("a file");
    Command::new(env!("CARGO_BIN_EXE_minke"))
        .args(["play", "--config", config.to_str().expect("UTF-8")])
        .args(args)
        .env("TMPDIR", dir.path())
        .output()
        .expect("minke")
}

#[test]
fn the_hello_job_is_pulled_and_runs() {
    isolated("play::the_hello_job_is_pulled_and_runs", || {
        let registry = Registry::start().expect("docker-registry");
        registry.push(&busybox().expect("busybox-static"), "library/busybox", "latest").expect("push");
        let example = format!("{}/../../examples/hello-job.yaml", env!("CARGO_MANIFEST_DIR"));
        let out = play(&[
            "--until-running",
            "--registry-mirror",
            &format!("docker.io={}", registry.url()),
            &example,
        ]);
        let words = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success(), "{words}{}", String::from_utf8_lossy(&out.stderr));
        assert!(words.contains("/hello] Hello, Kubernetes!"), "{words}");
        super::instances::nothing_left(std::path::Path::new("minke-play-"));
    });
}

#[test]
fn the_exit_code_is_the_containers() {
    isolated("play::the_exit_code_is_the_containers", || {
        let registry = Registry::start().expect("docker-registry");
        registry.push(&busybox().expect("busybox-static"), "library/busybox", "latest").expect("push");
        let manifest = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(manifest.path(), "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  restartPolicy: Never\n  containers: [{name: c, image: busybox, command: [sh, -c, 'echo failing; exit 42']}]\n").expect("a file");
        let out = play(&[
            "--registry-mirror",
            &format!("docker.io={}", registry.url()),
            manifest.path().to_str().expect("UTF-8"),
        ]);
        assert_eq!(out.status.code(), Some(42), "{}", String::from_utf8_lossy(&out.stderr));
        assert!(String::from_utf8_lossy(&out.stdout).contains("[p/c] failing"));
    });
}
