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

#[test]
fn an_interrupt_leaves_nothing() {
    use std::io::{BufRead, BufReader};
    isolated("play::an_interrupt_leaves_nothing", || {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
        let (config, tar, manifest) = (path("minke.yaml"), path("busybox.tar"), path("pods.yaml"));
        let image = busybox().expect("busybox-static");
        xtask::kit::image::save(&image, &["busybox:1.36"], tar.as_ref()).expect("an archive");
        let text = format!("apiVersion: minke.dev/v1alpha1\nkind: Config\ncgroupRoot: {}\n", cgroup_root());
        std::fs::write(&config, text).expect("a file");
        let pod = |name: &str| {
            format!(
                "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  containers: [{{name: c, image: 'busybox:1.36', command: [sh, -c, 'echo up; exec sleep 1000']}}]\n"
            )
        };
        std::fs::write(&manifest, pod("one") + &pod("two")).expect("a file");
        let mut child = Command::new(env!("CARGO_BIN_EXE_minke"))
            .args(["play", "--config", &config, "--image-archive", &tar, &manifest])
            .env("TMPDIR", dir.path())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("minke");
        let mut wanted = vec!["[one/c] up", "[two/c] up"];
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        while !wanted.is_empty() {
            let line = lines.next().expect("more lines").expect("a line");
            wanted.retain(|w| !line.contains(w));
        }
        super::isolate::sh(&format!("kill -INT {}", child.id()));
        assert_eq!(child.wait().expect("wait").code(), Some(130));
        super::instances::nothing_left(std::path::Path::new("minke-play-"));
        let left = std::fs::read_dir(dir.path()).expect("the directory").flatten();
        assert!(!left.map(|e| e.file_name()).any(|n| n.to_string_lossy().starts_with("minke-play-")));
    });
}
