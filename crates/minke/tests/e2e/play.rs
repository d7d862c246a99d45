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

/// A directory with a configuration, the busybox archive and a manifest; `minke play` of it, not yet run.
struct Stage {
    dir: tempfile::TempDir,
}

impl Stage {
    fn new(manifest: &str) -> Self {
        let stage = Self { dir: tempfile::tempdir().expect("a directory") };
        let text = format!("apiVersion: minke.dev/v1alpha1\nkind: Config\ncgroupRoot: {}\n", cgroup_root());
        std::fs::write(stage.dir.path().join("minke.yaml"), text).expect("a file");
        let image = busybox().expect("busybox-static");
        let tar = stage.dir.path().join("busybox.tar");
        xtask::kit::image::save(&image, &["busybox:1.36"], &tar).expect("an archive");
        std::fs::write(stage.dir.path().join("pods.yaml"), manifest).expect("a file");
        stage
    }

    fn play(&self, args: &[&str]) -> Command {
        let path = |name: &str| self.dir.path().join(name);
        let mut command = Command::new(env!("CARGO_BIN_EXE_minke"));
        command
            .args(["play".as_ref(), "--config".as_ref(), path("minke.yaml").as_os_str()])
            .args(["--image-archive".as_ref(), path("busybox.tar").as_os_str()])
            .args(args)
            .arg(path("pods.yaml"))
            .env("TMPDIR", self.dir.path());
        command
    }

    /// Starts a play and waits until it has said all these words.
    fn start(&self, words: &[&str]) -> std::process::Child {
        use std::io::{BufRead, BufReader};
        let mut child = self.play(&[]).stdout(std::process::Stdio::piped()).spawn().expect("minke");
        let mut wanted = words.to_vec();
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        while !wanted.is_empty() {
            let line = lines.next().expect("more lines").expect("a line");
            wanted.retain(|w| !line.contains(w));
        }
        child
    }

    /// Asserts that neither an instance nor its directory is left.
    fn nothing_left(&self) {
        super::instances::nothing_left(std::path::Path::new("minke-play-"));
        let left = std::fs::read_dir(self.dir.path()).expect("the directory").flatten();
        assert!(!left.map(|e| e.file_name()).any(|n| n.to_string_lossy().starts_with("minke-play-")));
        let entries = std::fs::read_dir("/run/minke").expect("the directory of all instances").flatten();
        assert!(
            !entries.map(|e| e.path().join("instance.json")).any(|record| record.exists()),
            "a record is left"
        );
    }
}

fn pod(name: &str, spec: &str) -> String {
    format!("---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  {spec}\n")
}

fn prints(name: &str, line: &str) -> String {
    pod(
        name,
        &format!(
            "restartPolicy: Never\n  containers: [{{name: c, image: 'busybox:1.36', command: [sh, -c, '{line}']}}]"
        ),
    )
}

#[test]
fn a_signal_leaves_nothing() {
    isolated("play::a_signal_leaves_nothing", || {
        let up = "echo up; exec sleep 1000";
        let stage = Stage::new(&(prints("one", up) + &prints("two", up)));
        for (signal, code) in [("INT", 130), ("HUP", 129), ("TERM", 143)] {
            let mut child = stage.start(&["[one/c] up", "[two/c] up"]);
            super::isolate::sh(&format!("kill -{signal} {}", child.id()));
            assert_eq!(child.wait().expect("wait").code(), Some(code));
            stage.nothing_left();
        }
    });
}

#[test]
fn a_killed_play_is_listed_and_swept() {
    isolated("play::a_killed_play_is_listed_and_swept", || {
        let stage = Stage::new(&prints("one", "echo up; exec sleep 1000"));
        let mut killed = stage.start(&["[one/c] up"]);
        let mut alive = stage.start(&["[one/c] up"]);
        killed.kill().expect("kill");
        killed.wait().expect("wait");
        let ls = || {
            let out = Command::new(env!("CARGO_BIN_EXE_minke")).arg("ls").output().expect("minke");
            String::from_utf8_lossy(&out.stdout).into_owned()
        };
        let table = ls();
        assert!(table.contains("no daemon (play)") && table.contains("running (play)"), "{table}");
        std::fs::write(stage.dir.path().join("pods.yaml"), prints("three", "echo three")).expect("a file");
        let out = stage.play(&[]).output().expect("minke");
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(
            out.status.success() && said.contains("removed what a killed play left in"),
            "{:?} {said}",
            out.status
        );
        let table = ls();
        assert!(!table.contains("no daemon") && table.contains("running (play)"), "{table}");
        super::isolate::sh(&format!("kill -TERM {}", alive.id()));
        assert_eq!(alive.wait().expect("wait").code(), Some(143));
        stage.nothing_left();
    });
}

#[test]
fn what_cannot_start_is_told() {
    isolated("play::what_cannot_start_is_told", || {
        let container = |more: &str| format!("containers: [{{name: c, image: 'busybox:1.36', {more}}}]");
        let cases = [
            (
                container("env: [{name: A, valueFrom: {configMapKeyRef: {name: none, key: a}}}]"),
                "configmap \"none\" not found",
            ),
            (
                "containers: [{name: c, image: 'nowhere:1', imagePullPolicy: Never}]".to_owned(),
                "ErrImageNeverPull",
            ),
            ("containers: [{name: c, image: 'Not An Image'}]".to_owned(), "InvalidImageName"),
            (
                format!("nodeSelector: {{disk: none}}\n  {}", container("command: [sh]")),
                "0/1 nodes are available",
            ),
            (container("command: [no-such-program]"), "no-such-program"),
        ];
        for (spec, why) in cases {
            let stage = Stage::new(&pod("p", &spec));
            let out = stage.play(&["--give-up-after", "1"]).output().expect("minke");
            let said = String::from_utf8_lossy(&out.stderr).into_owned();
            assert_eq!(out.status.code(), Some(1), "{spec}: {said}");
            // The daemon's log, which is on the same stream, may have one more line about what it takes away.
            let last = said.lines().rfind(|line| line.starts_with("minke: ")).unwrap_or_default();
            assert!(last.starts_with("minke: pod/p cannot start: ") && last.contains(why), "{spec}: {said}");
            stage.nothing_left();
        }
        // A registry that does not have it is asked twice.
        let registry = Registry::start().expect("docker-registry");
        let stage = Stage::new(&pod("p", "containers: [{name: c, image: 'missing:1'}]"));
        let mirror = format!("docker.io={}", registry.url());
        let out = stage.play(&["--registry-mirror", &mirror]).output().expect("minke");
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(1), "{said}");
        assert!(said.contains("minke: pod/p: Failed: Failed to pull image \"missing:1\""), "{said}");
    });
}

#[test]
fn unknown_fields_are_refused() {
    isolated("play::unknown_fields_are_refused", || {
        let stage = Stage::new(&prints("p", "echo a").replace("restartPolicy", "restartPolice"));
        let out = stage.play(&[]).output().expect("minke");
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(!out.status.success() && said.contains("unknown field \"spec.restartPolice\""), "{said}");
        stage.nothing_left();
    });
}

#[test]
fn every_line_is_printed_once() {
    isolated("play::every_line_is_printed_once", || {
        // Faster than it is read, and a last line without an end; under a name that the API makes.
        let manifest = prints("p", "seq 1 100000; printf end").replace("{name: p}", "{generateName: p-}");
        let stage = Stage::new(&manifest);
        let out = stage.play(&[]).output().expect("minke");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        let mut lines = said.lines().map(|line| line.split_once("/c] ").expect("a prefix").1);
        assert!((1..=100_000).all(|n| lines.next() == Some(&n.to_string())));
        assert_eq!((lines.next(), lines.next()), (Some("end"), None));
    });
}
