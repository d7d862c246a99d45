//! Small file operations that must not leave half a file, and what may be a part of their paths.

use std::io::{self, Write as _};
use std::path::Path;

/// Whether a Pod's UID may name directories and cgroups.
pub(crate) fn is_uid(uid: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (1..=128).contains(&uid.len()) && uid.bytes().all(good) && !uid.starts_with('.')
}

/// Writes files, one thing after another in the order in which it was asked, on threads that may block.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    turn: tokio::sync::Mutex<()>,
}

impl Writer {
    pub(crate) async fn run(&self, work: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
        let _turn = self.turn.lock().await;
        tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
    }
}

/// Replaces a file by a new one with these contents and mode.
pub(crate) fn replace(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let tmp = path.with_file_name(name);
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&tmp)?;
    file.write_all(contents)?;
    file.set_permissions(std::fs::Permissions::from_mode(mode))?;
    std::fs::rename(&tmp, path)
}
