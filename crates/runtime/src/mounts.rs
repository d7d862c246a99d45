//! The kernel's table of mounts, as this thread sees it.
//!
//! Invariant: every path is given as it is, none of the table's escapes is left in it. Absent: mounting.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountPoint {
    /// Where it is.
    pub at: PathBuf,
    /// Which directory of its file system is seen there; `/` unless it is a bind mount.
    pub root: PathBuf,
    /// The file system's device, `MAJOR:MINOR`.
    pub device: String,
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

fn parse(table: &[u8]) -> Vec<MountPoint> {
    table.split(|b| *b == b'\n').filter_map(line).collect()
}

/// `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS…`
fn line(line: &[u8]) -> Option<MountPoint> {
    let mut fields = line.split(|b| *b == b' ').skip(2);
    let device = String::from_utf8_lossy(fields.next()?).into_owned();
    let (root, at) = (unescape(fields.next()?), unescape(fields.next()?));
    Some(MountPoint { at, root, device })
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
        let table = b"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n9 1 8:1 /a\\040b /mnt/c rw shared:3 - ext4 /dev/sda1 rw\nrubbish\n";
        let want =
            |at: &str, root: &str| MountPoint { at: at.into(), root: root.into(), device: "8:1".to_owned() };
        assert_eq!(parse(table), [want("/", "/"), want("/mnt/c", "/a b")]);
    }
}
