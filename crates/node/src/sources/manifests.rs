//! Static Pods: manifests in DATA_DIR/manifests, read anew whenever the directory changes.
//!
//! Invariants: a file's Pod has the same UID as long as its contents, its path and the node are the same; a bad file is
//! logged once and left out, the others run. Absent: the HTTP source.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use runtime::beneath;
use rustix::fs::{CWD, ResolveFlags};
use serde_json::{Value, json};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use super::Update;
use crate::files::is_uid;

/// Annotation: where a Pod came from.
pub(crate) const SOURCE: &str = "kubernetes.io/config.source";
/// Annotation: its UID.
pub(crate) const HASH: &str = "kubernetes.io/config.hash";
const SEEN: &str = "kubernetes.io/config.seen";

/// The most that a manifest may hold, upstream's bound.
const MOST: u64 = 10 << 20;

/// What is wrong with files; each is said once, and again when it changes.
type Problems = BTreeMap<PathBuf, String>;

/// The directory is read at least so often.
const RESCAN: Duration = Duration::from_secs(20);
/// Changes settle for so long before the directory is read.
const SETTLE: Duration = Duration::from_millis(50);

/// Tells all static Pods at the start and after every change.
pub(crate) async fn run(dir: PathBuf, node: String, updates: mpsc::Sender<Update>) {
    let watch = watcher(&dir)
        .map_err(|e| tracing::warn!("{} is read every {RESCAN:?} only: {e}", dir.display()))
        .ok();
    let mut last: Option<BTreeMap<String, Arc<Pod>>> = None;
    let mut problems = Problems::new();
    loop {
        let (of, name) = (dir.clone(), node.clone());
        let (mut pods, found) = match tokio::task::spawn_blocking(move || read(&of, &name)).await {
            Ok(read) => read,
            Err(e) => return tracing::error!("manifests are not read any more: {e}"),
        };
        for (path, why) in found.iter().filter(|(path, why)| problems.get(*path) != Some(*why)) {
            tracing::error!("{}: {why}", path.display());
        }
        problems = found;
        if let Some(old) = &last {
            // The same manifest keeps the Pod it made first.
            for (uid, pod) in &mut pods {
                if let Some(known) = old.get(uid) {
                    *pod = known.clone();
                }
            }
        }
        let news = last.as_ref().is_none_or(|old| !old.keys().eq(pods.keys()));
        if news && updates.send(Update::Static(pods.clone())).await.is_err() {
            return;
        }
        last = Some(pods);
        let changed = async {
            match &watch {
                Some(watch) => drain(watch).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = changed => tokio::time::sleep(SETTLE).await,
            () = tokio::time::sleep(RESCAN) => {}
        }
        if updates.is_closed() {
            return;
        }
    }
}

/// nix's inotify has no raw descriptor of its own to wait on.
struct Watcher(Inotify);

impl AsRawFd for Watcher {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl std::os::fd::AsFd for Watcher {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn watcher(dir: &Path) -> std::io::Result<AsyncFd<Watcher>> {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
    let flags = AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_DELETE;
    inotify.add_watch(dir, flags)?;
    // SAFETY: the watcher owns its descriptor, which stays open and the same until both are dropped together.
    unsafe { AsyncFd::register(Watcher(inotify)) }.map_err(std::io::Error::other)
}

/// Waits for events and throws them away: the directory itself says what there is.
async fn drain(watch: &AsyncFd<Watcher>) {
    let Ok(mut ready) = watch.readable().await else { return std::future::pending().await };
    while ready.get_inner().0.read_events().is_ok() {}
    ready.clear_ready();
}

/// All static Pods of a directory, by UID, and what is wrong with its other files.
fn read(dir: &Path, node: &str) -> (BTreeMap<String, Arc<Pod>>, Problems) {
    let (mut out, mut problems) = (BTreeMap::new(), Problems::new());
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let known = [".yaml", ".yml", ".json"].iter().any(|end| name.ends_with(end));
        if !known || name.starts_with('.') {
            continue;
        }
        match text_of(&path).and_then(|text| parse(&text, &path, node)) {
            Ok(pods) => out
                .extend(pods.into_iter().map(|p| (p.metadata.uid.clone().unwrap_or_default(), Arc::new(p)))),
            Err(e) => drop(problems.insert(path, e)),
        }
    }
    (out, problems)
}

/// A manifest's text. The operator's links are followed, but only a regular file is opened.
fn text_of(path: &Path) -> Result<String, String> {
    let file = beneath::open_file(CWD, path, ResolveFlags::empty()).map_err(|e| e.to_string())?;
    match beneath::read_most(file, MOST).map_err(|e| e.to_string())? {
        (bytes, true) => String::from_utf8(bytes).map_err(|e| e.to_string()),
        _ => Err(format!("longer than {MOST} bytes")),
    }
}

/// The Pods of one file: one or several YAML documents, Pods or lists of them.
fn parse(text: &str, path: &Path, node: &str) -> Result<Vec<Pod>, String> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|e| e.to_string())?;
    let mut out = Vec::new();
    for document in documents {
        let items = match document["items"].as_array() {
            Some(items) => items.clone(),
            None if document.is_null() => continue,
            None => vec![document],
        };
        for item in items {
            out.push(make(item, path, node)?);
        }
    }
    Ok(out)
}

/// A manifest as a Pod of this node.
fn make(mut value: Value, path: &Path, node: &str) -> Result<Pod, String> {
    if value["kind"] != "Pod" || value["apiVersion"] != "v1" {
        return Err(format!("{} {} is not a v1 Pod", value["apiVersion"], value["kind"]));
    }
    refuse_references(&value)?;
    let metadata = value["metadata"].as_object().cloned().unwrap_or_default();
    let name = metadata.get("name").and_then(Value::as_str).ok_or("metadata.name is missing")?.to_owned();
    let given = metadata.get("uid").and_then(Value::as_str).filter(|u| !u.is_empty()).map(str::to_owned);
    let uid = given.unwrap_or_else(|| {
        let manifest = value.to_string();
        let all = format!("{manifest}\nhost:{node}\nfile:{}", path.display());
        format!("{:032x}", base::names::fnv1a_128(all.as_bytes()))
    });
    if !is_uid(&uid) {
        return Err(format!("metadata.uid: {uid:?} is no UID"));
    }
    kinds::pod::default::pod(&mut value);
    let node_lower = node.to_lowercase();
    value["metadata"]["name"] = json!(format!("{name}-{node_lower}"));
    value["metadata"]["uid"] = json!(uid);
    if value["metadata"]["namespace"].as_str().is_none_or(str::is_empty) {
        value["metadata"]["namespace"] = json!("default");
    }
    let annotations = &mut value["metadata"]["annotations"];
    if !annotations.is_object() {
        *annotations = json!({});
    }
    annotations[SOURCE] = json!("file");
    annotations[HASH] = json!(uid);
    annotations[SEEN] = json!(crate::clock::stamp());
    value["spec"]["nodeName"] = json!(node);
    let tolerations = &mut value["spec"]["tolerations"];
    if !tolerations.is_array() {
        *tolerations = json!([]);
    }
    if let Some(list) = tolerations.as_array_mut() {
        list.push(json!({"operator": "Exists", "effect": "NoExecute"}));
    }
    if let Some(object) = value.as_object_mut() {
        object.remove("status");
    }
    let pod: Pod = kinds::view::typed(&value).map_err(|e| e.to_string())?;
    check(&pod)?;
    Ok(pod)
}

/// What the API would say of it: names become paths here, and nobody else has looked at them.
fn check(pod: &Pod) -> Result<(), String> {
    let mut value = serde_json::to_value(pod).map_err(|e| e.to_string())?;
    (value["apiVersion"], value["kind"]) = (json!("v1"), json!("Pod"));
    // The node's own, whatever it is called.
    value["spec"]["nodeName"].take();
    let errors = kinds::meta::create_errors(&value, &kinds::pod::KIND);
    match errors.is_empty() {
        true => Ok(()),
        false => Err(errors.to_string()),
    }
}

/// A static Pod may not depend on objects of the API.
fn refuse_references(value: &Value) -> Result<(), String> {
    let spec = &value["spec"];
    if spec["serviceAccountName"].as_str().is_some_and(|s| !s.is_empty()) {
        return Err("a static pod may not reference serviceaccounts".into());
    }
    for volume in spec["volumes"].as_array().into_iter().flatten() {
        for (field, what) in [
            ("configMap", "configmaps"),
            ("secret", "secrets"),
            ("persistentVolumeClaim", "persistentvolumeclaims"),
            ("projected", "projected volumes"),
        ] {
            if !volume[field].is_null() {
                return Err(format!("a static pod may not reference {what}"));
            }
        }
    }
    for list in ["containers", "initContainers"] {
        for container in spec[list].as_array().into_iter().flatten() {
            let from = container["envFrom"].as_array().is_some_and(|l| !l.is_empty());
            let refs = container["env"].as_array().into_iter().flatten().any(|e| {
                !e["valueFrom"]["configMapKeyRef"].is_null() || !e["valueFrom"]["secretKeyRef"].is_null()
            });
            if from || refs {
                return Err("a static pod may not reference configmaps or secrets".into());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str =
        "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers: [{name: a, image: b}]\n";

    #[test]
    fn bad_files_are_told_and_hold_nothing_up() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        nix::unistd::mkfifo(&at("fifo.yaml"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::fs::create_dir(at("dir.yaml")).unwrap();
        std::os::unix::fs::symlink("loop.yaml", at("loop.yaml")).unwrap();
        std::os::unix::fs::symlink("/dev/zero", at("device.yaml")).unwrap();
        std::os::unix::net::UnixListener::bind(at("socket.yaml")).unwrap();
        std::fs::File::create(at("huge.yaml")).unwrap().set_len(1 << 40).unwrap();
        std::fs::write(at("text"), POD).unwrap();
        std::os::unix::fs::symlink("text", at("link.yaml")).unwrap();
        for (n, field) in ["uid: ../../x", "uid: /etc", "uid: .hidden", "namespace: ../x"].iter().enumerate()
        {
            std::fs::write(
                at(&format!("bad{n}.yaml")),
                POD.replace("name: web", &format!("name: web, {field}")),
            )
            .unwrap();
        }
        std::fs::write(at("bad4.yaml"), POD.replace("web", "../../web")).unwrap();
        std::fs::write(at("bad5.yaml"), POD.replace("name: a", "name: ../a")).unwrap();
        std::fs::write(at("own.yaml"), POD.replace("name: web", "name: own, uid: My-1")).unwrap();
        let (pods, problems) = read(dir.path(), "n");
        let names: Vec<_> = pods.values().map(|p| p.metadata.name.as_deref().unwrap()).collect();
        assert_eq!((names.len(), pods["My-1"].metadata.name.as_deref()), (2, Some("own-n")), "{problems:?}");
        assert_eq!(problems.len(), 12, "{problems:?}");
    }

    #[test]
    fn a_manifest_becomes_a_pod_of_this_node() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.yaml"), POD).unwrap();
        std::fs::write(dir.path().join("b.txt"), POD).unwrap();
        std::fs::write(dir.path().join("bad.yaml"), "kind: Pod").unwrap();
        let pods = read(dir.path(), "Node1").0;
        let again = read(dir.path(), "Node1").0;
        assert_eq!(pods.len(), 1);
        assert!(pods.keys().eq(again.keys()), "the UID is stable");
        let (uid, pod) = pods.first_key_value().unwrap();
        assert_eq!(uid.len(), 32);
        let m = &pod.metadata;
        assert_eq!((m.name.as_deref(), m.namespace.as_deref()), (Some("web-node1"), Some("default")));
        let annotations = m.annotations.as_ref().unwrap();
        assert_eq!((annotations[SOURCE].as_str(), &annotations[HASH]), ("file", uid));
        let spec = pod.spec.as_ref().unwrap();
        assert_eq!(
            (spec.node_name.as_deref(), spec.restart_policy.as_deref()),
            (Some("Node1"), Some("Always"))
        );
        assert!(!read(dir.path(), "other").0.keys().eq(pods.keys()), "another node, another UID");
    }

    #[test]
    fn references_are_refused() {
        for spec in [
            "volumes: [{name: v, secret: {secretName: s}}], containers: [{name: a}]",
            "serviceAccountName: x, containers: [{name: a}]",
            "containers: [{name: a, envFrom: [{configMapRef: {name: c}}]}]",
        ] {
            let text = format!("{{apiVersion: v1, kind: Pod, metadata: {{name: p}}, spec: {{{spec}}}}}");
            assert!(parse(&text, Path::new("/x"), "n").is_err(), "{spec}");
        }
    }
}
