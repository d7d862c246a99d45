//! An instance: a data dir with its lock, its id, its format version, its node's name and the port it once chose.
//!
//! Invariants: whoever holds an `Instance` is the only process working on that data dir; what it once chose it keeps.
//! Absent: what is inside.

mod files;
mod holder;
mod place;
pub mod record;

use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rustix::fs::FlockOperation;

use crate::config;

pub use files::{keep_atomic, make_private_dir, read_text, remove_tree, write_atomic};
pub use holder::{Holder, holder, seen_holder};

use files::{read_number, read_word};

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
        let dir = config::absolute(dir)?;
        let text = dir.display().to_string();
        place::expect_mounted(&dir)?;
        make_private_dir(&dir)?;
        let lock = open_lock(&dir.join("lock"))?;
        if rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let pid = read_word(&dir.join("lock"))?.unwrap_or_default();
            return Err(OpenError::Busy { dir: text, pid });
        }
        let found = read_number(&dir.join("format"), 10)?;
        if let Some(found) = found.filter(|found| *found > FORMAT) {
            return Err(OpenError::Newer { dir: text, found });
        }
        let id = read_number(&dir.join("instance"), 16)?;
        if id.is_none() {
            expect_nothing(&dir)?;
        }
        if let Err(error) = sign(&lock) {
            // Only `minke down` and people read it, who find the holder otherwise, if with more work.
            tracing::warn!(%error, "cannot write the PID into {text}/lock");
        }
        // What is there is not written again: a full disk must not keep an instance from starting.
        if found.is_none() {
            write_atomic(&dir.join("format"), &format!("{FORMAT}\n"))?;
        }
        let id = match id {
            Some(id) => id,
            None => {
                let id = rand::random::<u32>();
                write_atomic(&dir.join("instance"), &format!("{id:08x}\n"))?;
                id
            }
        };
        place::mark_beneath(&dir);
        Ok(Self { dir, id, _lock: lock })
    }

    /// The node's name: what it was at the first start, however the host is called now. `wanted` is what the
    /// configuration says.
    ///
    /// # Errors
    /// If another name is wanted than the instance has, or the name cannot be a Node's.
    pub fn node_name(&self, wanted: Option<&str>) -> Result<String> {
        let path = self.dir.join("node-name");
        if let Some(kept) = read_word(&path)? {
            ensure!(
                wanted.is_none_or(|wanted| wanted == kept),
                "nodeName: the node of {dir} is {kept:?}, its Pods are bound to it and another name, {:?}, would leave \
                 them behind: keep {kept:?}, or choose another --data-dir",
                wanted.unwrap_or_default(),
                dir = self.dir.display(),
            );
            return Ok(kept);
        }
        // The hostname in lower case, as upstream's.
        let host = || rustix::system::uname().nodename().to_string_lossy().to_lowercase();
        let name = wanted.map_or_else(host, str::to_owned);
        if let Some(why) = base::names::dns1123_subdomain(&name).first() {
            let which = if wanted.is_some() { "nodeName" } else { "the hostname, which nodeName overrides" };
            anyhow::bail!("{which}: {name:?} cannot be the name of a Node: {why}");
        }
        write_atomic(&path, &format!("{name}\n"))?;
        Ok(name)
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
            keep_atomic(&kept, &format!("{}\n", listener.local_addr()?.port()))?;
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
    let found = read_number(&dir.join("instance"), 16)?;
    if found.is_none() {
        place::expect_mounted(&config::absolute(dir)?)?;
    }
    found.with_context(|| format!("{} is no data dir of minke", dir.display()))
}

/// The lock file, which only its owner can open: whoever can may lock it.
fn open_lock(path: &Path) -> Result<File> {
    let mut options = File::options();
    options.create(true).truncate(false).read(true).write(true).mode(0o600);
    let opened = || -> std::io::Result<File> {
        let lock = options.open(path)?;
        // One of an earlier program may be open to all.
        if lock.metadata()?.permissions().mode() & 0o077 != 0 {
            lock.set_permissions(fs::Permissions::from_mode(0o600))?;
        }
        Ok(lock)
    };
    opened().with_context(|| format!("cannot open {}", path.display()))
}

/// Writes our PID into the lock file, over what is there: that takes no new space.
fn sign(lock: &File) -> std::io::Result<()> {
    let text = format!("{}\n", std::process::id());
    lock.write_all_at(text.as_bytes(), 0)?;
    lock.set_len(text.len() as u64)
}

/// A data dir without an id must not have what only an instance leaves: under a new id nobody would find it again.
fn expect_nothing(dir: &Path) -> Result<()> {
    let found =
        ["store.db", "pki", "sandboxes", "net", "pods"].into_iter().find(|name| dir.join(name).exists());
    ensure!(
        found.is_none(),
        "{0}/instance is missing, although {0}/{1} is there: restore it with all that belongs to it, or choose another \
         --data-dir",
        dir.display(),
        found.unwrap_or_default()
    );
    Ok(())
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
    fn a_nodes_name_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let instance = Instance::open(dir.path()).unwrap();
        let error = instance.node_name(Some("A_b")).unwrap_err().to_string();
        assert!(error.contains("nodeName: \"A_b\""), "{error}");
        assert_eq!(instance.node_name(Some("n1")).unwrap(), "n1");
        assert_eq!(instance.node_name(None).unwrap(), "n1");
        let error = instance.node_name(Some("n2")).unwrap_err().to_string();
        assert!(error.contains("is \"n1\""), "{error}");
    }

    #[test]
    fn a_part_that_is_missing_is_told() {
        let dir = tempfile::tempdir().unwrap();
        drop(Instance::open(dir.path()).unwrap());
        fs::write(dir.path().join("store.db"), "").unwrap();
        fs::remove_file(dir.path().join("instance")).unwrap();
        let error = Instance::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("instance is missing, although"), "{error}");
    }

    #[test]
    fn nobody_else_opens_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let lock = dir.path().join("lock");
        fs::write(&lock, "12345678\n").unwrap();
        fs::set_permissions(&lock, fs::Permissions::from_mode(0o644)).unwrap();
        let _instance = Instance::open(dir.path()).unwrap();
        assert_eq!(fs::metadata(&lock).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(&lock).unwrap(), format!("{}\n", std::process::id()));
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
