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
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::mpsc;

pub(super) use frame::Frame;
use frame::{Decoder, Encoder};
pub(super) use headers::Headers;

/// Pieces of data waiting for a stream's reader.
const STREAM_QUEUE: usize = 32;
/// How long the client's own end is waited for.
const FAREWELL: Duration = Duration::from_secs(2);
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

    /// Says goodbye and returns once everything was written and the client left too, or a little later.
    pub(super) async fn close(self) {
        let Self { opened, out, writer, mut reader } = self;
        // If it is gone there is nobody to say goodbye to.
        let _ = out.send(Frame::GoAway).await;
        drop((opened, out));
        // It ends with the goodbye; a panic in it was reported already.
        let _ = writer.await;
        // Closing a socket with unread bytes would destroy what the client has not read yet.
        if tokio::time::timeout(FAREWELL, &mut reader).await.is_err() {
            reader.abort();
        }
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
    let mut last = false;
    while !last && let Some(frame) = commands.recv().await {
        encoder.encode(&frame, &mut buffer)?;
        last = frame == Frame::GoAway;
        while !last
            && buffer.len() < 64 << 10
            && let Ok(frame) = commands.try_recv()
        {
            encoder.encode(&frame, &mut buffer)?;
            last = frame == Frame::GoAway;
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
            reading.frame(frame).await;
        }
        if io.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

impl Reading {
    async fn frame(&mut self, frame: Frame) {
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
            }
            Frame::Reset { stream, .. } => drop(self.streams.remove(&stream)),
            Frame::Ping(id) if id % 2 == 1 => self.answer(Frame::Ping(id)).await,
            Frame::Ping(_) | Frame::Reply { .. } | Frame::GoAway | Frame::Ignored => (),
        }
    }

    async fn open(&mut self, id: u32, headers: Headers, fin: bool) {
        self.streams.retain(|_, to| !to.is_closed());
        if id.is_multiple_of(2) || id <= self.last || self.streams.len() >= STREAMS_MAX {
            return self.answer(Frame::Reset { stream: id, code: REFUSED_STREAM }).await;
        }
        self.last = id;
        let (to, input) = mpsc::channel(STREAM_QUEUE);
        if !fin {
            self.streams.insert(id, to);
        }
        self.answer(Frame::Reply { stream: id, headers: Headers::new() }).await;
        let output = Output { id, out: self.out.clone() };
        // Nobody accepts streams of a connection that is being closed; its bytes are still read.
        let _ = self.opening.send(Stream { headers, input, output }).await;
    }

    async fn answer(&self, frame: Frame) {
        // The writer may be gone while the rest is still read.
        let _ = self.out.send(frame).await;
    }
}
