//! Port-forward over SPDY: for each connection a pair of streams, `data` and `error`, joined by `requestid`.
//!
//! Invariant: a pair ends when both directions ended; an error is told on the error stream and ends the data stream.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::task::JoinSet;

use super::Target;
use super::spdy::{Connection, Gone, Stream};

/// Half pairs kept waiting for their other half.
const WAITING_MAX: usize = 256;

pub(super) async fn spdy(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, target: Target) {
    let mut connection = Connection::serve(io);
    let mut waiting: HashMap<String, Stream> = HashMap::new();
    let mut pairs = JoinSet::new();
    while let Some(stream) = connection.accept().await {
        while pairs.try_join_next().is_some() {}
        let header = |name: &str| stream.headers.get(name).cloned().unwrap_or_default();
        let (kind, id, port) = (header("streamtype"), header("requestid"), header("port"));
        let known = matches!(kind.as_str(), "error" | "data");
        let (true, Ok(port)) = (known && waiting.len() < WAITING_MAX, port.parse::<u16>()) else {
            tracing::debug!(kind, port, "refused a port-forward stream");
            if stream.output.reset().await.is_err() {
                break;
            }
            continue;
        };
        let other = waiting.remove(&id);
        match (other, kind.as_str()) {
            (None, _) => drop(waiting.insert(id, stream)),
            (Some(other), "data") => {
                let target = target.clone();
                pairs.spawn(async move { pair(&target, port, stream, other).await });
            }
            (Some(other), _) => {
                let target = target.clone();
                pairs.spawn(async move { pair(&target, port, other, stream).await });
            }
        }
    }
    // The client is gone: so are its connections.
    pairs.shutdown().await;
    connection.close().await;
}

async fn pair(target: &Target, port: u16, data: Stream, error: Stream) {
    let result = match target.connect(port).await {
        Ok(tcp) => copy(tcp, data).await,
        Err(why) => fail(why, &data, &error).await,
    };
    if result.is_err() || error.output.finish().await.is_err() {
        tracing::debug!(port, "the client left a forwarded connection");
    }
}

async fn fail(why: String, data: &Stream, error: &Stream) -> Result<(), Gone> {
    error.output.data(Bytes::from(why)).await?;
    data.output.finish().await
}

async fn copy(tcp: tokio::net::TcpStream, mut data: Stream) -> Result<(), Gone> {
    let (mut read, mut write) = tcp.into_split();
    let output = data.output.clone();
    let inward = async {
        while let Some(bytes) = data.input.recv().await {
            if write.write_all(&bytes).await.is_err() {
                return;
            }
        }
        // The other side may be gone already.
        let _ = write.shutdown().await;
    };
    let outward = async {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(32 << 10);
            match read.read_buf(&mut buffer).await {
                Ok(n) if n > 0 => output.data(buffer.split().freeze()).await?,
                // A reset ends it like an end.
                _ => return output.finish().await,
            }
        }
    };
    // Once the server side ended, the client has nobody left to send to.
    tokio::pin!(inward);
    tokio::pin!(outward);
    let mut inward_done = false;
    loop {
        tokio::select! {
            result = &mut outward => return result,
            () = &mut inward, if !inward_done => inward_done = true,
        }
    }
}
