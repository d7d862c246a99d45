//! One HTTPS request to a webhook.
//!
//! Invariant: bounded in time by the webhook's own timeout and in size; the server's certificate is checked against the
//! configuration's `caBundle`, which is read once with it. Absent: Services as addresses, host names other than `localhost` (nothing here resolves
//! names), the machine's trust store, client certificates, redirects.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;

/// Largest answer.
const LIMIT: usize = 3 * 1024 * 1024;

/// Where a webhook is, whom it is believed to be, and how long it has.
pub(super) struct Client {
    url: String,
    /// The Service that it is behind.
    service: Option<String>,
    trust: Result<Arc<rustls::ClientConfig>, String>,
    time: Duration,
}

impl Client {
    /// Of a webhook's `clientConfig` and `timeoutSeconds`.
    pub(super) fn new(config: &Value, seconds: u64) -> Self {
        Self {
            url: address(config, seconds),
            service: config["service"]["name"].as_str().map(str::to_owned),
            trust: trust(config["caBundle"].as_str().unwrap_or_default()),
            time: Duration::from_secs(seconds),
        }
    }

    /// Posts the question and returns the answer; the error is what follows `failed to call webhook: `.
    pub(super) async fn post(&self, question: &Value) -> Result<Value, String> {
        let failed = |why: String| format!("Post {:?}: {why}", self.url);
        if let Some(service) = &self.service {
            return Err(failed(format!("service {service:?} not found")));
        }
        let trust = self.trust.clone().map_err(failed)?;
        let answered = tokio::time::timeout(self.time, exchange(&self.url, trust, question)).await;
        let late = || failed("context deadline exceeded".into());
        let (code, bytes) = answered.map_err(|_| late())?.map_err(failed)?;
        if code != StatusCode::OK {
            return Err(
                "an error on the server (\"unknown\") has prevented the request from succeeding".into()
            );
        }
        serde_json::from_slice(&bytes).map_err(|e| e.to_string())
    }
}

/// The address with the time that it is given.
fn address(config: &Value, seconds: u64) -> String {
    let text = |field: &str| config["service"][field].as_str().unwrap_or_default();
    match config["url"].as_str() {
        Some(url) => format!("{url}?timeout={seconds}s"),
        None => format!(
            "https://{}.{}.svc:{}{}?timeout={seconds}s",
            text("name"),
            text("namespace"),
            config["service"]["port"].as_u64().unwrap_or(443),
            text("path"),
        ),
    }
}

async fn exchange(
    url: &str,
    trust: Arc<rustls::ClientConfig>,
    question: &Value,
) -> Result<(StatusCode, Bytes), String> {
    let text = |e: &dyn std::fmt::Display| e.to_string();
    let uri: Uri = url.parse().map_err(|e| text(&e))?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let ip: IpAddr = match host.as_str() {
        "localhost" => Ipv4Addr::LOCALHOST.into(),
        host => host.parse().map_err(|_| format!("dial tcp: lookup {host}: no such host"))?,
    };
    let peer = SocketAddr::new(ip, uri.port_u16().unwrap_or(443));
    let tcp = TcpStream::connect(peer).await.map_err(|e| format!("dial tcp {peer}: {}", dialled(&e)))?;
    let name = ServerName::try_from(host).map_err(|e| text(&e))?;
    let tls = tokio_rustls::TlsConnector::from(trust).connect(name, tcp).await;
    let tls = tls.map_err(|e| format!("tls: failed to verify certificate: {e}"))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(tls)).await.map_err(|e| text(&e))?;
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    let request = Request::post(path)
        .header(header::HOST, uri.authority().map_or("", |a| a.as_str()))
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json")
        .body(Full::new(Bytes::from(question.to_string())))
        .map_err(|e| text(&e))?;
    let answer = async {
        let (parts, body) = sender.send_request(request).await.map_err(|e| text(&e))?.into_parts();
        let bytes = Limited::new(body, LIMIT).collect().await.map_err(|e| e.to_string())?.to_bytes();
        Ok((parts.status, bytes))
    };
    // The connection lives as long as its one request, on the same task, so that a timeout ends both.
    tokio::pin!(answer, connection);
    tokio::select! {
        answered = &mut answer => answered,
        ended = &mut connection => match ended {
            Ok(()) => answer.await,
            Err(e) => Err(text(&e)),
        },
    }
}

fn dialled(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused".into(),
        _ => error.to_string(),
    }
}

fn trust(bundle: &str) -> Result<Arc<rustls::ClientConfig>, String> {
    let pem = STANDARD.decode(bundle).map_err(|e| e.to_string())?;
    let mut roots = rustls::RootCertStore::empty();
    for cert in CertificateDer::pem_slice_iter(&pem) {
        roots.add(cert.map_err(|e| e.to_string())?).map_err(|e| e.to_string())?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().map_err(|e| e.to_string())?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}
