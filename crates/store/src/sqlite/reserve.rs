//! The reserve: a file that holds room on the disk for writes which free things, for when there is no other.
//!
//! Invariant: it is made only out of room that the disk has to spare, and given up in parts, as it is needed: others who
//! fill the disk cannot take all of it at once. Absent: who may spend it (the writer knows).

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Written at a time while it is made.
const STEP: usize = 64 << 10;
/// It is given up in so many parts.
const PARTS: u64 = 8;

/// See the module.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    bytes: u64,
    held: u64,
    spent: bool,
}

impl Reserve {
    /// The reserve of the database at `path`, beside it, as it is; 0 bytes are none.
    pub(super) fn of(path: &Path, bytes: u64) -> Self {
        let path = path.with_extension("reserve");
        let held = fs::metadata(&path).map_or(0, |found| found.len().min(bytes));
        Self { path, bytes, held, spent: false }
    }

    /// Whether a part was given up and is not there again.
    pub(super) fn is_spent(&self) -> bool {
        self.spent
    }

    /// Whether all of it is there.
    fn is_whole(&self) -> bool {
        self.held == self.bytes
    }

    /// Its size in bytes when whole.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes it whole again if there is room; whether it is.
    pub(super) fn refill(&mut self) -> bool {
        if !self.is_whole()
            && let Err(error) = self.fill()
        {
            tracing::debug!(%error, "no reserve in {}", self.path.display());
            if let Err(error) = self.shrink(self.held) {
                tracing::warn!(%error, "cannot shrink {}", self.path.display());
            }
        }
        self.spent &= !self.is_whole();
        self.is_whole()
    }

    /// Gives a part of its room to whoever writes next; whether there was any.
    pub(super) fn give_up(&mut self) -> bool {
        let part = (self.bytes / PARTS).max(1).min(self.held);
        if part == 0 {
            return false;
        }
        tracing::warn!(part, "the disk is full: a part of {} is given up for deletions", self.path.display());
        match self.shrink(self.held - part) {
            Ok(()) => {
                self.held -= part;
                self.spent = true;
                true
            }
            Err(error) => {
                tracing::warn!(%error, "cannot shrink {}", self.path.display());
                false
            }
        }
    }

    /// Nothing is done when the disk has no room to spare beyond it: to fill it to the brim would disturb others.
    fn fill(&mut self) -> io::Result<()> {
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let disk = rustix::fs::statvfs(parent.unwrap_or(Path::new(".")))?;
        let mut left = self.bytes - self.held;
        if disk.f_bavail.saturating_mul(disk.f_frsize) < left.saturating_add(self.bytes / PARTS) {
            return Ok(());
        }
        let mut file = File::options().append(true).create(true).mode(0o600).open(&self.path)?;
        // Written, not merely allocated: not every file system knows how to do that.
        let zeros = [0; STEP];
        while left > 0 {
            let step = left.min(STEP as u64);
            file.write_all(&zeros[..usize::try_from(step).unwrap_or(STEP)])?;
            left -= step;
        }
        self.held = self.bytes;
        Ok(())
    }

    fn shrink(&self, bytes: u64) -> io::Result<()> {
        match File::options().write(true).open(&self.path) {
            Err(error) if bytes == 0 && error.kind() == io::ErrorKind::NotFound => Ok(()),
            file => file?.set_len(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn given_up_in_parts_and_made_whole_again() {
        let dir = tempfile::tempdir().unwrap();
        let (db, file) = (dir.path().join("store.db"), dir.path().join("store.reserve"));
        let length = || fs::metadata(&file).unwrap().len();
        let bytes = 8 * STEP as u64;
        let mut reserve = Reserve::of(&db, bytes);
        assert!(!reserve.is_whole() && !reserve.give_up());
        assert!(reserve.refill() && reserve.is_whole() && length() == bytes);
        assert!(
            reserve.give_up() && reserve.is_spent() && !reserve.is_whole() && length() == bytes - STEP as u64
        );
        let mut again = Reserve::of(&db, bytes);
        let parts = std::iter::repeat_with(|| again.give_up()).take_while(|gave| *gave).count();
        assert!(parts == 7 && length() == 0, "{parts}");
        assert!(again.refill() && !again.is_spent() && length() == bytes);
    }

    #[test]
    fn none_where_there_is_no_room_or_none_is_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let mut huge = Reserve::of(&dir.path().join("store.db"), u64::MAX);
        assert!(!huge.refill() && !huge.give_up());
        let mut none = Reserve::of(&dir.path().join("store.db"), 0);
        assert!(none.is_whole() && none.refill() && !none.give_up());
        assert!(!dir.path().join("store.reserve").exists());
    }
}
