//! In a new container's first process: the root filesystem, from the steps the daemon sent.
//!
//! Invariant: every target is resolved inside the root (openat2 RESOLVE_IN_ROOT), whatever links an image holds; the
//! procfs is where it belongs and stays uncovered, since one that is elsewhere has no masks and lets a user namespace
//! mount a fresh one. Absent: choosing what is mounted; opening sources (they arrive as detached mounts).

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use shim::{Fd, Op, Start};

use crate::process;
use crate::sys::{self, Errno};

/// A procfs; libc's constant has another type on some targets.
const PROC: i64 = 0x9fa0;

/// What below /proc may be covered by a mount, as runc: files that lxcfs and the like make anew.
const PROC_FILES: [&str; 11] = [
    "cpuinfo",
    "diskstats",
    "meminfo",
    "stat",
    "swaps",
    "uptime",
    "loadavg",
    "slabinfo",
    "net/dev",
    "sys/kernel/ns_last_pid",
    "sys/crypto/fips_enabled",
];

/// What could not be done, in words for users.
pub(crate) type Failure = String;

/// Words for a failed step.
pub(crate) fn failure(what: &str, subject: &str, error: Errno) -> Failure {
    [what, " \"", subject, "\": ", &sys::describe(error)].concat()
}

/// The descriptor a message refers to.
pub(crate) fn fd_of(fds: &[OwnedFd], fd: &Fd) -> Result<RawFd, Errno> {
    fds.get(fd.index as usize).map(AsRawFd::as_raw_fd).ok_or(libc::EBADF)
}

/// Builds the root and makes it `/`; the mount namespace (a copy of the shim's) holds nothing but the Pod's `/dev/shm`.
/// A procfs is of `pid_namespace`, or of the caller's own.
pub(crate) fn enter(start: &Start, fds: &[OwnedFd], pid_namespace: Option<RawFd>) -> Result<(), Failure> {
    let say = |error| failure("mount", "/", error);
    let root = fd_of(fds, &start.rootfs).map_err(say)?;
    // Before the root covers it.
    let shm = if start.ops.iter().any(|op| matches!(op, Op::Shm { .. })) {
        Some(sys::open_tree(sys::AT_FDCWD, "/", false).map_err(say)?)
    } else {
        None
    };
    let below = sys::open("/", libc::O_PATH | libc::O_DIRECTORY).map_err(say)?;
    sys::move_mount(root, below.as_raw_fd()).map_err(say)?;
    let kept = kept(root, &start.ops)?.into_iter();
    let mut steps = Steps { root, fds, pid_namespace, shm, kept, hidden: None, proc: None, sys: None };
    for op in &start.ops {
        steps.apply(op)?;
    }
    if start.read_only_root {
        sys::mount_setattr(root, libc::MOUNT_ATTR_RDONLY, false).map_err(say)?;
    }
    drop(below);
    sys::fchdir(root).and_then(|()| sys::pivot_here()).map_err(|error| failure("pivot_root", "/", error))
}

/// The root's own directories for the steps that keep them, taken while nothing covers any of it.
fn kept(root: RawFd, ops: &[Op]) -> Result<Vec<OwnedFd>, Failure> {
    let targets = ops.iter().filter_map(|op| match op {
        Op::Keep { target } => Some(target),
        _ => None,
    });
    let copy = |target: &String| {
        make(root, target, true, 0o755)
            .and_then(|place| sys::open_tree(place.as_raw_fd(), "", false))
            .map_err(|error| failure("make volume", target, error))
    };
    targets.map(copy).collect()
}

struct Steps<'a> {
    root: RawFd,
    fds: &'a [OwnedFd],
    pid_namespace: Option<RawFd>,
    shm: Option<OwnedFd>,
    /// In the order of their steps.
    kept: std::vec::IntoIter<OwnedFd>,
    /// What is mounted at /proc and /sys.
    proc: Option<OwnedFd>,
    sys: Option<OwnedFd>,
    /// The empty read-only directory that hides others.
    hidden: Option<OwnedFd>,
}

impl Steps<'_> {
    fn apply(&mut self, op: &Op) -> Result<(), Failure> {
        match op {
            Op::Mount { fs, options, attr, target } => {
                self.be_ordinary(fs, target)?;
                self.mount(fs, options, *attr, target)
                    .map_err(|error| failure(&["mount ", fs, " at"].concat(), target, error))
            }
            Op::Attach { mount, target, dir } => self.attach(mount, target, *dir),
            Op::Keep { target } => {
                let kept = self.kept.next().ok_or_else(|| failure("mount at", target, libc::EBADF))?;
                self.cover(kept.as_raw_fd(), target, true)
            }
            Op::Shm { target } => self
                .place(target, true)
                .and_then(|place| {
                    let shm = self.shm.as_ref().ok_or(libc::EBADF)?;
                    sys::move_mount(shm.as_raw_fd(), place.as_raw_fd())
                })
                .map_err(|error| failure("mount at", target, error)),
            Op::Node { target, mode, dev, uid, gid } => self
                .node(target, *mode, *dev, (*uid, *gid))
                .map_err(|error| failure("make device", target, error)),
            Op::Symlink { to, target } => {
                let (parent, name) =
                    self.parent(target).map_err(|error| failure("make link", target, error))?;
                match sys::symlinkat(to, parent.as_raw_fd(), name) {
                    Ok(()) | Err(libc::EEXIST) => Ok(()),
                    Err(error) => Err(failure("make link", target, error)),
                }
            }
            Op::Dir { target, mode } => make(self.root, target, true, *mode)
                .map(drop)
                .map_err(|error| failure("make directory", target, error)),
            Op::Mask { target } => self.mask(target),
            Op::Lock { target } => sys::open_in(self.root, target, libc::O_PATH)
                .and_then(|place| sys::mount_setattr(place.as_raw_fd(), libc::MOUNT_ATTR_RDONLY, false))
                .map_err(|error| failure("make read-only", target, error)),
            Op::ReadOnly { target } => {
                self.read_only(target).map_err(|error| failure("make read-only", target, error))
            }
        }
    }

    /// Refuses to mount a system's filesystem through a link of the image, in runc's words.
    fn be_ordinary(&self, fs: &str, target: &str) -> Result<(), Failure> {
        let resolve = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_SYMLINKS;
        match sys::openat2(self.root, target, libc::O_PATH | libc::O_DIRECTORY, 0, resolve) {
            Ok(_) | Err(libc::ENOENT) => Ok(()),
            Err(libc::ELOOP | libc::ENOTDIR) => Err([
                "error mounting \"",
                fs,
                "\" to rootfs at \"",
                target,
                "\": filesystem \"",
                fs,
                "\" must be mounted on ordinary directory",
            ]
            .concat()),
            Err(error) => Err(failure("mount at", target, error)),
        }
    }

    fn mount(
        &mut self,
        fs: &str,
        options: &[(String, String)],
        attr: u64,
        target: &str,
    ) -> Result<(), Errno> {
        let place = self.place(target, true)?;
        let mount = match self.pid_namespace.filter(|_| fs == "proc") {
            Some(namespace) => match sys::new_mount(fs, options, attr, Some(namespace)) {
                Err(libc::EINVAL) => process::proc_from_inside(namespace, attr)?,
                other => other?,
            },
            None => sys::new_mount(fs, options, attr, None)?,
        };
        sys::move_mount(mount.as_raw_fd(), place.as_raw_fd())?;
        self.remember(target, mount);
        Ok(())
    }

    fn remember(&mut self, target: &str, mount: OwnedFd) {
        match clean(target).as_str() {
            "/proc" => self.proc = Some(mount),
            "/sys" => self.sys = Some(mount),
            _ => {}
        }
    }

    fn attach(&mut self, mount: &Fd, target: &str, dir: bool) -> Result<(), Failure> {
        let say = |error| failure("mount at", target, error);
        let mount = fd_of(self.fds, mount).map_err(say)?;
        self.cover(mount, target, dir)?;
        self.remember(target, sys::dup(mount).map_err(say)?);
        Ok(())
    }

    /// Attaches a mount where one may be.
    fn cover(&self, mount: RawFd, target: &str, dir: bool) -> Result<(), Failure> {
        let say = |error| failure("mount at", target, error);
        if matches!(clean(target).as_str(), "/proc" | "/sys" | "/dev") {
            self.be_ordinary("bind", target)?;
        }
        let place = self.place(target, dir).map_err(say)?;
        if let Some(why) = self.must_not_cover(&place, mount, target).map_err(say)? {
            return Err(["\"", target, "\" cannot be mounted because it ", why].concat());
        }
        sys::move_mount(mount, place.as_raw_fd()).map_err(say)
    }

    /// runc's rule, asked of the place itself: links and `..` lead to it too. A name that is a link to one of the files
    /// that may be covered is refused as well.
    fn must_not_cover(
        &self,
        place: &OwnedFd,
        mount: RawFd,
        target: &str,
    ) -> Result<Option<&'static str>, Errno> {
        let at = sys::fstat(place.as_raw_fd())?;
        let root = sys::fstat(self.root)?;
        if (at.st_dev, at.st_ino) == (root.st_dev, root.st_ino) {
            return Ok(Some("is the root"));
        }
        let clean = clean(target);
        let inside = match &self.proc {
            Some(proc) => sys::fstat(proc.as_raw_fd())?.st_dev == at.st_dev,
            None => false,
        };
        if inside && !PROC_FILES.contains(&clean.trim_start_matches("/proc/")) {
            return Ok(Some("is inside /proc"));
        }
        if clean == "/proc" && sys::fs_magic(mount)? != PROC {
            return Ok(Some("is not of type proc"));
        }
        Ok(None)
    }

    fn place(&self, target: &str, dir: bool) -> Result<OwnedFd, Errno> {
        make(self.root, target, dir, 0o755)
    }

    fn parent<'t>(&self, target: &'t str) -> Result<(OwnedFd, &'t str), Errno> {
        let (parent, name) = target.trim_end_matches('/').rsplit_once('/').ok_or(libc::EINVAL)?;
        Ok((make(self.root, parent, true, 0o755)?, name))
    }

    fn node(&self, target: &str, mode: u32, dev: u64, owner: (u32, u32)) -> Result<(), Errno> {
        let (parent, name) = self.parent(target)?;
        match sys::mknodat(parent.as_raw_fd(), name, mode, dev) {
            Ok(()) => {}
            Err(libc::EEXIST) => return Ok(()),
            Err(error) => return Err(error),
        }
        if owner != (0, 0) {
            sys::fchownat(parent.as_raw_fd(), name, owner.0, owner.1)?;
        }
        Ok(())
    }

    /// A path, if it exists: below the very mounts that were made at /proc and /sys, even if something covers them.
    fn existing(&self, target: &str) -> Result<Option<OwnedFd>, Errno> {
        let below = [("/proc/", &self.proc), ("/sys/", &self.sys)]
            .into_iter()
            .find_map(|(at, mount)| Some((mount.as_ref()?.as_raw_fd(), target.strip_prefix(at)?)));
        let (from, path) = below.unwrap_or((self.root, target));
        match sys::open_in(from, path, libc::O_PATH) {
            Ok(place) => Ok(Some(place)),
            Err(libc::ENOENT | libc::ENOTDIR) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn mask(&mut self, target: &str) -> Result<(), Failure> {
        let say = |error| failure("mask", target, error);
        let Some(place) = self.existing(target).map_err(say)? else { return Ok(()) };
        if sys::fstat(place.as_raw_fd()).map_err(say)?.st_mode & libc::S_IFMT == libc::S_IFDIR {
            return self.hide(&place).map_err(say);
        }
        let null = self.null()?;
        sys::open_tree(null.as_raw_fd(), "", false)
            .and_then(|cover| sys::move_mount(cover.as_raw_fd(), place.as_raw_fd()))
            .map_err(say)
    }

    /// The container's null device. What else a volume has at its place would give what is masked another content.
    fn null(&self) -> Result<OwnedFd, Failure> {
        let say = |error| failure("can't mask paths:", "/dev/null", error);
        let null = sys::open_in(self.root, "/dev/null", libc::O_PATH | libc::O_NOFOLLOW).map_err(say)?;
        let stat = sys::fstat(null.as_raw_fd()).map_err(say)?;
        if stat.st_mode & libc::S_IFMT == libc::S_IFCHR && stat.st_rdev == libc::makedev(1, 3) {
            Ok(null)
        } else {
            Err("can't mask paths: \"/dev/null\" is not the null device".to_owned())
        }
    }

    fn hide(&mut self, place: &OwnedFd) -> Result<(), Errno> {
        let cover = match &self.hidden {
            Some(first) => sys::open_tree(first.as_raw_fd(), "", false)?,
            None => {
                let options = [("size".to_owned(), "0k".to_owned())];
                sys::new_mount("tmpfs", &options, libc::MOUNT_ATTR_RDONLY, None)?
            }
        };
        sys::move_mount(cover.as_raw_fd(), place.as_raw_fd())?;
        self.hidden.get_or_insert(cover);
        Ok(())
    }

    fn read_only(&self, target: &str) -> Result<(), Errno> {
        let Some(place) = self.existing(target)? else { return Ok(()) };
        let tree = sys::open_tree(place.as_raw_fd(), "", true)?;
        sys::mount_setattr(tree.as_raw_fd(), libc::MOUNT_ATTR_RDONLY, true)?;
        sys::move_mount(tree.as_raw_fd(), place.as_raw_fd())
    }
}

/// An absolute path without `.`, `..` and doubled slashes, links not looked at.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            other => parts.push(other),
        }
    }
    ["/", &parts.join("/")].concat()
}

/// Opens a path inside the root, making what is missing. Links are followed inside the root, dangling ones too: an
/// image's `/etc/resolv.conf` often points at a file that does not exist yet.
fn make(root: RawFd, path: &str, dir: bool, mode: u32) -> Result<OwnedFd, Errno> {
    let mut path = path.to_owned();
    for _ in 0..40 {
        match sys::open_in(root, &path, libc::O_PATH) {
            Err(libc::ENOENT) => {}
            other => return other,
        }
        match make_missing(root, &path, dir, mode)? {
            Some(redirected) => path = redirected,
            None => return sys::open_in(root, &path, libc::O_PATH),
        }
    }
    Err(libc::ELOOP)
}

/// Makes the missing components; at a dangling link returns the path that it stands for.
fn make_missing(root: RawFd, path: &str, dir: bool, mode: u32) -> Result<Option<String>, Errno> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let mut prefix = String::new();
    for (index, part) in parts.iter().enumerate() {
        let next = [&prefix, "/", part].concat();
        let parent = match sys::open_in(root, &next, libc::O_PATH) {
            Ok(_) => {
                prefix = next;
                continue;
            }
            Err(libc::ENOENT) => sys::open_in(root, &prefix, libc::O_PATH | libc::O_DIRECTORY)?,
            Err(error) => return Err(error),
        };
        let last = index + 1 == parts.len();
        let made = if last && !dir {
            let flags = libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY;
            sys::openat(parent.as_raw_fd(), part, flags, 0o644).map(drop)
        } else {
            sys::mkdirat(parent.as_raw_fd(), part, if last { mode } else { 0o755 })
        };
        match made {
            Ok(()) => prefix = next,
            Err(libc::EEXIST) => {
                let link = sys::read_link(parent.as_raw_fd(), part)?;
                let base = if link.starts_with('/') { "" } else { prefix.as_str() };
                let rest = parts[index + 1..].join("/");
                // No slash at the end: it would ask for a directory.
                let joint = if rest.is_empty() { "" } else { "/" };
                return Ok(Some([base, "/", &link, joint, &rest].concat()));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}
