//! Imports of every archive form, naming, removal, garbage collection.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use images::{Config, Images};
use serde_json::json;

use crate::{Made, descriptor, digest, gzip, host_architecture, image, leftovers, manifest, tar_of};

fn sample() -> Made {
    image(
        &host_architecture(),
        vec![tar_of(&[("bin/", b""), ("bin/sh", b"#!")]), tar_of(&[("etc/conf", b"x")])],
    )
}

fn write(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn docker(made: &Made, tags: &[&str]) -> Vec<u8> {
    let config = format!("{}.json", &digest(&made.config)[7..]);
    let names: Vec<String> = (0..made.layers.len()).map(|n| format!("l{n}/layer.tar")).collect();
    let list = json!([{"Config": config, "RepoTags": tags, "Layers": names}]).to_string();
    let mut files: Vec<(&str, &[u8])> = vec![("manifest.json", list.as_bytes()), (&config, &made.config)];
    files.extend(names.iter().zip(&made.layers).map(|(name, layer)| (name.as_str(), layer.as_slice())));
    tar_of(&files)
}

fn oci(made: &Made, annotation: &str) -> Vec<u8> {
    let blobs: Vec<Vec<u8>> = made.layers.iter().map(|layer| gzip(layer)).collect();
    let manifest = manifest(made, &blobs);
    let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": annotation});
    let index = json!({"schemaVersion": 2, "manifests": [entry]}).to_string();
    let mut all = vec![made.config.clone(), manifest];
    all.extend(blobs);
    let named: Vec<(String, Vec<u8>)> =
        all.into_iter().map(|blob| (format!("blobs/sha256/{}", &digest(&blob)[7..]), blob)).collect();
    let mut files: Vec<(&str, &[u8])> =
        vec![("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#), ("index.json", index.as_bytes())];
    files.extend(named.iter().map(|(name, blob)| (name.as_str(), blob.as_slice())));
    tar_of(&files)
}

fn legacy(made: &Made) -> Vec<u8> {
    let top = json!({"id": "b", "parent": "a", "os": "linux", "config": {"Cmd": ["sh"]}}).to_string();
    let repositories = json!({"old": {"1": "b"}}).to_string();
    tar_of(&[
        ("repositories", repositories.as_bytes()),
        ("a/json", br#"{"id":"a"}"#),
        ("a/layer.tar", &made.layers[0]),
        ("b/json", top.as_bytes()),
        ("b/layer.tar", &made.layers[1]),
    ])
}

#[tokio::test]
async fn every_form_gives_the_same_layers() {
    let temp = tempfile::tempdir().unwrap();
    let images = Images::open(&temp.path().join("data"), Config::default()).unwrap();
    let made = sample();
    let forms = [
        (
            "docker.tar",
            docker(&made, &["busybox:1", "me/b"]),
            vec!["docker.io/library/busybox:1", "docker.io/me/b:latest"],
        ),
        ("oci.tar", oci(&made, "registry.example/x:2"), vec!["registry.example/x:2"]),
        ("docker.tar.gz", gzip(&docker(&made, &["gz:1"])), vec!["docker.io/library/gz:1"]),
        (
            "oci.tar.zst",
            zstd::encode_all(&oci(&made, "zst:1")[..], 1).unwrap(),
            vec!["docker.io/library/zst:1"],
        ),
        ("legacy.tar", legacy(&made), vec!["docker.io/library/old:1"]),
    ];
    let mut layers = HashSet::new();
    for (name, bytes, tags) in forms {
        let found = images.import(&write(temp.path(), name, &bytes)).await.unwrap();
        assert_eq!(found.len(), 1, "{name}");
        for tag in tags {
            assert!(found[0].tags.iter().any(|t| t == tag), "{name}: {:?}", found[0].tags);
            assert_eq!(images.resolve(tag).unwrap().id, found[0].id);
        }
        assert_eq!(found[0].cmd, ["sh"], "{name}");
        layers.insert(found[0].layers.clone());
    }
    assert_eq!(layers.len(), 1, "all forms share their layers");
    let lower: Vec<_> = layers.into_iter().next().unwrap();
    assert_eq!(std::fs::read(lower[0].join("etc/conf")).unwrap(), b"x");
    assert_eq!(std::fs::read(lower[1].join("bin/sh")).unwrap(), b"#!");
    let id = digest(&made.config);
    let found = images.resolve(&id).unwrap();
    assert_eq!(
        (found.user.as_str(), found.working_dir.as_str(), found.stop_signal.as_str()),
        ("7", "/w", "SIGINT")
    );
    assert_eq!(found.volumes, ["/b", "/data"]);
    for reference in [&id[7..], &id[7..19], "busybox:1", "docker.io/library/busybox:1"] {
        assert_eq!(images.resolve(reference).map(|i| i.id).as_deref(), Some(&*id), "{reference}");
    }
    for reference in ["busybox", "nothing:1", "abcdef", "UPPER", ""] {
        assert!(images.resolve(reference).is_none(), "{reference}");
    }
}

#[tokio::test]
async fn bad_archives_leave_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    let images = Images::open(&data, Config::default()).unwrap();
    let made = sample();
    let good = docker(&made, &["x:1"]);
    let other = image("s390x", vec![]);
    let mut wrong = sample();
    wrong.layers[1] = tar_of(&[("other", b"y")]);
    let evil = {
        let mut bytes = tar_of(&[("aa/evil", b"x")]);
        bytes[..7].copy_from_slice(b"../evil");
        let sum: u32 = bytes[..512]
            .iter()
            .enumerate()
            .map(|(i, b)| if (148..156).contains(&i) { 32 } else { u32::from(*b) })
            .sum();
        bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        image(&host_architecture(), vec![bytes])
    };
    let cases: [(&str, Vec<u8>, &str); 8] = [
        ("empty", vec![], "no image archive"),
        ("text", b"hello, this is no archive at all".repeat(20), "not a tar archive"),
        ("other", tar_of(&[("readme", b"x")]), "no image archive"),
        ("cut", good[..good.len() - 2600].to_vec(), "truncated"),
        ("arch", docker(&other, &[]), "is for linux/s390x"),
        ("wrong", docker(&wrong, &["x:1"]), "wrong digest"),
        ("evil", docker(&evil, &["x:1"]), "escapes the layer"),
        ("tag", docker(&made, &["Bad:tag:"]), "image name"),
    ];
    for (name, bytes, want) in cases {
        let path = write(temp.path(), name, &bytes);
        let message = images.import(&path).await.unwrap_err().to_string();
        assert!(message.contains(want), "{name}: {message:?} should say {want:?}");
        assert!(images.list().unwrap().is_empty(), "{name}");
    }
    let missing = images.import(&temp.path().join("nowhere")).await.unwrap_err().to_string();
    assert!(missing.contains("nowhere"), "{missing}");
    // The good lower layer of the wrong image is complete and may stay until the next collection.
    images.gc(HashSet::new(), 0, Duration::ZERO).await.unwrap();
    assert_eq!(leftovers(&data), Vec::<String>::new());
}

#[tokio::test]
async fn removal_and_collection_keep_shared_layers() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    let images = Images::open(&data, Config::default()).unwrap();
    let made = sample();
    let mut larger = sample();
    larger.layers.push(tar_of(&[("more", b"0123456789")]));
    let larger = image(&host_architecture(), larger.layers);
    images.import(&write(temp.path(), "a", &docker(&made, &["a:1", "a:2"]))).await.unwrap();
    images.import(&write(temp.path(), "b", &docker(&larger, &["b:1"]))).await.unwrap();
    assert_eq!(images.usage().unwrap().layers, 3);
    assert_eq!(images.remove("a:1").await.unwrap().names, ["docker.io/library/a:1"]);
    assert!(images.resolve("a:1").is_none() && images.resolve("a:2").is_some());
    assert_eq!(images.remove("a:2").await.unwrap().names.last(), Some(&digest(&made.config)));
    assert!(images.remove("a:2").await.is_err());
    assert_eq!(leftovers(&data).len(), 3, "the larger image keeps its layers");
    let in_use = HashSet::from([digest(&larger.config)]);
    assert!(images.gc(in_use, u64::MAX, Duration::ZERO).await.unwrap().images.is_empty());
    assert!(images.gc(HashSet::new(), u64::MAX, Duration::from_secs(3600)).await.unwrap().images.is_empty());
    let collected = images.gc(HashSet::new(), 1, Duration::ZERO).await.unwrap();
    assert_eq!((collected.images, collected.bytes), (vec!["docker.io/library/b:1".to_owned()], 13));
    assert_eq!(leftovers(&data), Vec::<String>::new());
}

#[tokio::test]
async fn layers_stay_while_they_are_mounted() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    let images = Images::open(&data, Config::default()).unwrap();
    // Of its own: a mount keeps layers of that name in every store, also in those of other tests.
    let mounted = tar_of(&[("mounted", b"")]);
    let made = image(&host_architecture(), vec![mounted, tar_of(&[("etc/conf", b"x"), ("own", b"1")])]);
    let found = images.import(&write(temp.path(), "a", &docker(&made, &["a:1"]))).await.unwrap();
    // A container: its root is known to its own mount namespace only.
    let lower: Vec<&str> = found[0].layers.iter().map(|layer| layer.to_str().unwrap()).collect();
    let root = temp.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let mut container = std::process::Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c"])
        .arg("mount -t overlay root -o lowerdir=\"$0\" \"$1\" && echo ready && read line && cat \"$1\"/etc/conf")
        .arg(lower.join(":"))
        .arg(&root)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = std::io::BufReader::new(container.stdout.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut said, &mut line).unwrap();
    assert_eq!(line, "ready\n");

    let removed = images.remove("a:1").await.unwrap();
    assert_eq!((removed.names.last(), removed.kept), (Some(&digest(&made.config)), 2));
    assert!(images.resolve("a:1").is_none());
    drop(images);
    let images = Images::open(&data, Config::default()).unwrap();
    images.gc(HashSet::new(), u64::MAX, Duration::ZERO).await.unwrap();
    assert_eq!(leftovers(&data).len(), 2);

    std::io::Write::write_all(&mut container.stdin.take().unwrap(), b"\n").unwrap();
    let mut content = String::new();
    std::io::Read::read_to_string(&mut said, &mut content).unwrap();
    assert_eq!(content, "x", "its root is whole");
    assert!(container.wait().unwrap().success());
    drop(images);
    Images::open(&data, Config::default()).unwrap();
    assert_eq!(leftovers(&data), Vec::<String>::new(), "the next start removes what nobody uses");
}

/// Where the table of mounts does not name them (overlays before Linux 6.5), who uses layers is told by their users.
#[tokio::test]
async fn layers_stay_while_their_users_say_so() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    let used = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let open = || {
        let used = used.clone();
        let users = images::Users::new(move || Ok(used.lock().unwrap().clone()));
        Images::open(&data, Config { users, ..Config::default() }).unwrap()
    };
    let images = open();
    // Of its own, since layers that are alike in another store may be mounted.
    let made = image(&host_architecture(), vec![tar_of(&[("of", b"users")]), tar_of(&[("by", b"users")])]);
    let found = images.import(&write(temp.path(), "a", &docker(&made, &["a:1"]))).await.unwrap();
    *used.lock().unwrap() = found[0].layers[..1].to_vec();
    assert_eq!(images.remove("a:1").await.unwrap().kept, 1);
    drop(images);
    drop(open());
    assert!(found[0].layers[0].is_dir() && !found[0].layers[1].exists(), "the one that is used stays");
    used.lock().unwrap().clear();
    drop(open());
    assert_eq!(leftovers(&data), Vec::<String>::new());
}

#[tokio::test]
async fn equal_content_is_imported_under_the_archives_name() {
    let temp = tempfile::tempdir().unwrap();
    let images = Images::open(&temp.path().join("data"), Config::default()).unwrap();
    for name in ["b:1", "a:1", "c:1"] {
        let found = images.import(&write(temp.path(), "x", &docker(&sample(), &[name]))).await.unwrap();
        assert_eq!(found[0].tags, [format!("docker.io/library/{name}")]);
    }
    assert_eq!(images.resolve("a:1").unwrap().tags.len(), 3);
}

#[tokio::test]
async fn a_name_moves_and_a_store_is_found_again() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    {
        let images = Images::open(&data, Config::default()).unwrap();
        images.import(&write(temp.path(), "a", &docker(&sample(), &["x:1"]))).await.unwrap();
    }
    // What a killed process leaves behind.
    std::fs::create_dir_all(data.join("images/work/999999-0/3/fs")).unwrap();
    let images = Images::open(&data, Config::default()).unwrap();
    assert!(!data.join("images/work/999999-0").exists());
    // A second process on the same store sees and changes the same images.
    let second = Images::open(&data, Config::default()).unwrap();
    let newer = image(&host_architecture(), vec![tar_of(&[("v2", b"")])]);
    second.import(&write(temp.path(), "b", &docker(&newer, &["x:1"]))).await.unwrap();
    assert_eq!(images.resolve("x:1").unwrap().id, digest(&newer.config));
    assert!(images.resolve(&digest(&sample().config)).unwrap().tags.is_empty());
    drop((images, second));
    std::fs::write(data.join("images/index.json"), r#"{"format":99,"whatever":1}"#).unwrap();
    let error = Images::open(&data, Config::default()).err().unwrap().to_string();
    assert!(error.contains("format 99 is newer"), "{error}");
}
