//! The process that holds a data dir's lock: found by what it has open, never by a number alone.

use std::fs::{self, File};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FlockOperation;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::files::read_number;

/// How long a daemon may take to end after SIGTERM.
const ENDS_WITHIN: Duration = Duration::from_secs(30);

/// A live process that holds a data dir.
#[derive(Debug)]
pub struct Holder {
    /// Its PID.
    pub pid: u32,
    handle: OwnedFd,
}

/// Who holds the lock of a data dir; `None` if nobody does.
///
/// # Errors
/// If somebody does who cannot be found, e.g. because he lives in another PID namespace.
pub fn holder(dir: &Path) -> Result<Option<Holder>> {
    let path = dir.join("lock");
    for _ in 0..50 {
        if let Some(pid) = read_number(&path, 10).unwrap_or_default()
            && let Some(holder) = Holder::of(pid, &path)
        {
            return Ok(Some(holder));
        }
        if !held(&path)? {
            return Ok(None);
        }
        // A holder that has just begun has not yet written who he is.
        std::thread::sleep(Duration::from_millis(20));
    }
    bail!(
        "{} is held by a process that cannot be seen from here, perhaps in another PID namespace: end it there",
        path.display()
    )
}

/// The PID in a lock file, if that process lives and has the file open. Unlike [`holder`] it never touches the lock, so
/// that looking disturbs nobody who is about to take it.
#[must_use]
pub fn seen_holder(dir: &Path) -> Option<u32> {
    let path = dir.join("lock");
    let pid = read_number(&path, 10).ok()??;
    Holder::of(pid, &path).map(|holder| holder.pid)
}

impl Holder {
    /// The process, if it lives and has the lock file open.
    fn of(pid: u32, lock: &Path) -> Option<Self> {
        let number = Pid::from_raw(i32::try_from(pid).ok()?)?;
        // The handle first: what is seen afterwards is seen of this process, not of a later one of its number.
        let handle = pidfd_open(number, PidfdFlags::empty()).ok()?;
        let lock = fs::metadata(lock).ok()?;
        let open = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
        let is_lock = |entry: &fs::DirEntry| {
            fs::metadata(entry.path()).is_ok_and(|m| (m.dev(), m.ino()) == (lock.dev(), lock.ino()))
        };
        let holder = Self { pid, handle };
        (open.into_iter().any(|entry| is_lock(&entry)) && !holder.wait(Duration::ZERO)).then_some(holder)
    }

    /// Ends the process: SIGTERM, and SIGKILL if that does not help in time. `tell` hears of the latter.
    ///
    /// # Errors
    /// If it cannot be signalled.
    pub fn end(&self, tell: impl Fn(&str)) -> Result<()> {
        self.signal(Signal::TERM)?;
        if self.wait(ENDS_WITHIN) {
            return Ok(());
        }
        tell(&format!("PID {} does not end within {} s: killing it", self.pid, ENDS_WITHIN.as_secs()));
        self.signal(Signal::KILL)?;
        if self.wait(ENDS_WITHIN) {
            return Ok(());
        }
        bail!("PID {} does not end, not even by SIGKILL", self.pid)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        match pidfd_send_signal(&self.handle, signal) {
            Err(rustix::io::Errno::SRCH) => Ok(()),
            other => other.with_context(|| format!("cannot signal PID {}", self.pid)),
        }
    }

    /// Waits until the process has ended; whether it has.
    pub fn wait(&self, limit: Duration) -> bool {
        let until = std::time::Instant::now() + limit;
        loop {
            let left = until.saturating_duration_since(std::time::Instant::now());
            let left = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 });
            let mut ends = [PollFd::from_borrowed_fd(self.handle.as_fd(), PollFlags::IN)];
            match poll(&mut ends, Some(&left)) {
                Err(rustix::io::Errno::INTR) => {}
                other => return other.is_ok_and(|n| n > 0),
            }
        }
    }
}

/// Whether somebody holds the lock.
fn held(path: &Path) -> Result<bool> {
    let file = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        other => other.with_context(|| format!("cannot open {}", path.display()))?,
    };
    Ok(rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared).is_err())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_alone_names_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let lock = dir.path().join("lock");
        assert!(holder(dir.path()).unwrap().is_none(), "no lock file");
        // A number of some process that lives but has nothing to do with it.
        let own = std::process::id();
        fs::write(&lock, format!("{own}\n")).unwrap();
        assert!(holder(dir.path()).unwrap().is_none(), "not held");
        let open = File::open(&lock).unwrap();
        rustix::fs::flock(&open, FlockOperation::NonBlockingLockExclusive).unwrap();
        assert_eq!(holder(dir.path()).unwrap().map(|h| h.pid), Some(own));
        fs::write(&lock, "1\n").unwrap();
        assert!(holder(dir.path()).unwrap_err().to_string().contains("cannot be seen"));
    }
}
