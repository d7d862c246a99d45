//! The kernel's table of mounts, as this thread sees it.
//!
//! Invariant: every path is given as it is, none of the table's escapes is left in it. Absent: mounting.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::Propagation;

/// One line of the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MountPoint {
    /// Where it is.
    pub at: PathBuf,
    /// Which directory of its file system is seen there; `/` unless it is a bind mount.
    pub root: PathBuf,
    /// The file system's device, `MAJOR:MINOR`.
    pub device: String,
    /// Whether mounts made in it are made in its copies too.
    pub shared: bool,
    /// Whether mounts made in what it is a copy of are made in it too.
    pub slave: bool,
}

/// All mounts, in the order in which they were made.
///
/// # Errors
/// If `/proc` cannot be read.
pub fn mount_points() -> io::Result<Vec<MountPoint>> {
    // This thread's: `self` would be the main thread's mount namespace.
    Ok(parse(&std::fs::read("/proc/thread-self/mountinfo")?))
}

/// The mounts at or below `dir`, which is canonical, in the order in which they were made.
///
/// # Errors
/// As [`mount_points`].
pub fn mount_points_below(dir: &Path) -> io::Result<Vec<MountPoint>> {
    let mut all = mount_points()?;
    all.retain(|mount| mount.at.starts_with(dir));
    Ok(all)
}

/// The mount of `table` that shows the canonical `path`.
#[must_use]
pub fn mount_of<'t>(table: &'t [MountPoint], path: &Path) -> Option<&'t MountPoint> {
    let above = table.iter().filter(|mount| path.starts_with(&mount.at));
    // The last of the deepest covers the others.
    above.max_by_key(|mount| mount.at.components().count())
}

/// Why mounts cannot travel as wanted from or to what is at the canonical `path`, in containerd's words.
pub(crate) fn refusal(table: &[MountPoint], path: &Path, wanted: Propagation) -> Option<String> {
    let mount = mount_of(table, path)?;
    let missing = match wanted {
        Propagation::Private => return None,
        Propagation::HostToContainer if mount.shared || mount.slave => return None,
        Propagation::Bidirectional if mount.shared => return None,
        Propagation::HostToContainer => "a shared or slave mount",
        Propagation::Bidirectional => "a shared mount",
    };
    Some(format!("path {path:?} is mounted on {:?} but it is not {missing}", mount.at))
}

fn parse(table: &[u8]) -> Vec<MountPoint> {
    table.split(|b| *b == b'\n').filter_map(line).collect()
}

/// `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAG:N…] - …`
fn line(line: &[u8]) -> Option<MountPoint> {
    let mut fields = line.split(|b| *b == b' ').skip(2);
    let device = String::from_utf8_lossy(fields.next()?).into_owned();
    let (root, at) = (unescape(fields.next()?), unescape(fields.next()?));
    let tags: Vec<&[u8]> = fields.skip(1).take_while(|field| *field != b"-").collect();
    let has = |tag: &[u8]| tags.iter().any(|field| field.starts_with(tag));
    Some(MountPoint { at, root, device, shared: has(b"shared:"), slave: has(b"master:") })
}

/// Spaces, tabs, newlines and backslashes are three octal digits in the table.
fn unescape(field: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let octal = |b: &u8| matches!(b, b'0'..=b'7').then(|| u32::from(b - b'0'));
        let code = match (first, tail) {
            (b'\\', [a, b, c, ..]) => {
                octal(a).zip(octal(b)).zip(octal(c)).map(|((a, b), c)| a * 64 + b * 8 + c)
            }
            _ => None,
        };
        match code.and_then(|code| u8::try_from(code).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = &tail[3..];
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsStr::from_bytes(&out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_escapes() {
        assert_eq!(unescape(br"/a\040b\134c\0"), Path::new(r"/a b\c\0"));
    }

    #[test]
    fn lines() {
        let table = b"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n9 1 8:1 /a\\040b /mnt/c rw shared:3 - ext4 /dev/sda1 rw\n9 1 8:1 /a\\040b /mnt/c rw shared:3 master:1 - ext4 shared:9 rw\nrubbish\n";
        let want = |at: &str, root: &str| MountPoint {
            at: at.into(),
            root: root.into(),
            device: "8:1".to_owned(),
            ..MountPoint::default()
        };
        let shared = MountPoint { shared: true, ..want("/mnt/c", "/a b") };
        let both = MountPoint { slave: true, ..shared.clone() };
        assert_eq!(parse(table), [want("/", "/"), shared, both]);
    }

    #[test]
    fn who_lets_mounts_travel() {
        let mount = |at: &str, shared: bool, slave: bool| MountPoint {
            at: at.into(),
            shared,
            slave,
            ..MountPoint::default()
        };
        let table = [
            mount("/", false, false),
            mount("/s", false, false),
            mount("/s/shared", true, false),
            mount("/slave", false, true),
            mount("/twice", true, false),
            mount("/twice", false, false),
        ];
        for (path, to_container, both) in [
            ("/shared", Some("/"), Some("/")),
            ("/s/a", Some("/s"), Some("/s")),
            ("/s/shared", None, None),
            ("/s/shared/a", None, None),
            ("/s/shareda", Some("/s"), Some("/s")),
            ("/slave/a", None, Some("/slave")),
            ("/twice/a", Some("/twice"), Some("/twice")),
        ] {
            let says = |on: Option<&str>, what: &str| {
                on.map(|on| format!("path \"{path}\" is mounted on \"{on}\" but it is not a {what} mount"))
            };
            let of = |wanted| refusal(&table, Path::new(path), wanted);
            assert_eq!(of(Propagation::HostToContainer), says(to_container, "shared or slave"), "{path}");
            assert_eq!(of(Propagation::Bidirectional), says(both, "shared"), "{path}");
            assert_eq!(of(Propagation::Private), None);
        }
    }
}
