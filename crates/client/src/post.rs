//! One POST of JSON to a service outside the cluster, over HTTP or HTTPS: to webhooks and to the scheduler's extenders.
//!
//! Invariant: bounded in time and in size; the connection lives as long as its one request, on the caller's task, so that a
//! timeout ends both. Absent: redirects, pools of connections.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::names;
use crate::trust::Tls;

/// What an exchange may take at most.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// From the first packet to the last.
    pub time: Duration,
    /// Bytes of the answer.
    pub answer: usize,
}

/// Who is asked.
#[derive(Debug, Clone, Copy)]
pub struct To<'a> {
    /// The address, with path and query.
    pub url: &'a str,
    /// Whom to believe; `None` is plain HTTP.
    pub tls: Option<&'a Tls>,
    /// Where the host of the address is, if its name does not say it.
    pub at: Option<SocketAddr>,
}

/// Posts a value and returns the answer's code and body.
///
/// # Errors
/// Why there is none, in Go's words where it has some.
pub async fn post(to: To<'_>, bounds: Bounds, body: &Value) -> Result<(StatusCode, Bytes), String> {
    let failed = |why: String| format!("Post {:?}: {why}", to.url);
    let answered = tokio::time::timeout(bounds.time, exchange(to, bounds.answer, body)).await;
    answered.map_err(|_| failed("context deadline exceeded".into()))?.map_err(failed)
}

async fn exchange(to: To<'_>, limit: usize, body: &Value) -> Result<(StatusCode, Bytes), String> {
    let uri: Uri = to.url.parse().map_err(|e: http::uri::InvalidUri| e.to_string())?;
    let tls = to.tls;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = uri.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
    let peers: Vec<SocketAddr> = match to.at {
        Some(at) => vec![at],
        None => {
            let found = names::resolve(&host).await.map_err(|why| format!("dial tcp: {why}"))?;
            found.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()
        }
    };
    let tcp = dial(&peers).await?;
    let Some(tls) = tls else { return over(tcp, &uri, limit, body).await };
    let name = if tls.server_name.is_empty() { host } else { tls.server_name.clone() };
    let name = ServerName::try_from(name).map_err(|e| e.to_string())?;
    let stream = tokio_rustls::TlsConnector::from(tls.config.clone()).connect(name, tcp).await;
    let stream = stream.map_err(|e| format!("tls: failed to verify certificate: {e}"))?;
    over(stream, &uri, limit, body).await
}

/// The first of these that takes a connection, or why the last did not.
async fn dial(peers: &[SocketAddr]) -> Result<TcpStream, String> {
    let mut failed = "no address".to_owned();
    for peer in peers {
        match TcpStream::connect(peer).await {
            Ok(tcp) => return Ok(tcp),
            Err(e) => failed = format!("dial tcp {peer}: {}", dialled(&e)),
        }
    }
    Err(failed)
}

async fn over(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    uri: &Uri,
    limit: usize,
    body: &Value,
) -> Result<(StatusCode, Bytes), String> {
    let text = |e: hyper::Error| e.to_string();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
    let request = Request::post(uri.path_and_query().map_or("/", |p| p.as_str()))
        .header(header::HOST, uri.authority().map_or("", |a| a.as_str()))
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .map_err(|e| e.to_string())?;
    let answer = async {
        let (parts, body) = sender.send_request(request).await.map_err(text)?.into_parts();
        let bytes = Limited::new(body, limit).collect().await.map_err(|e| e.to_string())?.to_bytes();
        Ok((parts.status, bytes))
    };
    tokio::pin!(answer, connection);
    tokio::select! {
        answered = &mut answer => answered,
        ended = &mut connection => match ended {
            Ok(()) => answer.await,
            Err(e) => Err(text(e)),
        },
    }
}

fn dialled(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused".into(),
        _ => error.to_string(),
    }
}
