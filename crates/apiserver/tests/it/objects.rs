//! Create, update, patch: the generic path as clients see it.

use bytes::Bytes;
use client::{Options, PatchType, Verb};
use serde_json::{Value, json};

use crate::harness::{Cluster, config_map, default_account, pod, said};

#[tokio::test]
async fn zero_is_no_version() {
    let cluster = Cluster::start().await;
    let api = cluster.admin();
    let mut map = config_map("a", json!({"k": "v"}));
    map["metadata"]["resourceVersion"] = json!("0");
    api.create("configmaps/default", map.clone()).await.unwrap();
    map["data"] = json!({"x": "y"});
    assert_eq!(api.update("configmaps/default/a", map).await.unwrap()["data"], json!({"x": "y"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_object_and_its_mistakes() {
    let cluster = Cluster::start().await;
    let api = cluster.admin();
    let made = api.create("configmaps/default", config_map("a", json!({"k": "v"}))).await.unwrap();
    assert_eq!((made["kind"].as_str(), made["apiVersion"].as_str()), (Some("ConfigMap"), Some("v1")));
    assert_eq!(made["metadata"]["namespace"], "default");
    assert!(made["metadata"]["uid"].is_string() && made["metadata"]["creationTimestamp"].is_string());
    assert_eq!(api.get("configmaps/default/a").await.unwrap(), made);

    let same = api.update("configmaps/default/a", config_map("a", json!({"k": "v"}))).await.unwrap();
    assert_eq!(same, made, "an update that changes nothing writes nothing");
    let changed = api.merge("configmaps/default/a", json!({"data": {"k": null, "l": "w"}})).await.unwrap();
    assert_eq!(changed["data"], json!({"l": "w"}));
    assert_ne!(changed["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);

    let mut stale = made.clone();
    stale["data"] = json!({"x": "y"});
    let other_uid = json!({"metadata": {"name": "a", "uid": "1"}});
    let versioned = json!({"metadata": {"name": "z", "resourceVersion": "5"}});
    let table = [
        (
            said(api.create("configmaps/default", config_map("a", json!({}))).await),
            r#"409 AlreadyExists configmaps "a" already exists"#,
        ),
        (said(api.get("configmaps/default/b").await), r#"404 NotFound configmaps "b" not found"#),
        (
            said(api.update("configmaps/default/a", stale).await),
            r#"409 Conflict Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your changes to the latest version and try again"#,
        ),
        (
            said(api.update("configmaps/default/a", config_map("b", json!({}))).await),
            "400 BadRequest the name of the object (b) does not match the name on the URL (a)",
        ),
        (
            said(api.update("configmaps/default/b", config_map("b", json!({}))).await),
            r#"404 NotFound configmaps "b" not found"#,
        ),
        (
            said(
                api.create("configmaps/default", json!({"metadata": {"name": "c", "namespace": "d"}})).await,
            ),
            "400 BadRequest the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            said(api.create("configmaps/nope", config_map("c", json!({}))).await),
            r#"404 NotFound namespaces "nope" not found"#,
        ),
        (
            said(api.create("configmaps/default", json!({"kind": "ConfigMap", "apiVersion": "v2"})).await),
            "400 BadRequest ConfigMap in version \"v2\" cannot be handled as a ConfigMap: no kind \"ConfigMap\" is \
             registered for version \"v2\" in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
        ),
        (
            said(api.create("configmaps/default", versioned).await),
            "500  resourceVersion should not be set on objects to be created",
        ),
        (
            said(api.create("configmaps/default", config_map("A", json!({}))).await)
                .chars()
                .take(80)
                .collect(),
            r#"422 Invalid ConfigMap "A" is invalid: metadata.name: Invalid value: "A": a lower"#,
        ),
        (
            said(api.get("nothings/default/b").await),
            "404 NotFound the server could not find the requested resource",
        ),
    ];
    for (got, want) in table {
        assert_eq!(got, want);
    }
    assert!(said(api.update("configmaps/default/a", other_uid).await).starts_with("409 Conflict"));
}

#[tokio::test(flavor = "multi_thread")]
async fn names_dry_runs_and_generations() {
    let cluster = Cluster::start().await;
    let api = cluster.admin();
    default_account(&api).await;
    let generated = json!({"metadata": {"generateName": "job-"}});
    let made = api.create("configmaps/default", generated).await.unwrap();
    let name = made["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("job-") && name.len() == 9, "{name}");

    let dry = Options { dry_run: true, ..Options::default() };
    let dried = api.call("pods/default", Verb::Create(pod("dry")), dry).await.unwrap();
    assert!(dried["metadata"]["uid"].is_string() && dried["metadata"].get("resourceVersion").is_none());
    assert!(said(api.get("pods/default/dry").await).starts_with("404"));

    let made = api.create("pods/default", pod("p")).await.unwrap();
    assert_eq!(made["metadata"]["generation"], 1);
    assert_eq!(made["status"]["phase"], "Pending");
    let status = json!({"status": {"phase": "Running"}, "spec": {"activeDeadlineSeconds": 5}});
    let main = api.merge("pods/default/p", status.clone()).await.unwrap();
    assert_eq!(
        (main["status"]["phase"].as_str(), main["metadata"]["generation"].as_i64()),
        (Some("Pending"), Some(2))
    );
    let sub = api.merge("pods/default/p/status", json!({"status": {"phase": "Running"}})).await.unwrap();
    assert_eq!(
        (sub["status"]["phase"].as_str(), sub["metadata"]["generation"].as_i64()),
        (Some("Running"), Some(2))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn patches() {
    let cluster = Cluster::start().await;
    let api = cluster.admin();
    default_account(&api).await;
    api.create("pods/default", pod("p")).await.unwrap();
    let patch = |kind, text: &str| {
        let verb = Verb::Patch(kind, Bytes::from(text.to_owned()));
        let api = api.clone();
        async move { api.call("pods/default/p", verb, Options::default()).await }
    };
    let strategic =
        r#"{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"busybox:2"}]}}"#;
    let done = patch(PatchType::Strategic, strategic).await.unwrap();
    assert_eq!(done["spec"]["containers"][0]["image"], "busybox:2");
    assert_eq!(done["spec"]["containers"].as_array().unwrap().len(), 1);
    let json_patch = r#"[{"op":"test","path":"/metadata/labels/a","value":"b"},{"op":"replace","path":"/metadata/labels/a","value":"c"}]"#;
    assert_eq!(patch(PatchType::Json, json_patch).await.unwrap()["metadata"]["labels"]["a"], "c");
    let again = patch(PatchType::Json, json_patch).await;
    assert_eq!(said(again), "422 Invalid the server rejected our request due to an error in our request");
    let stale = patch(PatchType::Merge, r#"{"metadata":{"resourceVersion":"1","labels":{"x":"y"}}}"#).await;
    assert!(said(stale).starts_with("409 Conflict"));

    let rename = patch(PatchType::Merge, r#"{"metadata":{"name":"q"}}"#).await;
    assert!(said(rename).starts_with("400 BadRequest the name of the object (q)"));
}

#[tokio::test(flavor = "multi_thread")]
async fn field_validation_and_warnings() {
    let cluster = Cluster::start().await;
    let body = r#"{"metadata":{"name":"x"},"data":{"k":"v"},"bogus":1,"data":{"k":"w"}}"#;
    let post = |query: &'static str| {
        let path = format!("/api/v1/namespaces/default/configmaps?dryRun=All{query}");
        let cluster = &cluster;
        async move { cluster.raw("POST", &path, &[("content-type", "application/json")], body).await }
    };
    let (code, headers, _) = post("").await;
    let warnings: Vec<_> = headers.get_all("warning").iter().map(|v| v.to_str().unwrap()).collect();
    assert_eq!(code, 201);
    assert_eq!(warnings, [r#"299 - "unknown field \"bogus\"""#, r#"299 - "duplicate field \"data\"""#]);
    let (code, headers, _) = post("&fieldValidation=Ignore").await;
    assert!(code == 201 && !headers.contains_key("warning"));
    let (code, _, text) = post("&fieldValidation=Strict").await;
    let status: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(code, 400);
    assert_eq!(
        status["message"],
        r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "bogus", duplicate field "data""#
    );
    let (code, ..) = cluster
        .raw("POST", "/api/v1/namespaces/default/configmaps", &[("content-type", "text/html")], "x")
        .await;
    assert_eq!(code, 415);
    let (code, ..) =
        cluster.raw("GET", "/api/v1/namespaces/default/configmaps", &[("accept", "text/html")], "").await;
    assert_eq!(code, 406);
    let huge = vec![b' '; 3 * 1024 * 1024 + 1];
    let (code, _, text) = cluster
        .raw("POST", "/api/v1/namespaces/default/configmaps", &[("content-type", "application/json")], huge)
        .await;
    assert_eq!(code, 413, "{text:?}");
    let yaml = "metadata:\n  name: w\ndata:\n  k: v\n";
    let (code, _, text) = cluster
        .raw(
            "POST",
            "/api/v1/namespaces/default/configmaps",
            &[("content-type", "application/yaml"), ("accept", "application/yaml")],
            yaml,
        )
        .await;
    assert_eq!(code, 201, "{text:?}");
    assert!(String::from_utf8_lossy(&text).contains("kind: ConfigMap"));
}

#[tokio::test(flavor = "multi_thread")]
async fn admission_of_pods() {
    let cluster = Cluster::start().await;
    let api = cluster.admin();
    let other = json!({"metadata": {"name": "p"}, "spec": {"serviceAccountName": "robot", "containers": [{"name": "c", "image": "i"}]}});
    assert_eq!(
        said(api.create("pods/default", other.clone()).await),
        r#"403 Forbidden pods "p" is forbidden: error looking up service account default/robot: serviceaccount "robot" not found"#
    );
    let account = json!({"metadata": {"name": "robot"}, "imagePullSecrets": [{"name": "s"}]});
    api.create("serviceaccounts/default", account).await.unwrap();
    let made = api.create("pods/default", other).await.unwrap();
    let spec = &made["spec"];
    assert_eq!(spec["imagePullSecrets"], json!([{"name": "s"}]));
    assert_eq!(spec["priority"], 0);
    assert_eq!(spec["tolerations"].as_array().unwrap().len(), 2);
    let volume = spec["volumes"][0]["name"].as_str().unwrap();
    assert!(volume.starts_with("kube-api-access-") && volume.len() == 21, "{volume}");
    assert_eq!(spec["containers"][0]["volumeMounts"][0]["name"], volume);
    assert!(spec.get("initContainers").is_none(), "{spec}");
    let mut classy = pod("q");
    classy["spec"]["serviceAccountName"] = "robot".into();
    classy["spec"]["priorityClassName"] = "nope".into();
    let refused = said(api.create("pods/default", classy.clone()).await);
    assert_eq!(refused, r#"403 Forbidden pods "q" is forbidden: no PriorityClass with name nope was found"#);
    // The default account is made a moment later by a controller: a Pod waits for it.
    let (early, ()) = tokio::join!(api.create("pods/default", pod("early")), async {
        tokio::task::yield_now().await;
        crate::harness::default_account(&api).await;
    });
    assert_eq!(early.unwrap()["spec"]["serviceAccountName"], "default");
    let node = api.create("nodes", json!({"metadata": {"name": "n"}})).await.unwrap();
    assert_eq!(
        node["spec"]["taints"],
        json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn server_side_apply() {
    let cluster = Cluster::start().await;
    let api = cluster.admin();
    let apply = |manager: &str, force, text: &str| {
        let options = Options { field_manager: manager.into(), force, ..Options::default() };
        let verb = Verb::Patch(PatchType::Apply, Bytes::from(text.to_owned()));
        let api = api.clone();
        async move { api.call("configmaps/default/a", verb, options).await }
    };
    let first = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: v, l: w}\n";
    let made = apply("one", false, first).await.unwrap();
    assert_eq!(made["data"], json!({"k": "v", "l": "w"}));
    let owners = |object: &Value| {
        let fields = object["metadata"]["managedFields"].as_array().unwrap();
        fields.iter().map(|e| e["manager"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(owners(&made), ["one"]);
    let again = apply("one", false, first).await.unwrap();
    assert_eq!(again, made, "the same configuration writes nothing");
    let other = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: x}\n";
    assert_eq!(
        said(apply("two", false, other).await),
        r#"409 Conflict Apply failed with 1 conflict: conflict with "one": .data.k"#
    );
    let forced = apply("two", true, other).await.unwrap();
    assert_eq!((forced["data"]["k"].as_str(), owners(&forced).len()), (Some("x"), 2));
    let less = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {}\n";
    assert_eq!(
        apply("one", false, less).await.unwrap()["data"],
        json!({"k": "x"}),
        "what nobody owns any more goes"
    );
    let patched = api.merge("configmaps/default/a", json!({"data": {"m": "n"}})).await.unwrap();
    assert!(owners(&patched).contains(&"test".to_owned()), "{patched}");
    let created = api.create("configmaps/default", config_map("b", json!({"k": "v"}))).await.unwrap();
    let entry = &created["metadata"]["managedFields"][0];
    assert_eq!((entry["operation"].as_str(), entry["manager"].as_str()), (Some("Update"), Some("test")));
    assert_eq!(entry["fieldsV1"], json!({"f:data": {".": {}, "f:k": {}}}));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_are_answered_never_fatal() {
    let cluster = Cluster::start().await;
    let deep =
        format!("{{\"metadata\":{{\"name\":\"a\"}},\"data\":{}{}}}", "[".repeat(50_000), "]".repeat(50_000));
    let maps = "/api/v1/namespaces/default/configmaps";
    let json = "application/json";
    let proto = "application/vnd.kubernetes.protobuf";
    let rename = r#"[{"op":"replace","path":"/metadata","value":5}]"#;
    // method, path, content type, body, code
    let table: [(&str, &str, &str, &str, u16); 23] = [
        ("POST", maps, json, "", 400),
        ("POST", maps, json, "{", 400),
        ("POST", maps, json, "[]", 400),
        ("POST", maps, json, "null", 422),
        ("POST", maps, json, r#"{"metadata":5}"#, 400),
        ("POST", maps, json, r#"{"metadata":{"name":5}}"#, 400),
        ("POST", maps, json, r#"{"metadata":null,"kind":"Pod"}"#, 400),
        ("POST", maps, json, &deep, 400),
        ("POST", maps, proto, "k8s\0\u{1}\u{7f}\u{7f}\u{7f}", 400),
        ("POST", maps, proto, "rubbish", 400),
        ("POST", maps, "application/yaml", "a: [", 400),
        ("POST", "/api/v1/configmaps", json, "{}", 405),
        ("POST", "/api/v1/namespaces/default/configmaps/a", json, "{}", 405),
        ("PUT", maps, json, "{}", 405),
        ("PATCH", &format!("{maps}/a"), json, "{}", 415),
        ("PATCH", "/api/v1/namespaces/default", "application/json-patch+json", rename, 422),
        ("PATCH", "/api/v1/namespaces/default", "application/merge-patch+json", "[]", 400),
        (
            "PATCH",
            "/api/v1/namespaces/default",
            "application/strategic-merge-patch+json",
            r#"{"metadata":5}"#,
            422,
        ),
        ("DELETE", &format!("{maps}/a"), json, r#"{"kind":"Pod"}"#, 400),
        ("DELETE", &format!("{maps}/a"), json, "{", 400),
        ("GET", &format!("{maps}/a/nothing"), json, "", 404),
        ("GET", &format!("{maps}?labelSelector=%3D%3D"), json, "", 400),
        ("GET", &format!("{maps}?resourceVersion=x"), json, "", 400),
    ];
    for (method, path, media, body, want) in table {
        let (code, _, text) = cluster.raw(method, path, &[("content-type", media)], body.to_owned()).await;
        let shown = &body[..body.len().min(60)];
        assert_eq!(code.as_u16(), want, "{method} {path} {media} {shown}: {text:?}");
    }
}
