//! Small files of an instance, whole or not at all, and the removal of trees.
//!
//! Invariant: nothing here deletes or writes through a mount. Absent: what the files mean.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail};

/// Makes a directory that only its owner enters, parents too; one that is there is left as it is.
///
/// # Errors
/// If it cannot be made.
pub fn make_private_dir(dir: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("cannot make {}", dir.display()))
}

/// A file's text without white space around it; `None` if there is no such file.
///
/// # Errors
/// If it cannot be read.
pub fn read_word(path: &Path) -> Result<Option<String>> {
    Ok(read_text(path)?.map(|text| text.trim().to_owned()))
}

/// What a file says; `None` if there is no such file.
///
/// # Errors
/// If it cannot be read.
pub fn read_text(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// The number in a file; `None` if there is no such file.
///
/// # Errors
/// If it cannot be read or holds something else.
pub fn read_number(path: &Path, radix: u32) -> Result<Option<u32>> {
    let Some(text) = read_word(path)? else { return Ok(None) };
    let number = u32::from_str_radix(&text, radix);
    number.map(Some).with_context(|| format!("{} holds no number", path.display()))
}

/// As [`write_atomic`], but a file that says the same already is left as it is: on a full disk that is what lets an
/// instance start again.
///
/// # Errors
/// If it cannot be written.
pub fn keep_atomic(path: &Path, text: &str) -> Result<()> {
    let private = |found: fs::Metadata| found.permissions().mode() & 0o077 == 0;
    let same = fs::read(path).is_ok_and(|found| found == text.as_bytes());
    if same && fs::metadata(path).is_ok_and(private) { Ok(()) } else { write_atomic(path, text) }
}

/// Writes a small file so that it is there whole or not at all, readable by its owner only.
///
/// # Errors
/// If it cannot be written, e.g. on a full disk.
pub fn write_atomic(path: &Path, text: &str) -> Result<()> {
    let mut name = path.file_name().context("a file has a name")?.to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let write = || -> std::io::Result<()> {
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Removes a directory with all that is in it, if it is there. What is mounted below it belongs to somebody else:
/// then nothing is removed.
///
/// # Errors
/// If something is mounted there, or cannot be removed.
pub fn remove_tree(dir: &Path) -> Result<()> {
    let canonical = match fs::canonicalize(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other.with_context(|| format!("cannot remove {}", dir.display()))?,
    };
    let mounts = runtime::mount_points_below(&canonical).context("cannot read the table of mounts")?;
    if let Some(mount) = mounts.first() {
        bail!("{} is left as it is, because something is mounted on {}", dir.display(), mount.at.display());
    }
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node-name");
        write_atomic(&path, "n1\n").unwrap();
        assert_eq!(read_word(&path).unwrap().as_deref(), Some("n1"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let inode = || std::os::unix::fs::MetadataExt::ino(&fs::metadata(&path).unwrap());
        let before = inode();
        keep_atomic(&path, "n1\n").unwrap();
        assert_eq!(inode(), before, "written again");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        keep_atomic(&path, "n1\n").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(read_number(&path, 16).unwrap_err().to_string().contains("holds no number"));
        assert_eq!(read_number(&dir.path().join("none"), 16).unwrap(), None);
    }
}
