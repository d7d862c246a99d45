//! Watches over HTTPS and in-process, snapshots, wake-ups.

use std::time::Duration;

use client::{Change, Gvr, Options, Want, Watch, WatchEvent};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::harness::{Client, Cluster, config_map, said, target};

/// Collects events until there are `count`, or fails loudly.
async fn take(watch: &mut Box<dyn Watch>, count: usize) -> Vec<WatchEvent> {
    let mut out = Vec::new();
    while out.len() < count {
        let next = tokio::time::timeout(Duration::from_secs(20), watch.next());
        out.extend(next.await.expect("an event").unwrap());
    }
    out
}

fn brief(events: &[WatchEvent]) -> Vec<String> {
    let name = |e: &WatchEvent| e.object.as_ref().map_or(String::new(), |o| format!(" {}", o.name));
    events.iter().map(|e| format!("{:?}{}", e.change, name(e))).collect()
}

async fn story(api: &Client) {
    let labelled = |name: &str, label: &str| {
        let mut object = config_map(name, json!({}));
        object["metadata"]["labels"] = json!({"l": label});
        object
    };
    api.create("configmaps/default", labelled("a", "yes")).await.unwrap();
    api.create("configmaps/default", labelled("b", "no")).await.unwrap();
    let options = Options { label_selector: "l=yes".into(), ..Options::default() };
    let mut watch = api.0.watch(target("configmaps/default"), options).await.unwrap();
    assert_eq!(brief(&take(&mut watch, 2).await), ["Added a", "Synced"]);
    api.merge("configmaps/default/b", json!({"metadata": {"labels": {"l": "yes"}}})).await.unwrap();
    api.merge("configmaps/default/b", json!({"data": {"k": "v"}})).await.unwrap();
    let left = api.merge("configmaps/default/a", json!({"metadata": {"labels": {"l": "no"}}})).await.unwrap();
    api.delete("configmaps/default/b", Value::Null).await.unwrap();
    let events = take(&mut watch, 4).await;
    assert_eq!(brief(&events), ["Added b", "Modified b", "Deleted a", "Deleted b"]);
    let gone: Value = events[2].object.as_ref().unwrap().parse().unwrap();
    assert_eq!(gone["metadata"]["labels"]["l"], "yes", "the content before, with the revision after");
    assert_eq!(gone["metadata"]["resourceVersion"], left["metadata"]["resourceVersion"]);
    let from = Options { resource_version: events[0].revision.to_string(), ..Options::default() };
    let mut later = api.0.watch(target("configmaps/default"), from).await.unwrap();
    assert_eq!(brief(&take(&mut later, 3).await), ["Modified b", "Modified a", "Deleted b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn selectors_and_positions() {
    let cluster = Cluster::start().await;
    story(&cluster.admin()).await;
    let again = Cluster::start().await;
    story(&again.in_process("me", "system:masters")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_old_is_said_inside_the_stream() {
    let cluster = Cluster::start().await;
    let api = cluster.admin();
    for i in 0..5 {
        api.create("configmaps/default", config_map(&format!("c{i}"), json!({}))).await.unwrap();
    }
    cluster.store.compact(cluster.store.revision()).await.unwrap();
    let (code, _, text) = cluster.raw("GET", "/api/v1/configmaps?watch=1&resourceVersion=1", &[], "").await;
    let frame: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(code, 200);
    assert_eq!((frame["type"].as_str(), frame["object"]["code"].as_u64()), (Some("ERROR"), Some(410)));
    let old = Options { resource_version: "1".into(), ..Options::default() };
    let mut watch = api.0.watch(target("configmaps"), old).await.unwrap();
    assert!(said(watch.next().await).starts_with("410 Expired too old resource version: 1 ("));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_over_a_websocket() {
    let cluster = Cluster::start().await;
    let path = "/api/v1/namespaces?watch=1&timeoutSeconds=1&fieldSelector=metadata.name%3Ddefault";
    let (mut socket, chosen) = cluster.socket(path, "").await.unwrap();
    assert_eq!(chosen, "");
    let first = socket.next().await.unwrap().unwrap().into_text().unwrap();
    let event: Value = serde_json::from_str(&first).unwrap();
    assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!("ADDED"), &json!("default")));
    assert!(socket.next().await.unwrap().unwrap().is_close());
}

#[tokio::test(flavor = "multi_thread")]
async fn bookmarks_tables_and_deadlines() {
    let cluster = Cluster::start().await;
    let path = "/api/v1/namespaces?watch=1&allowWatchBookmarks=true&timeoutSeconds=1&fieldSelector=metadata.name%3Ddefault";
    let frames = |accept: &'static str| {
        let cluster = &cluster;
        async move {
            let (_, _, text) = cluster.raw("GET", path, &[("accept", accept)], "").await;
            let lines = text.split(|b| *b == b'\n').filter(|l| !l.is_empty());
            lines.map(|l| serde_json::from_slice::<Value>(l).unwrap()).collect::<Vec<_>>()
        }
    };
    let plain = frames("application/json").await;
    let types: Vec<_> = plain.iter().map(|f| f["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["ADDED", "BOOKMARK"]);
    assert_eq!(plain[1]["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    let tables = frames("application/json;as=Table;v=v1;g=meta.k8s.io").await;
    assert!(tables[0]["object"]["columnDefinitions"].is_array());
    assert!(tables[1]["object"]["columnDefinitions"].is_null());
    let (code, ..) = cluster.raw("GET", "/api/v1/pods?watch=1&sendInitialEvents=true", &[], "").await;
    assert_eq!(code, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_and_deltas() {
    let cluster = Cluster::start().await;
    let api = cluster.admin();
    let snapshots = cluster.server.snapshots();
    let gvr = Gvr::new("", "v1", "configmaps");
    let mut deltas = snapshots.deltas(&[gvr.clone(), Gvr::new("batch", "v1", "jobs")]);
    let first = deltas.next().await;
    assert_eq!(first.iter().map(|w| &*w.name).collect::<Vec<_>>(), ["extension-apiserver-authentication"]);
    let mut object = config_map("a", json!({}));
    object["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "u", "controller": true}]);
    let made = api.create("configmaps/default", object).await.unwrap();
    let woken = tokio::time::timeout(Duration::from_secs(20), deltas.next()).await.unwrap();
    assert_eq!((&*woken[0].namespace, &*woken[0].name), ("default", "a"));
    assert_eq!((woken[0].owners[0].uid.as_str(), woken[0].owners[0].controller), ("u", true));
    let revision: u64 = made["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
    snapshots.wait_for(revision).await;
    let want = |namespace: &str| Want { gvr: gvr.clone(), namespace: namespace.into() };
    let snapshot = snapshots.snapshot(&[want("default"), want("")]);
    assert!(snapshot.revision >= revision);
    assert_eq!((snapshot.sets[0].len(), snapshot.sets[1].len()), (1, 2));
    assert_eq!(snapshots.get(&gvr, "default", "a").unwrap().revision, revision);
    assert_eq!(brief(&[WatchEvent { change: Change::Synced, object: None, revision }]), ["Synced"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_server_ends_its_watches() {
    let dir = tempfile::tempdir().unwrap();
    let pki = apiserver::Pki::open(&dir.path().join("pki"), &[], &[]).unwrap();
    let store =
        store::SqliteStore::open(&dir.path().join("db"), store::Options::default(), apiserver::read_facts())
            .unwrap();
    let server = apiserver::Server::new(apiserver::Config::new(store, pki.clone()));
    server.bootstrap().await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(server.serve(vec![listener], async { drop(stopped.await) }));
    let admin = pki.admin().unwrap();
    let credential = client::Credential::Certificate { cert_pem: admin.cert_pem, key_pem: admin.key_pem };
    let api = Client(client::Https::new(&url, pki.ca_pem(), &credential, "test").unwrap());
    let mut watch = api.0.watch(target("namespaces"), Options::default()).await.unwrap();
    assert_eq!(take(&mut watch, 5).await.len(), 5);
    stop.send(()).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(20), watch.next()).await.expect("an end");
    assert!(ended.is_err());
    tokio::time::timeout(Duration::from_secs(9), serving).await.expect("drained early").unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn protobuf_lists_and_watches() {
    let cluster = Cluster::start().await;
    let api = cluster.admin();
    api.create("configmaps/default", config_map("a", json!({"k": "v"}))).await.unwrap();
    let proto = [("accept", "application/vnd.kubernetes.protobuf")];
    let decode = |bytes: &[u8], kind: &str| {
        let envelope = kinds::protobuf::open(bytes).unwrap();
        assert_eq!(envelope.kind, kind);
        kinds::protobuf::to_value(&envelope, kinds::schema::root("", "v1", kind).unwrap()).unwrap()
    };
    let (code, headers, bytes) =
        cluster.raw("GET", "/api/v1/namespaces/default/configmaps", &proto, "").await;
    assert_eq!((code.as_u16(), headers["content-type"].to_str().unwrap()), (200, proto[0].1));
    assert_eq!(decode(&bytes, "ConfigMapList")["items"][0]["data"], json!({"k": "v"}));
    let (_, _, bytes) = cluster.raw("GET", "/api/v1/namespaces/default/configmaps/b", &proto, "").await;
    assert_eq!(decode(&bytes, "Status")["reason"], "NotFound");
    let path = "/api/v1/namespaces/default/configmaps?watch=1&timeoutSeconds=1&allowWatchBookmarks=1";
    let (_, headers, bytes) = cluster.raw("GET", path, &proto, "").await;
    assert_eq!(headers["content-type"], "application/vnd.kubernetes.protobuf;stream=watch");
    let mut rest = &bytes[..];
    let mut frames = 0;
    while !rest.is_empty() {
        let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
        rest = &rest[4 + length..];
        frames += 1;
    }
    assert_eq!(frames, 2, "the object and the bookmark that ends the initial events");
}

/// What changes is told with the object before, and what was missed while history went away is made up for.
#[tokio::test(flavor = "multi_thread")]
async fn deltas_have_no_gaps() {
    let cluster = Cluster::start().await;
    let api = cluster.admin();
    let snapshots = cluster.server.snapshots();
    let (maps, secrets) = (Gvr::new("", "v1", "configmaps"), Gvr::new("", "v1", "secrets"));
    let mut deltas = snapshots.deltas(&[maps.clone(), secrets.clone()]);
    let said = |deltas: &[client::Delta]| -> Vec<String> {
        let side = |object: Option<&client::Object>| {
            object.map_or_else(|| "-".to_owned(), |o| o.revision.to_string())
        };
        let name = |delta: &client::Delta| delta.object().map(|object| object.name.clone()).unwrap();
        let all = deltas.iter();
        all.map(|d| {
            format!("{} {} {}>{}", d.gvr.resource, name(d), side(d.before.as_ref()), side(d.after.as_ref()))
        })
        .collect()
    };
    let first = deltas.next().await;
    assert_eq!(first.len(), 1, "{first:?}");
    let revision =
        |object: &serde_json::Value| object["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let mut owned = config_map("a", json!({}));
    owned["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "u"}]);
    let a = revision(&api.create("configmaps/default", owned).await.unwrap());
    assert_eq!(said(&deltas.next().await), [format!("configmaps a ->{a}")]);
    let found = snapshots.owned(&maps, "u");
    assert_eq!((found.len(), &*found[0].name, &*found[0].facts.owners[0].group), (1, "a", "batch"));
    assert!(snapshots.owned(&maps, "v").is_empty());
    // It misses these.
    let b = revision(&api.create("configmaps/default", config_map("b", json!({}))).await.unwrap());
    api.delete("configmaps/default/a", json!({})).await.unwrap();
    cluster.store.compact(u64::MAX).await.unwrap();
    let caught_up = deltas.next().await;
    assert_eq!(said(&caught_up), [format!("configmaps a {a}>-"), format!("configmaps b ->{b}")]);
    assert_eq!(caught_up[0].revision, cluster.store.revision());
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}});
    let s = revision(&api.create("secrets/default", secret).await.unwrap());
    assert_eq!(said(&deltas.next().await), [format!("secrets s ->{s}")]);
}
