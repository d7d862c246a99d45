//! Lists, tables, partial metadata, discovery.

use client::Options;
use serde_json::{Value, json};

use crate::harness::{Cluster, config_map, default_account, pod, said};

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|o| o["metadata"]["name"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_and_selectors() {
    let cluster = Cluster::start().await;
    let api = cluster.admin();
    for i in 0..7 {
        let mut object = config_map(&format!("c{i}"), json!({}));
        object["metadata"]["labels"] = json!({"odd": (i % 2 == 1).to_string()});
        api.create("configmaps/default", object).await.unwrap();
    }
    let page = |limit, token: &str| Options { limit, continue_token: token.into(), ..Options::default() };
    let first = api.list("configmaps/default", page(3, "")).await.unwrap();
    assert_eq!(names(&first), ["c0", "c1", "c2"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 4);
    assert!(first["items"][0].get("kind").is_none(), "items of built-in lists carry no kind");
    api.create("configmaps/default", config_map("c9", json!({}))).await.unwrap();
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = api.list("configmaps/default", page(3, token)).await.unwrap();
    assert_eq!(second["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let token = second["metadata"]["continue"].as_str().unwrap();
    let third = api.list("configmaps/default", page(3, token)).await.unwrap();
    assert_eq!(names(&third), ["c6"], "later objects are not in a list that began before");
    assert!(third["metadata"].get("continue").is_none());

    let select = |label: &str, field: &str| Options {
        label_selector: label.into(),
        field_selector: field.into(),
        ..Options::default()
    };
    let odd = api.list("configmaps/default", select("odd=true", "")).await.unwrap();
    assert_eq!(names(&odd), ["c1", "c3", "c5"]);
    let named = api.list("configmaps/default", select("", "metadata.name=c4")).await.unwrap();
    assert_eq!(names(&named), ["c4"]);
    let filtered = Options { limit: 2, ..select("odd=true", "") };
    let filtered = api.list("configmaps/default", filtered).await.unwrap();
    assert_eq!(names(&filtered), ["c1", "c3"]);
    assert!(filtered["metadata"].get("remainingItemCount").is_none());
    let table = [
        (
            select("", "spec.x=y"),
            r#"400 BadRequest "spec.x" is not a known field selector: only "metadata.name", "metadata.namespace""#,
        ),
        (page(0, "%%"), "400 BadRequest invalid continue token:"),
        (
            Options { resource_version: "999999".into(), ..Options::default() },
            "504 Timeout Timeout: Too large resource version: 999999, current: ",
        ),
    ];
    for (options, want) in table {
        let got = said(api.list("configmaps/default", options).await);
        assert!(got.starts_with(want), "{got}");
    }
    let everywhere = api.list("configmaps", Options::default()).await.unwrap();
    assert_eq!(everywhere["items"].as_array().unwrap().len(), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn compacted_continue_tokens() {
    let cluster = Cluster::start().await;
    let api = cluster.admin();
    for i in 0..3 {
        api.create("configmaps/default", config_map(&format!("c{i}"), json!({}))).await.unwrap();
    }
    let first = api.list("configmaps/default", Options { limit: 1, ..Options::default() }).await.unwrap();
    api.delete("configmaps/default/c1", Value::Null).await.unwrap();
    cluster.store.compact(cluster.store.revision()).await.unwrap();
    let token = first["metadata"]["continue"].as_str().unwrap();
    let path = format!("/api/v1/namespaces/default/configmaps?limit=1&continue={token}");
    let (code, _, text) = cluster.raw("GET", &path, &[], "").await;
    let gone: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!((code.as_u16(), gone["reason"].as_str()), (410, Some("Expired")));
    let token = gone["metadata"]["continue"].as_str().unwrap();
    let options = Options { limit: 1, continue_token: token.into(), ..Options::default() };
    assert_eq!(names(&api.list("configmaps/default", options).await.unwrap()), ["c2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_and_partial_metadata() {
    let cluster = Cluster::start().await;
    let api = cluster.admin();
    default_account(&api).await;
    api.create("pods/default", pod("p")).await.unwrap();
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let get = |path: &'static str, accept: &'static str| {
        let cluster = &cluster;
        async move {
            let (code, _, text) = cluster.raw("GET", path, &[("accept", accept)], "").await;
            assert_eq!(code, 200, "{text:?}");
            serde_json::from_slice::<Value>(&text).unwrap()
        }
    };
    let list = get("/api/v1/namespaces/default/pods", table).await;
    assert_eq!(list["kind"], "Table");
    let columns: Vec<_> =
        list["columnDefinitions"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(columns[..5], ["Name", "Ready", "Status", "Restarts", "Age"]);
    assert_eq!((&list["rows"][0]["cells"][0], &list["rows"][0]["cells"][1]), (&json!("p"), &json!("0/1")));
    assert_eq!(list["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let whole = get("/api/v1/namespaces/default/pods/p?includeObject=Object", table).await;
    assert_eq!(whole["rows"][0]["object"]["kind"], "Pod");
    let partial = get(
        "/api/v1/namespaces/default/pods",
        "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
    )
    .await;
    assert_eq!(partial["items"][0]["metadata"]["name"], "p");
    assert!(partial["items"][0].get("spec").is_none());
    let fallback =
        get("/api/v1/namespaces/default/pods", "application/json;as=Nonsense;v=v1;g=x,application/json")
            .await;
    assert_eq!(fallback["kind"], "PodList");
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_and_health() {
    let cluster = Cluster::start().await;
    let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let (code, headers, text) = cluster.raw("GET", "/apis", &[("accept", aggregated)], "").await;
    let body: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!((code.as_u16(), headers["content-type"].to_str().unwrap()), (200, aggregated));
    assert_eq!(body["kind"], "APIGroupDiscoveryList");
    let etag = headers["etag"].to_str().unwrap();
    let (code, _, text) =
        cluster.raw("GET", "/apis", &[("accept", aggregated), ("if-none-match", etag)], "").await;
    assert!(code == 304 && text.is_empty());
    let (_, _, text) = cluster.raw("GET", "/apis/batch/v1", &[], "").await;
    let body: Value = serde_json::from_slice(&text).unwrap();
    let names: Vec<&Value> = body["resources"].as_array().unwrap().iter().map(|r| &r["name"]).collect();
    assert_eq!(json!(names), json!(["cronjobs", "cronjobs/status", "jobs", "jobs/status"]));
    let table = [
        ("/healthz", 200, "ok"),
        ("/livez?verbose", 200, "[+]ping ok\n[+]log ok\n[+]store ok\nlivez check passed\n"),
        ("/nowhere", 404, "404 page not found\n"),
        ("/apis/nowhere/v1/things", 404, "404 page not found\n"),
    ];
    for (path, want_code, want) in table {
        let (code, _, text) = cluster.raw("GET", path, &[], "").await;
        assert_eq!((code.as_u16(), &text[..]), (want_code, want.as_bytes()), "{path}");
    }
    let (_, _, text) = cluster.raw("GET", "/version", &[], "").await;
    let version: Value = serde_json::from_slice(&text).unwrap();
    assert!(version["gitVersion"].as_str().unwrap().starts_with("v1.36.2+minke."));
    let (_, _, text) = cluster.raw("GET", "/openapi/v3", &[], "").await;
    let index: Value = serde_json::from_slice(&text).unwrap();
    let url = index["paths"]["apis/batch/v1"]["serverRelativeURL"].as_str().unwrap();
    let (code, _, text) = cluster.raw("GET", url, &[], "").await;
    let document: Value = serde_json::from_slice(&text).unwrap();
    assert!(code == 200 && document["openapi"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_selector() {
    let cluster = Cluster::start().await;
    let api = cluster.admin();
    for (labels, fields, want) in [
        ("a in (", "", "unable to parse requirement: found '', expected: ',', ')' or identifier"),
        ("a b", "", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("", "a", "invalid selector: 'a'; can't understand 'a'"),
    ] {
        let options =
            Options { label_selector: labels.into(), field_selector: fields.into(), ..Options::default() };
        let said = said(api.list("configmaps", options).await);
        assert_eq!(said, format!("400 BadRequest {want}"));
    }
}
