//! Removes links beside everything else: the kernel takes tens of milliseconds for it, once for all that wait.
//!
//! Invariant: what is handed over is removed, or found as a stray at the next start.

use std::sync::mpsc::{Receiver, Sender, channel};

use crate::NetError;
use crate::host::delete_links;
use crate::netlink::Socket;

/// Where links are handed in, by index, for a name may be a new link's by then; the thread ends with it.
#[derive(Debug)]
pub(crate) struct Reaper {
    indices: Sender<u32>,
}

impl Reaper {
    /// Starts the thread, in the caller's network namespace.
    pub(crate) fn start(group: u32) -> Result<Self, NetError> {
        let (sender, indices) = channel();
        let route = Socket::route().map_err(NetError::kernel("open an rtnetlink socket"))?;
        std::thread::Builder::new()
            .name("link-reaper".to_owned())
            .spawn(move || run(route, group, &indices))
            .map_err(NetError::kernel("start the reaper of links"))?;
        Ok(Self { indices: sender })
    }

    /// Has a link removed soon. Bounded by the number of leases, as each has one link.
    pub(crate) fn remove(&self, index: u32) -> Result<(), NetError> {
        self.indices.send(index).map_err(|_| NetError::Closed)
    }
}

fn run(mut route: Socket, group: u32, indices: &Receiver<u32>) {
    while let Ok(first) = indices.recv() {
        let all: Vec<u32> = std::iter::once(first).chain(indices.try_iter()).collect();
        if let Err(error) = delete_links(&mut route, group, &all) {
            tracing::warn!(%error, "links of Pods that are gone stay until the next start");
        }
    }
}
