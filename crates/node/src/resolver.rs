//! The host's resolver files.
//!
//! Invariant: a Pod in the host's network gets the host's own file as it is; others get servers that they reach, from
//! the file that is configured, or from the host's own, or from what the local stub behind it asks.
//! Absent: what a Pod makes of it (`container::dns`).

use std::path::{Path, PathBuf};

use crate::container::dns::{Resolver, reachable};

const OWN: &str = "/etc/resolv.conf";
/// Where local stubs (systemd-resolved, NetworkManager) write down the servers that they ask themselves.
const BEHIND: [&str; 2] = ["/run/systemd/resolve/resolv.conf", "/run/NetworkManager/no-stub-resolv.conf"];

fn parse(path: &Path) -> Option<Resolver> {
    match std::fs::read_to_string(path) {
        Ok(text) => Some(Resolver::parse(&text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!("{} is not read: {error}", path.display());
            None
        }
    }
}

/// The resolver of Pods, `configured` instead of the host's own file.
#[must_use]
pub fn of_pods(configured: Option<&Path>, host_network: bool) -> Resolver {
    let own = configured.unwrap_or(Path::new(OWN));
    if host_network {
        return parse(own).unwrap_or_default();
    }
    let behind = BEHIND.iter().filter(|_| configured.is_none()).map(PathBuf::from);
    reachable(std::iter::once(own.to_owned()).chain(behind).filter_map(|path| parse(&path)))
}
