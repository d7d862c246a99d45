//! Directories that are no longer wanted: renamed at once, emptied a little later and one after another.
//!
//! Removing a Pod's three dozen files costs the file system's journal more than everything else that ends a Pod, and
//! whoever waits for the journal (the store's commits) waits for it too. A rename is one entry in it.
//!
//! Invariant: what `put` took is out of the way when it returns, and gone after the next `open` at the latest. Absent:
//! other file systems than the trash's own; what lies there is removed in place.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::beneath::Dir;

/// From the first directory put there until it is emptied: long enough for fifty Pods to end meanwhile, short enough
/// for a full disk.
const REST: Duration = Duration::from_secs(1);

/// A place for directories that are to be removed.
#[derive(Debug)]
pub struct Trash {
    dir: PathBuf,
    next: AtomicU64,
    filled: Arc<Notify>,
    emptying: JoinHandle<()>,
}

impl Trash {
    /// Opens the trash in `dir`, which is made; what an earlier process left there is removed soon. Needs a tokio
    /// runtime.
    ///
    /// # Errors
    /// If `dir` cannot be made.
    pub fn open(dir: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&dir)?;
        let filled = Arc::new(Notify::new());
        filled.notify_one();
        let emptying = tokio::spawn(keep_empty(dir.clone(), filled.clone()));
        // Names of an earlier process are not met again.
        let next =
            SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(0));
        Ok(Self { dir, next: AtomicU64::new(next), filled, emptying })
    }

    /// Takes a file or directory away; a missing one is fine.
    ///
    /// # Errors
    /// If it can be neither renamed nor removed.
    pub fn put(&self, path: &Path) -> io::Result<()> {
        let name = self.next.fetch_add(1, Ordering::Relaxed);
        match fs::rename(path, self.dir.join(format!("{name:x}"))) {
            Ok(()) => {
                self.filled.notify_one();
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.dir.is_dir() => Ok(()),
            Err(_) => remove(path),
        }
    }
}

impl Drop for Trash {
    fn drop(&mut self) {
        self.emptying.abort();
    }
}

async fn keep_empty(dir: PathBuf, filled: Arc<Notify>) {
    loop {
        filled.notified().await;
        tokio::time::sleep(REST).await;
        let dir = dir.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || empty(&dir)).await {
            tracing::error!(%error, "the trash is not emptied any more");
            return;
        }
    }
}

fn empty(dir: &Path) {
    let opened = Dir::open(dir).and_then(|dir| Ok((dir.entries()?, dir)));
    let (entries, opened) = match opened {
        Ok(opened) => opened,
        Err(error) => return tracing::warn!(dir = %dir.display(), %error, "the trash cannot be read"),
    };
    for (name, _) in entries {
        if let Err(error) = opened.remove(&name) {
            let path = dir.join(name);
            tracing::warn!(path = %path.display(), %error, "trash that cannot be removed stays");
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    match Dir::open(path.parent().unwrap_or(Path::new("/"))) {
        Ok(above) => above.remove(name),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_empty(dir: &Path) -> bool {
        fs::read_dir(dir).expect("the trash").next().is_none()
    }

    /// Waits for the emptying, whose pace the paused clock sets.
    async fn until_empty(dir: &Path) {
        while !is_empty(dir) {
            tokio::time::sleep(REST).await;
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn takes_at_once_and_empties_later() {
        let root = tempfile::tempdir().expect("a directory");
        let (dir, pod) = (root.path().join("trash"), root.path().join("pod"));
        let trash = Trash::open(dir.clone()).expect("a trash");
        for _ in 0..2 {
            fs::create_dir_all(pod.join("volumes/data")).expect("a directory");
            trash.put(&pod).expect("taken");
            assert!(!pod.exists());
        }
        assert!(!is_empty(&dir));
        trash.put(&pod).expect("nothing to take");
        until_empty(&dir).await;
    }

    #[tokio::test(start_paused = true)]
    async fn removes_what_was_left() {
        let root = tempfile::tempdir().expect("a directory");
        let dir = root.path().join("trash");
        fs::create_dir_all(dir.join("old/deep")).expect("a directory");
        let _trash = Trash::open(dir.clone()).expect("a trash");
        until_empty(&dir).await;
    }

    #[tokio::test]
    async fn removes_in_place_what_cannot_be_renamed() {
        let root = tempfile::tempdir().expect("a directory");
        let (dir, pod) = (root.path().join("trash"), root.path().join("pod"));
        let trash = Trash::open(dir.clone()).expect("a trash");
        fs::remove_dir(&dir).expect("it was empty");
        fs::create_dir_all(pod.join("volumes")).expect("a directory");
        trash.put(&pod).expect("removed");
        assert!(!pod.exists());
    }
}
