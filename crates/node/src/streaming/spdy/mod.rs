//! SPDY/3.1 as Kubernetes clients speak it (`moby/spdystream`): streams inside one upgraded connection.
//!
//! Invariants: `frame` and `headers` are pure; only [`Connection`] does I/O, in one reading and one writing task, and
//! every queue is bounded. Deliberately absent: flow control (spdystream has none: WINDOW_UPDATE and SETTINGS are read
//! and mean nothing), server push, priorities.

mod frame;
mod headers;

#[cfg(test)]
pub(super) mod tests;

use std::collections::HashMap;
use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::mpsc;

pub(super) use frame::Frame;
use frame::{Decoder, Encoder};
pub(super) use headers::Headers;

/// Pieces of data waiting for a stream's reader.
const STREAM_QUEUE: usize = 32;
const STREAMS_MAX: usize = 2048;
/// `RST_STREAM` codes.
const REFUSED_STREAM: u32 = 3;
const CANCEL: u32 = 5;

/// The server's end of a connection. Ends when dropped together with all its streams.
pub(super) struct Connection {
    opened: mpsc::Receiver<Stream>,
    out: mpsc::Sender<Frame>,
    writer: tokio::task::JoinHandle<()>,
    reader: tokio::task::JoinHandle<()>,
}

/// A stream the client opened, already answered.
pub(super) struct Stream {
    pub(super) headers: Headers,
    /// What the client sends; ends with its FIN, a reset, or the connection.
    pub(super) input: mpsc::Receiver<Bytes>,
    pub(super) output: Output,
}

/// The sending side of a stream.
#[derive(Clone)]
pub(super) struct Output {
    id: u32,
    out: mpsc::Sender<Frame>,
}

/// The connection is gone.
#[derive(Debug)]
pub(super) struct Gone;

impl Output {
    pub(super) async fn data(&self, data: Bytes) -> Result<(), Gone> {
        self.out.send(Frame::Data { stream: self.id, fin: false, data }).await.map_err(|_| Gone)
    }

    /// Nothing more will come from this side.
    pub(super) async fn finish(&self) -> Result<(), Gone> {
        self.out.send(Frame::Data { stream: self.id, fin: true, data: Bytes::new() }).await.map_err(|_| Gone)
    }

    /// Ends both directions.
    pub(super) async fn reset(&self) -> Result<(), Gone> {
        self.out.send(Frame::Reset { stream: self.id, code: CANCEL }).await.map_err(|_| Gone)
    }
}

impl Connection {
    /// Serves a connection on which the upgrade is done.
    pub(super) fn serve(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Self {
        let (read, write) = tokio::io::split(io);
        let (out, commands) = mpsc::channel(STREAM_QUEUE);
        let (opening, opened) = mpsc::channel(STREAM_QUEUE);
        let writer = tokio::spawn(async move {
            if let Err(error) = write_frames(write, commands).await {
                tracing::debug!(%error, "writing a SPDY connection");
            }
        });
        let of_reader = out.clone();
        let reader = tokio::spawn(async move {
            if let Err(error) = read_frames(read, opening, of_reader).await {
                tracing::debug!(%error, "reading a SPDY connection");
            }
        });
        Self { opened, out, writer, reader }
    }

    /// The next stream; `None` once the connection is gone.
    pub(super) async fn accept(&mut self) -> Option<Stream> {
        self.opened.recv().await
    }

    /// Says goodbye and returns once everything was written.
    pub(super) async fn close(self) {
        let Self { opened, out, writer, reader } = self;
        // If it is gone there is nobody to say goodbye to.
        let _ = out.send(Frame::GoAway).await;
        drop((opened, out));
        reader.abort();
        // The writer ends when the last sender is gone; the reader held one.
        let _ = reader.await;
        let _ = writer.await;
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.input.close();
    }
}

async fn write_frames<T: AsyncWrite>(
    mut io: WriteHalf<T>,
    mut commands: mpsc::Receiver<Frame>,
) -> io::Result<()> {
    let mut encoder = Encoder::new();
    let mut buffer = BytesMut::new();
    while let Some(frame) = commands.recv().await {
        encoder.encode(&frame, &mut buffer)?;
        while buffer.len() < 64 << 10
            && let Ok(frame) = commands.try_recv()
        {
            encoder.encode(&frame, &mut buffer)?;
        }
        io.write_all(&buffer).await?;
        buffer.clear();
        io.flush().await?;
    }
    io.shutdown().await
}

struct Reading {
    opening: mpsc::Sender<Stream>,
    out: mpsc::Sender<Frame>,
    streams: HashMap<u32, mpsc::Sender<Bytes>>,
    last: u32,
}

async fn read_frames<T: AsyncRead>(
    mut io: ReadHalf<T>,
    opening: mpsc::Sender<Stream>,
    out: mpsc::Sender<Frame>,
) -> io::Result<()> {
    let mut decoder = Decoder::new();
    let mut buffer = BytesMut::with_capacity(64 << 10);
    let mut reading = Reading { opening, out, streams: HashMap::new(), last: 0 };
    loop {
        while let Some(frame) = decoder.decode(&mut buffer)? {
            if reading.frame(frame).await.is_err() {
                return Ok(());
            }
        }
        if io.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

impl Reading {
    async fn frame(&mut self, frame: Frame) -> Result<(), Gone> {
        match frame {
            Frame::Open { stream, headers, fin } => self.open(stream, headers, fin).await,
            Frame::Data { stream, fin, data } => {
                if let Some(to) = self.streams.get(&stream)
                    && !data.is_empty()
                    && to.send(data).await.is_err()
                {
                    // Nobody reads it any more; the rest is dropped too.
                    self.streams.remove(&stream);
                }
                if fin {
                    self.streams.remove(&stream);
                }
                Ok(())
            }
            Frame::Reset { stream, .. } => {
                self.streams.remove(&stream);
                Ok(())
            }
            Frame::Ping(id) if id % 2 == 1 => self.out.send(Frame::Ping(id)).await.map_err(|_| Gone),
            Frame::Ping(_) | Frame::Reply { .. } | Frame::GoAway | Frame::Ignored => Ok(()),
        }
    }

    async fn open(&mut self, id: u32, headers: Headers, fin: bool) -> Result<(), Gone> {
        self.streams.retain(|_, to| !to.is_closed());
        if id.is_multiple_of(2) || id <= self.last || self.streams.len() >= STREAMS_MAX {
            return self.out.send(Frame::Reset { stream: id, code: REFUSED_STREAM }).await.map_err(|_| Gone);
        }
        self.last = id;
        let (to, input) = mpsc::channel(STREAM_QUEUE);
        if !fin {
            self.streams.insert(id, to);
        }
        self.out.send(Frame::Reply { stream: id, headers: Headers::new() }).await.map_err(|_| Gone)?;
        let output = Output { id, out: self.out.clone() };
        self.opening.send(Stream { headers, input, output }).await.map_err(|_| Gone)
    }
}
