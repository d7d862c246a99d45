//! Requests that go on to another server: the node of a Pod, or what a proxy leads to.
//!
//! Invariant: one connection for one request; after a 101 nobody reads what passes. Absent: which server that is (`node`,
//! `proxy`), pools of connections.

use std::error::Error;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use client::Status;
use http::{HeaderMap, Request, Response, header};
use hyper::body::{Body, Incoming};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use kinds::{Kind, Row};
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::{Site, dial};
use crate::context::audit::Trail;
use crate::context::object;

/// Until a connection stands; upstream's for what it proxies.
const CONNECT: Duration = Duration::from_secs(30);

/// A server and how it is spoken to.
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    /// `None` is plain HTTP.
    pub(super) tls: Option<Arc<rustls::ClientConfig>>,
}

/// Why nobody answered, in Go's words where it has some.
#[derive(Debug, thiserror::Error)]
pub(super) enum OnwardError {
    /// There is no connection.
    #[error("dial tcp {0}: {1}")]
    Dial(SocketAddr, String),
    /// There is one, and no answer.
    #[error("{0}")]
    Silent(String),
}

/// An error with what caused it: hyper's own text says little.
fn whole(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        write!(text, ": {cause}").expect("a String takes everything");
        next = cause.source();
    }
    text
}

impl Peer {
    /// Where a node listens: an address and a port, both of its own status; it must be who it says.
    pub(super) fn node(site: &Site, name: &str) -> Result<Self, Status> {
        let node = stored(site, &kinds::node::KIND, "", name)?;
        let (ip, port) = dial::place(&node).map_err(Status::untyped)?;
        let tls = site.node_tls().map_err(Status::internal)?;
        Ok(Self { address: (ip, port).into(), tls: Some(tls) })
    }

    /// Sends one request; its answer may take as long as it likes.
    pub(super) async fn send<B>(&self, request: Request<B>) -> Result<Response<Incoming>, OnwardError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let silent = |e: hyper::Error| OnwardError::Silent(whole(&e));
        let stream = self.connect().await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(silent)?;
        tokio::spawn(async move {
            if let Err(e) = connection.with_upgrades().await {
                tracing::debug!(error = %e, "a connection onward");
            }
        });
        sender.send_request(request).await.map_err(silent)
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, OnwardError> {
        let failed = |why: String| OnwardError::Dial(self.address, why);
        let connect = async {
            let tcp = TcpStream::connect(self.address).await.map_err(|e| failed(dialled(&e)))?;
            tcp.set_nodelay(true).map_err(|e| failed(e.to_string()))?;
            let Some(tls) = &self.tls else { return Ok(Box::new(tcp) as Box<dyn Stream>) };
            let name = ServerName::IpAddress(self.address.ip().into());
            let stream = tokio_rustls::TlsConnector::from(tls.clone()).connect(name, tcp).await;
            Ok(Box::new(stream.map_err(|e| OnwardError::Silent(format!("tls: {e}")))?) as Box<dyn Stream>)
        };
        tokio::time::timeout(CONNECT, connect).await.map_err(|_| failed("i/o timeout".into()))?
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

fn dialled(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        // Go names the call and says it in the system's words, without its number.
        Some(_) => {
            let text = error.to_string().to_lowercase();
            format!("connect: {}", text.split(" (os error").next().unwrap_or(&text))
        }
        None => error.to_string(),
    }
}

/// An object as it is stored.
pub(super) fn stored(site: &Site, kind: &Row, namespace: &str, name: &str) -> Result<Value, Status> {
    let kind: &Kind = kind;
    let entry = site.core.services.store.get(&object::key(kind, namespace, name));
    let entry = entry.ok_or_else(|| Status::not_found(&kind.group, &kind.plural, name))?;
    Ok(object::parse(kind, &entry.value))
}

/// Whether the client wants another protocol.
pub(super) fn wants_upgrade(headers: &HeaderMap) -> bool {
    let connection = headers.get_all(header::CONNECTION).iter().filter_map(|v| v.to_str().ok());
    let upgrade = connection.flat_map(|v| v.split(',')).any(|t| t.trim().eq_ignore_ascii_case("upgrade"));
    upgrade && headers.contains_key(header::UPGRADE)
}

/// Carries bytes both ways until one side or the server ends; only then the request is complete.
pub(super) fn tunnel(site: &Site, from: OnUpgrade, to: OnUpgrade, trail: &Arc<Trail>) {
    let (closing, trail) = (site.closing(), trail.clone());
    tokio::spawn(async move {
        if let Err(e) = carry(from, to, closing).await {
            tracing::debug!(error = %e, "a stream onward ended");
        }
        drop(trail);
    });
}

async fn carry(
    from: OnUpgrade,
    to: OnUpgrade,
    mut closing: tokio::sync::watch::Receiver<bool>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (from, to) = tokio::try_join!(from, to)?;
    let (mut from, mut to) = (TokioIo::new(from), TokioIo::new(to));
    tokio::select! {
        copied = tokio::io::copy_bidirectional(&mut from, &mut to) => drop(copied?),
        _ = closing.wait_for(|closing| *closing) => {}
    }
    Ok(())
}
