//! Network namespaces: a thread makes them ahead of need, so that no Pod waits for one and nothing forks.
//!
//! Invariant: a ready namespace has its loopback up and belongs to nobody; dropped, it vanishes.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::netlink::{Batch, Socket};
use crate::{NetError, rtnl};

/// So many namespaces wait, and one more is in the maker's hands.
const READY: usize = 3;
/// Always the first link.
const LOOPBACK: u32 = 1;

/// A namespace for a Pod.
#[derive(Debug)]
pub(crate) struct Netns {
    pub(crate) fd: OwnedFd,
    /// Speaks to the kernel inside.
    pub(crate) socket: Socket,
    /// An index that no link inside has.
    pub(crate) free_index: u32,
}

/// The waiting namespaces; the thread ends with it.
#[derive(Debug)]
pub(crate) struct Pool {
    ready: Receiver<io::Result<Netns>>,
}

impl Pool {
    pub(crate) fn start() -> Result<Self, NetError> {
        let (sender, ready) = sync_channel(READY);
        let start = || {
            let home = File::open("/proc/thread-self/ns/net")?.into();
            std::thread::Builder::new().name("netns-maker".to_owned()).spawn(move || make(&home, &sender))
        };
        start().map_err(|source| NetError::Kernel {
            what: "start the maker of namespaces".to_owned(),
            source,
        })?;
        Ok(Self { ready })
    }

    /// A namespace, at once if one is ready.
    pub(crate) fn take(&self) -> Result<Netns, NetError> {
        let made = self.ready.recv().map_err(|_| NetError::Closed)?;
        made.map_err(|source| NetError::Kernel { what: "make a network namespace".to_owned(), source })
    }
}

fn make(home: &OwnedFd, ready: &SyncSender<io::Result<Netns>>) {
    loop {
        let made = make_one();
        // Back home at once: the thread must not keep a Pod's namespace alive.
        if let Err(error) = enter(home) {
            tracing::error!(%error, "the maker of network namespaces cannot return and ends");
            return;
        }
        if ready.send(made).is_err() {
            return;
        }
    }
}

fn make_one() -> io::Result<Netns> {
    // SAFETY: changes the network namespace of this thread only, and no socket of it is used across.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = File::open("/proc/thread-self/ns/net")?.into();
    let mut socket = Socket::route()?;
    let mut batch = Batch::default();
    rtnl::link_up(&mut batch, LOOPBACK);
    socket.run(batch).map_err(|(_, error)| error)?;
    let highest = rtnl::links(&mut socket)?.iter().map(|link| link.index).max();
    // As containerd sets them: ports below 1024 and ping need no privilege inside a Pod.
    std::fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")?;
    std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647")?;
    Ok(Netns { fd, socket, free_index: highest.unwrap_or(LOOPBACK) + 1 })
}

/// Moves this thread into a network namespace.
pub(crate) fn enter(netns: &OwnedFd) -> io::Result<()> {
    // SAFETY: changes the network namespace of this thread only; the descriptor is open.
    match unsafe { libc::setns(netns.as_raw_fd(), libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Looks into a namespace from a thread of its own, so that the caller's never leaves.
pub(crate) fn inside<T: Send>(
    netns: BorrowedFd<'_>,
    look: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    let netns = netns.try_clone_to_owned()?;
    std::thread::scope(|scope| {
        let thread =
            std::thread::Builder::new().spawn_scoped(scope, || enter(&netns).and_then(|()| look()))?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread in the namespace panicked")))
    })
}
