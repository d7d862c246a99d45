//! Which image layers containers use, by what is kept of them: for whoever removes layers, with or without a daemon.
//!
//! Absent: layers of image volumes, which only the table of mounts shows.

use std::io;
use std::path::{Path, PathBuf};

use super::record::{self, ContainerRecord};
use crate::{ContainerSpec, ContainerState};

/// The directories of the layers of all containers of a data dir that have not ended.
///
/// # Errors
/// If a directory cannot be read. What is kept of a container but cannot be read is left out: the next start removes it.
pub fn layers_in_use(data_dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut layers = Vec::new();
    for sandbox in entries(&data_dir.join("sandboxes"))? {
        for container in entries(&sandbox.join("c"))? {
            let state = record::load::<ContainerRecord>(&container.join("state.json"));
            if state.is_ok_and(|record| record.state == ContainerState::Exited) {
                continue;
            }
            match record::load::<ContainerSpec>(&container.join("spec.json")) {
                Ok(spec) => layers.extend(spec.layers),
                Err(error) => tracing::warn!(path = %container.display(), %error, "its layers are unknown"),
            }
        }
    }
    Ok(layers)
}

/// What is in a directory, which may have gone.
fn entries(dir: &Path) -> io::Result<Vec<PathBuf>> {
    match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.map(|entry| Ok(entry?.path())).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Resources;

    #[test]
    fn containers_that_have_not_ended_use_their_layers() {
        let data = tempfile::tempdir().expect("a directory");
        assert_eq!(layers_in_use(data.path()).expect("nothing"), Vec::<PathBuf>::new());
        for (id, state) in
            [("a", ContainerState::Created), ("b", ContainerState::Running), ("c", ContainerState::Exited)]
        {
            let dir = data.path().join("sandboxes/s/c").join(id);
            std::fs::create_dir_all(&dir).expect("a directory");
            let spec = ContainerSpec { layers: vec![id.into()], ..ContainerSpec::default() };
            let record = ContainerRecord { state, ..ContainerRecord::new(Resources::default()) };
            record::save(&dir.join("spec.json"), &spec).expect("saved");
            record::save(&dir.join("state.json"), &record).expect("saved");
        }
        let mut layers = layers_in_use(data.path()).expect("read");
        layers.sort();
        assert_eq!(layers, [PathBuf::from("a"), PathBuf::from("b")]);
    }
}
