//! What plugins keep of volumes until they are down: a small file for each in the Pod's directory.
//!
//! Invariant: a file is whole or absent.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One volume's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    /// Name of the plugin.
    pub(super) plugin: String,
    /// The plugin's own.
    pub(super) details: Value,
}

/// Keeps a state, unless the very same is there.
pub(super) fn save(dir: &Path, volume: &str, state: &State) -> io::Result<()> {
    if load(dir, volume).is_some_and(|known| known == *state) {
        return Ok(());
    }
    std::fs::create_dir_all(dir)?;
    crate::files::replace(&dir.join(volume), serde_json::to_string(state)?.as_bytes(), 0o600)
}

/// The state of one volume; one that cannot be read is none, and is said.
pub(super) fn load(dir: &Path, volume: &str) -> Option<State> {
    let path = dir.join(volume);
    let bytes = std::fs::read(&path).ok()?;
    serde_json::from_slice(&bytes)
        .map_err(|e| tracing::warn!("{} is no state of a volume: {e}", path.display()))
        .ok()
}

/// All states of a Pod, by volume.
pub(super) fn all(dir: &Path) -> io::Result<BTreeMap<String, State>> {
    let entries = match std::fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        other => other?,
    };
    let mut out = BTreeMap::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some(state) = (!name.ends_with(".tmp")).then(|| load(dir, &name)).flatten() {
            out.insert(name, state);
        }
    }
    Ok(out)
}

/// The volume is down.
pub(super) fn remove(dir: &Path, volume: &str) -> io::Result<()> {
    match std::fs::remove_file(dir.join(volume)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
