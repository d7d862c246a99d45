//! HTTPS: listeners, connections, and everything between bytes and the generic path.
//!
//! Invariant: nothing here decides about objects; nothing here knows a kind. Absent: plain HTTP, HTTP/3.

mod node;
mod respond;
mod route;
mod table;
mod unversioned;
mod watch;
mod websocket;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use client::Identity;
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch as signal;
use tokio_rustls::TlsAcceptor;

pub(crate) use route::{attributes, find};

use crate::server::Server;

/// A response body: whole, or a stream.
pub(crate) type Body = UnsyncBoxBody<Bytes, std::io::Error>;
/// A response.
pub(crate) type Reply = http::Response<Body>;

/// A client that has not finished its handshake by then is let go.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A silent HTTP/2 peer is asked this often whether it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// Requests in flight may take this long after shutdown begins.
const DRAIN: Duration = Duration::from_secs(10);

/// A whole body.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    http_body_util::Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// Accepts on one listener until told to stop, then drains.
pub(crate) async fn listen(
    server: Arc<Server>,
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    mut stop: signal::Receiver<bool>,
) {
    let acceptor = TlsAcceptor::from(tls);
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (server, acceptor, watcher) = (server.clone(), acceptor.clone(), graceful.watcher());
                tokio::spawn(async move {
                    if let Err(e) = connection(server, stream, peer, acceptor, watcher).await {
                        tracing::debug!(%peer, error = %e, "connection");
                    }
                });
            }
            Err(e) => {
                // Out of file descriptors, most likely: give others the time to close some.
                tracing::warn!(error = %e, "accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::info!("requests were still in flight at the end of the drain");
    }
}

type ConnectionError = Box<dyn std::error::Error + Send + Sync>;

async fn connection(
    server: Arc<Server>,
    stream: TcpStream,
    peer: SocketAddr,
    acceptor: TlsAcceptor,
    watcher: hyper_util::server::graceful::Watcher,
) -> Result<(), ConnectionError> {
    stream.set_nodelay(true)?;
    let tls = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await??;
    let certificate = tls.get_ref().1.peer_certificates().and_then(|c| c.first());
    let identity: Option<Arc<Identity>> =
        certificate.and_then(|c| crate::authn::from_certificate(c)).map(Arc::new);
    let service = hyper::service::service_fn(move |request: http::Request<Incoming>| {
        let (server, identity) = (server.clone(), identity.clone());
        async move { Ok::<_, Infallible>(route::serve(server, identity, peer, request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(60));
    // A peer that vanished without a word is noticed, and its watches with it.
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(1000).keep_alive_interval(KEEP_ALIVE);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(tls), service);
    watcher.watch(connection.into_owned()).await
}
