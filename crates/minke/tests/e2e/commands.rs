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
            (vec!["up", "--data-dir", &data, "--apply", &broken], "broken.yaml"),
            (vec!["up", "--data-dir", &data, "--apply", &none], "cannot read"),
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

#[test]
fn images_from_standard_input() {
    isolated("commands::images_from_standard_input", || {
        let busybox = xtask::kit::image::busybox().expect("busybox-static");
        let mut cluster = super::cluster::Cluster::new(&[]);
        let (tar, bad) = (cluster.dir.path().join("tool.tar"), cluster.dir.path().join("bad.tar"));
        xtask::kit::image::save(&busybox, &["tool:1"], &tar).expect("an archive");
        fs::write(&bad, [1_u8; 5000]).expect("a file");
        let data = cluster.data();
        let image = |cluster: &super::cluster::Cluster, args: &[&str], input: &std::path::Path| {
            let mut all = vec!["image", "--data-dir", data.to_str().expect("UTF-8")];
            all.extend(args);
            let input = fs::File::open(input).expect("the input");
            let out = cluster.minke(&all).stdin(input).output().expect("minke");
            let said = [out.stdout, out.stderr].concat();
            (out.status.success(), String::from_utf8_lossy(&said).into_owned())
        };
        for daemon in [false, true] {
            if daemon {
                cluster.start();
            }
            let (good, said) = image(&cluster, &["import", "-"], &bad);
            assert!(!good && said.contains("standard input"), "{daemon}: {said}");
            let (good, said) = image(&cluster, &["import", "-"], &tar);
            assert!(good && said.contains("tool:1"), "{daemon}: {said}");
            let (good, said) = image(&cluster, &["rm", "tool:1"], &tar);
            assert!(good, "{daemon}: {said}");
            let left = fs::read_dir(&data).expect("the data dir").flatten();
            let left = left.filter(|e| e.file_name().to_string_lossy().starts_with("import-")).count();
            assert_eq!(left, 0, "{daemon}: the spooled archive is left");
        }
    });
}

#[test]
fn a_registry_wants_credentials() {
    isolated("commands::a_registry_wants_credentials", || {
        let registry = xtask::kit::registry::Registry::start_for_minke().expect("docker-registry");
        let busybox = xtask::kit::image::busybox().expect("busybox-static");
        registry.push(&busybox, "private/tool", "1").expect("push");
        let dir = tempfile::tempdir().expect("a directory");
        let host = registry.address.to_string();
        let auths = format!(r#"{{"auths": {{"{host}": {{"auth": "bWlua2U6c2VjcmV0"}}}}}}"#);
        fs::write(dir.path().join("config.json"), &auths).expect("a file");
        let mirror = format!("{host}={}", registry.url());
        let image = format!("{host}/private/tool:1");
        let cluster = super::cluster::Cluster::up(&["--registry-mirror", &mirror]);
        let reason = "jsonpath={.status.containerStatuses[0].state.waiting.reason}";
        let pod = |name: &str, more: &str| {
            format!(
                "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  {more}\n  containers: [{{name: c, image: '{image}', command: [sleep, '1000']}}]\n"
            )
        };
        cluster.apply(&pod("stranger", ""));
        cluster.wait(&format!("{reason}=ImagePullBackOff"), "pod/stranger");
        let server = format!("--docker-server={host}");
        cluster.kubectl(&[
            "create",
            "secret",
            "docker-registry",
            "key",
            &server,
            "--docker-username=minke",
            "--docker-password=secret",
        ]);
        cluster.apply(&pod("guest", "imagePullSecrets: [{name: key}]"));
        cluster.wait("condition=Ready", "pod/guest");
        let data = dir.path().join("data");
        let args = [
            "image",
            "pull",
            &image,
            "--registry-mirror",
            &mirror,
            "--data-dir",
            data.to_str().expect("UTF-8"),
        ];
        let out = minke(&args);
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(!out.status.success() && said.contains(&host), "{said}");
        let pulled =
            Command::new(env!("CARGO_BIN_EXE_minke")).args(args).env("DOCKER_CONFIG", dir.path()).output();
        let pulled = pulled.expect("minke");
        assert!(pulled.status.success(), "{}", String::from_utf8_lossy(&pulled.stderr));
    });
}

#[test]
fn hostile_archives_change_nothing() {
    isolated("commands::hostile_archives_change_nothing", || {
        let dir = tempfile::tempdir().expect("a directory");
        let data = dir.path().join("data");
        let tar = dir.path().join("hostile.tar");
        let mut image = xtask::kit::image::busybox().expect("busybox-static");
        for (layer, words) in
            [(member("../../escaped", tar::EntryType::Regular, ""), "escapes"), (through_a_link(), "")]
        {
            image.layer = layer;
            xtask::kit::image::save(&image, &["hostile:1"], &tar).expect("an archive");
            let out = minke(&[
                "image",
                "import",
                tar.to_str().expect("UTF-8"),
                "--data-dir",
                data.to_str().expect("UTF-8"),
            ]);
            let said = String::from_utf8_lossy(&out.stderr);
            assert!(!out.status.success() && said.contains("hostile.tar") && said.contains(words), "{said}");
            let ls = minke(&["image", "ls", "--data-dir", data.to_str().expect("UTF-8")]);
            assert!(!String::from_utf8_lossy(&ls.stdout).contains("hostile"), "half an image is listed");
        }
        let found = super::isolate::sh(&format!(
            "find {} /tmp/escaped -name 'escaped*' 2>/dev/null || true",
            dir.path().display()
        ));
        assert_eq!(found, "");
    });
}

#[test]
fn a_device_node_of_an_image_is_left_out() {
    isolated("commands::a_device_node_of_an_image_is_left_out", || {
        let dir = tempfile::tempdir().expect("a directory");
        let tar = dir.path().join("device.tar");
        let layer = member("dev/sda", tar::EntryType::Block, "");
        let image = xtask::kit::image::of_layer(layer).expect("an image");
        xtask::kit::image::save(&image, &["device:1"], &tar).expect("an archive");
        let data = dir.path().join("data");
        let data = data.to_str().expect("UTF-8");
        let out = minke(&["image", "import", tar.to_str().expect("UTF-8"), "--data-dir", data]);
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success() && said.contains("device node"), "{said}");
        // A whiteout stands in its place, which hides what the node would hide.
        let nodes = super::isolate::sh(&format!("find {data} -type b"));
        assert_eq!(nodes, "");
    });
}

/// A layer with one member, whose name is written as it is.
fn member(name: &str, kind: tar::EntryType, link: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    append(&mut builder, name, kind, link);
    builder.into_inner().expect("a tar")
}

/// A layer that writes through a link which it made itself.
fn through_a_link() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    append(&mut builder, "way", tar::EntryType::Symlink, "/tmp");
    append(&mut builder, "way/escaped", tar::EntryType::Regular, "");
    builder.into_inner().expect("a tar")
}

fn append(builder: &mut tar::Builder<Vec<u8>>, name: &str, kind: tar::EntryType, link: &str) {
    let mut header = tar::Header::new_gnu();
    header.as_gnu_mut().expect("a GNU header").name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_gnu_mut().expect("a GNU header").linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_device_major(8).expect("a GNU header");
    header.set_device_minor(0).expect("a GNU header");
    header.set_cksum();
    builder.append(&header, &[][..]).expect("a tar");
}
