//! The daemon's end of the socket of one shim.
//!
//! Invariant: every call gets its answer, or an error once the socket is gone or too much time has passed. Absent: meaning of the messages.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    self, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use shim::{Hello, Reply, Request};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};

type Answer = (Reply, Vec<OwnedFd>);

/// How long a shim may take for anything, as CRI's clients have it.
const ANSWER: Duration = Duration::from_secs(120);

/// Who waits for which answer.
struct Waiting {
    next: u32,
    /// `None` once the socket is gone.
    calls: Option<HashMap<u32, oneshot::Sender<Answer>>>,
}

/// A connection to a shim.
pub(crate) struct Link {
    socket: AsyncFd<OwnedFd>,
    /// What the shim speaks; set by its greeting.
    version: OnceLock<u32>,
    waiting: Mutex<Waiting>,
    /// Packets of one request must not mix with another's.
    sending: tokio::sync::Mutex<()>,
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the sandbox's shim is gone")
}

fn silent() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the sandbox's shim does not answer")
}

/// A listening socket for a shim.
pub(crate) fn listen(path: &Path) -> io::Result<OwnedFd> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let flags = net::SocketFlags::CLOEXEC;
    let socket = net::socket_with(net::AddressFamily::UNIX, net::SocketType::SEQPACKET, flags, None)?;
    net::bind(&socket, &net::SocketAddrUnix::new(path)?)?;
    net::listen(&socket, 8)?;
    Ok(socket)
}

impl Link {
    /// Connects and waits for the shim's greeting. Events arrive through the channel, which ends with the socket.
    pub(crate) async fn connect(
        path: &Path,
    ) -> io::Result<(Arc<Self>, Hello, mpsc::UnboundedReceiver<Reply>)> {
        let flags = net::SocketFlags::CLOEXEC | net::SocketFlags::NONBLOCK;
        let socket = net::socket_with(net::AddressFamily::UNIX, net::SocketType::SEQPACKET, flags, None)?;
        net::connect(&socket, &net::SocketAddrUnix::new(path)?)?;
        let link = Arc::new(Self {
            socket: crate::sys::watch(socket, Interest::READABLE | Interest::WRITABLE)?,
            version: OnceLock::new(),
            waiting: Mutex::new(Waiting { next: 1, calls: Some(HashMap::new()) }),
            sending: tokio::sync::Mutex::new(()),
        });
        let (_, (reply, _)) = link.receive().await?;
        let Reply::Hello(hello) = reply else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the shim did not greet"));
        };
        if !(shim::OLDEST..=shim::VERSION).contains(&hello.version) {
            let text = format!("the shim speaks version {}, this is {}", hello.version, shim::VERSION);
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        link.version.get_or_init(|| hello.version);
        let (events, receiver) = mpsc::unbounded_channel();
        tokio::spawn(link.clone().dispatch(events));
        Ok((link, hello, receiver))
    }

    /// The version of the messages that the shim understands.
    pub(crate) fn version(&self) -> u32 {
        self.version.get().copied().unwrap_or(shim::OLDEST)
    }

    async fn dispatch(self: Arc<Self>, events: mpsc::UnboundedSender<Reply>) {
        loop {
            match self.receive().await {
                Ok((0, (reply, _))) => {
                    if events.send(reply).is_err() {
                        break;
                    }
                }
                Ok((sequence, answer)) => {
                    let waiter = self.locked().calls.as_mut().and_then(|calls| calls.remove(&sequence));
                    if let Some(waiter) = waiter {
                        // A caller that gave up does not want it; its descriptors close here.
                        let _ = waiter.send(answer);
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "shim socket ended");
                    break;
                }
            }
        }
        self.locked().calls = None;
        self.close();
    }

    /// Ends the connection; calls that wait fail.
    pub(crate) fn close(&self) {
        // Not connected any more is what is wanted.
        let _ = net::shutdown(&self.socket, net::Shutdown::Both);
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("no code panics while holding it")
    }

    async fn receive(&self) -> io::Result<(u32, Answer)> {
        let (mut bytes, mut fds) = loop {
            let mut ready = self.socket.readable().await?;
            match ready.try_io(|socket| receive_packet(socket.get_ref().as_fd())) {
                Ok(packet) => break packet?,
                Err(_would_block) => {}
            }
        };
        if bytes == shim::IN_MEMFD.to_le_bytes() {
            let file = fds.pop().ok_or_else(gone)?;
            bytes.clear();
            let mut file = std::fs::File::from(file);
            io::Seek::rewind(&mut file)?;
            io::Read::read_to_end(&mut file, &mut bytes)?;
        }
        let (sequence, reply) = shim::unframe(&bytes)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "malformed message of the shim"))?;
        Ok((sequence, (reply, fds)))
    }

    /// Asks and waits for the answer.
    pub(crate) async fn call(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> io::Result<Answer> {
        self.call_within(ANSWER, request, fds).await
    }

    /// The same, with another limit than the usual one.
    pub(crate) async fn call_within(
        &self,
        limit: Duration,
        request: &Request,
        fds: &[BorrowedFd<'_>],
    ) -> io::Result<Answer> {
        let (sender, receiver) = oneshot::channel();
        let sequence = {
            let mut waiting = self.locked();
            let sequence = waiting.next;
            // Never 0 (events) nor the reserved highest numbers.
            waiting.next = if sequence >= u32::MAX - 16 { 1 } else { sequence + 1 };
            waiting.calls.as_mut().ok_or_else(gone)?.insert(sequence, sender);
            sequence
        };
        let frame = shim::frame(sequence, request);
        let sent = tokio::time::timeout(limit, self.send(&frame, fds)).await.unwrap_or_else(|_| {
            // Half a request cannot be followed by another one.
            self.close();
            Err(silent())
        });
        if let Err(error) = sent {
            if let Some(calls) = self.locked().calls.as_mut() {
                calls.remove(&sequence);
            }
            return Err(error);
        }
        match tokio::time::timeout(limit, receiver).await {
            Ok(answer) => answer.map_err(|_| gone()),
            Err(_) => Err(silent()),
        }
    }

    async fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let _order = self.sending.lock().await;
        let keep = fds.len() % shim::FDS_MAX;
        let (early, last) = fds.split_at(fds.len() - keep);
        for chunk in early.chunks(shim::FDS_MAX) {
            self.send_packet(&shim::MORE_FDS.to_le_bytes(), chunk).await?;
        }
        if bytes.len() <= shim::INLINE_MAX {
            return self.send_packet(bytes, last).await;
        }
        let file = rustix::fs::memfd_create("frame", rustix::fs::MemfdFlags::CLOEXEC)?;
        let mut file = std::fs::File::from(file);
        io::Write::write_all(&mut file, bytes)?;
        let mut last = last.to_vec();
        last.push(file.as_fd());
        self.send_packet(&shim::IN_MEMFD.to_le_bytes(), &last).await
    }

    async fn send_packet(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        loop {
            let mut ready = self.socket.writable().await?;
            match ready.try_io(|socket| send_packet(socket.get_ref().as_fd(), bytes, fds)) {
                Ok(sent) => return sent,
                Err(_would_block) => {}
            }
        }
    }
}

fn send_packet(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(shim::FDS_MAX + 1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::MSGSIZE.into());
    }
    net::sendmsg(socket, &[io::IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn receive_packet(socket: BorrowedFd<'_>) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut bytes = vec![0; shim::INLINE_MAX];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message =
        net::recvmsg(socket, &mut [io::IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if message.bytes == 0 {
        return Err(gone());
    }
    let fds = control
        .drain()
        .filter_map(|item| match item {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        .collect();
    bytes.truncate(message.bytes);
    Ok((bytes, fds))
}
