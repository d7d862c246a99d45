//! One layer's archive into a directory that overlayfs takes as a lower layer.
//!
//! Invariants: no member is made, changed or followed outside the directory, because every parent is opened with
//! `openat2(RESOLVE_IN_ROOT)` and names are used relative to it; whiteouts become character devices 0/0 and opaque
//! directories get `trusted.overlay.opaque`, as overlayfs wants them.
//! Deliberately absent: device nodes (left out with a warning: the runtime makes a container's `/dev`), sparse members, xattrs other than `security.capability` and `user.*`.

mod inherit;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags, chmodat,
    chownat, fchmod, fchown, fsetxattr, fsync, futimens, linkat, makedev, mkdirat, mknodat, openat2, statat,
    symlinkat, syncfs, unlinkat, utimensat,
};
use rustix::io::Errno;

use crate::config::Limits;
use crate::error::Error;
use crate::manifest::Digest;
use crate::stream::{Bounded, LimitExceeded, Measured, Member, Tar, decompress};

pub(crate) use inherit::inherit;

/// What unpacking found.
#[derive(Debug)]
pub(crate) struct Unpacked {
    /// Bytes of files, unpacked.
    pub(crate) bytes: u64,
    /// Bytes as they came.
    pub(crate) compressed: u64,
    /// Directories the archive does not name but needs; they take the attributes they have in the layers below.
    pub(crate) implicit: Vec<PathBuf>,
}

/// Above this many files one `syncfs` is cheaper than an `fsync` each.
const SYNC_EACH: usize = 256;

/// Unpacks into the empty directory `to` and checks both digests. On error `to` is left to the caller to remove.
///
/// Durable on return. `blob` is the digest of the bytes read, unknown in docker archives.
pub(crate) fn unpack(
    from: impl Read,
    to: &Path,
    blob: Option<&Digest>,
    diff_id: Option<&Digest>,
    limits: Limits,
) -> Result<(Unpacked, Digest), Error> {
    let layer = blob.or(diff_id).map_or_else(|| "of a legacy image".to_owned(), ToString::to_string);
    let fail = |message: String| Error::Layer { layer: layer.clone(), message };
    let (raw, compressed) = Measured::new(from);
    let raw = Rc::new(std::cell::RefCell::new(raw));
    let mut unpacker = Unpacker::new(to, limits).map_err(|error| Error::io("open", to, error))?;
    let result = (|| {
        let plain = decompress(Shared(Rc::clone(&raw)))?;
        let bounded = Bounded { inner: plain, compressed: Rc::clone(&compressed), limits, seen: 0 };
        let (plain, unpacked) = Measured::new(bounded);
        let mut tar = Tar::new(plain);
        unpacker.run(&mut tar)?;
        io::copy(&mut tar.into_inner(), &mut io::sink())?;
        Ok::<_, Failure>(unpacked)
    })();
    let bomb = matches!(&result, Err(failure) if failure.is_limit());
    if !bomb {
        // Also after a failure: a wrong digest explains a broken archive better than the archive does.
        let drained = io::copy(&mut *raw.borrow_mut(), &mut io::sink());
        let meter = compressed.borrow();
        if let (Ok(_), Some(expected), false) = (drained, blob, meter.failed) {
            let actual = Digest::from_hash(meter.hash.clone());
            if actual != *expected {
                let (expected, actual) = (expected.to_string(), actual.to_string());
                return Err(Error::Digest { what: format!("layer {layer}"), expected, actual });
            }
        }
    }
    let unpacked = result.map_err(|failure| fail(failure.0))?;
    let actual = Digest::from_hash(unpacked.borrow().hash.clone());
    if let Some(expected) = diff_id.filter(|expected| **expected != actual) {
        let (expected, actual) = (expected.to_string(), actual.to_string());
        return Err(Error::Digest { what: format!("layer {layer} unpacked (diff id)"), expected, actual });
    }
    unpacker.finish().map_err(|failure| fail(failure.0))?;
    let bytes = unpacker.bytes;
    let compressed = compressed.borrow().bytes;
    Ok((Unpacked { bytes, compressed, implicit: unpacker.implicit.into_iter().collect() }, actual))
}

/// The raw reader is shared, so that it can be drained after the decompressor gave up.
struct Shared<R>(Rc<std::cell::RefCell<R>>);

impl<R: Read> Read for Shared<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.borrow_mut().read(buffer)
    }
}

/// What went wrong, naming the entry; the flag says whether a limit was hit.
struct Failure(String, bool);

impl Failure {
    fn is_limit(&self) -> bool {
        self.1
    }

    fn at(path: &[u8], error: impl Into<io::Error>) -> Self {
        let error = error.into();
        let limit = is_limit(&error);
        Self(format!("{:?}: {error}", String::from_utf8_lossy(path)), limit)
    }

    fn refused(path: &[u8], why: &str) -> Self {
        Self(format!("{:?}: refused: {why}", String::from_utf8_lossy(path)), false)
    }
}

fn is_limit(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<LimitExceeded>())
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let limit = is_limit(&error);
        Self(error.to_string(), limit)
    }
}

struct Unpacker {
    root: Rc<OwnedFd>,
    limits: Limits,
    entries: u64,
    bytes: u64,
    /// Times of directories, set last because their content changes them.
    directories: BTreeMap<PathBuf, Timestamps>,
    implicit: BTreeSet<PathBuf>,
    /// The parent used last: archives list a directory's members together.
    parent: Option<(PathBuf, Rc<OwnedFd>)>,
    files: Vec<PathBuf>,
    file_count: usize,
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const IN_ROOT: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

impl Unpacker {
    fn new(to: &Path, limits: Limits) -> rustix::io::Result<Self> {
        let root = rustix::fs::openat(CWD, to, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
        Ok(Self {
            root: Rc::new(root),
            limits,
            entries: 0,
            bytes: 0,
            directories: BTreeMap::new(),
            implicit: BTreeSet::from([PathBuf::new()]),
            parent: None,
            files: Vec::new(),
            file_count: 0,
        })
    }

    fn run(&mut self, tar: &mut Tar<impl Read>) -> Result<(), Failure> {
        while let Some(member) = tar.next()? {
            self.entries += 1;
            if self.entries > self.limits.layer_entries {
                return Err(Failure(
                    format!("more than the {} entries allowed", self.limits.layer_entries),
                    true,
                ));
            }
            let path = relative(&member.path)?;
            self.member(&member, &path, tar)?;
        }
        Ok(())
    }

    fn member(&mut self, member: &Member, path: &Path, tar: &mut Tar<impl Read>) -> Result<(), Failure> {
        let at = |error: Errno| Failure::at(&member.path, error);
        let Some(name) = path.file_name() else {
            if member.kind != b'5' {
                return Err(Failure::refused(&member.path, "the layer's root must be a directory"));
            }
            let root = Rc::clone(&self.root);
            return self.directory_attributes(member, path, &root);
        };
        let parent = self.parent(path.parent().unwrap_or(Path::new(""))).map_err(at)?;
        if let Some(hidden) = name.as_bytes().strip_prefix(b".wh.") {
            return whiteout(member, &parent, hidden);
        }
        match member.kind {
            b'5' => self.directory(member, path, &parent, name),
            b'0' => self.file(member, path, &parent, name, tar),
            b'1' => self.hard_link(member, &parent, name),
            b'2' => {
                self.clear(&parent, name).map_err(at)?;
                symlinkat(OsStr::from_bytes(&member.link), &parent, name).map_err(at)?;
                attributes_at(member, &parent, name)
            }
            b'6' => {
                self.clear(&parent, name).map_err(at)?;
                mknodat(&parent, name, FileType::Fifo, Mode::from_raw_mode(0o600), 0).map_err(at)?;
                chmod_after_chown(member, &parent, name)
            }
            b'3' if member.device == (0, 0) => whiteout(member, &parent, name.as_bytes()),
            b'3' | b'4' => {
                tracing::warn!(path = %lossy(&member.path), "a device node of an image is left out");
                // As if it were there, it hides what it would hide.
                self.clear(&parent, name).map_err(at)?;
                whiteout(member, &parent, name.as_bytes())
            }
            kind => Err(Failure::refused(
                &member.path,
                &format!("unknown tar member type {:?}", char::from(kind)),
            )),
        }
    }

    /// The directory at `path`, made with its parents if missing.
    fn parent(&mut self, path: &Path) -> rustix::io::Result<Rc<OwnedFd>> {
        if path.as_os_str().is_empty() {
            return Ok(Rc::clone(&self.root));
        }
        if let Some((_, fd)) = self.parent.as_ref().filter(|(cached, _)| cached == path) {
            return Ok(Rc::clone(fd));
        }
        let open = |root: &OwnedFd| openat2(root, path, DIRECTORY, Mode::empty(), IN_ROOT);
        let fd = match open(&self.root) {
            Err(Errno::NOENT) => {
                let above = self.parent(path.parent().unwrap_or(Path::new("")))?;
                let name = path.file_name().ok_or(Errno::INVAL)?;
                mkdirat(&above, name, Mode::from_raw_mode(0o755))?;
                chownat(&above, name, Some(Uid::ROOT), Some(Gid::ROOT), AtFlags::SYMLINK_NOFOLLOW)?;
                self.implicit.insert(path.to_owned());
                open(&self.root)?
            }
            other => other?,
        };
        let fd = Rc::new(fd);
        self.parent = Some((path.to_owned(), Rc::clone(&fd)));
        Ok(fd)
    }

    /// Makes room for something that is not a directory: a later member wins.
    fn clear(&mut self, parent: &OwnedFd, name: &OsStr) -> rustix::io::Result<()> {
        match unlinkat(parent, name, AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            // What is gone may have been on the way to the cached parent.
            Ok(()) => {
                self.parent = None;
                Ok(())
            }
            Err(Errno::ISDIR) => {
                self.parent = None;
                // The parent is pinned by its descriptor; removal follows no symlinks below it.
                let path = Path::new("/proc/self/fd").join(parent.as_raw_fd().to_string()).join(name);
                std::fs::remove_dir_all(path)
                    .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
            }
            Err(error) => Err(error),
        }
    }

    fn directory(
        &mut self,
        member: &Member,
        path: &Path,
        parent: &OwnedFd,
        name: &OsStr,
    ) -> Result<(), Failure> {
        let at = |error: Errno| Failure::at(&member.path, error);
        let mut opaque = false;
        match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => (),
            Ok(stat) => {
                opaque = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
                self.clear(parent, name).map_err(at)?;
                mkdirat(parent, name, Mode::from_raw_mode(0o755)).map_err(at)?;
            }
            Err(Errno::NOENT) => mkdirat(parent, name, Mode::from_raw_mode(0o755)).map_err(at)?,
            Err(error) => return Err(at(error)),
        }
        let flags = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let fd = openat2(parent, name, DIRECTORY, Mode::empty(), flags).map_err(at)?;
        if opaque {
            set_opaque(&fd).map_err(at)?;
        }
        self.directory_attributes(member, path, &fd)
    }

    fn directory_attributes(&mut self, member: &Member, path: &Path, fd: &OwnedFd) -> Result<(), Failure> {
        attributes(member, fd)?;
        self.implicit.remove(path);
        self.directories.insert(path.to_owned(), times(member));
        Ok(())
    }

    fn file(
        &mut self,
        member: &Member,
        path: &Path,
        parent: &OwnedFd,
        name: &OsStr,
        tar: &mut Tar<impl Read>,
    ) -> Result<(), Failure> {
        let at = |error: Errno| Failure::at(&member.path, error);
        self.clear(parent, name).map_err(at)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let fd = openat2(parent, name, flags, Mode::from_raw_mode(0o600), beneath).map_err(at)?;
        let mut file = File::from(fd);
        self.bytes += io::copy(tar, &mut file).map_err(|error| Failure::at(&member.path, error))?;
        file.flush().map_err(|error| Failure::at(&member.path, error))?;
        attributes(member, &file)?;
        futimens(&file, &times(member)).map_err(at)?;
        self.file_count += 1;
        if self.file_count <= SYNC_EACH {
            self.files.push(path.to_owned());
        }
        Ok(())
    }

    fn hard_link(&mut self, member: &Member, parent: &OwnedFd, name: &OsStr) -> Result<(), Failure> {
        let at = |error: Errno| Failure::at(&member.path, error);
        let target = relative(&member.link)?;
        let Some(target_name) = target.file_name() else {
            return Err(Failure::refused(&member.path, "a hard link to the layer's root"));
        };
        let above = target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let missing = |error: Errno| {
            Failure(
                format!("{:?}: hard link to {:?}: {error}", lossy(&member.path), lossy(&member.link)),
                false,
            )
        };
        let from = openat2(&self.root, above, DIRECTORY, Mode::empty(), IN_ROOT).map_err(missing)?;
        let same = |a: &rustix::fs::Stat, b: &rustix::fs::Stat| (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino);
        let old = statat(&from, target_name, AtFlags::SYMLINK_NOFOLLOW).map_err(missing)?;
        if statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|new| same(&old, &new)) {
            return Ok(());
        }
        self.clear(parent, name).map_err(at)?;
        linkat(&from, target_name, parent, name, AtFlags::empty()).map_err(missing)
    }

    /// Sets directory times, then makes everything durable.
    fn finish(&mut self) -> Result<(), Failure> {
        self.parent = None;
        let at = |path: &Path, error: Errno| Failure::at(path.as_os_str().as_bytes(), error);
        let open = |path: &Path, flags: OFlags| {
            let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
            openat2(&self.root, path, flags | OFlags::CLOEXEC, Mode::empty(), IN_ROOT)
        };
        let each = self.file_count <= SYNC_EACH && self.directories.len() <= SYNC_EACH;
        if each {
            for path in &self.files {
                match open(path, OFlags::RDONLY | OFlags::NOFOLLOW) {
                    Ok(file) => fsync(file).map_err(|error| at(path, error))?,
                    // Replaced by a later member.
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => (),
                    Err(error) => return Err(at(path, error)),
                }
            }
        }
        for (path, times) in self.directories.iter().rev() {
            match open(path, DIRECTORY | OFlags::NOFOLLOW) {
                Ok(fd) => {
                    futimens(&fd, times).map_err(|error| at(path, error))?;
                    if each {
                        fsync(&fd).map_err(|error| at(path, error))?;
                    }
                }
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => (),
                Err(error) => return Err(at(path, error)),
            }
        }
        if !each {
            syncfs(&self.root).map_err(|error| at(Path::new("."), error))?;
        }
        Ok(())
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The member's path below the root: absolute ones are taken from the root, as every unpacker of images does.
fn relative(path: &[u8]) -> Result<PathBuf, Failure> {
    let mut clean = PathBuf::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => (),
            b".." if clean.pop() => (),
            b".." => return Err(Failure::refused(path, "the path escapes the layer")),
            part if part.contains(&0) => return Err(Failure::refused(path, "the path holds a NUL byte")),
            part => clean.push(OsStr::from_bytes(part)),
        }
    }
    Ok(clean)
}

fn whiteout(member: &Member, parent: &OwnedFd, hidden: &[u8]) -> Result<(), Failure> {
    let at = |error: Errno| Failure::at(&member.path, error);
    if hidden == b".wh..opq" {
        return set_opaque(parent).map_err(at);
    }
    if hidden.starts_with(b".wh.") {
        // AUFS's own bookkeeping; it means nothing to other file systems.
        return Ok(());
    }
    if matches!(hidden, b"" | b"." | b"..") {
        return Err(Failure::refused(&member.path, "a whiteout of nothing"));
    }
    let name = OsStr::from_bytes(hidden);
    match statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        // A whiteout hides what is below this layer, never what the layer itself brings.
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
            let flags = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
            let fd = openat2(parent, name, DIRECTORY, Mode::empty(), flags).map_err(at)?;
            set_opaque(&fd).map_err(at)
        }
        Ok(_) => Ok(()),
        Err(Errno::NOENT) => {
            mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), makedev(0, 0)).map_err(at)
        }
        Err(error) => Err(at(error)),
    }
}

fn set_opaque(fd: impl AsFd) -> rustix::io::Result<()> {
    fsetxattr(fd, "trusted.overlay.opaque", b"y", XattrFlags::empty())
}

fn owner(member: &Member) -> Result<(Uid, Gid), Failure> {
    let id = |id: u64| u32::try_from(id).ok().filter(|id| *id != u32::MAX);
    match (id(member.uid), id(member.gid)) {
        (Some(uid), Some(gid)) => Ok((Uid::from_raw(uid), Gid::from_raw(gid))),
        _ => Err(Failure::refused(&member.path, "the owner's id is out of range")),
    }
}

fn times(member: &Member) -> Timestamps {
    let time = Timespec { tv_sec: member.mtime.0, tv_nsec: i64::from(member.mtime.1) };
    Timestamps { last_access: time, last_modification: time }
}

/// Owner first: changing it clears setuid bits and capabilities.
fn attributes(member: &Member, fd: impl AsFd) -> Result<(), Failure> {
    let at = |error: Errno| Failure::at(&member.path, error);
    let (uid, gid) = owner(member)?;
    fchown(&fd, Some(uid), Some(gid)).map_err(at)?;
    fchmod(&fd, Mode::from_raw_mode(member.mode)).map_err(at)?;
    for (name, value) in &member.xattrs {
        if name.starts_with(b"trusted.overlay.") {
            return Err(Failure::refused(
                &member.path,
                "overlayfs's own attributes are not allowed in images",
            ));
        }
        if name == b"security.capability" || name.starts_with(b"user.") {
            match fsetxattr(&fd, name.as_slice(), value, XattrFlags::empty()) {
                Ok(()) => (),
                Err(Errno::OPNOTSUPP) if name.starts_with(b"user.") => {
                    tracing::debug!(path = %lossy(&member.path), "the file system takes no user xattrs");
                }
                Err(error) => return Err(at(error)),
            }
        }
    }
    Ok(())
}

fn attributes_at(member: &Member, parent: &OwnedFd, name: &OsStr) -> Result<(), Failure> {
    let at = |error: Errno| Failure::at(&member.path, error);
    let (uid, gid) = owner(member)?;
    chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).map_err(at)?;
    utimensat(parent, name, &times(member), AtFlags::SYMLINK_NOFOLLOW).map_err(at)
}

fn chmod_after_chown(member: &Member, parent: &OwnedFd, name: &OsStr) -> Result<(), Failure> {
    attributes_at(member, parent, name)?;
    chmodat(parent, name, Mode::from_raw_mode(member.mode), AtFlags::empty())
        .and_then(|()| utimensat(parent, name, &times(member), AtFlags::SYMLINK_NOFOLLOW))
        .map_err(|error| Failure::at(&member.path, error))
}

#[cfg(test)]
mod tests;
