//! Volumes on a real file system, in a mount namespace of their own, against an API of a few objects.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use client::{Answer, Call, Change, Object, Options, Status, Target, Verb, Watch, WatchEvent};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};

use super::*;

type Stored = Arc<Mutex<BTreeMap<(String, String), Value>>>;

/// Objects by resource and name; counts tokens and watches.
#[derive(Default)]
struct Api {
    objects: Stored,
    changes: tokio::sync::watch::Sender<u32>,
    tokens: AtomicU32,
}

impl Api {
    /// Puts an object there, and lets everybody hear of it.
    async fn put(&self, resource: &str, name: &str, object: Value) {
        self.objects.lock().unwrap().insert((resource.into(), name.into()), object);
        self.changes.send_modify(|n| *n += 1);
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }
}

/// One object's watch.
struct OneWatch {
    objects: Stored,
    key: (String, String),
    changes: tokio::sync::watch::Receiver<u32>,
    shown: Option<Option<Value>>,
}

#[async_trait]
impl Watch for OneWatch {
    async fn next(&mut self) -> Result<Vec<WatchEvent>, Status> {
        loop {
            let found = self.objects.lock().unwrap().get(&self.key).cloned();
            if self.shown.as_ref() != Some(&found) {
                let first = self.shown.replace(found.clone()).is_none();
                let event = |change, object: Option<Object>| WatchEvent { change, object, revision: 1 };
                let object = found.map(|value| Object {
                    namespace: "ns".into(),
                    name: self.key.1.as_str().into(),
                    revision: 1,
                    facts: Arc::default(),
                    json: value.to_string().into(),
                });
                let mut events = match object {
                    Some(object) => vec![event(Change::Modified, Some(object))],
                    None if first => vec![],
                    None => vec![event(Change::Deleted, None)],
                };
                events.extend(first.then(|| event(Change::Synced, None)));
                return Ok(events);
            }
            self.changes.changed().await.map_err(|_| Status::timeout())?;
        }
    }
}

#[async_trait]
impl Objects for Api {
    async fn call(&self, call: Call) -> Result<Answer, Status> {
        let (Verb::Create(body), "token") = (&call.verb, call.target.subresource.as_str()) else {
            panic!("volumes ask for nothing but tokens: {call:?}");
        };
        let n = self.tokens.fetch_add(1, Ordering::SeqCst);
        let mut answer = body.clone();
        answer["status"] =
            json!({"token": format!("token-{n}"), "expirationTimestamp": "2030-01-01T00:00:00Z"});
        Ok(answer.into())
    }

    async fn watch(&self, target: Target, options: Options) -> Result<Box<dyn Watch>, Status> {
        let name = options.field_selector.strip_prefix("metadata.name=").unwrap().to_owned();
        let (objects, changes) = (self.objects.clone(), self.changes.subscribe());
        Ok(Box::new(OneWatch { objects, key: (target.gvr.resource, name), changes, shown: None }))
    }
}

/// No images.
pub(super) const NONE: ImageLayers = ImageLayers::new();

pub(super) struct World {
    pub(super) temp: tempfile::TempDir,
    api: Arc<Api>,
    pub(super) volumes: Volumes,
}

impl World {
    /// What another life of the daemon has.
    pub(super) fn again(&self) -> Volumes {
        let api = Some(self.api.clone() as Arc<dyn Objects>);
        Volumes::new(self.temp.path(), self.volumes.trash.clone(), api, 1 << 30)
    }
}

/// Runs a test in a mount namespace of its own: the runtime's threads are children of the one that left.
pub(super) fn alone(test: impl AsyncFnOnce(&World) + Send + 'static) {
    let run = move || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        let temp = tempfile::tempdir().unwrap();
        let api = Arc::new(Api::default());
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let guard = tokio.enter();
        let trash = Arc::new(Trash::open(temp.path().join("trash")).unwrap());
        drop(guard);
        let volumes = Volumes::new(temp.path(), trash, Some(api.clone() as Arc<dyn Objects>), 1 << 30);
        let world = World { temp, api, volumes };
        tokio.block_on(test(&world));
    };
    std::thread::spawn(run).join().unwrap();
}

fn pod(spec: Value) -> Pod {
    let metadata = json!({"name": "p", "namespace": "ns", "uid": "u-1", "labels": {"b": "2", "a": "x\"y"}});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
}

pub(super) fn with(volume: Value, extra: Value) -> Pod {
    let mut volume = volume;
    volume["name"] = json!("v");
    let mut spec = json!({"containers": [{"name": "c"}], "volumes": [volume]});
    spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    pod(spec)
}

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| !name.starts_with(".."));
    names.sort();
    names
}

#[test]
fn config_maps_change_at_once() {
    alone(async |w| {
        w.api
            .put("configmaps", "m", json!({"data": {"a": "1", "b": "2"}, "binaryData": {"c": "AP8="}}))
            .await;
        let pod = with(json!({"configMap": {"name": "m", "defaultMode": 0o440}}), json!({}));
        let dir = w.volumes.setup(&pod, &NONE).await.unwrap()["v"].clone();
        assert!(dir.ends_with("u-1/volumes/kubernetes.io~configmap/v"));
        assert_eq!(
            (names(&dir), fs::read(dir.join("c")).unwrap()),
            (vec!["a".into(), "b".into(), "c".into()], vec![0, 255])
        );
        assert_eq!(fs::read_link(dir.join("a")).unwrap(), Path::new("..data/a"));
        assert_eq!((mode(dir.join("a")), mode(dir.join("..data"))), (0o440, 0o755));
        let before = fs::read_link(dir.join("..data")).unwrap();
        w.volumes.setup(&pod, &NONE).await.unwrap();
        assert_eq!(fs::read_link(dir.join("..data")).unwrap(), before, "nothing changed, nothing swapped");
        w.api.put("configmaps", "m", json!({"data": {"a": "3"}})).await;
        w.volumes.setup(&pod, &NONE).await.unwrap();
        assert_eq!((names(&dir), fs::read_to_string(dir.join("a")).unwrap()), (vec!["a".into()], "3".into()));
        assert!(!dir.join(before).exists());
        w.volumes.teardown("u-1").await.unwrap();
        assert!(!dir.exists());
        w.volumes.teardown("u-1").await.unwrap();
    });
}

#[test]
fn a_pod_is_woken_by_what_it_shows_only() {
    alone(async |w| {
        let shows = |uid: &str, name: &str| {
            let mut pod = with(json!({"configMap": {"name": name}}), json!({}));
            pod.metadata.uid = Some(uid.to_owned());
            pod
        };
        for name in ["m", "n"] {
            w.api.put("configmaps", name, json!({"data": {"a": "1"}})).await;
        }
        let pods = [("u-1", "m"), ("u-2", "m"), ("u-3", "n")];
        for (uid, name) in pods {
            w.volumes.follow(uid, Arc::default());
            w.volumes.setup(&shows(uid, name), &NONE).await.unwrap();
        }
        assert_eq!(w.api.changes.receiver_count(), 2, "one watch for each object");
        let news = || pods.map(|(uid, _)| w.volumes.take_news(uid));
        assert_eq!(news(), [false; 3]);
        w.api.put("configmaps", "m", json!({"data": {"a": "2"}})).await;
        assert_eq!(news(), [true, true, false]);
        assert_eq!(news(), [false; 3]);
        for (uid, left) in [("u-1", 2), ("u-2", 1), ("u-3", 0)] {
            w.volumes.teardown(uid).await.unwrap();
            tokio::task::yield_now().await;
            assert_eq!(w.api.changes.receiver_count(), left, "{uid}");
        }
    });
}

#[test]
fn only_the_node_writes_to_config_volumes() {
    alone(async |w| {
        for (volume, want) in [
            (json!({"configMap": {"name": "m"}}), true),
            (json!({"secret": {"secretName": "m"}}), true),
            (json!({"projected": {"sources": []}}), true),
            (json!({"downwardAPI": {"items": []}}), true),
            (json!({"image": {"reference": "r"}}), true),
            (json!({"emptyDir": {}}), false),
            (json!({"hostPath": {"path": "/"}}), false),
        ] {
            let pod = with(volume.clone(), json!({}));
            let root = w.temp.path().join("root");
            fs::create_dir_all(root.join("sub")).unwrap();
            let paths = HostPaths::from([("v".to_owned(), root)]);
            let container = json!({"name": "c", "volumeMounts": [
                {"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/b", "subPath": "sub"}]});
            let container = serde_json::from_value(container).unwrap();
            let mounts = w.volumes.mounts(&pod, &container, &BTreeMap::new(), &paths).unwrap();
            assert!(mounts.iter().all(|m| m.read_only == want), "{volume}: {mounts:?}");
            w.volumes.teardown("u-1").await.unwrap();
        }
    });
}

/// What a container that can write to a config volume (by remounting it) may do to it.
#[test]
fn what_was_done_to_a_config_volume_is_not_read() {
    alone(async |w| {
        let pod = with(json!({"configMap": {"name": "m"}}), json!({"securityContext": {"fsGroup": 7}}));
        let victim = w.temp.path().join("victim");
        fs::write(&victim, "host").unwrap();
        let was = fs::metadata(&victim).unwrap();
        for n in 0..4 {
            w.api.put("configmaps", "m", json!({"data": {"a": format!("{n}"), "b": "x"}})).await;
            let dir = w.volumes.setup(&pod, &NONE).await.unwrap()["v"].clone();
            assert_eq!(fs::read_to_string(dir.join("a")).unwrap(), format!("{n}"));
            let set = fs::read_link(dir.join("..data")).unwrap();
            fs::remove_file(dir.join("..data/a")).unwrap();
            match n {
                0 => nix::unistd::mkfifo(&dir.join("..data/a"), nix::sys::stat::Mode::S_IRWXU).unwrap(),
                1 => fs::File::create(dir.join("..data/a")).unwrap().set_len(1 << 40).unwrap(),
                2 => symlink(&victim, dir.join("..data/a")).unwrap(),
                _ => {
                    fs::rename(dir.join(&set), dir.join("own")).unwrap();
                    symlink("/etc", dir.join(&set)).unwrap();
                    symlink(&victim, dir.join("..data_tmp")).unwrap();
                }
            }
            w.volumes.setup(&pod, &NONE).await.unwrap();
            let same = fs::read_link(dir.join("..data")).unwrap() == set;
            assert_eq!(same, n < 3, "what was written is what counts, as long as its directory is there");
        }
        let is = fs::metadata(&victim).unwrap();
        assert_eq!((is.gid(), is.mode(), is.len()), (was.gid(), was.mode(), 4));
        w.volumes.teardown("u-1").await.unwrap();
    });
}

/// Exchanges each new set for a directory of links to `victim`, as soon as it is there; how many it exchanged.
fn exchange_sets(dir: &Path, victim: &Path, stop: &std::sync::atomic::AtomicBool) -> u32 {
    use rustix::fs::{CWD, RenameFlags, inotify, renameat_with};
    let events = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    inotify::add_watch(&events, dir, inotify::WatchFlags::CREATE).unwrap();
    let (mut buffer, mut done) = ([std::mem::MaybeUninit::uninit(); 4096], 0);
    while !stop.load(Ordering::SeqCst) {
        let mut reader = inotify::Reader::new(&events, &mut buffer);
        let Ok(event) = reader.next() else {
            std::thread::yield_now();
            continue;
        };
        let name = event.file_name().and_then(|n| n.to_str().ok()).unwrap_or_default().to_owned();
        if !name.starts_with("..2") {
            continue;
        }
        let trap = dir.join("..trap");
        fs::create_dir_all(&trap).unwrap();
        for n in 0..300 {
            // Refused by what an earlier exchange left, which is as good.
            let _ = symlink(victim, trap.join(format!("k{n}")));
        }
        done += u32::from(renameat_with(CWD, dir.join(&name), CWD, &trap, RenameFlags::EXCHANGE).is_ok());
    }
    done
}

#[test]
fn an_exchanged_directory_leads_nowhere() {
    alone(async |w| {
        let pod = with(json!({"configMap": {"name": "m"}}), json!({}));
        let victim = w.temp.path().join("victim");
        fs::write(&victim, "host").unwrap();
        w.api.put("configmaps", "m", json!({})).await;
        let dir = w.volumes.setup(&pod, &NONE).await.unwrap()["v"].clone();
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (of, at, until) = (dir.clone(), victim.clone(), stop.clone());
        let attacker = std::thread::spawn(move || exchange_sets(&of, &at, &until));
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        for n in 0..30 {
            let keys =
                (0..300).map(|k| (format!("k{k}"), json!(format!("{n}")))).collect::<serde_json::Map<_, _>>();
            w.api.put("configmaps", "m", json!({"data": keys})).await;
            // It may fail while names are exchanged; then it is tried again, as the node does.
            let _ = w.volumes.setup(&pod, &NONE).await;
            assert_eq!(fs::read_to_string(&victim).unwrap(), "host");
        }
        stop.store(true, Ordering::SeqCst);
        assert!(attacker.join().unwrap() > 0, "the attack was made");
        while let Err(error) = w.volumes.setup(&pod, &NONE).await {
            assert!(std::time::Instant::now() < deadline, "{error}");
        }
        assert_eq!(fs::read_to_string(&victim).unwrap(), "host");
        w.volumes.teardown("u-1").await.unwrap();
    });
}

#[test]
fn what_is_missing() {
    alone(async |w| {
        w.api.put("configmaps", "m", json!({"data": {"a": "1"}})).await;
        w.api.put("secrets", "s", json!({"data": {"a": "MQ=="}})).await;
        let item = json!([{"key": "x", "path": "x"}]);
        let cases = [
            (json!({"configMap": {"name": "none"}}), Err("configmap \"none\" not found")),
            (json!({"secret": {"secretName": "none"}}), Err("secret \"none\" not found")),
            (json!({"configMap": {"name": "none", "optional": true}}), Ok(vec![])),
            (
                json!({"configMap": {"name": "m", "items": item}}),
                Err("configmap references non-existent config key: x"),
            ),
            (
                json!({"secret": {"secretName": "s", "items": item}}),
                Err("references non-existent secret key: x"),
            ),
            (json!({"secret": {"secretName": "s", "items": item, "optional": true}}), Ok(vec![])),
            (json!({"configMap": {"name": "m", "items": [{"key": "a", "path": "d/e"}]}}), Ok(vec!["d"])),
            (
                json!({"configMap": {"name": "m", "items": [{"key": "a", "path": "../e"}]}}),
                Err("must not contain '..'"),
            ),
            (json!({"nfs": {"server": "x", "path": "/"}}), Err("no volume plugin matched")),
            (
                json!({"projected": {"sources": [{"configMap": {"name": "n1"}}, {"secret": {"name": "n2"}}]}}),
                Err("[configmap \"n1\" not found, secret \"n2\" not found]"),
            ),
        ];
        for (volume, want) in cases {
            let result = w.volumes.setup(&with(volume.clone(), json!({})), &NONE).await;
            match (result, want) {
                (Ok(paths), Ok(want)) => assert_eq!(names(&paths["v"]), want, "{volume}"),
                (Err(error), Err(want)) => assert!(error.message.contains(want), "{volume}: {error}"),
                (other, want) => panic!("{volume}: {other:?}, want {want:?}"),
            }
            w.volumes.teardown("u-1").await.unwrap();
        }
    });
}

#[test]
fn projected_tokens_labels_and_groups() {
    alone(async |w| {
        w.api.put("configmaps", "kube-root-ca.crt", json!({"data": {"ca.crt": "CA"}})).await;
        let sources = json!([
            {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [
                {"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}},
                {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                {"path": "limit", "resourceFieldRef": {"containerName": "c", "resource": "limits.memory"}},
            ]}},
        ]);
        let volume = json!({"projected": {"defaultMode": 0o644, "sources": sources}});
        let pod = with(volume.clone(), json!({}));
        let dir = w.volumes.setup(&pod, &NONE).await.unwrap()["v"].clone();
        let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
        assert_eq!(
            (read("token"), read("ca.crt"), read("namespace")),
            ("token-0".into(), "CA".into(), "ns".into())
        );
        assert_eq!((read("labels"), read("limit")), ("a=\"x\\\"y\"\nb=\"2\"".into(), (1 << 30).to_string()));
        assert_eq!(mode(dir.join("token")), 0o644);
        w.volumes.setup(&pod, &NONE).await.unwrap();
        assert_eq!(w.api.tokens.load(Ordering::SeqCst), 1, "a token is kept until it is due");
        w.volumes.teardown("u-1").await.unwrap();

        for (context, want) in [
            (json!({"fsGroup": 77}), (0, 77, 0o640, 0o3777)),
            (json!({"runAsUser": 5}), (5, 0, 0o600, 0o1777)),
        ] {
            let pod = with(volume.clone(), json!({"securityContext": context}));
            let dir = w.volumes.setup(&pod, &NONE).await.unwrap()["v"].clone();
            let meta = fs::metadata(dir.join("token")).unwrap();
            assert_eq!((meta.uid(), meta.gid(), mode(dir.join("token")), mode(&dir)), want, "{context}");
            w.volumes.teardown("u-1").await.unwrap();
        }
    });
}

#[test]
fn empty_dirs_on_disk_and_in_memory() {
    alone(async |w| {
        let setup = async |volume: Value, extra: Value| w.volumes.setup(&with(volume, extra), &NONE).await;
        let dir = setup(json!({"emptyDir": {}}), json!({})).await.unwrap()["v"].clone();
        assert_eq!(mode(&dir), 0o777);
        fs::write(dir.join("kept"), "x").unwrap();
        setup(json!({"emptyDir": {}}), json!({})).await.unwrap();
        assert!(dir.join("kept").exists());
        w.volumes.teardown("u-1").await.unwrap();

        let group = json!({"securityContext": {"fsGroup": 9}});
        let dir = setup(json!({"emptyDir": {}}), group).await.unwrap()["v"].clone();
        assert_eq!((mode(&dir), fs::metadata(&dir).unwrap().gid()), (0o2777, 9));
        w.volumes.teardown("u-1").await.unwrap();

        let memory = json!({"emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}});
        let dir = setup(memory.clone(), json!({})).await.unwrap()["v"].clone();
        assert_eq!(nix::sys::statvfs::statvfs(&dir).unwrap().blocks() * 4096, 1 << 20);
        assert!(fs::write(dir.join("big"), vec![0; 2 << 20]).is_err());
        setup(memory, json!({})).await.unwrap();
        assert_eq!(kernel::mounts_below(&fs::canonicalize(&dir).unwrap()).unwrap().len(), 1, "mounted once");
        w.volumes.teardown("u-1").await.unwrap();
        assert!(!dir.exists());
        let error = setup(json!({"emptyDir": {"medium": "Tape"}}), json!({})).await.unwrap_err();
        assert_eq!(error.message, "unknown storage medium \"Tape\"");
    });
}

#[test]
fn host_paths() {
    alone(async |w| {
        let at = |name: &str| w.temp.path().join(name).display().to_string();
        fs::write(at("file"), "").unwrap();
        fs::create_dir(at("dir")).unwrap();
        let cases = [
            ("file", "File", None),
            ("dir", "Directory", None),
            ("new/dir", "DirectoryOrCreate", None),
            ("new/file", "FileOrCreate", None),
            ("plain", "", None),
            ("file", "Directory", Some("a directory")),
            ("dir", "FileOrCreate", Some("a file")),
            ("nothing", "Directory", Some("a directory")),
            ("nothing", "File", Some("a file")),
            ("file", "Socket", Some("a socket file")),
            ("file", "CharDevice", Some("a character device")),
            ("file", "BlockDevice", Some("a block device")),
        ];
        for (name, kind, refused) in cases {
            let result = w
                .volumes
                .setup(&with(json!({"hostPath": {"path": at(name), "type": kind}}), json!({})), &NONE)
                .await;
            let want = refused.map(|what| format!("hostPath type check failed: {} is not {what}", at(name)));
            assert_eq!(result.err().map(|e| e.message), want, "{name} {kind}");
        }
        assert_eq!((mode(at("new/dir")), mode(at("new/file"))), (0o755, 0o644));
        w.volumes.teardown("u-1").await.unwrap();
        assert!(Path::new(&at("new/file")).exists(), "the host's files stay");
    });
}

#[test]
fn images_are_mounted_once_and_for_reading() {
    alone(async |w| {
        let layer = |name: &str, file: &str| {
            let dir = w.temp.path().join(name);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join(file), name).unwrap();
            dir
        };
        let pod = with(json!({"image": {"reference": "r:1"}}), json!({}));
        assert_eq!(w.volumes.images_needed(&pod).len(), 1);
        let error = w.volumes.setup(&pod, &NONE).await.unwrap_err();
        assert_eq!(error.message, "the image is not on this machine");
        let both = vec![layer("upper", "a"), layer("lower", "b")];
        for layers in [both.clone(), both[..1].to_vec()] {
            let images = ImageLayers::from([("v".to_owned(), layers.clone())]);
            let dir = w.volumes.setup(&pod, &images).await.unwrap()["v"].clone();
            assert_eq!(fs::read_to_string(dir.join("a")).unwrap(), "upper");
            assert_eq!(dir.join("b").exists(), layers.len() == 2);
            let refused = fs::write(dir.join("x"), "").unwrap_err();
            assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
            assert!(w.volumes.images_needed(&pod).is_empty());
            w.volumes.setup(&pod, &NONE).await.unwrap();
            w.volumes.teardown("u-1").await.unwrap();
            assert!(!dir.exists() && both[0].join("a").exists(), "the layers stay");
        }
    });
}

#[test]
fn files_are_read_inside_the_volume_only() {
    alone(async |w| {
        let root = w.temp.path().to_owned();
        fs::write(root.join("file"), "text").unwrap();
        symlink("/etc/passwd", root.join("out")).unwrap();
        symlink("file", root.join("in")).unwrap();
        fs::create_dir(root.join("dir")).unwrap();
        for (path, want) in [
            ("file", Some(Some("text"))),
            ("in", Some(Some("text"))),
            ("none", Some(None)),
            ("file/x", Some(None)),
            ("out", None),
            ("dir", None),
            ("../file", None),
        ] {
            let got = super::read_file(&root, Path::new(path)).ok();
            assert_eq!(got.as_ref().map(Option::as_deref), want, "{path}");
        }
    });
}

#[test]
fn sub_paths() {
    alone(async |w| {
        let pod = with(json!({"emptyDir": {}}), json!({}));
        let paths = w.volumes.setup(&pod, &NONE).await.unwrap();
        let root = &paths["v"];
        fs::write(root.join("file"), "text").unwrap();
        symlink("file", root.join("inner")).unwrap();
        symlink("/etc", root.join("etc")).unwrap();
        symlink("../../../..", root.join("up")).unwrap();
        let env = BTreeMap::from([("POD".to_owned(), "p-0".to_owned()), ("EMPTY".to_owned(), String::new())]);
        let mounts = |mount: Value| {
            let mut mount = mount;
            mount["name"] = json!("v");
            mount["mountPath"] = json!("/m");
            let container = json!({"name": "c", "volumeMounts": [mount]});
            w.volumes.mounts(&pod, &serde_json::from_value(container).unwrap(), &env, &paths)
        };
        let good = mounts(json!({"subPath": "a/b"})).unwrap().remove(0).source;
        assert!(good.ends_with("u-1/volume-subpaths/v/c/0"));
        fs::write(good.join("x"), "y").unwrap();
        assert_eq!((fs::read(root.join("a/b/x")).unwrap(), mode(root.join("a"))), (b"y".to_vec(), 0o777));
        for file in ["file", "inner"] {
            let bound = mounts(json!({"subPath": file})).unwrap().remove(0).source;
            assert_eq!(fs::read(bound).unwrap(), b"text");
        }
        assert!(mounts(json!({"subPathExpr": "logs/$(POD)"})).unwrap()[0].source.is_dir());
        assert!(root.join("logs/p-0").is_dir());
        let made = "failed to create subPath directory for volumeMount \"v\" of container \"c\"";
        for (mount, want) in [
            (json!({"subPath": "/abs"}), "error SubPath `/abs` must not be an absolute path"),
            (json!({"subPath": "../x"}), "unable to provision SubPath `../x`: must not contain '..'"),
            (json!({"subPathExpr": "$(NO)/$(EMPTY)"}), "missing value for EMPTY, NO"),
            (json!({"subPath": "etc/passwd"}), made),
            (json!({"subPath": "etc"}), made),
            (json!({"subPath": "up/x"}), made),
            (json!({"subPath": "file/x"}), made),
        ] {
            assert_eq!(mounts(mount.clone()).unwrap_err(), want, "{mount}");
        }
        let read_only = mounts(
            json!({"readOnly": true, "recursiveReadOnly": "Enabled", "mountPropagation": "HostToContainer"}),
        );
        let read_only = read_only.unwrap().remove(0);
        assert!(read_only.read_only && read_only.recursive_read_only);
        assert_eq!((read_only.propagation, &read_only.source), (Propagation::HostToContainer, root));
        let below = || runtime::mount_points_below(root).unwrap();
        let shared = || below().iter().map(|mount| mount.shared).collect::<Vec<_>>();
        assert_eq!(shared(), [true], "the root is private, so the volume became a mount");
        let both = mounts(json!({"mountPropagation": "Bidirectional", "subPath": "a"})).unwrap().remove(0);
        mount(Some("none"), &both.source.join("b"), Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        assert_eq!(shared(), [true, true], "what is mounted in a part is mounted in the whole");
        w.volumes.teardown("u-1").await.unwrap();
        assert!(
            !w.temp.path().join("pods/u-1/volume-subpaths").exists() && Path::new("/etc/passwd").exists()
        );
    });
}
