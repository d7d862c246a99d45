//! Long lists: the same answers in pieces, and quick answers beside them.

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use client::Options;
use futures_util::future::join_all;
use kinds::{decode, protobuf, schema};
use serde_json::Value;
use store::{Expect, Op, Write};

use crate::harness::{Cluster, default_account, pod};

const PODS: &str = "/api/v1/pods";
const TABLE: (&str, &str) = ("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");

/// A server with so many Pods more than the one that it made itself.
async fn crowded(others: usize) -> Cluster {
    let cluster = Cluster::start().await;
    let api = cluster.admin();
    default_account(&api).await;
    let mut made = api.create("pods/default", pod("a")).await.unwrap();
    made["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    for field in ["apiVersion", "kind"] {
        made.as_object_mut().unwrap().remove(field);
    }
    let writes = (0..others).map(|n| {
        let mut other = made.clone();
        other["metadata"]["name"] = format!("p{n:04}").into();
        let metadata = other.as_object_mut().unwrap().remove("metadata").unwrap();
        let json = format!("{{\"metadata\":{metadata},{}", &other.to_string()[1..]);
        let key = format!("pods/default/p{n:04}").into();
        cluster.store.commit(Write { key, expect: Expect::Absent, op: Op::Put(json.into()) })
    });
    for written in join_all(writes).await {
        written.unwrap();
    }
    cluster
}

fn parsed(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

fn count(list: &Value, field: &str) -> usize {
    list[field].as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_is_whole() {
    let cluster = crowded(500).await;
    let wanted =
        cluster.in_process("admin", "system:masters").list("pods", Options::default()).await.unwrap();
    assert_eq!(count(&wanted, "items"), 501);
    let (_, headers, plain) = cluster.raw("GET", PODS, &[("accept", "application/json")], "").await;
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(parsed(&plain), wanted);
    let accept = [("accept", "application/json"), ("accept-encoding", "gzip")];
    let (_, headers, small) = cluster.raw("GET", PODS, &accept, "").await;
    assert_eq!(
        (&headers["content-encoding"], &headers["vary"]),
        (&"gzip".parse().unwrap(), &"Accept-Encoding".parse().unwrap())
    );
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(&small[..]).read_to_end(&mut unpacked).unwrap();
    assert!(small.len() * 4 < plain.len() && unpacked == plain, "{} of {}", small.len(), plain.len());
    let (_, _, table) = cluster.raw("GET", PODS, &[TABLE], "").await;
    let (_, _, one) = cluster.raw("GET", "/api/v1/namespaces/default/pods?limit=1", &[TABLE], "").await;
    let (table, one) = (parsed(&table), parsed(&one));
    assert_eq!((count(&table, "rows"), &table["metadata"]), (501, &wanted["metadata"]));
    assert_eq!(table["columnDefinitions"], one["columnDefinitions"]);
    assert_eq!((&table["kind"], &table["rows"][0]["object"]), (&one["kind"], &one["rows"][0]["object"]));
    assert_eq!(table["rows"][500]["cells"][0], "p0499");
    let partial = [("accept", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io")];
    let (_, _, partial) = cluster.raw("GET", PODS, &partial, "").await;
    let partial = parsed(&partial);
    assert_eq!((count(&partial, "items"), &partial["kind"]), (501, &"PartialObjectMetadataList".into()));
    assert_eq!(partial["items"][7]["metadata"], wanted["items"][7]["metadata"]);
    let (_, _, message) =
        cluster.raw("GET", PODS, &[("accept", "application/vnd.kubernetes.protobuf")], "").await;
    let ty = schema::root("", "v1", "PodList").unwrap();
    let list = protobuf::to_value(&protobuf::open(&message).unwrap(), ty).unwrap();
    assert_eq!(decode::normalise(list, ty).unwrap().value, decode::normalise(wanted, ty).unwrap().value);
    for (accept, pretty) in [("application/yaml", ""), ("application/json", "?pretty=true")] {
        let (code, _, body) = cluster.raw("GET", &format!("{PODS}{pretty}"), &[("accept", accept)], "").await;
        let text = String::from_utf8_lossy(&body);
        assert!(code == 200 && text.contains("p0499") && text.lines().count() > 5000, "{accept}");
    }
}

/// Although one worker serves them all, none of the long lists is done before the short answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_short_answer_does_not_wait_for_long_ones() {
    let cluster = Arc::new(crowded(2000).await);
    let done = Arc::new(AtomicUsize::new(0));
    let lists: Vec<_> = (0..4)
        .map(|_| {
            let (cluster, done) = (cluster.clone(), done.clone());
            tokio::spawn(async move {
                let (_, _, table) = cluster.raw("GET", PODS, &[TABLE], "").await;
                done.fetch_add(1, Ordering::SeqCst);
                count(&parsed(&table), "rows")
            })
        })
        .collect();
    for _ in 0..5 {
        let (code, ..) = cluster.raw("GET", "/api/v1/namespaces/default", &[], "").await;
        assert_eq!(code, 200);
    }
    assert_eq!(done.load(Ordering::SeqCst), 0, "five short answers came first");
    for list in lists {
        assert_eq!(list.await.unwrap(), 2001);
    }
}
