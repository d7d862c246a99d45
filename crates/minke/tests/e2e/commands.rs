//! The command line: what is refused at once, and in which words.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

use super::isolate::isolated;

fn minke(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_minke")).args(args).output().expect("minke")
}

#[test]
fn refused_at_once() {
    isolated("commands::refused_at_once", || {
        let dir = tempfile::tempdir().expect("a directory");
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
            fs::write(&path, text).expect("a file");
            path.to_str().expect("UTF-8").to_owned()
        };
        let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
        let colour = file("colour.yaml", "apiVersion: minke.dev/v1alpha1\nkind: Config\ncolour: red\n");
        let broken = file("broken.yaml", "a: [");
        file("newer/format", "99\n");
        let (none, newer, data) = (path("none"), path("newer"), path("data"));
        for (args, words) in [
            (vec!["down", "--data-dir", &none], "none is no data dir of minke"),
            (vec!["up", "--data-dir", &newer], "run the newer minke that wrote it"),
            (vec!["down", "--data-dir", &newer], "newer"),
            (vec!["up", "--data-dir", &data, "--config", &colour], "colour"),
            (vec!["up", "--data-dir", &data, "--config", &none], "cannot read"),
            (vec!["up", "--data-dir", &data, "--listen", "nowhere"], "--listen"),
            (
                vec!["up", "--data-dir", &data, "--disable", "kubelet"],
                "apiserver, controllers, scheduler, node",
            ),
            (vec!["up", "--data-dir", &data, "--registry-mirror", "docker.io"], "is not HOST=URL"),
            (vec!["play", &broken], "broken.yaml"),
            (vec!["play", &none], "cannot read"),
        ] {
            let out = minke(&args);
            let said = String::from_utf8_lossy(&out.stderr);
            assert!(!out.status.success() && said.contains(words), "{args:?}: want {words:?}, got {said}");
        }
        assert!(!dir.path().join("data").exists(), "a refused command made the data dir");
        assert!(!dir.path().join("none").exists(), "`down` made a data dir");
    });
}

#[test]
fn without_root() {
    isolated("commands::without_root", || {
        // Where another user may reach it.
        let program = "/run/minke-as-nobody";
        fs::copy(env!("CARGO_BIN_EXE_minke"), program).expect("a copy");
        for args in [&["up"][..], &["down"], &["play", "x.yaml"]] {
            let out = Command::new(program).args(args).uid(65534).gid(65534).output().expect("minke");
            let said = String::from_utf8_lossy(&out.stderr);
            assert!(!out.status.success() && said.contains("run it with sudo"), "{args:?}: {said}");
        }
    });
}

#[test]
fn images_with_and_without_a_daemon() {
    isolated("commands::images_with_and_without_a_daemon", || {
        let registry = xtask::kit::registry::Registry::start().expect("docker-registry");
        let busybox = xtask::kit::image::busybox().expect("busybox-static");
        registry.push(&busybox, "library/tool", "1").expect("push");
        let mirror = format!("docker.io={}", registry.url());
        let mut cluster = super::cluster::Cluster::new(&["--registry-mirror", &mirror]);
        let data = cluster.data();
        let image = |cluster: &super::cluster::Cluster, args: &[&str]| {
            let mut all = vec!["image", "--data-dir", data.to_str().expect("UTF-8")];
            all.extend(args);
            let out = cluster.minke(&all).output().expect("minke");
            let said = [out.stdout, out.stderr].concat();
            (out.status.success(), String::from_utf8_lossy(&said).into_owned())
        };
        let (good, said) = image(&cluster, &["ls"]);
        assert!(!good && said.contains("is no data dir of minke") && !data.exists(), "{said}");
        let (good, said) = image(&cluster, &["pull", "tool:1", "--registry-mirror", &mirror]);
        assert!(good, "{said}");
        assert!(image(&cluster, &["ls"]).1.contains("docker.io/library/tool:1"));
        cluster.start();
        assert!(image(&cluster, &["ls"]).1.contains("docker.io/library/tool:1"));
        let (good, said) = image(&cluster, &["rm", "tool:1"]);
        assert!(good && !image(&cluster, &["ls"]).1.contains("tool:1"), "{said}");
        let (good, said) = image(&cluster, &["pull", "tool:1", "--registry-mirror", &mirror]);
        assert!(!good && said.contains("give --registry-mirror to `minke up`"), "{said}");
        let (good, said) = image(&cluster, &["pull", "tool:1"]);
        assert!(good, "{said}");
    });
}
