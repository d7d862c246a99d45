//! All files of a volume replaced at once (`pkg/volume/util/atomic_writer.go`): names link to `..data/NAME`, `..data`
//! links to a directory named after its time, and the swap is one rename.
//!
//! Invariant: whoever resolves `..data` once sees one consistent set. Absent: fsync, the files are made again after a
//! crash.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Component, Path};
use std::time::{SystemTime, UNIX_EPOCH};

use base::time::Timestamp;

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

/// Makes the volume hold exactly `payload`; whether anything changed. `permissions` runs before the swap.
pub(super) fn write(
    dir: &Path,
    payload: &Payload,
    permissions: impl Fn(&Path) -> io::Result<()>,
) -> io::Result<bool> {
    for path in payload.keys() {
        check(path)?;
    }
    let old = match fs::read_link(dir.join(DATA)) {
        Ok(link) => Some(link),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let tops: BTreeSet<&str> =
        payload.keys().map(|path| path.split('/').next().unwrap_or_default()).collect();
    let linked = tops.iter().all(|top| dir.join(top).is_symlink());
    if let Some(old) = old.as_ref().filter(|_| linked)
        && same(&dir.join(old), payload)?
    {
        return Ok(false);
    }
    let name = make_dir(dir)?;
    let filled =
        fill(&dir.join(&name), payload).and_then(|()| permissions(&dir.join(&name))).and_then(|()| {
            match fs::remove_file(dir.join(NEW)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => symlink(&name, dir.join(NEW))?,
            }
            fs::rename(dir.join(NEW), dir.join(DATA))
        });
    if let Err(error) = filled {
        // The old set stays; the first error is the one that says why.
        let _ = fs::remove_dir_all(dir.join(&name));
        return Err(error);
    }
    for top in &tops {
        if !dir.join(top).is_symlink() {
            symlink(Path::new(DATA).join(top), dir.join(top))?;
        }
    }
    clean(dir, &tops, &name)?;
    Ok(true)
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

fn same(dir: &Path, payload: &Payload) -> io::Result<bool> {
    let mut found = 0;
    let mut pending = vec![dir.to_owned()];
    while let Some(next) = pending.pop() {
        let entries = match fs::read_dir(&next) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other?,
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                pending.push(entry.path());
                continue;
            }
            let path = entry.path();
            let name = path.strip_prefix(dir).ok().and_then(Path::to_str).unwrap_or_default();
            match payload.get(name) {
                Some(file) if fs::read(&path)? == file.data => found += 1,
                _ => return Ok(false),
            }
        }
    }
    Ok(found == payload.len())
}

/// `..2006_01_02_15_04_05.NNN`
fn make_dir(dir: &Path) -> io::Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let stamp = Timestamp::from_epoch(now).rfc3339().trim_end_matches('Z').replace(['-', 'T', ':'], "_");
    loop {
        let name = format!("..{stamp}.{}", rand::random::<u32>());
        match fs::create_dir(dir.join(&name)) {
            Ok(()) => {
                fs::set_permissions(dir.join(&name), fs::Permissions::from_mode(0o755))?;
                return Ok(name);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => (),
            Err(error) => return Err(error),
        }
    }
}

fn fill(dir: &Path, payload: &Payload) -> io::Result<()> {
    for (name, file) in payload {
        let path = dir.join(name);
        let mut above = dir.to_owned();
        for part in Path::new(name).parent().into_iter().flat_map(Path::components) {
            above.push(part);
            if !above.exists() {
                fs::create_dir(&above)?;
                fs::set_permissions(&above, fs::Permissions::from_mode(0o755))?;
            }
        }
        fs::write(&path, &file.data)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(file.mode))?;
        if let Some(owner) = file.owner {
            chown(&path, Some(owner), None)?;
        }
    }
    Ok(())
}

/// Removes names that are gone and sets that are no longer linked.
fn clean(dir: &Path, tops: &BTreeSet<&str>, current: &str) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let kind = entry.file_type()?;
        if name.starts_with("..2") && name != current && kind.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else if !name.starts_with("..") && kind.is_symlink() && !tops.contains(name) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
