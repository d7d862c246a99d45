//! HTTPS: everything between connections and the generic path.
//!
//! Invariant: nothing here decides about objects; nothing here knows a kind. Absent: plain HTTP, HTTP/3, and how connections begin,
//! are bounded and end (the crate `listen`).

mod dial;
pub(crate) mod documents;
mod frames;
mod identity;
mod long;
mod node;
mod onward;
mod pool;
mod proxy;
mod respond;
mod route;
mod site;
mod table;
mod unversioned;
mod watch;
mod websocket;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use ::listen::{Peer, Protocols};
use bytes::Bytes;
use client::Identity;
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use tokio::net::TcpListener;
use tokio::sync::watch as signal;

pub(crate) use dial::Nodes as OverHttps;
pub(crate) use site::Site;

/// A response body: whole, or a stream.
pub(crate) type Body = UnsyncBoxBody<Bytes, std::io::Error>;
/// A response.
pub(crate) type Reply = http::Response<Body>;

/// A whole body.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    http_body_util::Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// Serves one listener until told to stop, then drains.
pub(crate) async fn listen(
    site: Arc<Site>,
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    mut stop: signal::Receiver<bool>,
) {
    let greet = |peer: Peer| {
        let identity =
            peer.certificate.and_then(|c| crate::context::authn::from_certificate(&c)).map(Arc::new);
        (peer.address, identity)
    };
    let gate = site.gate.clone();
    let handle = move |(address, identity): (SocketAddr, Option<Arc<Identity>>), request| {
        route::serve(site.clone(), identity, address, request)
    };
    let stopped = async move {
        // The server's end is a stop too.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    ::listen::serve(listener, tls, gate, Protocols::Http2, stopped, greet, handle).await;
}
