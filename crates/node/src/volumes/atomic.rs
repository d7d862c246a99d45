//! All files of a volume replaced at once (`pkg/volume/util/atomic_writer.go`): names link to `..data/NAME`, `..data`
//! links to a directory named after its time, and the swap is one rename.
//!
//! Invariants: whoever resolves `..data` once sees one consistent set; everything is made relative to the volume's open
//! directory, so that a container that exchanges names reaches nothing else; what the volume holds is known from what
//! was written (`Record`, beside the volume), never read back.
//! Absent: fsync, the files are made again after a crash: a record counts within one boot of the machine only.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write as _};
use std::path::{Component, Path, PathBuf};
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use base::time::Timestamp;
use runtime::beneath::{self, Dir};
use rustix::fs::{AtFlags, FileType, Gid, chownat};
use sha2::{Digest as _, Sha256};

use super::ownership;

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    pub(super) data: Vec<u8>,
    pub(super) mode: u32,
    pub(super) owner: Option<u32>,
}

/// By path relative to the volume.
pub(super) type Payload = BTreeMap<String, File>;

const DATA: &str = "..data";
const NEW: &str = "..data_tmp";
/// More than any record is long.
const RECORD_MOST: u64 = 256;

/// Makes the volume at `dir` hold exactly `payload`, readable by `group`; whether anything changed. `record` is where
/// what was written is remembered.
pub(super) fn write(dir: &Path, record: &Path, payload: &Payload, group: Option<u32>) -> io::Result<bool> {
    for path in payload.keys() {
        check(path)?;
    }
    let volume = Dir::open(dir)?;
    let tops: BTreeSet<&str> =
        payload.keys().map(|path| path.split('/').next().unwrap_or_default()).collect();
    let current = volume.read_link(DATA)?;
    let sum = digest(payload, group);
    if let Some(current) = &current
        && is_whole(&volume, current, &tops)?
        && read(record).is_some_and(|known| known == line(current, &sum))
    {
        return Ok(false);
    }
    let (name, set) = make_dir(&volume)?;
    let filled = fill(&set, payload, group).and_then(|()| {
        volume.remove(NEW)?;
        volume.symlink(&name, NEW)?;
        volume.rename(NEW, DATA)
    });
    if let Err(error) = filled {
        // The old set stays; the first error is the one that says why.
        let _ = volume.remove(&name);
        return Err(error);
    }
    for top in &tops {
        if volume.read_link(top)? != Some(Path::new(DATA).join(top)) {
            volume.remove(top)?;
            volume.symlink(Path::new(DATA).join(top), top)?;
        }
    }
    clean(&volume, &tops, &name)?;
    if let Some(group) = group {
        ownership::give(&volume, group, true)?;
        for link in tops.iter().chain([&DATA]) {
            chownat(&volume, *link, None, Some(Gid::from_raw(group)), AtFlags::SYMLINK_NOFOLLOW)?;
        }
    }
    crate::files::replace(record, line(Path::new(&name), &sum).as_bytes(), 0o600)?;
    Ok(true)
}

/// Whether the names are links into the linked set, which is a directory here.
fn is_whole(volume: &Dir, current: &Path, tops: &BTreeSet<&str>) -> io::Result<bool> {
    if volume.dir(current).is_err() {
        return Ok(false);
    }
    for top in tops {
        if volume.read_link(top)? != Some(PathBuf::from(DATA).join(top)) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn read(record: &Path) -> Option<String> {
    let (bytes, _) = beneath::read_most(beneath::open_path(record).ok()?, RECORD_MOST).ok()?;
    String::from_utf8(bytes).ok()
}

/// The boot of the machine, the directory of the set and what it holds.
fn line(set: &Path, sum: &str) -> String {
    static BOOT: LazyLock<String> =
        LazyLock::new(|| std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default());
    format!("{} {} {sum}\n", BOOT.trim(), set.display())
}

/// Of everything that decides what the files are.
fn digest(payload: &Payload, group: Option<u32>) -> String {
    let mut hash = Sha256::new();
    hash.update(format!("{group:?}"));
    for (path, file) in payload {
        // Lengths first, so that no two payloads are written alike.
        hash.update(format!("\n{} {} {} {:?}\n", path.len(), file.data.len(), file.mode, file.owner));
        hash.update(path);
        hash.update(&file.data);
    }
    hex::encode(hash.finalize())
}

fn check(path: &str) -> io::Result<()> {
    let bad =
        |why: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, format!("invalid path: {why}: {path}")));
    if path.is_empty() || path.starts_with('/') {
        return bad("must be relative path");
    }
    if path.split('/').any(|part| part == "..") {
        return bad("must not contain '..'");
    }
    if path.starts_with("..") {
        return bad("must not start with '..'");
    }
    if !Path::new(path).components().all(|part| matches!(part, Component::Normal(_))) || path.len() > 4096 {
        return bad("must be relative path");
    }
    Ok(())
}

/// `..2006_01_02_15_04_05.NNN`
fn make_dir(volume: &Dir) -> io::Result<(String, Dir)> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let stamp = Timestamp::from_epoch(now).rfc3339().trim_end_matches('Z').replace(['-', 'T', ':'], "_");
    loop {
        let name = format!("..{stamp}.{}", rand::random::<u32>());
        if let (made, true) = volume.make(&name, 0o755)? {
            return Ok((name, made));
        }
    }
}

fn fill(set: &Dir, payload: &Payload, group: Option<u32>) -> io::Result<()> {
    let give_dir = |dir: &Dir| group.map_or(Ok(()), |group| ownership::give(dir, group, true));
    give_dir(set)?;
    for (name, file) in payload {
        let path = Path::new(name);
        let mut above: Option<Dir> = None;
        for part in path.parent().into_iter().flat_map(Path::components) {
            let (dir, new) = above.as_ref().unwrap_or(set).make(part, 0o755)?;
            if new {
                give_dir(&dir)?;
            }
            above = Some(dir);
        }
        let mut out = above.as_ref().unwrap_or(set).create(path.file_name().unwrap_or_default())?;
        out.write_all(&file.data)?;
        let mode = file.mode | group.map_or(0, |_| ownership::READ);
        beneath::give(&out, file.owner, group, mode)?;
    }
    Ok(())
}

/// Removes names that are gone and sets that are no longer linked.
fn clean(volume: &Dir, tops: &BTreeSet<&str>, current: &str) -> io::Result<()> {
    for (name, kind) in volume.entries()? {
        let Some(text) = name.to_str() else { continue };
        let old_set = text.starts_with("..") && text != current && kind == FileType::Directory;
        let old_name = !text.starts_with("..") && kind == FileType::Symlink && !tops.contains(text);
        if old_set || old_name {
            volume.remove(&name)?;
        }
    }
    Ok(())
}
