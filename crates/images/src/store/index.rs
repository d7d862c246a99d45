//! `index.json`: which images there are, and what a reference stands for.
//!
//! Invariants: it is only ever replaced as a whole, under a lock between processes; a copy in memory is used while the
//! file is the same one.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::files::{Locked, sync_dir, write_durably};
use super::{Images, lock, now};
use crate::Image;
use crate::error::Error;
use crate::manifest::{Digest, RunConfig};
use crate::name::Name;

const FORMAT: u32 = 1;

/// Changes whenever `index.json` is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    size: u64,
    seconds: i64,
    nanos: i64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Index {
    format: u32,
    pub(super) images: Vec<Record>,
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

impl Images {
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
            volumes: record.config.volumes.iter().flatten().map(|(path, _)| path.clone()).collect(),
            layers: record.layers.iter().rev().map(|layer| self.layer_fs(layer)).collect(),
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

    /// Gives names to an image that is there already; `None` if it is not.
    pub(crate) fn rename(
        &self,
        id: &Digest,
        tags: BTreeSet<String>,
        digests: BTreeSet<String>,
    ) -> Result<Option<Image>, Error> {
        // If it is being removed at this moment, its layers stay and so does the image.
        let _held = self.hold_layers()?;
        let index = self.index()?;
        let Some(present) = index.images.iter().find(|record| record.id == *id) else { return Ok(None) };
        if tags.is_subset(&present.tags) && digests.is_subset(&present.digests) {
            return Ok(Some(self.image(present)));
        }
        self.add(Record { tags, digests, ..present.clone() }).map(Some)
    }

    pub(super) fn index(&self) -> Result<Arc<Index>, Error> {
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

    pub(super) fn update<T>(&self, change: impl FnOnce(&mut Index) -> T) -> Result<T, Error> {
        let path = self.root.join("index.lock");
        let _locked = Locked::alone(&path)?;
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

pub(super) fn find<'a>(index: &'a Index, reference: &str) -> Result<Option<&'a Record>, Error> {
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

pub(super) fn untag(index: &mut Index, reference: &str) -> Result<Vec<String>, Error> {
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
