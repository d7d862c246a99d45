//! Removal: by name, by garbage collection, and of layers nobody needs any more.
//!
//! Invariant: a layer goes only while no pull or import is under way in any process.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::files::{lock_file, remove_tree};
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
    /// The caller makes sure that no container uses it. Returns what was removed: names, then the id.
    ///
    /// # Errors
    /// If there is no such image, or the store cannot be changed.
    pub async fn remove(self: &Arc<Self>, reference: &str) -> Result<Vec<String>, Error> {
        let (images, reference) = (Arc::clone(self), reference.to_owned());
        blocking(move || {
            let removed = images.update(|index| untag(index, &reference))??;
            images.sweep()?;
            Ok(removed)
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

    /// Removes layers no image needs. Left for later if layers are being added.
    fn sweep(&self) -> Result<(), Error> {
        let path = self.root.join("layers.lock");
        let file = lock_file(&path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => (),
            Err(Errno::WOULDBLOCK) => return Ok(()),
            Err(error) => return Err(Error::io("lock", &path, error)),
        }
        let index = self.index()?;
        let needed: HashSet<&str> =
            index.images.iter().flat_map(|record| &record.layers).map(Digest::hex).collect();
        let layers = self.root.join("layers");
        let entries = fs::read_dir(&layers).map_err(|error| Error::io("read", &layers, error))?;
        for entry in entries {
            let entry = entry.map_err(|error| Error::io("read", &layers, error))?;
            if entry.file_name().to_str().is_some_and(|name| needed.contains(name)) {
                continue;
            }
            // Renamed first: a half-removed layer never has a layer's name.
            let away = self.work.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
            fs::rename(entry.path(), &away).map_err(|error| Error::io("move away", entry.path(), error))?;
            remove_tree(&away).map_err(|error| Error::io("remove", &away, error))?;
        }
        Ok(())
    }
}
