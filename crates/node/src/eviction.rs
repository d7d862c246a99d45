//! Local storage: Pods that use more of the disk than they may are ended (upstream: `localStorageEviction`).
//!
//! Invariant: only Pods with such a limit are measured. Absent: pressure of the whole node.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::quantity::Quantity;
use k8s_openapi::api::core::v1::Pod;
use runtime::beneath::disk_usage;
use tokio::sync::mpsc;

use crate::actor::{LAST_WORDS, NODE_FILES};
use crate::admission::is_over;
use crate::config::Shared;
use crate::handle::PodEntry;
use crate::sources::Update;
use crate::volumes::Storage;

/// As often as upstream looks.
const EVERY: Duration = Duration::from_secs(10);

/// Bytes on disk of one Pod.
#[derive(Debug, Default)]
struct Usage {
    /// By emptyDir volume.
    volumes: BTreeMap<String, u64>,
    /// By container: its writable layer, its logs and its last words.
    containers: BTreeMap<String, u64>,
    /// What all containers share: configMap volumes and the node's files that they may write to.
    pod: u64,
}

/// Whose bytes they are.
enum Whose {
    Volume(String),
    Container(String),
    Pod,
}

/// Looks until dropped; whoever is over a limit is told to `updates`.
pub(crate) async fn run(shared: Arc<Shared>, updates: mpsc::Sender<Update>) {
    let mut look = tokio::time::interval(EVERY);
    loop {
        look.tick().await;
        for entry in shared.handle.pods() {
            if is_over(&entry.pod) || !is_limited(&entry.pod) {
                continue;
            }
            let usage = measure(&shared, &entry).await;
            let (Some(message), Some(uid)) = (excess(&entry.pod, &usage), entry.pod.metadata.uid.clone())
            else {
                continue;
            };
            if updates.send(Update::Evict { uid, message }).await.is_err() {
                return;
            }
        }
    }
}

/// The emptyDirs on disk with their limits.
fn empty_dirs(pod: &Pod) -> impl Iterator<Item = (&str, Option<&str>)> {
    let volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
    volumes.filter_map(|v| {
        let source = v.empty_dir.as_ref().filter(|e| e.medium.as_deref().unwrap_or_default().is_empty())?;
        Some((v.name.as_str(), source.size_limit.as_ref().map(|q| q.0.as_str())))
    })
}

/// Containers and sidecars with their limit.
fn limits(pod: &Pod) -> impl Iterator<Item = (&str, Option<&str>)> {
    let containers =
        pod.spec.iter().flat_map(|s| s.containers.iter().chain(s.init_containers.iter().flatten()));
    containers.map(|c| {
        let limits = c.resources.as_ref().and_then(|r| r.limits.as_ref());
        (c.name.as_str(), limits.and_then(|l| l.get("ephemeral-storage")).map(|q| q.0.as_str()))
    })
}

fn is_limited(pod: &Pod) -> bool {
    empty_dirs(pod).chain(limits(pod)).any(|(_, limit)| limit.is_some())
}

fn bytes(limit: &str) -> Option<u64> {
    u64::try_from(limit.parse::<Quantity>().ok()?.value()).ok().filter(|b| *b > 0)
}

/// Why the Pod is to end, in upstream's words and order.
fn excess(pod: &Pod, usage: &Usage) -> Option<String> {
    let over = |used: u64, limit: &str| bytes(limit).is_some_and(|limit| used > limit);
    for (name, limit) in empty_dirs(pod) {
        let used = usage.volumes.get(name).copied().unwrap_or(0);
        if let Some(limit) = limit.filter(|l| over(used, l)) {
            return Some(format!("Usage of EmptyDir volume \"{name}\" exceeds the limit \"{limit}\". "));
        }
    }
    let all: Vec<Option<Quantity>> = limits(pod).map(|(_, l)| l.and_then(|l| l.parse().ok())).collect();
    let total = all.iter().copied().try_fold(Quantity::from_bytes(0), |sum, limit| Some(sum + limit?));
    if let Some(total) = total.filter(|_| !all.is_empty()) {
        let used: u64 = usage.volumes.values().chain(usage.containers.values()).sum::<u64>() + usage.pod;
        if over(used, &total.to_string()) {
            return Some(format!(
                "Pod ephemeral local storage usage exceeds the total limit of containers {total}. "
            ));
        }
    }
    for (name, limit) in limits(pod) {
        let used = usage.containers.get(name).copied().unwrap_or(0);
        if let Some(limit) = limit.filter(|l| over(used, l)) {
            return Some(format!(
                "Container {name} exceeded its local ephemeral storage limit \"{limit}\". "
            ));
        }
    }
    None
}

async fn measure(shared: &Shared, entry: &PodEntry) -> Usage {
    let mut places: Vec<(Whose, PathBuf)> = Vec::new();
    places.extend(shared.volumes.usage(&entry.pod).into_iter().map(|(name, usage)| match usage {
        Storage::Volume(place) => (Whose::Volume(name), place),
        Storage::Pod(place) => (Whose::Pod, place),
    }));
    let dir = shared.pod_dir(entry.pod.metadata.uid.as_deref().unwrap_or_default());
    places.extend(NODE_FILES.iter().map(|name| (Whose::Pod, dir.join(name))));
    for c in lifecycle::containers(&entry.pod) {
        for place in [entry.log_dir.join(c.name()), dir.join(LAST_WORDS).join(c.name())] {
            places.push((Whose::Container(c.name().to_owned()), place));
        }
    }
    for (name, instances) in &entry.containers {
        for instance in instances {
            match shared.config.runtime.writable_layer(&instance.id).await {
                Ok(dir) => places.push((Whose::Container(name.clone()), dir)),
                Err(e) => tracing::debug!("the layer of {name} is not measured: {e}"),
            }
        }
    }
    let measured = tokio::task::spawn_blocking(move || {
        places.into_iter().map(|(whose, place)| (whose, disk_usage(&place))).collect::<Vec<_>>()
    });
    let measured = measured.await.unwrap_or_else(|e| {
        tracing::error!("local storage is not measured: {e}");
        Vec::new()
    });
    let mut usage = Usage::default();
    for (whose, used) in measured {
        *match whose {
            Whose::Volume(name) => usage.volumes.entry(name).or_default(),
            Whose::Container(name) => usage.containers.entry(name).or_default(),
            Whose::Pod => &mut usage.pod,
        } += used;
    }
    usage
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn who_uses_too_much() {
        let mebi = |n: u64| n << 20;
        let limited = json!({"limits": {"ephemeral-storage": "5Mi"}});
        let usage = |volume, a, b| Usage {
            volumes: [("v".to_owned(), mebi(volume))].into(),
            containers: [("a".to_owned(), mebi(a)), ("b".to_owned(), mebi(b))].into(),
            pod: 0,
        };
        let sized = json!([{"name": "v", "emptyDir": {"sizeLimit": "5Mi"}}]);
        let free = json!([{"name": "v", "emptyDir": {}}]);
        for (name, volumes, b, used, want) in [
            ("nothing", &sized, json!({}), usage(5, 5, 50), None),
            (
                "volume",
                &sized,
                json!({}),
                usage(6, 0, 0),
                Some("Usage of EmptyDir volume \"v\" exceeds the limit \"5Mi\". "),
            ),
            (
                "container",
                &free,
                json!({}),
                usage(0, 6, 0),
                Some("Container a exceeded its local ephemeral storage limit \"5Mi\". "),
            ),
            (
                "sum",
                &free,
                limited.clone(),
                usage(3, 4, 4),
                Some("Pod ephemeral local storage usage exceeds the total limit of containers 10Mi. "),
            ),
            (
                "sum with the Pod's own",
                &free,
                limited.clone(),
                Usage { pod: mebi(3), ..usage(0, 4, 4) },
                Some("Pod ephemeral local storage usage exceeds the total limit of containers 10Mi. "),
            ),
            ("no sum without every limit", &free, json!({}), usage(30, 4, 4), None),
            (
                "memory",
                &json!([{"name": "v", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}]),
                json!({}),
                usage(6, 0, 0),
                None,
            ),
        ] {
            let pod: Pod = serde_json::from_value(json!({"spec": {"volumes": volumes, "containers": [
                {"name": "a", "resources": limited}, {"name": "b", "resources": b}]}}))
            .unwrap();
            assert_eq!(excess(&pod, &used).as_deref(), want, "{name}");
            assert!(is_limited(&pod));
        }
    }
}
