//! The directory `DATA_DIR/images`: an index of images and one directory for each unpacked layer.
//!
//! ```text
//! index.json          all images; replaced by rename
//! index.lock          flock for changes of the index
//! layers.lock         flock: shared while layers are added, exclusive while they are removed
//! layers/HEX/fs       a layer as overlayfs takes it; HEX is OCI's chain id
//! layers/HEX/meta.json
//! work/PID-N/         what is being unpacked; removed when its process is gone
//! ```
//!
//! Invariants: a layer directory is complete and durable from the moment it has its name; an image in the index has
//! all its layers. Several processes may share one store (locks are flocks).

mod collect;
mod files;
mod index;

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::Image;
use crate::config::Config;
use crate::error::Error;
use crate::manifest::Digest;
use crate::unpack::{Unpacked, inherit};
use files::{Locked, make_dir, own_work, remove_stale_work, remove_tree, sync_dir, write_durably};
use index::{Index, Stamp, find};

pub use collect::{Collected, Removed};
pub(crate) use index::Record;

/// The image store.
pub struct Images {
    root: PathBuf,
    pub(crate) config: Config,
    work: PathBuf,
    /// Held while this process lives, so that others leave `work` alone.
    _work_lock: File,
    next: AtomicU64,
    cache: Mutex<Option<(Stamp, Arc<Index>)>>,
    in_flight: Mutex<HashMap<Digest, Weak<tokio::sync::Mutex<()>>>>,
    used: Mutex<HashMap<Digest, u64>>,
}

/// What is on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Images.
    pub images: usize,
    /// Layers, shared ones once.
    pub layers: usize,
    /// Bytes of unpacked files, shared layers once.
    pub bytes: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct LayerMeta {
    diff_id: Digest,
    bytes: u64,
    compressed: u64,
}

/// A directory being filled; removed with its content unless published.
pub(crate) struct WorkDir(PathBuf);

impl WorkDir {
    /// Where the layer's files go.
    pub(crate) fn fs(&self) -> PathBuf {
        self.0.join("fs")
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "cannot remove work directory");
        }
    }
}

/// While it lives no layer is removed.
pub(crate) struct LayersHeld(#[allow(dead_code, reason = "it is the lock")] Locked);

impl Images {
    /// Opens `data_dir/images`, made if missing, and removes what crashed processes left unfinished.
    ///
    /// # Errors
    /// If the directory cannot be used or belongs to a newer program.
    pub fn open(data_dir: &Path, config: Config) -> Result<Arc<Self>, Error> {
        // Fails only if the program installed a provider already, which then is the one to use.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let root = data_dir.join("images");
        for directory in [root.clone(), root.join("layers"), root.join("work")] {
            make_dir(&directory, 0o700)?;
        }
        remove_stale_work(&root.join("work"))?;
        let (work, work_lock) = own_work(&root.join("work"))?;
        let images = Self {
            root,
            config,
            work,
            _work_lock: work_lock,
            next: AtomicU64::new(0),
            cache: Mutex::new(None),
            in_flight: Mutex::new(HashMap::new()),
            used: Mutex::new(HashMap::new()),
        };
        images.index()?;
        // What a removal left, because it was used or because it was killed.
        images.sweep()?;
        Ok(Arc::new(images))
    }

    /// All images, sorted by id.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn list(&self) -> Result<Vec<Image>, Error> {
        let mut images: Vec<Image> = self.index()?.images.iter().map(|record| self.image(record)).collect();
        images.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(images)
    }

    /// The image a name, a name with digest, an id (`sha256:HEX` or `HEX`) or at least eight digits of an id stand
    /// for. Ambiguous short ids and names that cannot be parsed stand for none.
    #[must_use]
    pub fn resolve(&self, reference: &str) -> Option<Image> {
        let found =
            self.index().and_then(|index| Ok(find(&index, reference)?.map(|record| self.image(record))));
        found.unwrap_or_else(|error| {
            tracing::warn!(reference, %error, "cannot resolve image");
            None
        })
    }

    /// What the store holds.
    ///
    /// # Errors
    /// If the index or a layer's description cannot be read.
    pub fn usage(&self) -> Result<Usage, Error> {
        let index = self.index()?;
        let layers: BTreeSet<&Digest> = index.images.iter().flat_map(|record| &record.layers).collect();
        let mut usage = Usage { images: index.images.len(), layers: layers.len(), bytes: 0 };
        for layer in layers {
            usage.bytes += self.meta(layer)?.bytes;
        }
        Ok(usage)
    }

    fn layer_dir(&self, chain: &Digest) -> PathBuf {
        self.root.join("layers").join(chain.hex())
    }

    fn layer_fs(&self, chain: &Digest) -> PathBuf {
        self.layer_dir(chain).join("fs")
    }

    fn meta(&self, chain: &Digest) -> Result<LayerMeta, Error> {
        let path = self.layer_dir(chain).join("meta.json");
        let json = fs::read(&path).map_err(|error| Error::io("read", &path, error))?;
        serde_json::from_slice(&json).map_err(|error| Error::Corrupt { path, message: error.to_string() })
    }

    /// Whether a layer is complete in the store.
    pub(crate) fn has_layer(&self, chain: &Digest) -> bool {
        self.layer_dir(chain).is_dir()
    }

    /// Keeps layers from being removed; blocks while another process removes some.
    pub(crate) fn hold_layers(&self) -> Result<LayersHeld, Error> {
        let path = self.root.join("layers.lock");
        Ok(LayersHeld(Locked::shared(&path)?))
    }

    /// One lock for each layer being added: who waits for it finds the layer there afterwards, or adds it.
    pub(crate) fn layer_lock(&self, chain: &Digest) -> Arc<tokio::sync::Mutex<()>> {
        let mut in_flight = lock(&self.in_flight);
        in_flight.retain(|_, weak| weak.strong_count() > 0);
        if let Some(found) = in_flight.get(chain).and_then(Weak::upgrade) {
            return found;
        }
        let made = Arc::new(tokio::sync::Mutex::new(()));
        in_flight.insert(chain.clone(), Arc::downgrade(&made));
        made
    }

    /// An empty directory to unpack into, with its `fs` directory.
    pub(crate) fn work_dir(&self) -> Result<WorkDir, Error> {
        let path = self.work.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        make_dir(&path, 0o700)?;
        let work = WorkDir(path);
        make_dir(&work.fs(), 0o755)?;
        Ok(work)
    }

    /// Gives an unpacked layer its name. `below` are the chain ids under it, lowest first, all published.
    pub(crate) fn publish(
        &self,
        work: WorkDir,
        chain: &Digest,
        below: &[Digest],
        diff_id: &Digest,
        unpacked: &Unpacked,
    ) -> Result<(), Error> {
        let lower: Vec<PathBuf> = below.iter().rev().map(|layer| self.layer_fs(layer)).collect();
        inherit(&work.fs(), &unpacked.implicit, &lower)
            .map_err(|error| Error::io("inherit in", work.fs(), error))?;
        let meta =
            LayerMeta { diff_id: diff_id.clone(), bytes: unpacked.bytes, compressed: unpacked.compressed };
        let json = serde_json::to_vec(&meta).expect("a plain struct serialises");
        write_durably(&work.path().join("meta.json"), &json)?;
        sync_dir(work.path())?;
        let to = self.layer_dir(chain);
        match fs::rename(work.path(), &to) {
            Ok(()) => sync_dir(&self.root.join("layers")),
            // Another process was quicker; ours is dropped.
            Err(_) if to.is_dir() => Ok(()),
            Err(error) => Err(Error::io("publish", &to, error)),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Runs file work off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is being shut down: the work never began.
            Err(cancelled) => Err(Error::Cancelled(cancelled.to_string())),
        },
    }
}

impl Drop for Images {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.work) {
            tracing::warn!(path = %self.work.display(), %error, "cannot remove work directory");
        }
    }
}
