//! Log and streams, with a node of our own on the other end.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{Client, Cluster, default_account, pod};

/// A node that answers what it was asked, and echoes after an upgrade.
async fn node(cluster: &Cluster, api: &Client) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let pair = cluster.pki.node_serving("n1", &["127.0.0.1".parse().unwrap()]).unwrap();
    let certificate = listen::Certificate::new(&pair.cert_pem, &pair.key_pem).unwrap();
    let tls = Arc::new(certificate.mutual_tls(cluster.pki.ca_pem()).unwrap());
    tokio::spawn(async move {
        let acceptor = tokio_rustls::TlsAcceptor::from(tls);
        while let Ok((tcp, _)) = listener.accept().await {
            let tls = acceptor.accept(tcp).await.unwrap();
            let service = hyper::service::service_fn(answer);
            let connection =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(tls), service);
            tokio::spawn(connection.with_upgrades());
        }
    });
    api.create("nodes", json!({"metadata": {"name": "n1"}})).await.unwrap();
    let status = json!({"status": {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }});
    api.merge("nodes/-/n1/status", status).await.unwrap();
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let asked = request.uri().to_string();
    if asked == "/stats/usage" {
        let figure = json!({"atNanos": 1_000_000_000, "windowNanos": 15_000_000_000_u64, "cpuNanos": 2_500_000, "memoryBytes": 4096});
        let containers = json!([{"name": "c", "figure": figure}]);
        let pod = |name: &str| json!({"namespace": "default", "name": name, "containers": containers});
        let said = json!({"node": figure, "pods": [pod("p"), pod("done"), pod("stranger")]});
        return Ok(Response::new(Full::new(Bytes::from(said.to_string()))));
    }
    if !request.headers().contains_key("upgrade") {
        return Ok(Response::new(Full::new(Bytes::from(asked))));
    }
    let upgraded = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let mut stream = TokioIo::new(upgraded.await.unwrap());
        stream.write_all(asked.as_bytes()).await.unwrap();
        let mut byte = [0; 1];
        stream.read_exact(&mut byte).await.unwrap();
        stream.write_all(&[byte[0] + 1]).await.unwrap();
        stream.shutdown().await.unwrap();
    });
    let reply = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
    Ok(reply.header("connection", "upgrade").header("upgrade", "SPDY/3.1").body(Full::default()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn logs() {
    let cluster = Cluster::start().await;
    let api = cluster.admin();
    default_account(&api).await;
    node(&cluster, &api).await;
    api.create("pods/default", pod("waiting")).await.unwrap();
    let mut two = pod("two");
    two["spec"]["nodeName"] = "n1".into();
    two["spec"]["containers"] = json!([{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]);
    api.create("pods/default", two).await.unwrap();
    let mut staged = pod("staged");
    staged["spec"]["nodeName"] = "n1".into();
    staged["spec"]["containers"] = json!([{"name": "a", "image": "i"}]);
    staged["spec"]["initContainers"] = json!([{"name": "first", "image": "i"}]);
    api.create("pods/default", staged).await.unwrap();
    let table = [
        ("staged/log", 200, "/containerLogs/default/staged/a"),
        (
            "two/log?container=b&follow=true&tailLines=5",
            200,
            "/containerLogs/default/two/b?follow=true&tailLines=5",
        ),
        ("two/log", 400, "a container name must be specified for pod two, choose one of: [a b]"),
        ("two/log?container=z", 400, "container z is not valid for pod two"),
        (
            "two/log?container=a&limitBytes=0",
            422,
            "PodLogOptions \"two\" is invalid: limitBytes: Invalid value: 0: must be greater than 0",
        ),
        (
            "two/log?container=a&stream=Stdout",
            422,
            "PodLogOptions \"two\" is invalid: stream: Forbidden: may not be specified",
        ),
        ("two/log?container=a&tailLines=x", 400, "strconv.ParseInt: parsing \"x\": invalid syntax"),
        ("waiting/log", 204, ""),
        ("waiting/exec?command=ls", 400, "pod waiting does not have a host assigned"),
        ("none/log", 404, "pods \"none\" not found"),
        ("two/exec?container=a&command=ls&stdout=true", 400, "Upgrade request required"),
    ];
    for (path, want_code, want) in table {
        let path = format!("/api/v1/namespaces/default/pods/{path}");
        let (code, _, text) = cluster.raw("GET", &path, &[], "").await;
        let text = match serde_json::from_slice::<Value>(&text) {
            Ok(status) => status["message"].as_str().unwrap_or_default().to_owned(),
            Err(_) => String::from_utf8_lossy(&text).into_owned(),
        };
        assert_eq!((code.as_u16(), text.as_str()), (want_code, want), "{path}");
    }
}

/// A cluster whose Pod `p` is on the node.
async fn with_a_bound_pod() -> Cluster {
    let cluster = Cluster::start().await;
    let api = cluster.admin();
    default_account(&api).await;
    node(&cluster, &api).await;
    let mut bound = pod("p");
    bound["spec"]["nodeName"] = "n1".into();
    api.create("pods/default", bound).await.unwrap();
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_over_a_websocket() {
    let cluster = with_a_bound_pod().await;
    let path = "/api/v1/namespaces/default/pods/p/log?container=c";
    let (plain, encoded) = ("/containerLogs/default/p/c", "L2NvbnRhaW5lckxvZ3MvZGVmYXVsdC9wL2M=");
    for (protocol, first, want) in [
        ("", Message::binary(b"".to_vec()), Message::binary(plain.as_bytes().to_vec())),
        ("binary.k8s.io", Message::binary(b"".to_vec()), Message::binary(plain.as_bytes().to_vec())),
        ("base64.binary.k8s.io", Message::text(""), Message::text(encoded)),
    ] {
        let (mut socket, chosen) = cluster.socket(path, protocol).await.unwrap();
        assert_eq!(chosen, protocol);
        assert_eq!(socket.next().await.unwrap().unwrap(), first);
        assert_eq!(socket.next().await.unwrap().unwrap(), want);
        assert!(socket.next().await.unwrap().unwrap().is_close());
    }
    assert_eq!(cluster.socket(path, "another").await.err(), Some(StatusCode::FORBIDDEN));
    let path = path.replace("=c", "=z");
    assert_eq!(cluster.socket(&path, "").await.err(), Some(StatusCode::BAD_REQUEST));
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_carried_unread() {
    let cluster = with_a_bound_pod().await;
    let table = [
        (
            "POST",
            "exec?command=sh&command=-c&stdin=true&stdout=true",
            "/exec/default/p/c?input=1&output=1&command=sh&command=%2Dc",
        ),
        ("GET", "attach?stdout=1&tty=1", "/attach/default/p/c?output=1&tty=1"),
        ("POST", "portforward", "/portForward/default/p"),
    ];
    for (method, sub, want) in table {
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1/namespaces/default/pods/p/{sub}"))
            .header("host", "test")
            .header("connection", "Upgrade")
            .header("upgrade", "SPDY/3.1")
            .body(Full::<Bytes>::default())
            .unwrap();
        let mut response = cluster.connect().await.send_request(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS, "{sub}");
        let mut stream = TokioIo::new(hyper::upgrade::on(&mut response).await.unwrap());
        stream.write_all(b"a").await.unwrap();
        let mut got = String::new();
        stream.read_to_string(&mut got).await.unwrap();
        assert_eq!(got, format!("{want}b"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_measured() {
    let cluster = with_a_bound_pod().await;
    let api = cluster.admin();
    let mut done = pod("done");
    done["spec"]["nodeName"] = "n1".into();
    api.create("pods/default", done).await.unwrap();
    api.create("nodes", json!({"metadata": {"name": "silent", "labels": {"a": "b"}}})).await.unwrap();
    for (name, phase) in [("p", "Running"), ("done", "Succeeded")] {
        api.merge(&format!("pods/default/{name}/status"), json!({"status": {"phase": phase}})).await.unwrap();
    }
    let base = "/apis/metrics.k8s.io/v1beta1";
    let get = async |path: &str| {
        let headers = [("accept", "application/vnd.kubernetes.protobuf,application/json")];
        let (code, _, text) = cluster.raw("GET", &format!("{base}{path}"), &headers, "").await;
        (code.as_u16(), serde_json::from_slice::<Value>(&text).unwrap())
    };
    let (code, pods) = get("/pods").await;
    assert_eq!((code, &pods["kind"], &pods["metadata"]), (200, &json!("PodMetricsList"), &json!({})));
    let items = pods["items"].as_array().unwrap();
    assert_eq!(items.len(), 1, "{pods}");
    assert_eq!(items[0]["containers"], json!([{"name": "c", "usage": {"cpu": "2500u", "memory": "4Ki"}}]));
    assert_eq!(
        (&items[0]["timestamp"], &items[0]["window"]),
        (&json!("1970-01-01T00:00:01Z"), &json!("15s"))
    );
    let (_, nodes) = get("/nodes").await;
    assert_eq!(nodes["items"][0]["metadata"]["name"], "n1", "who does not answer is left out: {nodes}");
    assert_eq!(nodes["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(get("/nodes?labelSelector=a%3Db").await.1["items"], json!([]));
    assert_eq!(get("/namespaces/default/pods/p").await.1["metadata"]["name"], "p");
    for (path, message) in [
        ("/namespaces/default/pods/none", "pods \"none\" not found"),
        ("/namespaces/default/pods/done", "podmetrics.metrics.k8s.io \"default/done\" not found"),
        ("/nodes/silent", "nodemetrics.metrics.k8s.io \"silent\" not found"),
    ] {
        let (code, status) = get(path).await;
        assert_eq!((code, status["message"].as_str()), (404, Some(message)), "{path}");
    }
    assert_eq!(get("/pods?watch=true").await.0, 405);
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let (_, _, text) = cluster.raw("GET", &format!("{base}/nodes"), &table, "").await;
    let table: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(table["rows"][0]["cells"], json!(["n1", "2500u", "4Ki", "15s"]), "{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_and_what_is_behind_them() {
    let cluster = with_a_bound_pod().await;
    let status = |text: &[u8]| match serde_json::from_slice::<Value>(text) {
        Ok(status) => status["message"].as_str().unwrap_or_default().to_owned(),
        Err(_) => String::from_utf8_lossy(text).into_owned(),
    };
    for (method, path, want_code, want) in [
        ("GET", "nodes/n1/proxy/stats/summary?only=cpu", 200, "/stats/summary?only=cpu"),
        ("POST", "nodes/n1/proxy/a%2Fb//c/", 200, "/a%2Fb/c/"),
        ("DELETE", "nodes/n1/proxy", 200, "/"),
        ("PUT", "nodes/n1/proxy/../x", 200, "/x"),
        ("PATCH", "nodes/n1/proxy?gracePeriodSeconds=x", 200, "/?gracePeriodSeconds=x"),
        ("OPTIONS", "nodes/n1/proxy/", 200, "/"),
        ("GET", "nodes/n1/proxy?a=b", 301, ""),
        ("GET", "nodes/n1:1/proxy/", 400, "address not allowed"),
        ("GET", "nodes/ftp:n1:1/proxy/", 400, "invalid node request \"ftp:n1:1\""),
        ("GET", "nodes/none/proxy/", 404, "nodes \"none\" not found"),
        ("GET", "namespaces/default/pods/none:80/proxy/", 404, "pods \"none\" not found"),
        ("GET", "namespaces/default/pods/p:80/proxy/", 400, "address not allowed"),
        ("GET", "namespaces/default/services/none:80/proxy/", 404, "services \"none\" not found"),
        ("GET", "namespaces/default/services/none:http/proxy/", 404, "endpoints \"none\" not found"),
    ] {
        let (code, headers, text) = cluster.raw(method, &format!("/api/v1/{path}"), &[], "").await;
        assert_eq!((code.as_u16(), status(&text).as_str()), (want_code, want), "{method} {path}");
        if want_code == 301 {
            assert_eq!(headers["location"], "/api/v1/nodes/n1/proxy/?a=b");
        }
    }
    let api = cluster.admin();
    let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80, "name": "web"}]}});
    api.create("services/default", service).await.unwrap();
    let endpoints = json!({"metadata": {"name": "s"}, "subsets": [{"addresses": [{"ip": "10.9.9.9"}],
        "ports": [{"name": "web", "port": 1}]}]});
    api.create("endpoints/default", endpoints).await.unwrap();
    for (id, want) in [
        ("s:7", "no service port 7 found for service \"s\""),
        ("s:web", "no endpoints available for service \"s:web\""),
        ("https:s:80", "no endpoints available for service \"https:s:80\""),
    ] {
        let path = format!("/api/v1/namespaces/default/services/{id}/proxy/");
        let (code, _, text) = cluster.raw("GET", &path, &[], "").await;
        assert_eq!((code.as_u16(), status(&text).as_str()), (503, want), "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_protocols_pass_a_proxy() {
    let cluster = with_a_bound_pod().await;
    let request = Request::builder()
        .uri("/api/v1/nodes/n1/proxy/socket?a=b")
        .header("host", "test")
        .header("connection", "Upgrade")
        .header("upgrade", "SPDY/3.1")
        .body(Full::<Bytes>::default())
        .unwrap();
    let mut response = cluster.connect().await.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let mut stream = TokioIo::new(hyper::upgrade::on(&mut response).await.unwrap());
    stream.write_all(b"a").await.unwrap();
    let mut got = String::new();
    stream.read_to_string(&mut got).await.unwrap();
    assert_eq!(got, "/socket?a=bb");
}
