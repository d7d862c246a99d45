//! A cluster's API server for one test, and ways to talk to it.

use std::sync::Arc;

use apiserver::{Config, Pki, Server};
use bytes::Bytes;
use client::{Answer, Call, Credential, Gvr, Https, Identity, Objects, Options, Status, Target, Verb};
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use store::{SqliteStore, Store};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

/// A running server; ends with the test.
pub(crate) struct Cluster {
    pub(crate) server: Arc<Server>,
    pub(crate) pki: Arc<Pki>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) address: std::net::SocketAddr,
    _stop: oneshot::Sender<()>,
    pub(crate) dir: tempfile::TempDir,
}

impl Cluster {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    /// With settings of its own.
    pub(crate) async fn start_with(settings: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::open(&dir.path().join("pki"), &[], &[]).unwrap();
        let store: Arc<dyn Store> = SqliteStore::open(
            &dir.path().join("store.db"),
            store::Options::default(),
            apiserver::read_facts(),
        )
        .unwrap();
        let mut config = Config::new(store.clone(), pki.clone());
        settings(&mut config);
        let server = Server::new(config);
        server.bootstrap().await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        tokio::spawn(server.clone().serve(vec![listener], async { drop(stopped.await) }));
        Self { server, pki, store, address, _stop: stop, dir }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    fn https(&self, credential: &Credential) -> Arc<Https> {
        Https::new(&self.url(), self.pki.ca_pem(), credential, "test").unwrap()
    }

    pub(crate) fn admin(&self) -> Client {
        Client(self.https(&certificate(self.pki.admin().unwrap())))
    }

    pub(crate) fn user(&self, name: &str, group: &str) -> Client {
        Client(self.https(&certificate(self.pki.client(name, group).unwrap())))
    }

    pub(crate) fn token(&self, token: &str) -> Client {
        Client(self.https(&Credential::Token(token.into())))
    }

    pub(crate) fn anonymous(&self) -> Client {
        Client(self.https(&Credential::None))
    }

    /// The same server without HTTP.
    pub(crate) fn in_process(&self, name: &str, group: &str) -> Client {
        let identity = Identity { name: name.into(), groups: vec![group.into()], ..Identity::default() };
        Client(self.server.objects(identity, "test"))
    }

    /// One request by the administrator over HTTP/1.1, with the headers of the answer.
    pub(crate) async fn raw(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> (StatusCode, HeaderMap, Bytes) {
        let mut sender = self.connect().await;
        let mut request = http::Request::builder().method(method).uri(path).header("host", "test");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = sender.send_request(request.body(Full::new(body.into())).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        (parts.status, parts.headers, body.collect().await.unwrap().to_bytes())
    }

    /// A WebSocket of the administrator, and the protocol that the server chose; or the code of a refusal.
    pub(crate) async fn socket(
        &self,
        path: &str,
        protocol: &str,
    ) -> Result<(WebSocketStream<TokioIo<Upgraded>>, String), StatusCode> {
        let mut request = http::Request::get(path)
            .header("host", "test")
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        if !protocol.is_empty() {
            request = request.header("sec-websocket-protocol", protocol);
        }
        let mut response =
            self.connect().await.send_request(request.body(Full::default()).unwrap()).await.unwrap();
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(response.status());
        }
        let headers = response.headers();
        assert_eq!(headers["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let chosen = headers.get("sec-websocket-protocol").map_or("", |v| v.to_str().unwrap()).to_owned();
        let io = TokioIo::new(hyper::upgrade::on(&mut response).await.unwrap());
        Ok((WebSocketStream::from_raw_socket(io, Role::Client, None).await, chosen))
    }

    /// A connection of the administrator, ready for upgrades.
    pub(crate) async fn connect(&self) -> hyper::client::conn::http1::SendRequest<Full<Bytes>> {
        let tls = self.tls(Some(self.pki.admin().unwrap()), &[]).await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        sender
    }

    /// A connection that has said nothing yet.
    pub(crate) async fn tls(
        &self,
        pair: Option<apiserver::Pair>,
        protocols: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pki.ca_pem().as_bytes()).unwrap()).unwrap();
        let builder =
            rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots);
        let mut config = match pair {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let cert = CertificateDer::from_pem_slice(pair.cert_pem.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(pair.key_pem.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![cert], key).unwrap()
            }
        };
        config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        let tcp = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await
    }
}

fn certificate(pair: apiserver::Pair) -> Credential {
    Credential::Certificate { cert_pem: pair.cert_pem, key_pem: pair.key_pem }
}

/// `Objects` with short words. A path is `pods/ns/name/sub` or `pods.batch/ns`, `-` for no namespace.
#[derive(Clone)]
pub(crate) struct Client(pub(crate) Arc<dyn Objects>);

pub(crate) fn target(path: &str) -> Target {
    let mut parts = path.split('/');
    let resource = parts.next().unwrap();
    let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
    let mut next = || parts.next().filter(|p| *p != "-").unwrap_or_default().to_owned();
    let (namespace, name, subresource) = (next(), next(), next());
    Target { gvr: Gvr::new(group, "v1", resource), namespace, name, subresource }
}

impl Client {
    pub(crate) async fn call(&self, path: &str, verb: Verb, options: Options) -> Result<Value, Status> {
        self.0.call(Call { target: target(path), verb, options }).await.and_then(Answer::value)
    }
    pub(crate) async fn get(&self, path: &str) -> Result<Value, Status> {
        self.call(path, Verb::Get, Options::default()).await
    }
    pub(crate) async fn list(&self, path: &str, options: Options) -> Result<Value, Status> {
        self.call(path, Verb::List, options).await
    }
    pub(crate) async fn create(&self, path: &str, object: Value) -> Result<Value, Status> {
        self.call(path, Verb::Create(object), Options::default()).await
    }
    pub(crate) async fn update(&self, path: &str, object: Value) -> Result<Value, Status> {
        self.call(path, Verb::Update(object), Options::default()).await
    }
    pub(crate) async fn merge(&self, path: &str, patch: Value) -> Result<Value, Status> {
        let text = Bytes::from(patch.to_string());
        self.call(path, Verb::Patch(client::PatchType::Merge, text), Options::default()).await
    }
    pub(crate) async fn delete(&self, path: &str, options: Value) -> Result<Value, Status> {
        let options = options.is_object().then_some(options);
        self.call(path, Verb::Delete(options), Options::default()).await
    }
}

/// A ConfigMap.
pub(crate) fn config_map(name: &str, data: Value) -> Value {
    json!({"metadata": {"name": name}, "data": data})
}

/// A small Pod that needs no service account volume.
pub(crate) fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "busybox"}]}})
}

/// The default account, without which there are no Pods.
pub(crate) async fn default_account(client: &Client) {
    client.create("serviceaccounts/default", json!({"metadata": {"name": "default"}})).await.unwrap();
}

/// Code, reason and message of a failure.
pub(crate) fn failure<T: std::fmt::Debug>(result: Result<T, Status>) -> (u16, String, String) {
    let status = result.unwrap_err();
    (status.code, status.reason, status.message)
}

/// The same as one line.
pub(crate) fn said<T: std::fmt::Debug>(result: Result<T, Status>) -> String {
    let (code, reason, message) = failure(result);
    format!("{code} {reason} {message}")
}

pub(crate) const GET: Method = Method::GET;
