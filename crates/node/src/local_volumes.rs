//! Removes the directories of this node's volumes whose objects are to go, and lets go of the objects then
//! (`minke.dev/local`; making the objects is a controller's, making the directories is mounting's).
//!
//! Invariants: only what is directly below this node's directory of volumes is removed; an object goes after its directory.
//! Absent: bounds of their sizes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use client::follow::{Told, follow};
use client::{Objects, Options, Status};
use kinds::persistentvolume::provision::{HELD, is_ours};
use runtime::Trash;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::calls;

/// Changes that wait.
const QUEUE: usize = 64;

/// Where this node's volumes are.
#[must_use]
pub(crate) fn directory(data_dir: &Path) -> PathBuf {
    data_dir.join("volumes")
}

/// Runs for ever.
pub(crate) async fn run(api: Arc<dyn Objects>, data_dir: PathBuf, trash: Arc<Trash>) {
    let (sender, mut told) = mpsc::channel(QUEUE);
    let target = calls::target(calls::VOLUMES, "", "");
    let following = follow(api.clone(), target, Options::default(), sender, |told| told);
    let keeping = async {
        while let Some(told) = told.recv().await {
            let Told::Now(object) = told else { continue };
            if !object.facts.deleting {
                continue;
            }
            match object.parse::<Value>() {
                Ok(volume) => remove(&*api, &data_dir, &trash, &volume).await,
                Err(error) => tracing::warn!(volume = %object.name, "cannot be read: {error}"),
            }
        }
    };
    tokio::join!(following, keeping);
}

/// The directory of a volume that is to go and that is this node's.
fn goes(volume: &Value, data_dir: &Path) -> Option<PathBuf> {
    let held = volume["metadata"]["finalizers"].as_array().is_some_and(|all| all.iter().any(|f| f == HELD));
    let path = PathBuf::from(volume["spec"]["local"]["path"].as_str()?);
    let name = volume["metadata"]["name"].as_str()?;
    (held && is_ours(volume) && path == directory(data_dir).join(name)).then_some(path)
}

async fn remove(api: &dyn Objects, data_dir: &Path, trash: &Arc<Trash>, volume: &Value) {
    let Some(path) = goes(volume, data_dir) else { return };
    // Somebody may still have it: its claim's protection ends first.
    let others = |f: &&Value| **f != HELD;
    let finalizers: Vec<&Value> =
        volume["metadata"]["finalizers"].as_array().into_iter().flatten().filter(others).collect();
    if finalizers.iter().any(|f| **f == kinds::persistentvolume::PROTECTION) {
        return;
    }
    let (gone, bin) = (path.clone(), trash.clone());
    let emptied = tokio::task::spawn_blocking(move || bin.put(&gone));
    match emptied.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return tracing::warn!("{} is not removed: {error}", path.display()),
        Err(error) => return tracing::warn!("{} is not removed: {error}", path.display()),
    }
    if let Err(error) = let_go(api, volume, &finalizers).await {
        tracing::warn!("{} is removed, its object is not: {error}", path.display());
    }
}

async fn let_go(api: &dyn Objects, volume: &Value, finalizers: &[&Value]) -> Result<(), Status> {
    let meta = &volume["metadata"];
    let target = calls::target(calls::VOLUMES, "", meta["name"].as_str().unwrap_or_default());
    let change = json!({"metadata": {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"], "finalizers": finalizers}});
    match calls::merge(api, target, &change).await {
        // It changed since, which is told too.
        Err(status) if status.is("Conflict") || status.is("NotFound") => Ok(()),
        other => other.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own() {
        let volume = |name: &str, path: &str, by: &str, finalizer: &str| {
            json!({"metadata": {"name": name, "finalizers": [finalizer],
                "annotations": {"pv.kubernetes.io/provisioned-by": by}}, "spec": {"local": {"path": path}}})
        };
        let at = |v: Value| goes(&v, Path::new("/d"));
        assert_eq!(at(volume("a", "/d/volumes/a", "minke.dev/local", HELD)), Some("/d/volumes/a".into()));
        assert_eq!(at(volume("a", "/d/volumes/b", "minke.dev/local", HELD)), None);
        assert_eq!(at(volume("a", "/etc", "minke.dev/local", HELD)), None);
        assert_eq!(at(volume("a", "/d/volumes/a", "e.com/p", HELD)), None);
        assert_eq!(at(volume("a", "/d/volumes/a", "minke.dev/local", "e.com/f")), None);
    }
}
