//! The endpoints over TLS with real certificates.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::streaming::tests::Fake;

struct Ca(Issuer<'static, KeyPair>, CertificateDer<'static>);

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self(Issuer::new(params, key), certificate.der().clone())
    }

    fn leaf(&self, name: &str, organization: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.distinguished_name.push(DnType::OrganizationName, organization);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
    }

    fn roots(&self) -> Arc<rustls::RootCertStore> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.1.clone()).unwrap();
        Arc::new(roots)
    }
}

struct World {
    ca: Ca,
    address: std::net::SocketAddr,
    node: NodeHandle,
    gate: listen::Gate,
    _temp: tempfile::TempDir,
}

fn entry(log: &Path) -> PodEntry {
    let pod = json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
        "spec": {"containers": [{"name": "c"}, {"name": "waits"}]},
        "status": {"containerStatuses": [
            {"name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 0, "containerID": "minke://id", "state": {"running": {}}},
            {"name": "waits", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": {"waiting": {"reason": "ContainerCreating"}}},
        ]},
    });
    let status = runtime::ContainerStatus {
        id: "id".into(),
        sandbox_id: "s".into(),
        name: "c".into(),
        attempt: 0,
        state: runtime::ContainerState::Running,
        image: "busybox".into(),
        image_ref: String::new(),
        created_at: 0,
        started_at: 0,
        finished_at: 0,
        exit_code: 0,
        reason: String::new(),
        message: String::new(),
        pid: None,
        user: None,
        resources: runtime::Resources::default(),
        log_path: log.to_owned(),
        labels: BTreeMap::new(),
    };
    PodEntry {
        pod: Arc::new(serde_json::from_value(pod).unwrap()),
        sandbox: Some("s".into()),
        containers: BTreeMap::from([("c".to_owned(), vec![status])]),
        log_dir: log.parent().unwrap().to_owned(),
    }
}

async fn world() -> World {
    let temp = tempfile::tempdir().unwrap();
    let log = temp.path().join("0.log");
    std::fs::write(&log, "2024-01-01T00:00:01Z stdout F one\n2024-01-01T00:00:02Z stdout F two\n").unwrap();
    let node = NodeHandle::new("n1", temp.path(), Arc::new(Fake));
    node.put("u", Arc::new(entry(&log)));
    let ca = Ca::new();
    let (certs, key) = ca.leaf("system:node:n1", "system:nodes");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(ca.roots(), provider.clone()).allow_unauthenticated();
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(certs, key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // Whoever says nothing goes at once.
    let short = Duration::from_millis(50);
    let limits = listen::Limits { first: short, last: short, ..listen::Limits::of_process() };
    let gate = listen::Gate::new(limits);
    tokio::spawn(serve(listener, Arc::new(tls), gate.clone(), node.clone()));
    World { ca, address, node, gate, _temp: temp }
}

impl World {
    async fn connect(
        &self,
        organization: Option<&str>,
    ) -> hyper::client::conn::http1::SendRequest<Empty<Bytes>> {
        let builder =
            rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(self.ca.roots());
        let config = match organization {
            Some(organization) => {
                let (certs, key) = self.ca.leaf("jane", organization);
                builder.with_client_auth_cert(certs, key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        let tcp = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::IpAddress(self.address.ip().into());
        let tls = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        sender
    }

    async fn get(&self, organization: Option<&str>, path: &str) -> (u16, String) {
        let request = Request::get(path).body(Empty::new()).unwrap();
        let response = self.connect(organization).await.send_request(request).await.unwrap();
        let code = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (code, String::from_utf8(body.to_vec()).unwrap())
    }
}

#[tokio::test]
async fn a_silent_connection_is_let_go() {
    let w = world().await;
    let mut sender = w.connect(Some("system:masters")).await;
    let gone = async {
        while sender.ready().await.is_ok() || w.gate.open() != listen::Open::default() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.unwrap();
    assert_eq!(w.get(Some("system:masters"), "/healthz").await.0, 200);
}

#[tokio::test]
async fn who_may_and_what_there_is() {
    let w = world().await;
    let masters = Some("system:masters");
    let cases = [
        (None, "/pods", 401, "Unauthorized"),
        (
            Some("system:nodes"),
            "/pods",
            403,
            "Forbidden (user=jane, verb=get, resource=nodes, subresource(s)=[pods proxy])",
        ),
        (
            Some("x"),
            "/containerLogs/ns/p/c",
            403,
            "Forbidden (user=jane, verb=get, resource=nodes, subresource(s)=[proxy])",
        ),
        (masters, "/healthz", 200, "ok"),
        (masters, "/nothing", 404, "404 page not found"),
        (masters, "/containerLogs/ns/p/c", 200, "one\ntwo\n"),
        (
            masters,
            "/containerLogs/ns/p/c?tailLines=1&timestamps=true",
            200,
            "2024-01-01T00:00:02.000000000Z two\n",
        ),
        (
            masters,
            "/containerLogs/ns/p/c?tailLines=x",
            400,
            "invalid value \"x\" of query parameter tailLines",
        ),
        (
            masters,
            "/containerLogs/ns/p/c?previous=true",
            400,
            "previous terminated container \"c\" in pod \"p\" not found",
        ),
        (
            masters,
            "/containerLogs/ns/p/waits",
            400,
            "container \"waits\" in pod \"p\" is waiting to start: ContainerCreating",
        ),
        (masters, "/containerLogs/ns/p/none", 404, "container \"none\" not found in pod \"p\""),
        (masters, "/containerLogs/ns/none/c", 404, "pod does not exist"),
        (masters, "/exec/ns/p/c?command=cat", 400, "you must specify at least 1 of stdin, stdout, stderr"),
        (masters, "/exec/ns/p/c?output=1", 400, "you must specify at least one command"),
        (masters, "/exec/ns/p/waits?command=cat&output=1", 500, "container not found (\"waits\")"),
        (
            masters,
            "/exec/ns/p/c?command=cat&output=1",
            400,
            "unable to upgrade: missing upgrade headers in request\n",
        ),
        (masters, "/exec/ns/p/other/c?command=cat&output=1", 404, "pod does not exist"),
    ];
    for (organization, path, code, text) in cases {
        assert_eq!(w.get(organization, path).await, (code, text.to_owned()), "{path}");
    }
    let json = async |path| serde_json::from_str::<Value>(&w.get(masters, path).await.1).unwrap();
    assert_eq!(json("/pods").await["items"][0]["metadata"]["name"], "p");
    assert_eq!(
        json("/runningpods/").await["items"][0]["spec"]["containers"],
        json!([{"name": "c", "image": "busybox", "resources": {}}])
    );
    let summary = json("/stats/summary").await;
    assert_eq!(summary["pods"][0]["containers"][0]["cpu"]["usageCoreNanoSeconds"], 5);
    w.node.remove("u");
    assert_eq!(w.get(masters, "/containerLogs/ns/p/c").await.0, 404);
}

#[tokio::test]
async fn what_is_used() {
    let w = world().await;
    let masters = Some("system:masters");
    let json = async |path| serde_json::from_str::<Value>(&w.get(masters, path).await.1).unwrap();
    let summary = json("/stats/summary").await;
    assert!(summary["node"]["memory"]["workingSetBytes"].as_u64().unwrap() > 0, "{summary}");
    let (code, metrics) = w.get(masters, "/metrics/resource").await;
    let line = "container_cpu_usage_seconds_total{container=\"c\",namespace=\"ns\",pod=\"p\"} 0.000000005 ";
    assert!(code == 200 && metrics.contains(line), "{metrics}");
    assert!(metrics.contains("\nresource_scrape_error 0\n"), "{metrics}");
    let usage = json("/stats/usage").await;
    assert_eq!(usage["pods"][0]["name"], "p");
}

#[tokio::test]
async fn an_upgrade_ends_in_a_session() {
    let w = world().await;
    let request = Request::get("/exec/ns/p/c?command=cat&command=4&output=1&error=1")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-protocol", "v5.channel.k8s.io")
        .body(Empty::new())
        .unwrap();
    let response = w.connect(Some("system:masters")).await.send_request(request).await.unwrap();
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    let mut io = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    let mut all = Vec::new();
    // An empty masked close frame answers the server's.
    io.read_u8().await.unwrap();
    io.write_all(&[0x88, 0x80, 0, 0, 0, 0]).await.unwrap();
    // The end may come without a TLS goodbye.
    let _ = io.read_to_end(&mut all).await;
    let text = String::from_utf8_lossy(&all);
    assert!(text.contains("\u{2}bye") && text.contains("NonZeroExitCode"), "{text}");
}
