//! The WebSocket side of exec, attach and port-forward.
//!
//! Invariant: one task reads and one writes a socket; the reader stops when its session's queue is full.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::FusedFuture as _;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};

use super::channel::{ERROR, Protocol, RESIZE, Received, STDERR, STDIN, STDOUT};
use super::remote::{Input, Output, Sizes};
use super::{Remote, Target, forward};

/// Bytes of one message; kubectl's have 32 KiB.
const MESSAGE_MAX: usize = 4 << 20;

async fn server<T: AsyncRead + AsyncWrite + Unpin>(io: T) -> WebSocketStream<T> {
    let config =
        WebSocketConfig::default().max_message_size(Some(MESSAGE_MAX)).max_frame_size(Some(MESSAGE_MAX));
    WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await
}

/// Ends normally: any other code is an error to clients. An error here means that they left already.
async fn goodbye<T: AsyncRead + AsyncWrite + Unpin>(sink: &mut SplitSink<WebSocketStream<T>, Message>) {
    let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    if let Err(error) = sink.send(Message::Close(Some(frame))).await {
        tracing::debug!(%error, "closing a WebSocket");
    }
}

/// How long the client's own goodbye is waited for: closing a socket with unread bytes would destroy what it has not
/// read yet.
const FAREWELL: Duration = Duration::from_secs(2);

/// exec and attach.
pub(super) async fn remote<T: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    io: T,
    protocol: Protocol,
    remote: Remote,
) {
    let (mut sink, stream) = server(io).await.split();
    let (input, of_client) = mpsc::channel(4);
    let (to_client, mut output) = mpsc::channel(4);
    let options = remote.options.clone();
    // Tells the client that the connection stands.
    let first = if options.stdout {
        STDOUT
    } else if options.stderr {
        STDERR
    } else {
        ERROR
    };
    if sink.send(protocol.encode(first, b"")).await.is_err() {
        return;
    }
    let giving = async {
        while let Some(next) = output.recv().await {
            let (message, last) = match next {
                Output::Stdout(_) if !options.stdout => continue,
                Output::Stderr(_) if !options.stderr => continue,
                Output::Stdout(data) => (Some(protocol.encode(STDOUT, &data)), false),
                Output::Stderr(data) => (Some(protocol.encode(STDERR, &data)), false),
                Output::End(verdict) => {
                    (verdict.bytes(protocol.status).map(|b| protocol.encode(ERROR, &b)), true)
                }
            };
            if let Some(message) = message
                && sink.send(message).await.is_err()
            {
                return;
            }
            if last {
                break;
            }
        }
        goodbye(&mut sink).await;
    };
    let taking = take_remote(stream, protocol, input).fuse();
    tokio::pin!(taking);
    let session = remote.run(of_client, to_client);
    tokio::select! {
        () = async { tokio::join!(session, giving); } => (),
        // Ends the session, because its queue is dropped; but only after what it still says.
        () = async { (&mut taking).await; std::future::pending().await } => (),
    }
    if !taking.is_terminated() {
        // Elapsing is the client's affair.
        let _ = tokio::time::timeout(FAREWELL, taking).await;
    }
}

async fn take_remote<T: AsyncRead + AsyncWrite + Unpin>(
    mut stream: SplitStream<WebSocketStream<T>>,
    protocol: Protocol,
    input: mpsc::Sender<Input>,
) {
    let mut sizes = Sizes::default();
    while let Some(Ok(message)) = stream.next().await {
        let next = match protocol.decode(message) {
            Ok(Received::Data(STDIN, data)) => vec![Input::Stdin(data)],
            Ok(Received::Data(RESIZE, data)) => {
                sizes.push(&data).into_iter().map(|(columns, rows)| Input::Resize(columns, rows)).collect()
            }
            Ok(Received::End(STDIN)) => vec![Input::StdinEnd],
            Ok(Received::Goodbye) => break,
            Ok(_) => continue,
            Err(problem) => {
                tracing::debug!(problem, "a WebSocket message");
                break;
            }
        };
        for one in next {
            // If the session is over it is dropped; the client's goodbye is still to come.
            let _ = input.send(one).await;
        }
    }
    // If the session is over, nobody cares.
    let _ = input.send(Input::Gone).await;
}

/// Port-forward as raw SPDY inside binary messages.
pub(super) async fn tunnel<T: AsyncRead + AsyncWrite + Send + Unpin + 'static>(io: T, target: Target) {
    let (mut sink, mut stream) = server(io).await.split();
    let (ours, theirs) = tokio::io::duplex(256 << 10);
    let (mut read, mut write) = tokio::io::split(ours);
    let inward = async {
        while let Some(Ok(message)) = stream.next().await {
            match message {
                Message::Binary(data) if write.write_all(&data).await.is_err() => return,
                Message::Close(_) => break,
                Message::Text(_) => {
                    tracing::debug!("a text message in a SPDY tunnel");
                    break;
                }
                _ => (),
            }
        }
        if let Err(error) = write.shutdown().await {
            tracing::debug!(%error, "ending a SPDY tunnel");
        }
    };
    let outward = async {
        let mut buffer = bytes::BytesMut::new();
        loop {
            buffer.reserve(32 << 10);
            match read.read_buf(&mut buffer).await {
                Ok(n) if n > 0 => {
                    if sink.send(Message::Binary(buffer.split().freeze())).await.is_err() {
                        return;
                    }
                }
                _ => break,
            }
        }
        goodbye(&mut sink).await;
    };
    tokio::join!(forward::spdy(theirs, target), inward, outward);
}

/// Port-forward of the first protocol: channel 2i is the data and 2i+1 the errors of the i-th port of the query.
pub(super) async fn forward<T: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    io: T,
    protocol: Protocol,
    target: Target,
    ports: Vec<u16>,
) {
    let (mut sink, mut stream) = server(io).await.split();
    let (out, outgoing) = mpsc::channel::<(u8, Bytes)>(16);
    let mut inputs = Vec::new();
    let mut tasks = tokio::task::JoinSet::new();
    for (n, port) in ports.iter().copied().take(64).enumerate() {
        let channel = u8::try_from(2 * n).expect("at most 64 ports");
        for channel in [channel, channel + 1] {
            if sink.send(protocol.encode(channel, &port.to_le_bytes())).await.is_err() {
                return;
            }
        }
        let (input, of_client) = mpsc::channel::<Bytes>(16);
        inputs.push(input);
        let (out, target) = (out.clone(), target.clone());
        tasks.spawn(async move { one_port(&target, port, of_client, out, channel).await });
    }
    drop(out);
    let inward = async {
        while let Some(Ok(message)) = stream.next().await {
            match protocol.decode(message) {
                Ok(Received::Data(channel, data)) if channel % 2 == 0 => {
                    if let Some(input) = inputs.get(usize::from(channel / 2)) {
                        // A port whose connection ended takes nothing more.
                        let _ = input.send(data).await;
                    }
                }
                Ok(Received::Goodbye) | Err(_) => return,
                Ok(_) => (),
            }
        }
    };
    tokio::select! {
        () = inward => (),
        () = send_all(&mut sink, outgoing, protocol) => (),
    }
    goodbye(&mut sink).await;
}

async fn send_all<T: AsyncRead + AsyncWrite + Unpin>(
    sink: &mut SplitSink<WebSocketStream<T>, Message>,
    mut outgoing: mpsc::Receiver<(u8, Bytes)>,
    protocol: Protocol,
) {
    while let Some((channel, data)) = outgoing.recv().await {
        if sink.send(protocol.encode(channel, &data)).await.is_err() {
            return;
        }
    }
}

async fn one_port(
    target: &Target,
    port: u16,
    mut input: mpsc::Receiver<Bytes>,
    out: mpsc::Sender<(u8, Bytes)>,
    channel: u8,
) {
    let tcp = match target.connect(port).await {
        Ok(tcp) => tcp,
        Err(why) => {
            // A client that is gone needs no reason.
            let _ = out.send((channel + 1, why.into())).await;
            return;
        }
    };
    let (mut read, mut write) = tcp.into_split();
    let inward = async {
        while let Some(data) = input.recv().await {
            if write.write_all(&data).await.is_err() {
                return;
            }
        }
    };
    let outward = async {
        let mut buffer = bytes::BytesMut::new();
        loop {
            buffer.reserve(32 << 10);
            match read.read_buf(&mut buffer).await {
                Ok(n) if n > 0 => {
                    if out.send((channel, buffer.split().freeze())).await.is_err() {
                        return;
                    }
                }
                _ => return,
            }
        }
    };
    tokio::select! {
        () = async { inward.await; std::future::pending().await } => (),
        () = outward => (),
    }
}
