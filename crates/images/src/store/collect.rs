//! Removal: by name, by garbage collection, and of layers nobody needs any more.
//!
//! Invariant: a layer goes only while no pull or import is under way in any process, and not before the last mount of
//! it has ended, whoever made it: a container keeps its root although its image is gone.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::files::{Locked, remove_tree};
use super::index::{Index, untag};
use super::{Images, blocking, lock, now};
use crate::error::Error;
use crate::manifest::Digest;

/// What a garbage collection did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// Images removed, by name or else id.
    pub images: Vec<String>,
    /// Unpacked bytes freed.
    pub bytes: u64,
}

/// What a removal did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// Names, then the id if the image went with them.
    pub names: Vec<String>,
    /// Layers that no image needs but containers still use; they go with the next removal or start after those end.
    pub kept: usize,
}

impl Images {
    /// Says that these images (by id) are in use now: garbage collection takes the least recently used first.
    pub fn mark_used(&self, ids: &HashSet<String>) {
        let now = now();
        let mut used = lock(&self.used);
        used.extend(ids.iter().filter_map(|id| Some((Digest::parse(id)?, now))));
    }

    /// Removes a name, and the image with it if that was its last; an id removes the image with all names. Layers
    /// no other image needs go too, at once or, while a pull is running, with the next removal.
    ///
    /// Layers that are mounted stay until they are not.
    ///
    /// # Errors
    /// If there is no such image, or the store cannot be changed.
    pub async fn remove(self: &Arc<Self>, reference: &str) -> Result<Removed, Error> {
        let (images, reference) = (Arc::clone(self), reference.to_owned());
        blocking(move || {
            let names = images.update(|index| untag(index, &reference))??;
            let kept = images.sweep()?;
            Ok(Removed { names, kept })
        })
        .await
    }

    /// Removes least recently used images that are not in `in_use` (ids) and were last used more than `min_age` ago,
    /// until `need` bytes of unpacked files are freed. Unreferenced layers are removed in any case.
    ///
    /// # Errors
    /// If the store cannot be changed.
    pub async fn gc(
        self: &Arc<Self>,
        in_use: HashSet<String>,
        need: u64,
        min_age: Duration,
    ) -> Result<Collected, Error> {
        self.mark_used(&in_use);
        let images = Arc::clone(self);
        blocking(move || {
            let newest = now().saturating_sub(min_age.as_secs());
            let collected = images.update(|index| {
                images.take_over_use(index);
                images.choose(index, &in_use, need, newest)
            })?;
            images.sweep()?;
            Ok(collected)
        })
        .await
    }

    fn take_over_use(&self, index: &mut Index) {
        let used = lock(&self.used);
        for record in &mut index.images {
            record.last_used = record.last_used.max(used.get(&record.id).copied().unwrap_or(0));
        }
    }

    fn choose(&self, index: &mut Index, in_use: &HashSet<String>, need: u64, newest: u64) -> Collected {
        let mut collected = Collected::default();
        let mut references: BTreeMap<Digest, usize> = BTreeMap::new();
        for layer in index.images.iter().flat_map(|record| &record.layers) {
            *references.entry(layer.clone()).or_default() += 1;
        }
        index.images.sort_by_key(|record| record.last_used);
        index.images.retain(|record| {
            if collected.bytes >= need || in_use.contains(record.id.as_str()) || record.last_used > newest {
                return true;
            }
            for layer in &record.layers {
                let count = references.entry(layer.clone()).or_insert(1);
                *count -= 1;
                if *count == 0 {
                    collected.bytes += self.meta(layer).map_or(0, |meta| meta.bytes);
                }
            }
            collected.images.push(record.tags.first().map_or_else(|| record.id.to_string(), Clone::clone));
            false
        });
        collected
    }

    /// Removes layers no image needs, but for those that are mounted, and returns how many these are. Left for later if
    /// layers are being added.
    pub(super) fn sweep(&self) -> Result<usize, Error> {
        let path = self.root.join("layers.lock");
        let Some(_locked) = Locked::alone_now(&path)? else { return Ok(0) };
        let unneeded = self.unneeded()?;
        let used = self.in_use(&unneeded)?;
        let free: Vec<&String> = unneeded.iter().filter(|name| !used.contains(*name)).collect();
        let layers = self.root.join("layers");
        let mut away = Vec::new();
        for name in free {
            // Renamed first: a half-removed layer never has a layer's name.
            let (from, to) =
                (layers.join(name), self.work.join(self.next.fetch_add(1, Ordering::Relaxed).to_string()));
            fs::rename(&from, &to).map_err(|error| Error::io("move away", &from, error))?;
            away.push((name.clone(), from, to));
        }
        // Nobody can begin to use them any more; somebody may just have.
        let names: Vec<String> = away.iter().map(|(name, ..)| name.clone()).collect();
        let late = self.in_use(&names).unwrap_or_else(|error| {
            tracing::warn!(%error, "layers that may be mounted stay");
            names.into_iter().collect()
        });
        for (name, from, to) in away {
            if late.contains(&name) {
                fs::rename(&to, &from).map_err(|error| Error::io("move back", &from, error))?;
            } else {
                remove_tree(&to).map_err(|error| Error::io("remove", &to, error))?;
            }
        }
        Ok(used.len() + late.len())
    }

    /// Those of the layers that are mounted or that somebody says are used.
    fn in_use(&self, layers: &[String]) -> Result<HashSet<String>, Error> {
        let mut found = mounted(layers)?;
        if !layers.is_empty() {
            let told =
                self.config.users.layers().map_err(|error| Error::io("read users of", &self.root, error))?;
            let names =
                |layer: &String| told.iter().any(|path| path.iter().any(|part| part == layer.as_str()));
            found.extend(layers.iter().filter(|layer| names(layer)).cloned());
        }
        Ok(found)
    }

    /// The names of layers that no image needs.
    fn unneeded(&self) -> Result<Vec<String>, Error> {
        let index = self.index()?;
        let needed: HashSet<&str> =
            index.images.iter().flat_map(|record| &record.layers).map(Digest::hex).collect();
        let layers = self.root.join("layers");
        let read = |error| Error::io("read", &layers, error);
        let mut unneeded = Vec::new();
        for entry in fs::read_dir(&layers).map_err(read)? {
            let name = entry.map_err(read)?.file_name().to_string_lossy().into_owned();
            if !needed.contains(name.as_str()) {
                unneeded.push(name);
            }
        }
        Ok(unneeded)
    }
}

/// Those of the layers that are mounted anywhere, in whatever mount namespace: containers outlive who started them.
fn mounted(layers: &[String]) -> Result<HashSet<String>, Error> {
    let mut found = HashSet::new();
    if layers.is_empty() {
        return Ok(found);
    }
    let mut seen = HashSet::new();
    for process in fs::read_dir("/proc").map_err(|error| Error::io("read", "/proc", error))? {
        let process = process.map_err(|error| Error::io("read", "/proc", error))?.path();
        // What is no process has none, nor has one that is gone meanwhile.
        let Ok(namespace) = fs::read_link(process.join("ns/mnt")) else { continue };
        if seen.contains(&namespace) {
            continue;
        }
        let file = process.join("mountinfo");
        let mounts = match fs::read(&file) {
            Ok(mounts) => mounts,
            // It ended just now; others of its namespace are still looked at.
            Err(_) if fs::read_link(process.join("ns/mnt")).is_err() => continue,
            Err(error) => return Err(Error::io("read", &file, error)),
        };
        seen.insert(namespace);
        let mounts = String::from_utf8_lossy(&mounts);
        found.extend(layers.iter().filter(|layer| mounts.contains(layer.as_str())).cloned());
    }
    Ok(found)
}
