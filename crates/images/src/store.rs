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

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::Image;
use crate::config::Config;
use crate::error::Error;
use crate::manifest::{Digest, RunConfig};
use crate::name::Name;
use crate::unpack::{Unpacked, inherit};

const FORMAT: u32 = 1;

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

/// What a garbage collection did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// Images removed, by name or else id.
    pub images: Vec<String>,
    /// Unpacked bytes freed.
    pub bytes: u64,
}

/// Changes whenever `index.json` is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    seconds: i64,
    nanos: i64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Index {
    format: u32,
    images: Vec<Record>,
}

/// An image in the index.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: Digest,
    pub(crate) tags: BTreeSet<String>,
    pub(crate) digests: BTreeSet<String>,
    pub(crate) size: u64,
    pub(crate) config: RunConfig,
    /// Chain ids, lowest first.
    pub(crate) layers: Vec<Digest>,
    /// Unix seconds.
    pub(crate) last_used: u64,
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
pub(crate) struct LayersHeld(#[allow(dead_code, reason = "the open file is the lock")] File);

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

    pub(crate) fn image(&self, record: &Record) -> Image {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let list = |value: &Option<Vec<String>>| value.clone().unwrap_or_default();
        Image {
            id: record.id.to_string(),
            tags: record.tags.iter().cloned().collect(),
            digests: record.digests.iter().cloned().collect(),
            size: record.size,
            entrypoint: list(&record.config.entrypoint),
            cmd: list(&record.config.cmd),
            env: list(&record.config.env),
            working_dir: text(&record.config.working_dir),
            user: text(&record.config.user),
            stop_signal: text(&record.config.stop_signal),
            layers: record.layers.iter().rev().map(|layer| self.layer_fs(layer)).collect(),
        }
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
        let file = lock_file(&path)?;
        flock(&file, FlockOperation::LockShared).map_err(|error| Error::io("lock", &path, error))?;
        Ok(LayersHeld(file))
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

    /// Puts an image into the index, all layers being there; its names move from other images to it.
    pub(crate) fn add(&self, mut record: Record) -> Result<Image, Error> {
        record.last_used = now();
        self.update(|index| {
            for other in index.images.iter_mut().filter(|other| other.id != record.id) {
                other.tags.retain(|tag| !record.tags.contains(tag));
            }
            match index.images.iter_mut().find(|present| present.id == record.id) {
                Some(present) => {
                    present.tags.append(&mut record.tags);
                    present.digests.append(&mut record.digests);
                    present.size = record.size;
                    present.last_used = record.last_used;
                    self.image(present)
                }
                None => {
                    index.images.push(record.clone());
                    self.image(&record)
                }
            }
        })
    }

    fn index(&self) -> Result<Arc<Index>, Error> {
        let path = self.root.join("index.json");
        let mut cache = lock(&self.cache);
        let stamp = match fs::metadata(&path) {
            Ok(meta) => Stamp {
                inode: meta.ino(),
                size: meta.size(),
                seconds: meta.mtime(),
                nanos: meta.mtime_nsec(),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Arc::new(Index { format: FORMAT, images: Vec::new() }));
            }
            Err(error) => return Err(Error::io("stat", &path, error)),
        };
        if let Some((_, index)) = cache.as_ref().filter(|(cached, _)| *cached == stamp) {
            return Ok(Arc::clone(index));
        }
        let json = fs::read(&path).map_err(|error| Error::io("read", &path, error))?;
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let corrupt =
            |error: serde_json::Error| Error::Corrupt { path: path.clone(), message: error.to_string() };
        let Format { format } = serde_json::from_slice(&json).map_err(corrupt)?;
        if format > FORMAT {
            return Err(Error::Newer { path, found: format, known: FORMAT });
        }
        let index = Arc::new(serde_json::from_slice::<Index>(&json).map_err(corrupt)?);
        *cache = Some((stamp, Arc::clone(&index)));
        Ok(index)
    }

    fn update<T>(&self, change: impl FnOnce(&mut Index) -> T) -> Result<T, Error> {
        let path = self.root.join("index.lock");
        let file = lock_file(&path)?;
        flock(&file, FlockOperation::LockExclusive).map_err(|error| Error::io("lock", &path, error))?;
        let present = self.index()?;
        let mut index = Index { format: FORMAT, images: present.images.clone() };
        let result = change(&mut index);
        let json = serde_json::to_vec(&index).expect("a plain struct serialises");
        let new = self.root.join("index.json.new");
        write_durably(&new, &json)?;
        let target = self.root.join("index.json");
        fs::rename(&new, &target).map_err(|error| Error::io("replace", &target, error))?;
        sync_dir(&self.root)?;
        Ok(result)
    }
}

fn find<'a>(index: &'a Index, reference: &str) -> Result<Option<&'a Record>, Error> {
    let by_id = |hex: &str| index.images.iter().find(|record| record.id.hex() == hex);
    if let Some(id) = Digest::parse(reference) {
        return Ok(by_id(id.hex()));
    }
    if let Some(id) = Digest::parse(&format!("sha256:{reference}")) {
        return Ok(by_id(id.hex()));
    }
    if let Ok(name) = Name::parse(reference) {
        let found = match (&name.digest, name.tagged()) {
            (Some(digest), _) => {
                let wanted = name.with_digest(digest);
                index.images.iter().find(|record| record.digests.contains(&wanted))
            }
            (None, Some(tagged)) => index.images.iter().find(|record| record.tags.contains(&tagged)),
            (None, None) => None,
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    let hex = reference.strip_prefix("sha256:").unwrap_or(reference);
    if hex.len() < 8 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(None);
    }
    let mut fitting = index.images.iter().filter(|record| record.id.hex().starts_with(hex));
    match (fitting.next(), fitting.next()) {
        (found, None) => Ok(found),
        _ => Err(Error::Ambiguous(reference.to_owned())),
    }
}

fn untag(index: &mut Index, reference: &str) -> Result<Vec<String>, Error> {
    let Some(id) = find(index, reference)?.map(|record| record.id.clone()) else {
        return Err(Error::NotFound(reference.to_owned()));
    };
    let at = index.images.iter().position(|record| record.id == id).expect("it was just found there");
    let record = &mut index.images[at];
    let name =
        Name::parse(reference).ok().filter(|name| name.digest.is_none()).and_then(|name| name.tagged());
    if let Some(tag) = name.filter(|tag| record.tags.contains(tag) && record.tags.len() > 1) {
        record.tags.remove(&tag);
        return Ok(vec![tag]);
    }
    let record = index.images.remove(at);
    let mut removed: Vec<String> = record.tags.into_iter().chain(record.digests).collect();
    removed.push(record.id.to_string());
    Ok(removed)
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
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn make_dir(path: &Path, mode: u32) -> Result<(), Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(|error| Error::io("make directory", path, error))
}

fn lock_file(path: &Path) -> Result<File, Error> {
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(|error| Error::io("open", path, error))
}

fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|error| Error::io("write", path, error))
}

fn sync_dir(path: &Path) -> Result<(), Error> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| Error::io("sync", path, error))
}

fn remove_tree(path: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// A work directory of this process, locked.
fn own_work(parent: &Path) -> Result<(PathBuf, File), Error> {
    for n in 0_u32.. {
        let path = parent.join(format!("{}-{n}", std::process::id()));
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => (),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(Error::io("make directory", path, error)),
        }
        let directory = File::open(&path).map_err(|error| Error::io("open", &path, error))?;
        match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) if path.exists() => return Ok((path, directory)),
            // Taken for stale and removed by another process between the two calls.
            Ok(()) | Err(Errno::WOULDBLOCK) => (),
            Err(error) => return Err(Error::io("lock", path, error)),
        }
    }
    unreachable!("the numbers do not end before the disk does")
}

fn remove_stale_work(parent: &Path) -> Result<(), Error> {
    let entries = fs::read_dir(parent).map_err(|error| Error::io("read", parent, error))?;
    for entry in entries {
        let path = entry.map_err(|error| Error::io("read", parent, error))?.path();
        let Ok(directory) = File::open(&path) else { continue };
        if flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok() {
            remove_tree(&path).map_err(|error| Error::io("remove", &path, error))?;
        }
    }
    Ok(())
}

impl Drop for Images {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.work) {
            tracing::warn!(path = %self.work.display(), %error, "cannot remove work directory");
        }
    }
}
