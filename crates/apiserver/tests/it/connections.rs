//! Connections: who says nothing goes, who has something to do stays, and nobody takes all of them.

use std::time::Duration;

use client::{Options, WatchEvent};
use http_body_util::{BodyExt as _, Full};
use listen::{Gate, Limits, Open};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::{Cluster, config_map, target};

/// Short, so that a test waits for the end itself and not for long.
const SHORT: Duration = Duration::from_millis(50);
/// So long that nothing ends by itself in a test.
const LONG: Duration = Duration::from_secs(3600);
/// How long a test waits for what must come.
const CEILING: Duration = Duration::from_secs(60);

fn limits(first: Duration, idle: Duration) -> Limits {
    Limits { handshake: first, first, idle, last: SHORT, total: 64, strangers: 32, local: 32, per_peer: 32 }
}

async fn cluster(limits: Limits) -> (Cluster, Gate) {
    let gate = Gate::new(limits);
    let shared = gate.clone();
    (Cluster::start_with(|config| config.gate = shared).await, gate)
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(CEILING, waiting).await.is_ok(), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_silent_goes() {
    let (cluster, gate) = cluster(limits(SHORT, SHORT)).await;
    let settings = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".as_slice();
    let admin = || Some(cluster.pki.admin().unwrap());
    for (what, pair, protocols, said) in [
        ("after TLS", None, &[][..], &b""[..]),
        ("after TLS, known", admin(), &[], b""),
        ("in the headers", None, &[], b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-a: "),
        ("after an answer", None, &[], b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("before the body", None, &[], b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"),
        ("in the preface", None, &["h2"], &settings[..10]),
        ("after the settings", None, &["h2"], settings),
        ("after the settings, known", admin(), &["h2"], settings),
    ] {
        let mut tls = cluster.tls(pair, protocols).await.unwrap();
        tls.write_all(said).await.unwrap();
        let mut rest = Vec::new();
        // An end without a farewell is one too.
        let ended = tokio::time::timeout(CEILING, tls.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "{what}");
    }
    let _tcp = tokio::net::TcpStream::connect(cluster.address).await.unwrap();
    until("every place is given back", || gate.open() == Open::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_something_stays() {
    let (cluster, _) = cluster(limits(CEILING, SHORT)).await;
    let api = cluster.admin();
    let mut watch = api.0.watch(target("configmaps/default"), Options::default()).await.unwrap();
    let request = http::Request::get("/api/v1/namespaces/default/configmaps?watch=true").header("host", "x");
    let mut sender = cluster.connect().await;
    let mut old = sender.send_request(request.body(Full::default()).unwrap()).await.unwrap().into_body();
    // A connection that asks nothing is let go meanwhile: both watches are older than it.
    let mut idle = cluster.tls(None, &[]).await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(CEILING, idle.read_to_end(&mut rest)).await.unwrap();
    cluster.admin().create("configmaps/default", config_map("c", json!({}))).await.unwrap();
    let named = |event: &WatchEvent| event.object.as_ref().is_some_and(|o| &*o.name == "c");
    let seen = async { while !watch.next().await.unwrap().iter().any(named) {} };
    tokio::time::timeout(CEILING, seen).await.unwrap();
    let mut text = String::new();
    while !text.contains(r#""name":"c""#) {
        let frame = tokio::time::timeout(CEILING, old.frame()).await.unwrap().unwrap().unwrap();
        text.push_str(&String::from_utf8_lossy(frame.data_ref().unwrap()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_do_not_lock_out_who_is_known() {
    let few = Limits { local: 4, ..limits(LONG, LONG) };
    let (cluster, gate) = cluster(few).await;
    let request = || http::Request::get("/healthz").header("host", "x").body(Full::default()).unwrap();
    let mut silent = Vec::new();
    for _ in 0..9 {
        silent.push(cluster.tls(None, &[]).await.unwrap());
    }
    // Each took the place of the one that was silent longest.
    until("only so many stay", || gate.open().local == 4).await;
    let mut byte = [0];
    for tls in silent.iter_mut().take(5) {
        assert!(!matches!(tokio::time::timeout(CEILING, tls.read(&mut byte)).await, Ok(Ok(1)) | Err(_)));
    }
    // And whoever is known keeps its own, however many strangers come.
    let mut sender = cluster.connect().await;
    for _ in 0..9 {
        silent.push(cluster.tls(None, &[]).await.unwrap());
    }
    assert_eq!(sender.send_request(request()).await.unwrap().status(), 200);
    until("only so many stay", || gate.open() == Open { total: 5, strangers: 0, local: 4 }).await;
    drop((silent, sender));
    until("every place is given back", || gate.open() == Open::default()).await;
}
