//! One POST of JSON to a service outside the cluster, over HTTP or HTTPS.
//!
//! Invariant: bounded in time and in size; the connection lives as long as its one request, on the caller's task. Absent:
//! host names other than `localhost` (nothing here resolves names), the machine's trust store, redirects.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Largest answer.
const LIMIT: usize = 32 * 1024 * 1024;

/// Whom to believe, and how to show who asks.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// Whoever answers is believed.
    pub insecure: bool,
    /// The name that the certificate must have, if not the URL's host.
    pub server_name: String,
    /// PEM of whom the certificate must be from.
    pub ca: Vec<u8>,
    /// PEM of the own certificate, or empty.
    pub certificate: Vec<u8>,
    /// PEM of its key.
    pub key: Vec<u8>,
}

/// Posts a value and returns the answer's code and body.
///
/// # Errors
/// Why there is none, in Go's words where it has some.
pub async fn post(
    url: &str,
    trust: Option<&Trust>,
    timeout: Duration,
    body: &Value,
) -> Result<(StatusCode, Bytes), String> {
    let failed = |why: String| format!("Post {url:?}: {why}");
    let answered = tokio::time::timeout(timeout, exchange(url, trust, body)).await;
    answered.map_err(|_| failed("context deadline exceeded".into()))?.map_err(failed)
}

async fn exchange(url: &str, trust: Option<&Trust>, body: &Value) -> Result<(StatusCode, Bytes), String> {
    let uri: Uri = url.parse().map_err(|e: http::uri::InvalidUri| e.to_string())?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let ip: IpAddr = match host.as_str() {
        "localhost" => Ipv4Addr::LOCALHOST.into(),
        host => host.parse().map_err(|_| format!("dial tcp: lookup {host}: no such host"))?,
    };
    let peer = SocketAddr::new(ip, uri.port_u16().unwrap_or(if trust.is_some() { 443 } else { 80 }));
    let tcp = TcpStream::connect(peer).await.map_err(|e| format!("dial tcp {peer}: {}", dialled(&e)))?;
    let Some(trust) = trust else { return over(tcp, &uri, body).await };
    let name = if trust.server_name.is_empty() { host } else { trust.server_name.clone() };
    let name = ServerName::try_from(name).map_err(|e| e.to_string())?;
    let tls = tokio_rustls::TlsConnector::from(Arc::new(config(trust)?)).connect(name, tcp).await;
    over(tls.map_err(|e| format!("tls: failed to verify certificate: {e}"))?, &uri, body).await
}

async fn over(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    uri: &Uri,
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
        let bytes = Limited::new(body, LIMIT).collect().await.map_err(|e| e.to_string())?.to_bytes();
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

fn config(trust: &Trust) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone());
    let builder = builder.with_safe_default_protocol_versions().map_err(|e| e.to_string())?;
    let builder = if trust.insecure {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider)))
    } else {
        let mut roots = rustls::RootCertStore::empty();
        for cert in CertificateDer::pem_slice_iter(&trust.ca) {
            roots.add(cert.map_err(|e| e.to_string())?).map_err(|e| e.to_string())?;
        }
        builder.with_root_certificates(roots)
    };
    if trust.certificate.is_empty() {
        return Ok(builder.with_no_client_auth());
    }
    let own = CertificateDer::pem_slice_iter(&trust.certificate).collect::<Result<_, _>>();
    let key = PrivateKeyDer::from_pem_slice(&trust.key).map_err(|e| e.to_string())?;
    builder.with_client_auth_cert(own.map_err(|e| e.to_string())?, key).map_err(|e| e.to_string())
}

/// Believes every certificate; the signatures of the handshake must be its.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
