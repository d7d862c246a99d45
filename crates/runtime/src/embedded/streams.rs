//! Pipes and terminals as async streams.
//!
//! Invariant: bytes go between the process and the caller directly; the shim is not in between. Absent: buffering.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::unix::pipe;

use crate::RuntimeError;

pub(super) type Reader = Box<dyn AsyncRead + Send + Unpin>;
pub(super) type Writer = Box<dyn AsyncWrite + Send + Unpin>;

fn say(error: &io::Error) -> RuntimeError {
    RuntimeError::System { operation: "open a stream".to_owned(), message: error.to_string() }
}

/// The reading end of a pipe.
pub(super) fn reader(fd: OwnedFd) -> Result<Reader, RuntimeError> {
    Ok(Box::new(pipe::Receiver::from_owned_fd(fd).map_err(|error| say(&error))?))
}

/// The writing end of a pipe.
pub(super) fn writer(fd: OwnedFd) -> Result<Writer, RuntimeError> {
    Ok(Box::new(pipe::Sender::from_owned_fd(fd).map_err(|error| say(&error))?))
}

/// Both ends of a new pipe: ours, the process's.
pub(super) fn pipe_pair() -> Result<(OwnedFd, OwnedFd), RuntimeError> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|error| say(&error.into()))
}

/// The master of a terminal; its end (EIO once nobody has the other side open) reads as end of file.
#[derive(Clone)]
pub(super) struct Terminal(Arc<AsyncFd<OwnedFd>>);

impl Terminal {
    pub(super) fn new(master: OwnedFd) -> Result<Self, RuntimeError> {
        rustix::io::ioctl_fionbio(&master, true).map_err(|error| say(&error.into()))?;
        Ok(Self(Arc::new(
            crate::sys::watch(master, Interest::READABLE | Interest::WRITABLE)
                .map_err(|error| say(&error))?,
        )))
    }

    /// A function that sets its size: columns, rows.
    pub(super) fn resizer(&self) -> Arc<dyn Fn(u16, u16) + Send + Sync> {
        let terminal = self.0.clone();
        Arc::new(move |columns, rows| {
            // Fails only after hang-up, when size has no meaning.
            let _ = crate::sys::resize_terminal(terminal.get_ref().as_fd(), rows, columns);
        })
    }
}

impl AsyncRead for Terminal {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.0.poll_read_ready(context))?;
            let read = ready.try_io(|fd| {
                let count = rustix::io::read(fd.get_ref(), &mut *buffer.initialize_unfilled());
                Ok(count?)
            });
            match read {
                Ok(Ok(count)) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) if error.raw_os_error() == Some(libc::EIO) => return Poll::Ready(Ok(())),
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for Terminal {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.0.poll_write_ready(context))?;
            match ready.try_io(|fd| Ok(rustix::io::write(fd.get_ref(), bytes)?)) {
                Ok(written) => return Poll::Ready(written),
                Err(_would_block) => {}
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
