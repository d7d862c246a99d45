//! [`Https`]: [`Objects`] over HTTPS, for nodes in other processes and for tests.
//!
//! Invariant: one HTTP/2 connection carries everything; a broken one is replaced by the next call. Nothing is retried:
//! the caller knows what may be repeated. Absent: names other than `localhost` (addresses only: the static binary has no
//! resolver), proxies.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderValue};
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use crate::trust::Trust;
use crate::{
    Answer, Call, Change, Facts, Object, Objects, Options, PatchType, Status, Target, Verb, Watch, WatchEvent,
};

const CONNECT: Duration = Duration::from_secs(10);
/// A peer that is silent this long is asked whether it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// How the client shows who it is.
#[derive(Clone)]
pub enum Credential {
    /// Not at all.
    None,
    /// A client certificate and its key, PEM.
    Certificate {
        /// Certificate.
        cert_pem: String,
        /// Key.
        key_pem: String,
    },
    /// A bearer token.
    Token(String),
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Certificate { .. } => "Certificate",
            Self::Token(_) => "Token",
        })
    }
}

/// What is wrong with the configuration of a client.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not `https://ADDRESS:PORT`.
    #[error("server {0:?} is not https://ADDRESS:PORT with a numeric address or localhost")]
    Server(String),
    /// Unreadable PEM.
    #[error("{0} is not readable PEM")]
    Pem(&'static str),
    /// rustls refused.
    #[error("TLS configuration")]
    Tls(#[from] rustls::Error),
}

/// The API over HTTPS as one identity.
pub struct Https {
    address: SocketAddr,
    name: ServerName<'static>,
    authority: String,
    tls: RwLock<Arc<rustls::ClientConfig>>,
    token: Option<HeaderValue>,
    manager: String,
    connection: Mutex<Option<SendRequest<Full<Bytes>>>>,
}

impl std::fmt::Debug for Https {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Https").field("authority", &self.authority).finish_non_exhaustive()
    }
}

impl Https {
    /// A client of `https://ADDRESS:PORT` whose certificate is of the CA in `ca_pem`. `manager` is the field manager of
    /// writes that name none. Nothing is connected yet.
    ///
    /// # Errors
    /// If the parts do not parse.
    pub fn new(
        server: &str,
        ca_pem: &str,
        credential: &Credential,
        manager: &str,
    ) -> Result<Arc<Self>, ConfigError> {
        Self::with(server, tls(ca_pem, credential)?, credential, manager)
    }

    /// A client of whoever answers at an address, which proves nothing: for what is checked otherwise.
    ///
    /// # Errors
    /// As [`Https::new`].
    pub fn of_anyone(server: &str) -> Result<Arc<Self>, ConfigError> {
        let trust = Trust { insecure: true, ..Trust::default() };
        let made = trust.tls().map_err(|_| ConfigError::Pem("nothing"))?;
        let mut config = rustls::ClientConfig::clone(&made.config);
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self::with(server, config, &Credential::None, "")
    }

    fn with(
        server: &str,
        tls: rustls::ClientConfig,
        credential: &Credential,
        manager: &str,
    ) -> Result<Arc<Self>, ConfigError> {
        let bad = || ConfigError::Server(server.to_owned());
        let authority = server.strip_prefix("https://").ok_or_else(bad)?.trim_end_matches('/');
        let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "443"));
        let port: u16 = port.parse().map_err(|_| bad())?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let ip: IpAddr = match bare {
            "localhost" => IpAddr::from([127, 0, 0, 1]),
            other => other.parse().map_err(|_| bad())?,
        };
        let token = match credential {
            Credential::Token(token) => {
                let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
                    .map_err(|_| ConfigError::Pem("the token"))?;
                value.set_sensitive(true);
                Some(value)
            }
            _ => None,
        };
        Ok(Arc::new(Self {
            address: SocketAddr::new(ip, port),
            name: ServerName::try_from(bare.to_owned()).map_err(|_| bad())?,
            authority: authority.to_owned(),
            tls: RwLock::new(Arc::new(tls)),
            token,
            manager: manager.to_owned(),
            connection: Mutex::new(None),
        }))
    }

    /// From the next connection on, with another certificate; what runs goes on.
    ///
    /// # Errors
    /// If the parts do not parse; then nothing changes.
    pub async fn renew(&self, ca_pem: &str, credential: &Credential) -> Result<(), ConfigError> {
        let new = Arc::new(tls(ca_pem, credential)?);
        *self.tls.write().unwrap_or_else(PoisonError::into_inner) = new;
        *self.connection.lock().await = None;
        Ok(())
    }

    /// One request with its whole answer.
    ///
    /// # Errors
    /// The API's `Status`, or 503 if the server cannot be reached.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        media: &str,
        body: Bytes,
    ) -> Result<Bytes, Status> {
        let response = self.send(method, path, media, body).await?;
        let code = response.status();
        let bytes = response.into_body().collect().await.map_err(unreachable)?.to_bytes();
        if code.is_success() { Ok(bytes) } else { Err(failure(code.as_u16(), &bytes)) }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        media: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, Status> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("https://{}{path}", self.authority))
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, concat!("minke/", env!("CARGO_PKG_VERSION")));
        if !media.is_empty() {
            request = request.header(header::CONTENT_TYPE, media);
        }
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token.clone());
        }
        let request = request.body(Full::new(body)).map_err(Status::internal)?;
        let mut sender = self.sender().await?;
        sender.send_request(request).await.map_err(unreachable)
    }

    async fn sender(&self) -> Result<SendRequest<Full<Bytes>>, Status> {
        let mut connection = self.connection.lock().await;
        if let Some(sender) = connection.as_ref().filter(|s| !s.is_closed()) {
            return Ok(sender.clone());
        }
        let made = tokio::time::timeout(CONNECT, self.connect()).await;
        let sender = made.map_err(|_| unreachable("connecting took too long"))?.map_err(unreachable)?;
        *connection = Some(sender.clone());
        Ok(sender)
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        let tls = self.tls.read().unwrap_or_else(PoisonError::into_inner).clone();
        let tls = tokio_rustls::TlsConnector::from(tls).connect(self.name.clone(), tcp).await?;
        let (sender, connection) = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(tls))
            .await?;
        tokio::spawn(async move {
            if let Err(e) = connection.await {
                tracing::debug!(error = %e, "connection to the API server");
            }
        });
        Ok(sender)
    }

    fn query(&self, options: &Options, writes: bool) -> Vec<(&'static str, String)> {
        let mut out = Vec::new();
        let mut put = |key, value: &str| {
            if !value.is_empty() {
                out.push((key, value.to_owned()));
            }
        };
        put("labelSelector", &options.label_selector);
        put("fieldSelector", &options.field_selector);
        put("resourceVersion", &options.resource_version);
        put("continue", &options.continue_token);
        if writes {
            let manager =
                if options.field_manager.is_empty() { &self.manager } else { &options.field_manager };
            put("fieldManager", manager);
        }
        if options.limit > 0 {
            put("limit", &options.limit.to_string());
        }
        if options.dry_run {
            put("dryRun", "All");
        }
        if options.force {
            put("force", "true");
        }
        if options.strict {
            put("fieldValidation", "Strict");
        }
        out
    }
}

#[async_trait]
impl Objects for Https {
    async fn call(&self, call: Call) -> Result<Answer, Status> {
        let Call { target, verb, options } = call;
        const JSON: &str = "application/json";
        let body = |v: &Value| Bytes::from(v.to_string());
        let optional = |v: &Option<Value>| v.as_ref().map(body).unwrap_or_default();
        let (method, media, bytes) = match &verb {
            Verb::Get | Verb::List => (Method::GET, "", Bytes::new()),
            Verb::Create(value) => (Method::POST, JSON, body(value)),
            Verb::Update(value) => (Method::PUT, JSON, body(value)),
            Verb::Patch(kind, text) => (Method::PATCH, media_type(*kind), text.clone()),
            Verb::Delete(value) | Verb::DeleteCollection(value) => (Method::DELETE, JSON, optional(value)),
        };
        // A name on create is the object's own, unless a subresource of it is created.
        let named = !matches!(verb, Verb::Create(_)) || !target.subresource.is_empty();
        let writes = matches!(verb, Verb::Create(_) | Verb::Update(_) | Verb::Patch(..));
        let path = path(&target, named, &self.query(&options, writes));
        self.request(method, &path, media, bytes).await.map(Answer::json)
    }

    async fn watch(&self, target: Target, options: Options) -> Result<Box<dyn Watch>, Status> {
        let mut query = self.query(&options, false);
        query.push(("watch", "true".to_owned()));
        query.push(("allowWatchBookmarks", "true".to_owned()));
        let response = self.send(Method::GET, &path(&target, false, &query), "", Bytes::new()).await?;
        let code = response.status();
        if !code.is_success() {
            let bytes = response.into_body().collect().await.map_err(unreachable)?.to_bytes();
            return Err(failure(code.as_u16(), &bytes));
        }
        Ok(Box::new(Frames { body: response.into_body(), buffer: BytesMut::new() }))
    }
}

/// The lines of a watch.
struct Frames {
    body: Incoming,
    buffer: BytesMut,
}

#[derive(Deserialize)]
struct Frame<'a> {
    r#type: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Head {
    metadata: Meta,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Meta {
    name: String,
    namespace: String,
    resource_version: String,
    annotations: Option<std::collections::BTreeMap<String, String>>,
}

#[async_trait]
impl Watch for Frames {
    async fn next(&mut self) -> Result<Vec<WatchEvent>, Status> {
        loop {
            if let Some(end) = self.buffer.iter().rposition(|b| *b == b'\n') {
                let lines = self.buffer.split_to(end + 1);
                return lines[..].split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(event).collect();
            }
            let frame = self.body.frame().await;
            match frame {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(e)) => return Err(unreachable(e)),
                None => return Err(Status::timeout()),
            }
        }
    }
}

fn event(line: &[u8]) -> Result<WatchEvent, Status> {
    let frame: Frame<'_> = serde_json::from_slice(line).map_err(Status::internal)?;
    let text = frame.object.get();
    if frame.r#type == "ERROR" {
        return Err(serde_json::from_str(text).map_err(Status::internal)?);
    }
    let head: Head = serde_json::from_str(text).map_err(Status::internal)?;
    let revision = head.metadata.resource_version.parse().unwrap_or(0);
    let change = match frame.r#type {
        "ADDED" => Change::Added,
        "MODIFIED" => Change::Modified,
        "DELETED" => Change::Deleted,
        _ => {
            let ends = head.metadata.annotations.is_some_and(|a| a.contains_key(INITIAL_EVENTS_END));
            let change = if ends { Change::Synced } else { Change::Bookmark };
            return Ok(WatchEvent { change, object: None, revision });
        }
    };
    let object = Object {
        namespace: head.metadata.namespace.into(),
        name: head.metadata.name.into(),
        revision,
        json: Bytes::copy_from_slice(text.as_bytes()),
        facts: Arc::new(Facts::of_metadata(text.as_bytes()).map_err(Status::internal)?),
    };
    Ok(WatchEvent { change, object: Some(object), revision })
}

fn tls(ca_pem: &str, credential: &Credential) -> Result<rustls::ClientConfig, ConfigError> {
    let mut roots = rustls::RootCertStore::empty();
    for cert in CertificateDer::pem_slice_iter(ca_pem.as_bytes()) {
        roots.add(cert.map_err(|_| ConfigError::Pem("the CA certificate"))?)?;
    }
    let builder =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
    let mut config = match credential {
        Credential::Certificate { cert_pem, key_pem } => {
            let certs = CertificateDer::pem_slice_iter(cert_pem.as_bytes())
                .collect::<Result<Vec<_>, _>>()
                .map_err(|_| ConfigError::Pem("the client certificate"))?;
            let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
                .map_err(|_| ConfigError::Pem("the client key"))?;
            builder.with_client_auth_cert(certs, key)?
        }
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn media_type(kind: PatchType) -> &'static str {
    match kind {
        PatchType::Json => "application/json-patch+json",
        PatchType::Merge => "application/merge-patch+json",
        PatchType::Strategic => "application/strategic-merge-patch+json",
        PatchType::Apply => "application/apply-patch+yaml",
    }
}

fn path(target: &Target, named: bool, query: &[(&str, String)]) -> String {
    let Target { gvr, namespace, name, subresource } = target;
    let mut out = if gvr.group.is_empty() { "/api".to_owned() } else { format!("/apis/{}", gvr.group) };
    out.push('/');
    out.push_str(&gvr.version);
    if !namespace.is_empty() {
        out.push_str("/namespaces/");
        escape(&mut out, namespace);
    }
    out.push('/');
    out.push_str(&gvr.resource);
    if named && !name.is_empty() {
        out.push('/');
        escape(&mut out, name);
        if !subresource.is_empty() {
            out.push('/');
            out.push_str(subresource);
        }
    }
    for (i, (key, value)) in query.iter().enumerate() {
        out.push(if i == 0 { '?' } else { '&' });
        out.push_str(key);
        out.push('=');
        escape(&mut out, value);
    }
    out
}

/// Percent-encodes all but unreserved characters.
fn escape(out: &mut String, text: &str) {
    use std::fmt::Write as _;
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a String takes everything");
        }
    }
}

fn unreachable(why: impl std::fmt::Display) -> Status {
    Status::service_unavailable(format!("the API server cannot be reached: {why}"))
}

/// The `Status` of an error's body, or one made from its text.
fn failure(code: u16, body: &[u8]) -> Status {
    match serde_json::from_slice::<Status>(body) {
        Ok(mut status) if !status.status.is_empty() => {
            status.code = code;
            status
        }
        _ => Status::failure(code, "", String::from_utf8_lossy(body).trim().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Gvr;

    #[test]
    fn paths() {
        let target = |gvr, namespace: &str, name: &str, sub: &str| Target {
            gvr,
            namespace: namespace.into(),
            name: name.into(),
            subresource: sub.into(),
        };
        let pods = || Gvr::new("", "v1", "pods");
        let table = [
            (target(pods(), "", "", ""), true, vec![], "/api/v1/pods"),
            (target(pods(), "a", "p", "status"), true, vec![], "/api/v1/namespaces/a/pods/p/status"),
            (target(pods(), "a", "p", ""), false, vec![], "/api/v1/namespaces/a/pods"),
            (
                target(Gvr::new("batch", "v1", "jobs"), "a", "", ""),
                true,
                vec![("labelSelector", "a=b,c".to_owned()), ("limit", "5".to_owned())],
                "/apis/batch/v1/namespaces/a/jobs?labelSelector=a%3Db%2Cc&limit=5",
            ),
        ];
        for (target, named, query, want) in table {
            assert_eq!(path(&target, named, &query), want);
        }
    }

    #[test]
    fn frames() {
        let line =
            br#"{"type":"ADDED","object":{"metadata":{"name":"a","namespace":"n","resourceVersion":"7"}}}"#;
        let added = event(line).unwrap();
        assert_eq!((added.change, added.revision), (Change::Added, 7));
        assert_eq!(&*added.object.unwrap().name, "a");
        let end = br#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9","annotations":{"k8s.io/initial-events-end":"true"}}}}"#;
        assert_eq!(event(end).unwrap().change, Change::Synced);
        let gone = br#"{"type":"ERROR","object":{"kind":"Status","status":"Failure","code":410,"reason":"Expired","message":"m"}}"#;
        assert!(event(gone).unwrap_err().is("Expired"));
        assert!(Https::new("http://x", "", &Credential::None, "").is_err());
    }
}
