//! An instance: a data dir with its lock, its id, its format version and the port it once chose.
//!
//! Invariant: whoever holds an `Instance` is the only process working on that data dir. Absent: what is inside.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::FlockOperation;

/// Format of the data dir that this program writes.
const FORMAT: u32 = 1;

/// A locked data dir.
#[derive(Debug)]
pub struct Instance {
    /// Absolute path.
    pub dir: PathBuf,
    /// 8 hex digits, random, kept in the data dir.
    pub id: u32,
    _lock: File,
}

/// Why the data dir was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the lock.
    #[error(
        "another minke runs on {dir} (PID {pid}): end it with `minke down --data-dir {dir}` or choose another --data-dir"
    )]
    Busy {
        /// The data dir.
        dir: String,
        /// What the holder wrote into the lock file.
        pid: String,
    },
    /// Written by a later program.
    #[error(
        "{dir} has the format {found}, this minke knows formats up to {FORMAT}: run the newer minke that wrote it, or choose another --data-dir"
    )]
    Newer {
        /// The data dir.
        dir: String,
        /// Its format.
        found: u32,
    },
    /// Anything else.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

impl Instance {
    /// Makes the data dir if needed, locks it, reads or makes its id.
    ///
    /// # Errors
    /// If another process holds it, a newer program wrote it, or it cannot be read and written.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        let dir = crate::config::absolute(dir)?;
        let text = dir.display().to_string();
        make_dir(&dir)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(dir.join("lock"))
            .with_context(|| format!("cannot open {text}/lock"))?;
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let pid = fs::read_to_string(dir.join("lock")).unwrap_or_default();
            return Err(OpenError::Busy { dir: text, pid: pid.trim().to_owned() });
        }
        let found = read_number(&dir.join("format"), 10)?.unwrap_or(FORMAT);
        if found > FORMAT {
            return Err(OpenError::Newer { dir: text, found });
        }
        fs::write(dir.join("lock"), format!("{}\n", std::process::id()))
            .with_context(|| format!("cannot write {text}/lock"))?;
        write_atomic(&dir.join("format"), &format!("{FORMAT}\n"))?;
        let id = match read_number(&dir.join("instance"), 16)? {
            Some(id) => id,
            None => {
                let id = rand::random::<u32>();
                write_atomic(&dir.join("instance"), &format!("{id:08x}\n"))?;
                id
            }
        };
        Ok(Self { dir, id, _lock: lock })
    }

    /// The id as names carry it.
    #[must_use]
    pub fn hex(&self) -> String {
        format!("{:08x}", self.id)
    }

    /// Sockets and other things that need not survive a reboot.
    #[must_use]
    pub fn run_dir(&self) -> PathBuf {
        run_dir(self.id)
    }

    /// Binds the API server's address. Port 0 picks a free port once and keeps it in the data dir.
    ///
    /// # Errors
    /// If the address is in use or not ours; the message names it.
    pub fn bind(&self, wanted: SocketAddr) -> Result<TcpListener> {
        let kept = self.dir.join("port");
        let mut address = wanted;
        if wanted.port() == 0
            && let Some(port) = read_number(&kept, 10)?
        {
            address
                .set_port(u16::try_from(port).with_context(|| format!("{} holds no port", kept.display()))?);
        }
        let listener = TcpListener::bind(address).map_err(|error| match error.kind() {
            ErrorKind::AddrInUse => anyhow::anyhow!(
                "{address} is in use: choose another with --listen ADDR:PORT (port 0 picks a free one)"
            ),
            ErrorKind::AddrNotAvailable => {
                anyhow::anyhow!("{address} is not an address of this machine: choose one with --listen")
            }
            _ => anyhow::Error::new(error).context(format!("cannot listen on {address}")),
        })?;
        if wanted.port() == 0 {
            write_atomic(&kept, &format!("{}\n", listener.local_addr()?.port()))?;
        }
        Ok(listener)
    }
}

/// See [`Instance::run_dir`].
#[must_use]
pub fn run_dir(id: u32) -> PathBuf {
    PathBuf::from(format!("/run/minke/{id:08x}"))
}

/// The id of a data dir that exists, without locking it.
///
/// # Errors
/// If there is no instance in it.
pub fn id_of(dir: &Path) -> Result<u32> {
    read_number(&dir.join("instance"), 16)?
        .with_context(|| format!("{} is no data dir of minke", dir.display()))
}

fn make_dir(dir: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("cannot make {}", dir.display()))
}

fn read_number(path: &Path, radix: u32) -> Result<Option<u32>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(
            u32::from_str_radix(text.trim(), radix)
                .with_context(|| format!("{} holds no number", path.display()))?,
        )),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Writes a small file so that it is there whole or not at all.
///
/// # Errors
/// If it cannot be written, e.g. on a full disk.
pub fn write_atomic(path: &Path, text: &str) -> Result<()> {
    let new = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        fs::write(&new, text)?;
        File::open(&new)?.sync_all()?;
        fs::rename(&new, path)
    };
    if let Err(error) = write() {
        bail!("cannot write {}: {error}", path.display());
    }
    Ok(())
}

/// Writes a file that only its owner may read, whole or not at all.
///
/// # Errors
/// If it cannot be written.
pub fn write_secret(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let dir = path.parent().context("a file has a directory")?;
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let new = dir.join(format!(".{}.new", path.file_name().unwrap_or_default().to_string_lossy()));
    let write = || -> std::io::Result<()> {
        let _ = fs::remove_file(&new);
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        fs::rename(&new, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_opener_is_refused_and_the_id_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let first = Instance::open(dir.path()).unwrap();
        let second = Instance::open(dir.path());
        // flock belongs to the open file, so even our own process is refused.
        assert!(matches!(second, Err(OpenError::Busy { .. })), "{second:?}");
        let id = first.id;
        drop(first);
        assert_eq!(Instance::open(dir.path()).unwrap().id, id);
        assert_eq!(id_of(dir.path()).unwrap(), id);
    }

    #[test]
    fn a_newer_format_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("format"), "2\n").unwrap();
        let error = Instance::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("newer minke"), "{error}");
    }

    #[test]
    fn port_zero_is_chosen_once() {
        let dir = tempfile::tempdir().unwrap();
        let instance = Instance::open(dir.path()).unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let port = instance.bind(any).unwrap().local_addr().unwrap().port();
        let again = instance.bind(any).unwrap();
        assert_eq!(again.local_addr().unwrap().port(), port);
        let error = instance.bind(any).unwrap_err().to_string();
        assert!(error.contains("in use"), "{error}");
    }
}
