//! Files where a container may change names at any moment: named relative to an open directory, no link followed.
//!
//! Invariants: a directory exchanged for a link meanwhile is an error, never another place; what is no regular file (a
//! FIFO, a device) is not even opened; a tree of any depth takes a bounded number of descriptors and of stack; nothing
//! here crosses a mount.
//! Absent: paths whose links are the operator's own (hostPath), resolved by who needs them.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, RenameFlags, ResolveFlags, Stat, Uid, fchmod, fchown, fstat,
    mkdirat, openat, openat2, readlinkat, renameat, renameat_with, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;

/// Links of no kind, and nothing above.
const STRICT: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);
const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Directories within each other that are removed in place; deeper ones are moved up first.
const DEEP: usize = 32;
/// How often a directory that is filled while it is removed is tried.
const ATTEMPTS: usize = 16;

/// An open directory.
#[derive(Debug)]
pub struct Dir(OwnedFd);

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Dir {
    /// Opens a directory that nobody else can move. Links above it are followed, it is none itself.
    ///
    /// # Errors
    /// As open(2).
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(openat(CWD, path, DIRECTORY, Mode::empty())?))
    }

    /// A directory below.
    ///
    /// # Errors
    /// As openat2(2); `ELOOP` at a link, `EXDEV` at a mount.
    pub fn dir(&self, path: impl AsRef<Path>) -> io::Result<Self> {
        let resolve = STRICT | ResolveFlags::NO_XDEV;
        Ok(Self(openat2(&self.0, path.as_ref(), DIRECTORY, Mode::empty(), resolve)?))
    }

    /// A directory just below, made with this mode, whatever the umask, if it is missing; whether it is new.
    ///
    /// # Errors
    /// As mkdirat(2) and [`Self::dir`].
    pub fn make(&self, name: impl AsRef<Path>, mode: u32) -> io::Result<(Self, bool)> {
        let new = match mkdirat(&self.0, name.as_ref(), Mode::from_raw_mode(0o700)) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(error.into()),
        };
        let made = self.dir(name)?;
        if new {
            made.set_mode(mode)?;
        }
        Ok((made, new))
    }

    /// A new, empty regular file just below, open for writing.
    ///
    /// # Errors
    /// As openat2(2); `EEXIST` if the name is taken, by whatever.
    pub fn create(&self, name: impl AsRef<Path>) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat2(&self.0, name.as_ref(), flags, Mode::from_raw_mode(0o600), STRICT)?.into())
    }

    /// What a link just below says; `None` if there is no link of that name.
    ///
    /// # Errors
    /// As readlinkat(2).
    pub fn read_link(&self, name: impl AsRef<Path>) -> io::Result<Option<PathBuf>> {
        match readlinkat(&self.0, name.as_ref(), Vec::new()) {
            Ok(target) => Ok(Some(OsString::from_vec(target.into_bytes()).into())),
            Err(Errno::NOENT | Errno::INVAL) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a link just below.
    ///
    /// # Errors
    /// As symlinkat(2).
    pub fn symlink(&self, target: impl AsRef<Path>, name: impl AsRef<Path>) -> io::Result<()> {
        Ok(symlinkat(target.as_ref(), &self.0, name.as_ref())?)
    }

    /// Gives something just below another name, replacing what has it.
    ///
    /// # Errors
    /// As renameat(2).
    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
        Ok(renameat(&self.0, from.as_ref(), &self.0, to.as_ref())?)
    }

    /// Names and types of what is just below.
    ///
    /// # Errors
    /// As getdents(2).
    pub fn entries(&self) -> io::Result<Vec<(OsString, FileType)>> {
        let mut found = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.0)? {
            let entry = entry?;
            if is_dot(entry.file_name()) {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => type_of(&self.stat(entry.file_name())?),
                known => known,
            };
            found.push((OsStr::from_bytes(entry.file_name().to_bytes()).to_owned(), kind));
        }
        Ok(found)
    }

    /// Sets the mode.
    ///
    /// # Errors
    /// As fchmod(2).
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        Ok(fchmod(&self.0, Mode::from_raw_mode(mode))?)
    }

    /// Removes what is just below, a directory with all it holds; a missing one is fine.
    ///
    /// # Errors
    /// As unlinkat(2); `EXDEV` if something is mounted in it.
    pub fn remove(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        let name = CString::new(name.as_ref().as_bytes())?;
        let mut lifted = vec![name];
        let mut number = 0;
        while let Some(name) = lifted.pop() {
            match unlinkat(&self.0, &name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => (),
                Err(Errno::ISDIR) => self.remove_dir(self, &name, 0, &mut lifted, &mut number)?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Removes a directory of `parent`; what lies too deep in it is moved to `self` and named in `lifted`.
    fn remove_dir(
        &self,
        parent: &Self,
        name: &CStr,
        depth: usize,
        lifted: &mut Vec<CString>,
        number: &mut u64,
    ) -> io::Result<()> {
        let gone = |result: Result<(), Errno>| match result {
            Ok(()) | Err(Errno::NOENT) => Ok(true),
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
            Err(error) => Err(io::Error::from(error)),
        };
        for _ in 0..ATTEMPTS {
            if gone(unlinkat(&parent.0, name, AtFlags::REMOVEDIR))? {
                return Ok(());
            }
            if depth == DEEP {
                lifted.push(self.lift(parent, name, number)?);
                return Ok(());
            }
            let dir = parent.dir(OsStr::from_bytes(name.to_bytes()))?;
            for entry in rustix::fs::Dir::read_from(&dir.0)? {
                let entry = entry?;
                let name = entry.file_name();
                if is_dot(name) {
                    continue;
                }
                match unlinkat(&dir.0, name, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => (),
                    Err(Errno::ISDIR) => self.remove_dir(&dir, name, depth + 1, lifted, number)?,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        match gone(unlinkat(&parent.0, name, AtFlags::REMOVEDIR))? {
            true => Ok(()),
            false => Err(Errno::NOTEMPTY.into()),
        }
    }

    /// Moves a directory of `parent` to a new name in `self`.
    fn lift(&self, parent: &Self, name: &CStr, number: &mut u64) -> io::Result<CString> {
        loop {
            *number += 1;
            let to = CString::new(format!("..lifted-{number}")).expect("no NUL in it");
            match renameat_with(&parent.0, name, &self.0, &to, RenameFlags::NOREPLACE) {
                Ok(()) => return Ok(to),
                Err(Errno::EXIST) => (),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn stat(&self, name: &CStr) -> io::Result<Stat> {
        Ok(statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT)?)
    }
}

fn is_dot(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

fn type_of(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Gives what is open to an owner and a group, as far as named, then sets its mode.
///
/// # Errors
/// As fchown(2) and fchmod(2).
pub fn give(file: impl AsFd, owner: Option<u32>, group: Option<u32>, mode: u32) -> io::Result<()> {
    fchown(&file, owner.map(Uid::from_raw), group.map(Gid::from_raw))?;
    Ok(fchmod(&file, Mode::from_raw_mode(mode))?)
}

/// Opens a regular file for reading; whatever else stands there is left alone. `resolve` says which links are followed.
///
/// # Errors
/// As openat2(2), and `InvalidInput` if it is no regular file.
pub fn open_file(root: impl AsFd, path: &Path, resolve: ResolveFlags) -> io::Result<File> {
    open_as(root, path, resolve, OFlags::RDONLY)
}

fn open_as(root: impl AsFd, path: &Path, resolve: ResolveFlags, flags: OFlags) -> io::Result<File> {
    let place = openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)?;
    if type_of(&fstat(&place)?) != FileType::RegularFile {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    // The very file that was looked at.
    let again = format!("/proc/self/fd/{}", place.as_raw_fd());
    Ok(openat(CWD, again, flags | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY, Mode::empty())?.into())
}

/// Opens a regular file by a path whose last part is no link.
///
/// # Errors
/// As [`open_file`].
pub fn open_path(path: &Path) -> io::Result<File> {
    open_last(path, OFlags::RDONLY)
}

fn open_last(path: &Path, flags: OFlags) -> io::Result<File> {
    let name = path.file_name().ok_or(Errno::INVAL)?;
    let above = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let above = openat(CWD, above, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    open_as(above, Path::new(name), STRICT, flags)
}

/// At most the first `most` bytes of a file, and whether that is all of it.
///
/// # Errors
/// As read(2).
pub fn read_most(file: impl io::Read, most: u64) -> io::Result<(Vec<u8>, bool)> {
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    let all = bytes.len() as u64 <= most;
    bytes.truncate(usize::try_from(most).unwrap_or(usize::MAX));
    Ok((bytes, all))
}

/// Makes a file that containers have mounted say `text` without replacing it. However long it grew, no more of it is
/// read than `text` is long.
///
/// # Errors
/// As openat2(2) and write(2).
pub fn write_in_place(path: &Path, text: &[u8]) -> io::Result<()> {
    use std::io::Write as _;
    match open_path(path) {
        Ok(file) if read_most(&file, text.len() as u64)? == (text.to_vec(), true) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let name = path.file_name().ok_or(Errno::INVAL)?;
            let mut new = Dir::open(path.parent().unwrap_or(Path::new(".")))?.create(name)?;
            new.write_all(text)?;
            return give(&new, None, None, 0o644);
        }
        other => drop(other?),
    }
    let mut file = open_last(path, OFlags::WRONLY)?;
    file.set_len(0)?;
    file.write_all(text)
}

/// Bytes that a file, or all in a directory, takes on its own file system, hard links once. What vanishes meanwhile
/// takes none; a tree that is moved about while it is measured counts as far as it was seen.
#[must_use]
pub fn disk_usage(root: &Path) -> u64 {
    let Ok(dir) = Dir::open(root) else {
        let meta = std::fs::symlink_metadata(root);
        return meta.map_or(0, |meta| std::os::unix::fs::MetadataExt::blocks(&meta) * 512);
    };
    let mut walk = Walk { sum: 0, linked: BTreeSet::new(), device: 0 };
    match walk.run(dir) {
        Ok(()) => (),
        Err(error) => tracing::debug!(root = %root.display(), %error, "measured in part only"),
    }
    walk.sum
}

struct Walk {
    sum: u64,
    linked: BTreeSet<u64>,
    device: u64,
}

impl Walk {
    /// One descriptor at a time: back up by `..`, which must be the directory that it was.
    fn run(&mut self, root: Dir) -> io::Result<()> {
        let top = fstat(&root)?;
        self.device = top.st_dev;
        let mut above = vec![(top.st_ino, self.list(&root)?)];
        let mut at = root;
        while let Some((_, below)) = above.last_mut() {
            if let Some(name) = below.pop() {
                let Ok(dir) = at.dir(&name) else { continue };
                let (inode, below) = (fstat(&dir)?.st_ino, self.list(&dir)?);
                if !below.is_empty() {
                    above.push((inode, below));
                    at = dir;
                }
                continue;
            }
            above.pop();
            if let Some((inode, _)) = above.last() {
                at = Dir(openat(&at, "..", DIRECTORY, Mode::empty())?);
                let stat = fstat(&at)?;
                if (stat.st_dev, stat.st_ino) != (self.device, *inode) {
                    return Err(io::Error::other("moved while it was measured"));
                }
            }
        }
        Ok(())
    }

    /// Counts what is just below and names its directories.
    fn list(&mut self, dir: &Dir) -> io::Result<Vec<OsString>> {
        let mut dirs = Vec::new();
        for entry in rustix::fs::Dir::read_from(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if is_dot(name) {
                continue;
            }
            let Ok(stat) = dir.stat(name) else { continue };
            let is_dir = type_of(&stat) == FileType::Directory;
            if stat.st_dev != self.device
                || (stat.st_nlink > 1 && !is_dir && !self.linked.insert(stat.st_ino))
            {
                continue;
            }
            self.sum += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
            if is_dir {
                dirs.push(OsStr::from_bytes(name.to_bytes()).to_owned());
            }
        }
        Ok(dirs)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn world() -> (tempfile::TempDir, Dir) {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("d")).unwrap();
        fs::write(temp.path().join("d/file"), "text").unwrap();
        symlink("d", temp.path().join("link")).unwrap();
        symlink("d/file", temp.path().join("to-file")).unwrap();
        symlink("nowhere", temp.path().join("dangling")).unwrap();
        nix::unistd::mkfifo(&temp.path().join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        (temp, dir)
    }

    #[test]
    fn no_link_is_followed() {
        let (temp, dir) = world();
        assert!(dir.dir("d").is_ok());
        for name in ["link", "link/x", "..", "d/../..", "dangling"] {
            assert!(dir.dir(name).is_err(), "{name}");
        }
        assert!(Dir::open(&temp.path().join("link")).is_err());
        for name in ["link", "to-file", "dangling", "fifo", "d"] {
            assert_eq!(dir.create(name).unwrap_err().kind(), io::ErrorKind::AlreadyExists, "{name}");
        }
        assert!(dir.make("link", 0o755).is_err() && !dir.make("d", 0o700).unwrap().1);
        assert!(dir.make("new", 0o777).unwrap().1);
        assert_eq!(fs::metadata(temp.path().join("new")).unwrap().permissions().mode() & 0o7777, 0o777);
        assert_eq!(dir.read_link("link").unwrap().as_deref(), Some(Path::new("d")));
        assert_eq!((dir.read_link("d").unwrap(), dir.read_link("none").unwrap()), (None, None));
    }

    #[test]
    fn only_regular_files_are_opened() {
        let (temp, _) = world();
        for (name, good) in
            [("d/file", true), ("to-file", false), ("fifo", false), ("d", false), ("dangling", false)]
        {
            assert_eq!(open_path(&temp.path().join(name)).is_ok(), good, "{name}");
        }
        assert!(open_path(Path::new("/dev/null")).is_err());
        let followed = open_file(CWD, &temp.path().join("to-file"), ResolveFlags::empty()).unwrap();
        assert_eq!(read_most(followed, 2).unwrap(), (b"te".to_vec(), false));
    }

    #[test]
    fn files_are_written_in_place() {
        let (temp, _) = world();
        let path = temp.path().join("d/hosts");
        for text in ["one", "one", "two words", "x"] {
            write_in_place(&path, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        let grown = fs::File::options().write(true).open(&path).unwrap();
        grown.set_len(1 << 40).unwrap();
        write_in_place(&path, b"x").unwrap();
        assert_eq!((fs::read(&path).unwrap(), grown.metadata().unwrap().len()), (b"x".to_vec(), 1));
        for name in ["to-file", "fifo", "dangling"] {
            assert!(write_in_place(&temp.path().join(name), b"x").is_err(), "{name}");
        }
        assert_eq!(fs::read_to_string(temp.path().join("d/file")).unwrap(), "text");
    }

    /// Directories within each other, two in each.
    fn deep(root: &Path, levels: usize) {
        let mut at = Dir::open(root).unwrap();
        for _ in 0..levels {
            at.make("b", 0o755).unwrap();
            at = at.make("a", 0o755).unwrap().0;
        }
        io::Write::write_all(&mut at.create("file").unwrap(), &[1; 1 << 20]).unwrap();
    }

    #[test]
    fn trees_of_any_depth_are_measured_and_removed() {
        // In a small thread, as a recursion for each level would overflow a large one.
        let test = || {
            let (temp, dir) = world();
            fs::hard_link(temp.path().join("d/file"), temp.path().join("again")).unwrap();
            symlink("/", temp.path().join("root")).unwrap();
            dir.make("tree", 0o755).unwrap();
            deep(&temp.path().join("tree"), 1500);
            let used = disk_usage(temp.path());
            assert!(used > 1 << 20 && used < 1 << 26, "{used}");
            for name in ["tree", "link", "fifo", "root", "d", "none", "again"] {
                dir.remove(name).unwrap();
            }
            let mut left: Vec<_> = dir.entries().unwrap().into_iter().map(|(name, _)| name).collect();
            left.sort();
            assert_eq!(left, ["dangling", "to-file"]);
            assert!(Path::new("/etc").exists());
        };
        std::thread::Builder::new().stack_size(256 << 10).spawn(test).unwrap().join().unwrap();
        assert_eq!(disk_usage(Path::new("/none")), 0);
    }
}
