//! What clients may rely on in the form of requests and answers: types of patches, options, what a path accepts, nulls.

use bytes::Bytes;
use client::{Options, PatchType, Verb};
use serde_json::{Value, json};

use crate::harness::{Client, Cluster, config_map, default_account, pod, said};

async fn patch(api: &Client, path: &str, kind: PatchType, body: Value) -> Result<Value, client::Status> {
    let options = Options { field_manager: "m".into(), ..Options::default() };
    api.call(path, Verb::Patch(kind, Bytes::from(body.to_string())), options).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_stays_what_it_is() {
    let cluster = Cluster::start().await;
    let api = cluster.admin();
    let made = api.create("configmaps/default", config_map("c", json!({"a": "1"}))).await.unwrap();
    let at = "configmaps/default/c";
    let typed = |kind: &str, version: &str, meta: Value| json!({"apiVersion": version, "kind": kind, "metadata": meta});
    let other = "11111111-1111-1111-1111-111111111111";
    let table = [
        (
            PatchType::Apply,
            typed("Pod", "v1", json!({"name": "c"})),
            "400 BadRequest invalid object type: /v1, Kind=Pod",
        ),
        (
            PatchType::Apply,
            typed("ConfigMap", "v2", json!({"name": "c"})),
            "400 BadRequest invalid object type: /v2, Kind=ConfigMap",
        ),
        (PatchType::Apply, json!({"apiVersion": "v1"}), "400 BadRequest invalid object type: /v1, Kind="),
        (
            PatchType::Apply,
            json!([]),
            "400 BadRequest error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal array into Go value of type map[string]interface {}",
        ),
        (
            PatchType::Apply,
            typed("ConfigMap", "v1", json!({"name": "c", "uid": other})),
            "422 Invalid ConfigMap \"c\" is invalid: metadata.uid: Invalid value: \"11111111-1111-1111-1111-111111111111\": field is immutable",
        ),
        (
            PatchType::Merge,
            json!({"metadata": {"uid": "z"}}),
            "422 Invalid ConfigMap \"c\" is invalid: metadata.uid: Invalid value: \"z\": field is immutable",
        ),
        (
            PatchType::Merge,
            json!({"metadata": null}),
            "400 BadRequest the name of the object (c based on URL) was undeterminable: name must be provided",
        ),
        (
            PatchType::Json,
            json!([{"op": "remove", "path": "/metadata"}]),
            "400 BadRequest the name of the object (c based on URL) was undeterminable: name must be provided",
        ),
        (
            PatchType::Merge,
            json!({"kind": "Pod"}),
            "422 Invalid  \"\" is invalid: patch: Invalid value: \"{\\\"kind\\\":\\\"Pod\\\"}\": converting (v1.Pod) to (core.ConfigMap): unknown conversion",
        ),
        (
            PatchType::Merge,
            json!({"metadata": {"resourceVersion": "x"}}),
            "500  strconv.ParseUint: parsing \"x\": invalid syntax",
        ),
    ];
    for (kind, body, want) in table {
        assert_eq!(said(patch(&api, at, kind, body.clone()).await), want, "{body}");
    }
    let version = patch(&api, at, PatchType::Merge, json!({"apiVersion": "v2"})).await;
    assert!(said(version).contains("no kind \"ConfigMap\" is registered for version \"v2\""));
    let same = patch(&api, at, PatchType::Merge, json!({"kind": null})).await.unwrap();
    assert_eq!(same, made);
    let set =
        patch(&api, at, PatchType::Json, json!([{"op": "replace", "path": "/data/new", "value": "x"}])).await;
    assert_eq!(set.unwrap()["data"], json!({"a": "1", "new": "x"}));
    // An item without its key is for validation to refuse.
    let nameless = json!({"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "p"},
        "template": {"spec": {"containers": [{"image": "x"}]}}});
    assert_eq!(
        said(patch(&api, "podtemplates/default/p", PatchType::Apply, nameless).await),
        "422 Invalid PodTemplate \"p\" is invalid: template.spec.containers[0].name: Required value"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_that_changes_nothing_has_no_time() {
    let cluster = Cluster::start().await;
    let api = cluster.admin();
    api.create("configmaps/default", config_map("c", json!({"a": "1"}))).await.unwrap();
    let config =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}});
    let shared = patch(&api, "configmaps/default/c", PatchType::Apply, config.clone()).await.unwrap();
    let entries = &shared["metadata"]["managedFields"];
    assert_eq!((&entries[0]["manager"], entries[0].get("time")), (&json!("m"), None));
    assert!(entries[1]["time"].is_string());
    let again = patch(&api, "configmaps/default/c", PatchType::Apply, config).await.unwrap();
    assert_eq!(again, shared);
}

#[tokio::test(flavor = "multi_thread")]
async fn times_that_are_no_pointers_are_null() {
    let cluster = Cluster::start().await;
    let api = cluster.admin();
    default_account(&api).await;
    api.create("pods/default", pod("p")).await.unwrap();
    let condition = json!({"status": {"conditions": [{"type": "Mine", "status": "True"}]}});
    let status = patch(&api, "pods/default/p/status", PatchType::Strategic, condition).await.unwrap();
    let shown = &status["status"]["conditions"][0];
    assert_eq!(
        (shown.get("lastProbeTime"), shown.get("lastTransitionTime")),
        (Some(&Value::Null), Some(&Value::Null))
    );
    let event = json!({"metadata": {"name": "e", "namespace": "default"}, "involvedObject": {"namespace": "default"}});
    let event = api.create("events/default", event).await.unwrap();
    assert_eq!(
        (event.get("firstTimestamp"), event.get("eventTime")),
        (Some(&Value::Null), Some(&Value::Null))
    );
    assert_eq!(event["metadata"].get("deletionTimestamp"), None);
    let fields = &event["metadata"]["managedFields"][0]["fieldsV1"];
    assert_eq!(*fields, json!({"f:involvedObject": {}}), "what Go prints of an empty object is nobody's");
}

#[tokio::test(flavor = "multi_thread")]
async fn dry_runs_and_versions() {
    let cluster = Cluster::start().await;
    let api = cluster.admin();
    let versioned = json!({"metadata": {"name": "z", "resourceVersion": "5"}});
    let dry = Options { dry_run: true, ..Options::default() };
    api.call("configmaps/default", Verb::Create(versioned.clone()), dry).await.unwrap();
    let why = "500  resourceVersion should not be set on objects to be created";
    assert_eq!(said(api.create("configmaps/default", versioned).await), why);
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_and_what_they_accept() {
    type Headers<'a> = &'a [(&'a str, &'a str)];
    let cluster = Cluster::start().await;
    let protobuf = [("accept", "application/vnd.kubernetes.protobuf")];
    let of = |accept: &'static str| [("accept", accept)];
    let maps = "/api/v1/namespaces/default/configmaps";
    let router = "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf";
    let table: [(&str, &str, Headers<'_>, u16, &str); 12] = [
        ("HEAD", maps, &[], 405, ""),
        ("HEAD", "/api", &[], 405, ""),
        (
            "PATCH",
            maps,
            &[("content-type", "application/merge-patch+json")],
            405,
            "the server does not allow this method",
        ),
        (
            "PATCH",
            "/api/v1/namespaces/default",
            &[("content-type", "application/json")],
            415,
            "415: Unsupported Media Type",
        ),
        ("GET", "/api/v1/namespaces/default", &of("application/*"), 406, router),
        (
            "GET",
            "/api/v1/namespaces/default",
            &of("application/json;as=Foo"),
            406,
            "only the following media types are accepted",
        ),
        ("GET", "/api/v1/namespaces/default?resourceVersion=x", &[], 500, "resourceVersion: Invalid value"),
        ("GET", "/api/v1/pods?limit=x", &[], 400, "strconv.ParseInt: parsing \"x\": invalid syntax"),
        (
            "GET",
            "/api/v1/pods",
            &of("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"),
            406,
            "the requested object is a list (*core.PodList)",
        ),
        ("GET", "/openid/v1/jwks", &of("application/json"), 406, "406: Not Acceptable"),
        (
            "GET",
            "/apis",
            &of("application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"),
            406,
            "only the following media types are accepted",
        ),
        ("GET", "/api/v1/pods?watch=1", &of("application/yaml"), 406, "application/json;stream=watch"),
    ];
    for (method, path, headers, code, want) in table {
        let (status, _, body) = cluster.raw(method, path, headers, "{}").await;
        let text = String::from_utf8_lossy(&body).replace("\\n", "\n").replace("\\\"", "\"");
        assert_eq!(status, code, "{method} {path} {headers:?}: {text}");
        assert!(text.contains(want), "{method} {path}: {text}");
    }
    for (path, want) in
        [("/version", "gitVersion"), ("/", "/apis/batch/v1"), ("/openapi/v3", "serverRelativeURL")]
    {
        let (status, headers, body) = cluster.raw("GET", path, &protobuf, "").await;
        assert_eq!(
            (status.as_u16(), headers["content-type"].to_str().unwrap()),
            (200, "application/json"),
            "{path}"
        );
        assert!(String::from_utf8_lossy(&body).contains(want), "{path}");
    }
    for path in ["/api", "/apis", "/apis/batch", "/api/v1", "/apis/batch/v1"] {
        let (status, headers, body) = cluster.raw("GET", path, &protobuf, "").await;
        assert_eq!(
            (status.as_u16(), headers["content-type"].to_str().unwrap()),
            (200, "application/vnd.kubernetes.protobuf"),
            "{path}"
        );
        assert!(body.starts_with(b"k8s\0"), "{path}");
    }
    let (status, _, body) = cluster.raw("GET", "/readyz/poststarthook/bootstrap", &[], "").await;
    assert_eq!((status.as_u16(), &body[..]), (200, &b"ok"[..]));
}
