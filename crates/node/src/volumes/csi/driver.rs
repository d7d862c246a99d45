//! CSI drivers of this node: found by the sockets in `plugins_registry` (`pluginregistration.Registration`), asked over
//! their own (`csi.v1.Node`).
//!
//! Invariant: a driver that does not answer is looked for anew the next time. Absent: registering a driver before a
//! volume asks for it, CSINode.

use std::collections::BTreeMap;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::UnixStream;

use crate::grpc::{self, Failed, Message, Method};

/// Upstream's bound of a call.
const LIMIT: Duration = Duration::from_secs(120);
/// The same for a registration.
const REGISTER: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read.
const MOST: usize = 1 << 20;

/// What kind of plug-in a registration must say it is.
const KIND: &str = "CSIPlugin";

/// A driver's socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Driver {
    endpoint: PathBuf,
}

/// All that were found, by name.
pub(super) struct Drivers {
    registry: PathBuf,
    known: Mutex<BTreeMap<String, Driver>>,
}

async fn call(socket: &Path, path: &str, request: &Message, limit: Duration) -> Result<Bytes, Failed> {
    let work = async {
        let stream = UnixStream::connect(socket).await;
        let stream =
            stream.map_err(|e| Failed::Transport(format!("connect to {}: {e}", socket.display())))?;
        let method = Method { authority: "localhost", path, agent: "kubelet" };
        grpc::call(stream, method, request.as_bytes(), MOST).await
    };
    let late = || Failed::Status(Some(4), "context deadline exceeded".to_owned());
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(late()))
}

impl Driver {
    /// One call of it.
    pub(super) async fn call(&self, path: &str, request: &Message) -> Result<Bytes, Failed> {
        call(&self.endpoint, path, request, LIMIT).await
    }
}

impl Drivers {
    pub(super) fn new(registry: PathBuf) -> Self {
        Self { registry, known: Mutex::default() }
    }

    /// A driver that answers.
    pub(super) async fn find(&self, name: &str) -> Result<Driver, String> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if let Some(driver) = known
            && UnixStream::connect(&driver.endpoint).await.is_ok()
        {
            return Ok(driver);
        }
        let found = self.scan().await;
        let driver = found.get(name).cloned();
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = found;
        driver.ok_or_else(|| format!("driver name {name} not found in the list of registered CSI drivers"))
    }

    /// Asks every socket of the registry who is behind it.
    async fn scan(&self) -> BTreeMap<String, Driver> {
        let mut found = BTreeMap::new();
        let Ok(mut entries) = tokio::fs::read_dir(&self.registry).await else { return found };
        while let Ok(Some(entry)) = entries.next_entry().await {
            let path = entry.path();
            if !entry.file_type().await.is_ok_and(|kind| kind.is_socket()) {
                continue;
            }
            match register(&path).await {
                Ok(Some((name, driver))) => drop(found.insert(name, driver)),
                Ok(None) => {}
                Err(e) => tracing::warn!("{}: the plug-in is not registered: {e}", path.display()),
            }
        }
        found
    }
}

/// Who is behind a registration socket; `None` if it is no CSI driver.
async fn register(socket: &Path) -> Result<Option<(String, Driver)>, Failed> {
    let info =
        call(socket, "/pluginregistration.Registration/GetInfo", &Message::default(), REGISTER).await?;
    let text = |field: u64| grpc::texts(&info, field).pop().unwrap_or_default();
    if text(1) != KIND {
        return Ok(None);
    }
    let (name, endpoint) = (text(2), text(3));
    let endpoint = if endpoint.is_empty() { socket.to_owned() } else { PathBuf::from(endpoint) };
    let driver = Driver { endpoint };
    let outcome = check(&name, &driver, &grpc::texts(&info, 4)).await;
    let told = match &outcome {
        Ok(()) => Message::default().number(1, 1),
        Err(e) => Message::default().text(2, e),
    };
    call(socket, "/pluginregistration.Registration/NotifyRegistrationStatus", &told, REGISTER).await?;
    outcome.map(|()| Some((name, driver))).map_err(Failed::Transport)
}

/// Whether a driver can be used (upstream: `validateVersions`, `nodeUpdateFn`).
async fn check(name: &str, driver: &Driver, versions: &[String]) -> Result<(), String> {
    let speaks = |version: &String| version.trim_start_matches('v').starts_with("1.");
    if name.is_empty() || !versions.iter().any(speaks) {
        return Err(format!("driver {name:?} speaks no version 1 of CSI: {versions:?}"));
    }
    let info = driver.call("/csi.v1.Node/NodeGetInfo", &Message::default()).await;
    let info = info.map_err(|e| format!("error while getting node info: {e}"))?;
    match grpc::texts(&info, 1).pop() {
        Some(id) if !id.is_empty() => Ok(()),
        _ => Err("nodeID is empty".to_owned()),
    }
}
