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

/// A lock file, locked. Unlocked in so many words when dropped: closing alone would leave the lock to a child that
/// another thread has just forked, until its execve.
#[derive(Debug)]
pub(super) struct Locked(File);

impl Locked {
    /// Waits until `path`, made if need be, is locked with others that only share it.
    pub(super) fn shared(path: &Path) -> Result<Self, Error> {
        Self::wait(path, FlockOperation::LockShared)
    }

    /// Waits until nobody else has `path`, made if need be, locked.
    pub(super) fn alone(path: &Path) -> Result<Self, Error> {
        Self::wait(path, FlockOperation::LockExclusive)
    }

    /// The same without waiting: `None` if somebody has.
    pub(super) fn alone_now(path: &Path) -> Result<Option<Self>, Error> {
        let file = open_lock(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self(file))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(Error::io("lock", path, error)),
        }
    }

    fn wait(path: &Path, how: FlockOperation) -> Result<Self, Error> {
        let file = open_lock(path)?;
        flock(&file, how).map_err(|error| Error::io("lock", path, error))?;
        Ok(Self(file))
    }
}

fn open_lock(path: &Path) -> Result<File, Error> {
    let mut options = File::options();
    options.create(true).truncate(false).write(true);
    options.open(path).map_err(|error| Error::io("open", path, error))
}

impl Drop for Locked {
    fn drop(&mut self) {
        if let Err(error) = flock(&self.0, FlockOperation::Unlock) {
            tracing::warn!(%error, "a lock of the image store is not given back before its file is closed");
        }
    }
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
