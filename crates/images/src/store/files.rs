//! File operations of the store, each error naming its path.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::Error;

pub(super) fn make_dir(path: &Path, mode: u32) -> Result<(), Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(|error| Error::io("make directory", path, error))
}

pub(super) fn lock_file(path: &Path) -> Result<File, Error> {
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(|error| Error::io("open", path, error))
}

pub(super) fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|error| Error::io("write", path, error))
}

pub(super) fn sync_dir(path: &Path) -> Result<(), Error> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| Error::io("sync", path, error))
}

pub(super) fn remove_tree(path: &Path) -> std::io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// A work directory of this process, locked.
pub(super) fn own_work(parent: &Path) -> Result<(PathBuf, File), Error> {
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

pub(super) fn remove_stale_work(parent: &Path) -> Result<(), Error> {
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
