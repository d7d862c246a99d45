//! Import of `docker save` archives (with `manifest.json`, or the older one with `repositories`) and of OCI layouts
//! in a tar, plain or compressed.
//!
//! Invariant: members are read in place from the archive by offset; nothing but layers is unpacked.
//! Absent: layouts as plain directories, OCI's artifacts that are no images.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use crate::Image;
use crate::error::Error;
use crate::manifest::{ConfigFile, Descriptor, Digest, Manifest, chain_ids, select};
use crate::name::Name;
use crate::progress::{Progress, Reporter};
use crate::store::{Images, Record, WorkDir, blocking};
use crate::stream::{Bounded, Measured, Tar, decompress, is_compressed};
use crate::unpack::unpack;

/// Manifests and configs above this are refused.
const METADATA_MAX: u64 = 8 << 20;

impl Images {
    /// Imports all images of an archive for this platform; their layers are shared with what is there already. They are
    /// returned under the names that the archive gives, if it gives any.
    ///
    /// # Errors
    /// If the archive cannot be read, holds no image for this platform, or is malicious. Images before the bad one
    /// stay.
    pub async fn import(self: &Arc<Self>, archive: &Path) -> Result<Vec<Image>, Error> {
        self.import_with(archive, crate::progress::silent()).await
    }

    /// As [`Images::import`], with progress.
    ///
    /// # Errors
    /// As there.
    pub async fn import_with(
        self: &Arc<Self>,
        archive: &Path,
        progress: Reporter,
    ) -> Result<Vec<Image>, Error> {
        let (images, path) = (Arc::clone(self), archive.to_owned());
        blocking(move || {
            let mut archive = Archive::open(&images, &path)?;
            let found = if archive.has("index.json") {
                archive.oci(&images)?
            } else if archive.has("manifest.json") {
                archive.docker()?
            } else if archive.has("repositories") {
                archive.legacy(&images)?
            } else {
                return Err(archive.bad(
                    "no image archive: neither index.json (OCI layout) nor manifest.json nor repositories (docker save) in it",
                ));
            };
            found.into_iter().map(|image| archive.add(&images, image, &progress)).collect()
        })
        .await
    }
}

/// An image as an archive describes it.
struct Found {
    id: Digest,
    config: ConfigFile,
    config_size: u64,
    tags: BTreeSet<String>,
    digests: BTreeSet<String>,
    layers: Vec<FoundLayer>,
}

struct FoundLayer {
    member: String,
    blob: Option<Digest>,
}

struct Archive {
    path: PathBuf,
    file: File,
    members: HashMap<String, (u64, u64)>,
    links: HashMap<String, String>,
    /// Holds the plain archive if the one given is compressed.
    _plain: Option<WorkDir>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerManifest {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

#[derive(Deserialize)]
struct LegacyImage {
    #[serde(default)]
    parent: Option<String>,
    #[serde(flatten)]
    config: serde_json::Map<String, serde_json::Value>,
}

impl Archive {
    fn open(images: &Images, path: &Path) -> Result<Self, Error> {
        let open = |path: &Path| File::open(path).map_err(|error| Error::io("open", path, error));
        let mut file = open(path)?;
        let mut magic = Vec::new();
        let io = |error| Error::io("read", path, error);
        (&mut file).take(6).read_to_end(&mut magic).map_err(io)?;
        file.rewind().map_err(io)?;
        let mut plain = None;
        if is_compressed(&magic) {
            let work = images.work_dir()?;
            let target = work.path().join("plain.tar");
            let mut out = File::create(&target).map_err(|error| Error::io("create", &target, error))?;
            let (raw, compressed) = Measured::new(&file);
            let bad = |error: io::Error| Error::Archive { path: path.to_owned(), message: error.to_string() };
            let inner = decompress(raw).map_err(bad)?;
            let mut inner = Bounded { inner, compressed, limits: images.config.limits, seen: 0 };
            io::copy(&mut inner, &mut out).map_err(bad)?;
            drop(inner);
            file = open(&target)?;
            plain = Some(work);
        }
        let mut archive = Self {
            path: path.to_owned(),
            file,
            members: HashMap::new(),
            links: HashMap::new(),
            _plain: plain,
        };
        archive.list()?;
        Ok(archive)
    }

    fn list(&mut self) -> Result<(), Error> {
        let length = self.file.metadata().map_err(|error| Error::io("stat", &self.path, error))?.len();
        let mut tar = Tar::new(io::BufReader::new(&self.file));
        let mut members = HashMap::new();
        let mut links = HashMap::new();
        let result = (|| {
            while let Some(member) = tar.next()? {
                let Ok(name) = String::from_utf8(member.path) else { continue };
                let name = name.trim_start_matches("./").to_owned();
                match member.kind {
                    b'0' if member.offset + member.size > length => {
                        return Err(io::Error::other(format!("{name:?}: truncated archive")));
                    }
                    b'0' => drop(members.insert(name, (member.offset, member.size))),
                    b'1' | b'2' => {
                        drop(links.insert(name, String::from_utf8_lossy(&member.link).into_owned()))
                    }
                    _ => (),
                }
            }
            Ok(())
        })();
        result.map_err(|error| self.bad(&error.to_string()))?;
        (self.members, self.links) = (members, links);
        Ok(())
    }

    fn bad(&self, message: &str) -> Error {
        Error::Archive { path: self.path.clone(), message: message.to_owned() }
    }

    fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    /// Where a member's content is; older archives link equal layers to each other.
    fn locate(&self, name: &str) -> Result<(u64, u64), Error> {
        let mut name = name.trim_start_matches("./").to_owned();
        for _ in 0..8 {
            if let Some(place) = self.members.get(&name) {
                return Ok(*place);
            }
            let Some(link) = self.links.get(&name) else { break };
            name = if self.has(link) { link.clone() } else { resolve_link(&name, link) };
        }
        Err(self.bad(&format!("{name:?} is missing")))
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, Error> {
        let (offset, size) = self.locate(name)?;
        if size > METADATA_MAX {
            return Err(self.bad(&format!("{name:?}: {size} bytes are too many for a manifest or config")));
        }
        let mut bytes = Vec::new();
        self.content(offset, size)?
            .read_to_end(&mut bytes)
            .map_err(|error| self.bad(&format!("{name:?}: {error}")))?;
        Ok(bytes)
    }

    fn content(&self, offset: u64, size: u64) -> Result<impl Read + '_, Error> {
        (&self.file).seek(SeekFrom::Start(offset)).map_err(|error| Error::io("seek", &self.path, error))?;
        Ok((&self.file).take(size))
    }

    fn blob(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        let name = format!("blobs/sha256/{}", digest.hex());
        let bytes = self.read(&name)?;
        let actual = Digest::of(&bytes);
        if actual == *digest {
            return Ok(bytes);
        }
        let what = format!("image archive {}: {name}", self.path.display());
        Err(Error::Digest { what, expected: digest.to_string(), actual: actual.to_string() })
    }

    fn json<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<T, Error> {
        serde_json::from_slice(&self.read(name)?).map_err(|error| self.bad(&format!("{name}: {error}")))
    }

    fn tag(&self, tag: &str) -> Result<String, Error> {
        let name = Name::parse(tag).map_err(|error| self.bad(&format!("image name {tag:?}: {error}")))?;
        name.tagged().ok_or_else(|| self.bad(&format!("image name {tag:?} has no tag")))
    }

    fn docker(&self) -> Result<Vec<Found>, Error> {
        let manifests: Vec<DockerManifest> = self.json("manifest.json")?;
        let mut found = Vec::new();
        for manifest in manifests {
            let bytes = self.read(&manifest.config)?;
            let layer = |member: String| FoundLayer { member, blob: None };
            found.push(Found {
                id: Digest::of(&bytes),
                config: ConfigFile::parse(
                    &format!("image archive {}: {}", self.path.display(), manifest.config),
                    &bytes,
                )?,
                config_size: bytes.len() as u64,
                tags: manifest
                    .repo_tags
                    .unwrap_or_default()
                    .iter()
                    .map(|tag| self.tag(tag))
                    .collect::<Result<_, _>>()?,
                digests: BTreeSet::new(),
                layers: manifest.layers.into_iter().map(layer).collect(),
            });
        }
        Ok(found)
    }

    fn oci(&self, images: &Images) -> Result<Vec<Found>, Error> {
        let what = format!("image archive {}: index.json", self.path.display());
        let Manifest::Index(entries) = Manifest::parse(&what, &self.read("index.json")?)? else {
            return Err(self.bad("index.json is no index"));
        };
        let mut names = self.docker_names()?;
        let mut found: Vec<Found> = Vec::new();
        for entry in &entries {
            let (digest, config, layers) = match self.image_manifest(images, entry)? {
                Some(manifest) => manifest,
                None => continue,
            };
            let bytes = self.blob(&config.digest)?;
            let mut tags = names.remove(&config.digest).unwrap_or_default();
            tags.extend(self.annotated(entry)?);
            let repositories: BTreeSet<String> = tags
                .iter()
                .filter_map(|tag| Name::parse(tag).ok())
                .map(|name| name.with_digest(digest.as_str()))
                .collect();
            if let Some(present) = found.iter_mut().find(|present| present.id == config.digest) {
                present.tags.extend(tags);
                present.digests.extend(repositories);
                continue;
            }
            let layer = |d: Descriptor| FoundLayer {
                member: format!("blobs/sha256/{}", d.digest.hex()),
                blob: Some(d.digest),
            };
            found.push(Found {
                id: config.digest.clone(),
                config: ConfigFile::parse(&format!("image config {}", config.digest), &bytes)?,
                config_size: bytes.len() as u64,
                tags,
                digests: repositories,
                layers: layers.into_iter().map(layer).collect(),
            });
        }
        if found.is_empty() {
            let platform = &images.config.platform;
            return Err(self.bad(&format!("no image for {}/{} in it", platform.os, platform.architecture)));
        }
        Ok(found)
    }

    /// The manifest an entry of `index.json` leads to, and the entry's own digest; `None` if for other platforms.
    #[allow(clippy::type_complexity, reason = "used once")]
    fn image_manifest(
        &self,
        images: &Images,
        entry: &Descriptor,
    ) -> Result<Option<(Digest, Descriptor, Vec<Descriptor>)>, Error> {
        let platform = &images.config.platform;
        if entry.platform.as_ref().is_some_and(|p| {
            !p.architecture.is_empty() && (p.os != platform.os || p.architecture != platform.architecture)
        }) {
            return Ok(None);
        }
        let mut next = entry.digest.clone();
        for _ in 0..4 {
            match Manifest::parse(&format!("manifest {next}"), &self.blob(&next)?)? {
                Manifest::Image { config, layers } => {
                    return Ok(Some((entry.digest.clone(), config, layers)));
                }
                Manifest::Index(entries) => match select(&entries, platform) {
                    Some(selected) => next = selected.digest.clone(),
                    None => return Ok(None),
                },
            }
        }
        Err(self.bad("indexes nested too deeply"))
    }

    /// Names a `manifest.json` beside the OCI layout gives, by config.
    fn docker_names(&self) -> Result<BTreeMap<Digest, BTreeSet<String>>, Error> {
        let mut names: BTreeMap<Digest, BTreeSet<String>> = BTreeMap::new();
        if !self.has("manifest.json") {
            return Ok(names);
        }
        for manifest in self.json::<Vec<DockerManifest>>("manifest.json")? {
            let hex = manifest.config.rsplit('/').next().unwrap_or_default();
            let hex = hex.strip_suffix(".json").unwrap_or(hex);
            if let Some(id) = Digest::parse(&format!("sha256:{hex}")) {
                for tag in manifest.repo_tags.unwrap_or_default() {
                    names.entry(id.clone()).or_default().insert(self.tag(&tag)?);
                }
            }
        }
        Ok(names)
    }

    /// The name in an entry's annotations; a bare tag without a repository names nothing.
    fn annotated(&self, entry: &Descriptor) -> Result<Option<String>, Error> {
        let annotation = |key: &str| entry.annotations.as_ref().and_then(|all| all.get(key));
        let full = annotation("io.containerd.image.name");
        let name = full
            .or_else(|| annotation("org.opencontainers.image.ref.name").filter(|n| n.contains([':', '/'])));
        name.map(|name| self.tag(name)).transpose()
    }

    /// Archives of Docker before 1.10: a chain of directories, each with `json` and `layer.tar`.
    fn legacy(&self, images: &Images) -> Result<Vec<Found>, Error> {
        let repositories: BTreeMap<String, BTreeMap<String, String>> = self.json("repositories")?;
        let mut found: BTreeMap<String, Found> = BTreeMap::new();
        for (repository, tags) in repositories {
            for (tag, top) in tags {
                if !found.contains_key(&top) {
                    found.insert(top.clone(), self.legacy_image(images, &top)?);
                }
                let name = self.tag(&format!("{repository}:{tag}"))?;
                found.get_mut(&top).expect("it was just put there").tags.insert(name);
            }
        }
        Ok(found.into_values().collect())
    }

    fn legacy_image(&self, images: &Images, top: &str) -> Result<Found, Error> {
        let mut config: Option<serde_json::Map<String, serde_json::Value>> = None;
        let mut layers = Vec::new();
        let mut next = Some(top.to_owned());
        while let Some(id) = next {
            if layers.len() > 500 {
                return Err(self.bad("the chain of layers does not end"));
            }
            let image: LegacyImage = self.json(&format!("{id}/json"))?;
            config.get_or_insert(image.config);
            layers.push(FoundLayer { member: format!("{id}/layer.tar"), blob: None });
            next = image.parent.filter(|parent| !parent.is_empty());
        }
        layers.reverse();
        let mut diff_ids = Vec::new();
        for layer in &layers {
            let (offset, size) = self.locate(&layer.member)?;
            // The old format has no diff ids: unpack once only to learn them.
            let work = images.work_dir()?;
            diff_ids
                .push(unpack(self.content(offset, size)?, &work.fs(), None, None, images.config.limits)?.1);
        }
        let mut config = config.unwrap_or_default();
        config.insert("rootfs".into(), serde_json::json!({ "type": "layers", "diff_ids": diff_ids }));
        let bytes = serde_json::to_vec(&config).expect("JSON values serialise");
        Ok(Found {
            id: Digest::of(&bytes),
            config: ConfigFile::parse(&format!("image archive {}: {top}/json", self.path.display()), &bytes)?,
            config_size: bytes.len() as u64,
            tags: BTreeSet::new(),
            digests: BTreeSet::new(),
            layers,
        })
    }

    fn add(&mut self, images: &Arc<Images>, found: Found, progress: &Reporter) -> Result<Image, Error> {
        let Found { id, config, config_size, tags, digests, layers } = found;
        let diff_ids = &config.rootfs.diff_ids;
        if !config.fits(&images.config.platform) {
            return Err(self.bad(&format!(
                "image {id} is for {}/{}, this is {}/{}",
                config.os,
                config.architecture,
                images.config.platform.os,
                images.config.platform.architecture
            )));
        }
        if diff_ids.len() != layers.len() {
            return Err(self.bad(&format!(
                "image {id}: {} layers but {} diff ids",
                layers.len(),
                diff_ids.len()
            )));
        }
        let chain = chain_ids(diff_ids);
        let _held = images.hold_layers()?;
        let mut size = config_size;
        for (n, layer) in layers.iter().enumerate() {
            let (offset, bytes) = self.locate(&layer.member)?;
            size += bytes;
            let shown = layer.blob.as_ref().unwrap_or(&diff_ids[n]).as_str();
            let lock = images.layer_lock(&chain[n]);
            let _guard = lock.blocking_lock();
            if images.has_layer(&chain[n]) {
                progress(Progress::Exists { layer: shown });
                continue;
            }
            let work = images.work_dir()?;
            let content = self.content(offset, bytes)?;
            let limits = images.config.limits;
            let (unpacked, _) = unpack(content, &work.fs(), layer.blob.as_ref(), Some(&diff_ids[n]), limits)?;
            images.publish(work, &chain[n], &chain[..n], &diff_ids[n], &unpacked)?;
            progress(Progress::Unpacked { layer: shown });
        }
        let config = config.config.unwrap_or_default();
        let named: Vec<String> = tags.iter().cloned().collect();
        let image = images.add(Record { id, tags, digests, size, config, layers: chain, last_used: 0 })?;
        // Equal content may have had other names before.
        Ok(if named.is_empty() { image } else { Image { tags: named, ..image } })
    }
}

fn resolve_link(from: &str, link: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => (),
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}
