//! Pulls from Debian's `docker-registry` on loopback: plain, with mirrors, credentials, indexes and bad content.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use images::{Config, Credential, Images, Progress, PullError, silent};
use serde_json::json;

use crate::{Made, descriptor, digest, gzip, host_architecture, image, leftovers, manifest, tar_of};

struct Registry {
    process: Child,
    address: String,
    authorization: Option<String>,
    root: tempfile::TempDir,
}

impl Registry {
    /// `user:password` closes it with basic authentication; the hash is of `secret`.
    fn start(user: Option<&str>) -> Self {
        let root = tempfile::tempdir().unwrap();
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut config = format!(
                "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n",
                root.path().join("blobs").display()
            );
            if let Some(user) = user {
                let hash = "$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a";
                std::fs::write(root.path().join("htpasswd"), format!("{user}:{hash}\n")).unwrap();
                config += &format!(
                    "auth:\n  htpasswd:\n    realm: r\n    path: {}\n",
                    root.path().join("htpasswd").display()
                );
            }
            let file = root.path().join("config.yml");
            std::fs::write(&file, config).unwrap();
            let mut process = Command::new("docker-registry")
                .args(["serve", file.to_str().unwrap()])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("docker-registry is installed");
            let until = Instant::now() + Duration::from_secs(20);
            while Instant::now() < until && process.try_wait().unwrap().is_none() {
                if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return Self { process, address: format!("127.0.0.1:{port}"), authorization: None, root };
                }
                std::thread::yield_now();
            }
            process.kill().unwrap();
            process.wait().unwrap();
        }
        panic!("docker-registry does not start");
    }

    fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n",
            self.address,
            body.len()
        );
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        if let Some(authorization) = &self.authorization {
            head += &format!("Authorization: {authorization}\r\n");
        }
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(b"\r\n").unwrap();
        stream.write_all(body).unwrap();
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).unwrap().parse().unwrap();
        let mut location = String::new();
        loop {
            line.clear();
            reader.read_line(&mut line).unwrap();
            match line.trim().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("location") => location = value.to_owned(),
                Some(_) => (),
                None => break,
            }
        }
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).unwrap();
        (status, location)
    }

    fn push_blob(&self, repository: &str, blob: &[u8]) {
        let (status, location) = self.request("POST", &format!("/v2/{repository}/blobs/uploads/"), &[], b"");
        assert_eq!(status, 202);
        let path = location.strip_prefix(&format!("http://{}", self.address)).unwrap_or(&location).to_owned();
        let path = format!("{path}{}digest={}", if path.contains('?') { '&' } else { '?' }, digest(blob));
        assert_eq!(self.request("PUT", &path, &[("Content-Type", "application/octet-stream")], blob).0, 201);
    }

    fn push_manifest(&self, repository: &str, reference: &str, media_type: &str, bytes: &[u8]) {
        let path = format!("/v2/{repository}/manifests/{reference}");
        assert_eq!(self.request("PUT", &path, &[("Content-Type", media_type)], bytes).0, 201);
    }

    /// Pushes and returns the manifest's digest.
    fn push(&self, repository: &str, tag: &str, made: &Made) -> String {
        let blobs: Vec<Vec<u8>> = made.layers.iter().map(|layer| gzip(layer)).collect();
        blobs.iter().chain([&made.config]).for_each(|blob| self.push_blob(repository, blob));
        let bytes = manifest(made, &blobs);
        self.push_manifest(repository, tag, "application/vnd.oci.image.manifest.v1+json", &bytes);
        digest(&bytes)
    }

    /// Changes a blob on the registry's disk.
    fn damage(&self, digest: &str, content: &[u8]) {
        let hex = &digest[7..];
        let path = format!("blobs/docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]);
        std::fs::write(self.root.path().join(path), content).unwrap();
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn sample(text: &str) -> Made {
    let layers = vec![tar_of(&[("bin/", b""), ("bin/sh", b"#!")]), tar_of(&[("etc/text", text.as_bytes())])];
    image(&host_architecture(), layers)
}

fn open(data: &Path, config: Config) -> Arc<Images> {
    Images::open(data, config).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pulls_by_tag_digest_index_and_mirror() {
    let registry = Registry::start(None);
    let temp = tempfile::tempdir().unwrap();
    let made = sample("one");
    let of_one = registry.push("library/app", "1", &made);
    let foreign = image("s390x", vec![tar_of(&[("x", b"")])]);
    let of_foreign = registry.push("library/app", "foreign", &foreign);
    let entry = |digest: &str, architecture: &str| {
        json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 1,
               "platform": {"os": "linux", "architecture": architecture}})
    };
    let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [entry(&of_foreign, "s390x"), entry(&of_one, &host_architecture())]})
    .to_string();
    registry.push_manifest(
        "library/app",
        "multi",
        "application/vnd.oci.image.index.v1+json",
        index.as_bytes(),
    );

    let images = open(&temp.path().join("a"), Config::default());
    let name = format!("{}/library/app", registry.address);
    let found = images.pull(&format!("{name}:1"), &[], silent()).await.unwrap();
    assert_eq!((found.id, found.tags), (digest(&made.config), vec![format!("{name}:1")]));
    assert_eq!(found.digests, [format!("{name}@{of_one}")]);
    assert_eq!(std::fs::read(found.layers[0].join("etc/text")).unwrap(), b"one");
    let expected: usize =
        made.layers.iter().map(|layer| gzip(layer).len()).sum::<usize>() + made.config.len();
    assert_eq!(found.size, expected as u64);
    let multi = images.pull(&format!("{name}:multi"), &[], silent()).await.unwrap();
    assert_eq!(multi.id, digest(&made.config));
    assert!(multi.digests.contains(&format!("{name}@{}", digest(index.as_bytes()))), "{:?}", multi.digests);
    // What is there already costs its manifest only.
    registry.damage(&digest(&made.config), b"gone");
    images.pull(&format!("{name}@{of_one}"), &[], silent()).await.unwrap();
    registry.damage(&digest(&made.config), &made.config);
    assert_eq!(images.resolve(&format!("{name}@{of_one}")).unwrap().id, digest(&made.config));
    let error = images.pull(&format!("{name}:foreign"), &[], silent()).await.unwrap_err();
    assert!(
        matches!(error, PullError::NotFound { .. }) && error.to_string().contains("no match for platform"),
        "{error}"
    );

    let mut config = Config::default();
    config.add_mirror("docker.io=http://127.0.0.1:1").unwrap();
    config.add_mirror(&format!("docker.io=http://{}", registry.address)).unwrap();
    let mirrored = open(&temp.path().join("b"), config);
    let found = mirrored.pull("app:1", &[], silent()).await.unwrap();
    assert_eq!(found.tags, ["docker.io/library/app:1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirrors_error_is_shown_beside_the_registrys() {
    let registry = Registry::start(None);
    let temp = tempfile::tempdir().unwrap();
    // Ports on loopback where nobody listens, and a registry whose image is broken, as the mirror and as what is mirrored.
    let mut broken = sample("one");
    broken.layers.push(b"no archive".to_vec());
    registry.push("broken", "1", &image(&host_architecture(), broken.layers));
    for (host, mirror, want) in [
        ("127.0.0.1:1", "127.0.0.1:2".to_owned(), ["127.0.0.1:1/v2", "mirror 127.0.0.1:2: "]),
        ("127.0.0.1:1", registry.address.clone(), ["127.0.0.1:1/v2", ": layer "]),
        (&*registry.address, "127.0.0.1:2".to_owned(), ["layer", "mirror 127.0.0.1:2: "]),
    ] {
        let mut config = Config::default();
        config.add_mirror(&format!("{host}=http://{mirror}")).unwrap();
        let images = open(&temp.path().join("data"), config);
        let error = images.pull(&format!("{host}/broken:1"), &[], silent()).await.unwrap_err().to_string();
        assert!(want.iter().all(|part| error.contains(part)), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_pulls_download_a_layer_once() {
    let registry = Registry::start(None);
    let temp = tempfile::tempdir().unwrap();
    let images = open(temp.path(), Config::default());
    let mut pulls = Vec::new();
    let unpacked = Arc::new(AtomicUsize::new(0));
    for n in 0..4 {
        registry.push("app", &n.to_string(), &sample(&format!("{}", n % 2)));
        let (images, name, unpacked) =
            (Arc::clone(&images), format!("{}/app:{n}", registry.address), Arc::clone(&unpacked));
        pulls.push(tokio::spawn(async move {
            let count = move |progress: Progress<'_>| {
                if matches!(progress, Progress::Unpacked { .. }) {
                    unpacked.fetch_add(1, Ordering::SeqCst);
                }
            };
            images.pull(&name, &[], Arc::new(count)).await
        }));
    }
    for pull in pulls {
        pull.await.unwrap().unwrap();
    }
    assert_eq!((unpacked.load(Ordering::SeqCst), images.usage().unwrap().layers), (3, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_are_clear_and_leave_nothing() {
    let registry = Registry::start(None);
    let temp = tempfile::tempdir().unwrap();
    let images = open(temp.path(), Config::default());
    let made = sample("bad");
    registry.push("app", "1", &made);
    registry.damage(&digest(&gzip(&made.layers[1])), &gzip(&tar_of(&[("evil", b"evil")])));
    registry.push_blob("app", b"{}");
    let chart = json!({"schemaVersion": 2, "config": descriptor("application/vnd.cncf.helm.config.v1+json", b"{}"), "layers": []});
    registry.push_manifest(
        "app",
        "chart",
        "application/vnd.oci.image.manifest.v1+json",
        chart.to_string().as_bytes(),
    );
    let at = &registry.address;
    let cases = [
        (format!("{at}/app:chart"), "is not an image config's".into()),
        (
            format!("{at}/app:2"),
            format!(
                "failed to pull and unpack image \"{at}/app:2\": failed to resolve reference \"{at}/app:2\": {at}/app:2: not found"
            ),
        ),
        (format!("{at}/none:1"), "not found".into()),
        (format!("{at}/app:1"), "wrong digest".into()),
        ("127.0.0.1:1/app:1".into(), "connection refused".into()),
        ("nowhere.invalid/app:1".into(), "failed to do request".into()),
        ("Upper/app".into(), "failed to parse image name \"Upper/app\"".into()),
    ];
    for (name, want) in cases {
        let message = images.pull(&name, &[], silent()).await.unwrap_err().to_string();
        assert!(message.to_lowercase().contains(&want.to_lowercase()), "{message:?} should say {want:?}");
        assert!(images.list().unwrap().is_empty(), "{name}");
    }
    images.gc(Default::default(), 0, Duration::ZERO).await.unwrap();
    // The layers beside the bad one are given up when it fails; each removes its work once its thread notices.
    let until = std::time::Instant::now() + Duration::from_secs(30);
    while !leftovers(temp.path()).is_empty() && std::time::Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(leftovers(temp.path()), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_asks_for_credentials() {
    let mut registry = Registry::start(Some("me"));
    let token = base64::engine::general_purpose::STANDARD.encode("me:secret");
    registry.authorization = Some(format!("Basic {token}"));
    let made = sample("private");
    registry.push("team/app", "1", &made);
    let temp = tempfile::tempdir().unwrap();
    let images = open(temp.path(), Config::default());
    let name = format!("{}/team/app:1", registry.address);
    let credential = |secret: &str, path: &str| Credential {
        registry: format!("{}{path}", registry.address),
        username: "me".into(),
        secret: secret.into(),
    };
    for (tried, works) in [
        (vec![], false),
        (vec![credential("wrong", "")], false),
        (vec![credential("secret", "/other")], false),
        (vec![credential("wrong", "/team"), credential("secret", "")], true),
    ] {
        match images.pull(&name, &tried, silent()).await {
            Ok(found) => assert!(works && found.id == digest(&made.config), "{tried:?}"),
            Err(error) => {
                assert!(!works && matches!(error, PullError::Unauthorized { .. }), "{tried:?}: {error}")
            }
        }
    }
}
