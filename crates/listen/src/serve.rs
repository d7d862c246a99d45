//! The accept loop and what it makes of each connection.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::activity::{Activity, Answer};
use crate::gate::{Gate, Permit};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A silent HTTP/2 peer is asked this often whether it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// Requests at a time on one HTTP/2 connection.
const STREAMS: u32 = 250;
/// Requests in flight may take this long after the end begins.
const DRAIN: Duration = Duration::from_secs(10);
/// After a failure to accept, the first pause and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Who is at the other end.
#[derive(Debug, Clone)]
pub struct Peer {
    /// From where.
    pub address: SocketAddr,
    /// The client certificate in DER, which TLS has verified.
    pub certificate: Option<Vec<u8>>,
}

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocols {
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 too.
    Http2,
}

struct Settings<G, H> {
    acceptor: TlsAcceptor,
    gate: Gate,
    protocols: Protocols,
    greet: G,
    handle: H,
}

/// Serves until `stop`, then lets requests in flight finish for at most ten seconds. `greet` is asked once a connection
/// who that is, `handle` answers each request. Connections die with the future; upgraded ones live on.
pub async fn serve<T, G, H, F, B>(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    gate: Gate,
    protocols: Protocols,
    stop: impl Future<Output = ()>,
    greet: G,
    handle: H,
) where
    T: Clone + Send + Sync + 'static,
    G: Fn(Peer) -> T + Send + Sync + 'static,
    H: Fn(T, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body + Unpin + Send + 'static,
    B::Data: Send,
    B::Error: Into<Failure>,
{
    let settings = Arc::new(Settings { acceptor: TlsAcceptor::from(tls), gate, protocols, greet, handle });
    let (ending, _) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut pause = None;
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            () = &mut stop => break,
        };
        let (tcp, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                rest(&mut pause, &error).await;
                continue;
            }
        };
        if pause.take().is_some() {
            tracing::info!("connections are accepted again");
        }
        // Refused by being dropped.
        let Some(permit) = settings.gate.enter(address.ip()) else { continue };
        let (settings, ending) = (settings.clone(), ending.subscribe());
        connections.spawn(async move {
            let place = permit.place();
            tokio::select! {
                ended = connection(tcp, address, permit, &settings, ending) => {
                    if let Err(error) = ended {
                        tracing::debug!(%address, %error, "connection");
                    }
                }
                () = place.dismissed() => tracing::debug!(%address, "an idle connection makes room"),
            }
        });
    }
    drop(listener);
    ending.send_replace(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        tracing::info!("requests were still in flight at the end of the drain");
    }
}

/// Out of descriptors, most likely: says so once and gives others the time to close some.
async fn rest(pause: &mut Option<Duration>, error: &io::Error) {
    let next = match *pause {
        None => {
            tracing::warn!(%error, "no connection can be accepted; tried again until one can");
            PAUSE.0
        }
        Some(last) => (last * 2).min(PAUSE.1),
    };
    *pause = Some(next);
    tokio::time::sleep(next).await;
}

async fn connection<T, G, H, F, B>(
    tcp: TcpStream,
    address: SocketAddr,
    permit: Permit,
    settings: &Settings<G, H>,
    mut ending: watch::Receiver<bool>,
) -> Result<(), Failure>
where
    T: Clone + Send + Sync + 'static,
    G: Fn(Peer) -> T,
    H: Fn(T, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body + Unpin + Send + 'static,
    B::Data: Send,
    B::Error: Into<Failure>,
{
    tcp.set_nodelay(true)?;
    let limits = *settings.gate.limits();
    let tls = tokio::time::timeout(limits.handshake, settings.acceptor.accept(tcp)).await??;
    let certificate = tls.get_ref().1.peer_certificates().and_then(|c| c.first()).map(|c| c.to_vec());
    if certificate.is_some() {
        permit.prove();
    }
    let peer = (settings.greet)(Peer { address, certificate });
    let (activity, handle) = (Activity::new(permit.place()), settings.handle.clone());
    let begun = activity.clone();
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let busy = begun.begin();
        let reply = handle(peer.clone(), request);
        async move { Ok::<_, Infallible>(reply.await.map(|body| Answer { body, _busy: busy })) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None);
    // A peer that vanished without a word is noticed, and its watches with it.
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(STREAMS).keep_alive_interval(KEEP_ALIVE);
    if settings.protocols == Protocols::Http1 {
        builder = builder.http1_only();
    }
    let io = TokioIo::new(Held { tls, _permit: permit });
    let mut connection = pin!(builder.serve_connection_with_upgrades(io, service));
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = activity.idle(limits.first, limits.idle) => {}
        _ = ending.wait_for(|ending| *ending) => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        ended = connection.as_mut() => ended,
        // Who does not end politely, as in the middle of a request's headers, is cut off.
        () = activity.idle(limits.last, limits.last) => Ok(()),
    }
}

/// The socket with its place, which upgrades take along.
struct Held {
    tls: TlsStream<TcpStream>,
    _permit: Permit,
}

impl AsyncRead for Held {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_read(cx, into)
    }
}

impl AsyncWrite for Held {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.tls.is_write_vectored()
    }
}
