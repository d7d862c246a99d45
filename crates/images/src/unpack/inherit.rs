//! Directories that an archive needs but does not name.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{
    CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, fchmod, fchown, fsync,
    futimens, openat2,
};
use rustix::io::Errno;

use super::DIRECTORY;

/// Gives directories the archive did not name the attributes they have in the layers below, uppermost first.
pub(crate) fn inherit(layer: &Path, implicit: &[PathBuf], below: &[PathBuf]) -> io::Result<()> {
    let open = |at: &Path| rustix::fs::openat(CWD, at, DIRECTORY | OFlags::NOFOLLOW, Mode::empty());
    if implicit.is_empty() || below.is_empty() {
        return Ok(());
    }
    let root = open(layer)?;
    let below = below.iter().map(|path| open(path)).collect::<Result<Vec<_>, _>>()?;
    let flags = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    for path in implicit.iter().rev() {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let to = openat2(&root, path, DIRECTORY, Mode::empty(), flags)?;
        for lower in &below {
            match openat2(
                lower,
                path,
                OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
                flags,
            ) {
                Err(Errno::NOENT) => (),
                Err(_) => break,
                Ok(from) => {
                    let stat = rustix::fs::fstat(&from)?;
                    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                        fchown(&to, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
                        fchmod(&to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
                        let time = |sec, nsec| Timespec { tv_sec: sec, tv_nsec: nsec as _ };
                        let modified = time(stat.st_mtime, stat.st_mtime_nsec);
                        futimens(&to, &Timestamps { last_access: modified, last_modification: modified })?;
                    }
                    break;
                }
            }
        }
        fsync(&to)?;
    }
    Ok(())
}
