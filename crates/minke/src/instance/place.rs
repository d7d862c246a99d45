//! Whether the file system that holds a data dir is there.
//!
//! A data dir on a disk of its own looks empty while the disk is not mounted, and a new cluster would begin beneath it.
//! Two things tell: a mark that an earlier start left in the directory which the mount covers, and `/etc/fstab`.
//! Invariant: nothing but the mark is ever written beneath a mount. Absent: mounting.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use rustix::fs::{CWD, Mode, OFlags, fstat, openat};
use rustix::mount::{OpenTreeFlags, open_tree};

/// The mark's name in the directory that a mount covers.
const MARK: &str = "mount-point";

/// Directories for what need not last: nobody's data is missed in them.
const PASSING: &[&str] = &["/tmp", "/var/tmp", "/run", "/dev/shm"];

/// Refuses a data dir whose file system, or that of a directory in it, is known but not mounted.
///
/// # Errors
/// If so; the message says what to do.
pub fn expect_mounted(dir: &Path) -> Result<()> {
    if dir.join(MARK).exists() {
        bail!(
            "the file system of {0} is not mounted: mount it; if its data are given up, remove {0}/{MARK}",
            dir.display()
        );
    }
    let fstab = fs::read_to_string("/etc/fstab").unwrap_or_default();
    let mounts = runtime::mount_points().context("cannot read the table of mounts")?;
    let mounted: BTreeSet<PathBuf> = mounts.into_iter().map(|mount| mount.at).collect();
    let empty = !dir.join("format").exists();
    if let Some(point) = missing(dir, empty, &fstab, &mounted) {
        bail!(
            "{} is a mount point of /etc/fstab, but nothing is mounted there: mount it, or choose another --data-dir",
            point.display()
        );
    }
    Ok(())
}

/// The mount point of `fstab` that matters to a data dir and is not mounted. One above it matters while the data dir
/// is `empty`: what is there needs no other place.
fn missing(dir: &Path, empty: bool, fstab: &str, mounted: &BTreeSet<PathBuf>) -> Option<PathBuf> {
    let points = fstab.lines().filter_map(mount_point);
    let matters = |point: &PathBuf| {
        let above = empty && dir.starts_with(point) && !PASSING.iter().any(|p| point == Path::new(p));
        (above || point.starts_with(dir)) && point != Path::new("/")
    };
    points.filter(matters).find(|point| !mounted.contains(point))
}

/// The mount point of a line of fstab, unless it is mounted by hand only.
fn mount_point(line: &str) -> Option<PathBuf> {
    let mut words = line.split('#').next()?.split_whitespace();
    let point = words.nth(1)?.replace("\\040", " ");
    let options = words.nth(1).unwrap_or_default();
    let by_hand = options.split(',').any(|option| option == "noauto");
    (point.starts_with('/') && !by_hand).then(|| PathBuf::from(point))
}

/// Marks the directory beneath a data dir that is a mount point, for [`expect_mounted`]. What cannot be written cannot
/// become a data dir either, so failing is no error.
pub fn mark_beneath(dir: &Path) {
    if let Err(error) = try_mark(dir) {
        tracing::debug!(error = format!("{error:#}"), "the directory beneath {} has no mark", dir.display());
    }
}

fn try_mark(dir: &Path) -> Result<()> {
    let dir = fs::canonicalize(dir)?;
    let mounted = runtime::mount_points()?.iter().any(|mount| mount.at == dir);
    let (true, Some(parent), Some(name)) = (mounted, dir.parent(), dir.file_name()) else { return Ok(()) };
    // A copy of the parent's mount alone: what is mounted on its directories is not in it.
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let bare = open_tree(CWD, parent, flags)?;
    let way = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let beneath = openat(&bare, name, way, Mode::empty())?;
    let (covered, covering) = (fstat(&beneath)?, rustix::fs::stat(&dir)?);
    if (covered.st_dev, covered.st_ino) == (covering.st_dev, covering.st_ino) {
        // Mounted on itself: beneath is the data dir.
        return Ok(());
    }
    let new = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(&beneath, MARK, new, Mode::from_raw_mode(0o644)) {
        Err(rustix::io::Errno::EXIST) => Ok(()),
        opened => {
            let mut file = fs::File::from(opened?);
            Ok(writeln!(file, "A file system with an instance of minke belongs on this directory.")?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fstab() {
        let text = "# a disk\n/dev/sdb1 /var/lib/minke ext4 defaults 0 2\nUUID=x /data ext4 nofail 0 2\n\
                    /dev/sdc1 /srv ext4 noauto 0 0\ntmpfs /tmp tmpfs defaults\n/dev/sda2 none swap sw\n\
                    /dev/sdd1 /var/lib/minke/images xfs defaults # more\n/dev/sda1 / ext4 defaults 0 1\n";
        let both = ["/var/lib/minke", "/var/lib/minke/images", "/data", "/"];
        for (dir, empty, mounted, want) in [
            ("/var/lib/minke", true, &[][..], Some("/var/lib/minke")),
            ("/var/lib/minke", false, &["/var/lib/minke"][..], Some("/var/lib/minke/images")),
            ("/var/lib/minke", true, &both[..], None),
            ("/data/minke", true, &["/"][..], Some("/data")),
            ("/data/minke", false, &["/"][..], None),
            ("/srv/minke", true, &[][..], None),
            ("/tmp/minke-play-x", true, &[][..], None),
            ("/home/minke", true, &[][..], None),
        ] {
            let mounted = mounted.iter().map(PathBuf::from).collect();
            let found = missing(Path::new(dir), empty, text, &mounted);
            assert_eq!(found.as_deref(), want.map(Path::new), "{dir} {empty}");
        }
    }
}
