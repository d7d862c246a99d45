//! After a start of the daemon: what is on disk, completed by what living shims say.
//!
//! Invariant: one damaged record never hides the others. Absent: starting or killing anything that lives.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use shim::Request;

use super::record::{self, ContainerRecord, SandboxRecord, failed};
use super::state::{Container, Sandbox};
use super::{Embedded, Shared, blocking, container, sandbox};
use crate::link::Link;
use crate::{ContainerSpec, RuntimeError};

/// Fills a new runtime's memory.
pub(super) async fn restore(runtime: &Arc<Embedded>) -> Result<(), RuntimeError> {
    let with = runtime.clone();
    let found = blocking(move || load_all(&with)).await?;
    for sandbox in found {
        match Link::connect(&sandbox.socket).await {
            Ok((link, hello, events)) if hello.ready => {
                for state in &hello.containers {
                    container::on_state(&runtime.shared, state);
                }
                settle(&runtime.shared, &sandbox, &hello);
                sandbox::adopt(&runtime.shared, &sandbox, link, &hello, events)?;
            }
            other => {
                match other {
                    // Half made when the daemon died: nothing runs in it, and nobody will finish it.
                    Ok((link, ..)) => drop(link.call(&Request::Shutdown, &[]).await),
                    Err(error) => tracing::info!(sandbox = sandbox.id, %error, "sandbox is not ready"),
                }
                sandbox::on_death(&runtime.shared, &sandbox).await;
            }
        }
    }
    Ok(())
}

/// Containers that ended and that the shim has already forgotten.
fn settle(shared: &Arc<Shared>, sandbox: &Sandbox, hello: &shim::Hello) {
    for container in shared.containers_of(&sandbox.id) {
        if !hello.containers.iter().any(|state| state.id == container.id)
            && let Some(state) = record::exit_record(&container.dir)
        {
            container::on_state(shared, &state);
        }
    }
}

fn load_all(runtime: &Embedded) -> Result<Vec<Arc<Sandbox>>, RuntimeError> {
    let mut found = Vec::new();
    for dir in directories(&runtime.config.data_dir.join("sandboxes"))? {
        match load(runtime, &dir) {
            Ok(sandbox) => found.push(sandbox),
            Err(error) => {
                // Made by a daemon that died before the record was written: nothing can run in it.
                tracing::warn!(path = %dir.display(), %error, "unreadable sandbox removed");
                record::remove_dir(&dir)?;
            }
        }
    }
    Ok(found)
}

fn directories(path: &Path) -> Result<Vec<PathBuf>, RuntimeError> {
    let entries = std::fs::read_dir(path).map_err(|error| failed("read", path, &error))?;
    Ok(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect())
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn load(runtime: &Embedded, dir: &Path) -> Result<Arc<Sandbox>, RuntimeError> {
    let record: SandboxRecord = record::load(&dir.join("sandbox.json"))?;
    let id = name_of(dir);
    let short: String = id.chars().take(16).collect();
    let socket = runtime.config.run_dir.join(format!("{short}.sock"));
    let sandbox = Sandbox::new(id.clone(), dir.to_owned(), socket, record);
    for dir in directories(&dir.join("c"))? {
        let spec: Result<ContainerSpec, _> = record::load(&dir.join("spec.json"));
        let state: Result<ContainerRecord, _> = record::load(&dir.join("state.json"));
        match (spec, state) {
            (Ok(spec), Ok(state)) => {
                let container = Container::new(name_of(&dir), dir, sandbox.clone(), spec, state);
                runtime.shared.containers().insert(container.id.clone(), container);
            }
            (Err(error), _) | (_, Err(error)) => {
                tracing::warn!(path = %dir.display(), %error, "unreadable container removed");
                record::remove_dir(&dir)?;
            }
        }
    }
    runtime.shared.sandboxes().insert(id, sandbox.clone());
    Ok(sandbox)
}
