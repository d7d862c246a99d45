//! Custom resources: defined, served within a moment, kept to their schema, gone with their definition.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::Cluster;

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const FOOS: &str = "/apis/e.com/v1/namespaces/default/foos";

async fn call(cluster: &Cluster, method: &str, path: &str, body: Value) -> (u16, Value) {
    let media = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    with_media(cluster, method, path, media, body).await
}

async fn with_media(cluster: &Cluster, method: &str, path: &str, media: &str, body: Value) -> (u16, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let (code, _, answer) = cluster.raw(method, path, &[("content-type", media)], body).await;
    (code.as_u16(), serde_json::from_slice(&answer).unwrap_or_default())
}

/// Asks until the answer has that code.
async fn until(cluster: &Cluster, path: &str, code: u16) -> Value {
    until_it(cluster, path, |found, _| found == code).await
}

/// Asks until the answer is as it should be.
async fn until_it(cluster: &Cluster, path: &str, is: impl Fn(u16, &Value) -> bool) -> Value {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let (found, answer) = call(cluster, "GET", path, Value::Null).await;
        if is(found, &answer) {
            return answer;
        }
        assert!(Instant::now() < end, "{path}: {found} {answer}");
        tokio::task::yield_now().await;
    }
}

fn definition() -> Value {
    let spec = json!({"type": "object", "required": ["mode"], "properties": {
        "mode": {"type": "string", "enum": ["a", "b"]},
        "size": {"type": "integer", "minimum": 1, "maximum": 10, "default": 3},
        "name": {"type": "string", "pattern": "^x[0-9]+$"},
        "port": {"x-kubernetes-int-or-string": true},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        "tags": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"}}});
    let status = json!({"type": "object", "properties": {"size": {"type": "integer"}}});
    let schema = json!({"type": "object", "properties": {"spec": spec, "status": status}});
    json!({"metadata": {"name": "foos.e.com"}, "spec": {"group": "e.com", "scope": "Namespaced",
        "names": {"plural": "foos", "kind": "Foo", "shortNames": ["fo"]},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
            "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size"}},
            "additionalPrinterColumns": [{"name": "Mode", "type": "string", "jsonPath": ".spec.mode"}]}]}})
}

fn foo(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "e.com/v1", "kind": "Foo", "metadata": {"name": name}, "spec": spec})
}

async fn defined() -> Cluster {
    let cluster = Cluster::start().await;
    let (code, made) = call(&cluster, "POST", CRDS, definition()).await;
    assert_eq!(code, 201, "{made}");
    assert_eq!(made["spec"]["names"]["listKind"], "FooList");
    assert_eq!(made["status"]["storedVersions"], json!(["v1"]));
    until(&cluster, FOOS, 200).await;
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn defined_used_and_gone() {
    let cluster = defined().await;
    let (code, made) =
        call(&cluster, "POST", FOOS, foo("a", json!({"mode": "a", "nope": 1, "free": {"x": [1]}}))).await;
    assert_eq!((code, &made["spec"]), (201, &json!({"mode": "a", "size": 3, "free": {"x": [1]}})), "{made}");
    assert_eq!(made["metadata"]["generation"], 1);
    let (_, same) = call(&cluster, "GET", &format!("{FOOS}/a"), Value::Null).await;
    assert_eq!(same, made);
    for (spec, want) in [
        (json!({}), "spec.mode: Required value"),
        (
            json!({"mode": "a", "size": 0}),
            "spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1",
        ),
        (json!({"mode": "z"}), "spec.mode: Unsupported value: \"z\": supported values: \"a\", \"b\""),
        (
            json!({"mode": "a", "port": true}),
            "spec.port: Invalid value: \"boolean\": spec.port in body must be of type integer,string: \"boolean\"",
        ),
        (json!({"mode": "a", "tags": ["p", "p"]}), "spec.tags[1]: Duplicate value: \"p\""),
    ] {
        let (code, refused) = call(&cluster, "POST", FOOS, foo("b", spec)).await;
        let message = format!("Foo.e.com \"b\" is invalid: {want}");
        assert_eq!((code, &refused["message"]), (422, &json!(message)));
    }
    // The status and the number of replicas are endpoints of their own.
    let one = format!("{FOOS}/a");
    let both = json!({"spec": {"size": 4}, "status": {"size": 2}});
    let (_, changed) = call(&cluster, "PATCH", &one, both.clone()).await;
    assert_eq!((&changed["spec"]["size"], &changed["status"]), (&json!(4), &Value::Null));
    assert_eq!(changed["metadata"]["generation"], 2);
    let (_, told) = call(
        &cluster,
        "PATCH",
        &format!("{one}/status"),
        json!({"spec": {"size": 9}, "status": {"size": 2}}),
    )
    .await;
    assert_eq!((&told["spec"]["size"], &told["status"]["size"]), (&json!(4), &json!(2)), "{told}");
    let (code, scale) =
        call(&cluster, "PATCH", &format!("{one}/scale"), json!({"spec": {"replicas": 7}})).await;
    assert_eq!(
        (code, &scale["kind"], &scale["spec"]["replicas"]),
        (200, &json!("Scale"), &json!(7)),
        "{scale}"
    );
    // Apply merges and tells who owns what.
    let applied = foo("a", json!({"mode": "b", "tags": ["t"]}));
    let path = format!("{one}?fieldManager=m&force=true");
    let (code, applied) = with_media(&cluster, "PATCH", &path, "application/apply-patch+yaml", applied).await;
    assert_eq!(
        (code, &applied["spec"]["mode"], &applied["spec"]["size"]),
        (200, &json!("b"), &json!(7)),
        "{applied}"
    );
    let owners = applied["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let own = owners.iter().find(|e| e["manager"] == "m").map(|e| e["fieldsV1"].clone());
    assert_eq!(own, Some(json!({"f:spec": {"f:mode": {}, "f:tags": {"v:\"t\"": {}}}})));
    let accept = [("accept", "application/json;as=Table;g=meta.k8s.io;v=v1")];
    let (_, _, table) = cluster.raw("GET", FOOS, &accept, "").await;
    let table: Value = serde_json::from_slice(&table).unwrap();
    assert_eq!(table["rows"][0]["cells"], json!(["a", "b"]));
    assert_eq!(table["columnDefinitions"][1]["name"], "Mode");

    let (code, _) = call(&cluster, "DELETE", &format!("{CRDS}/foos.e.com"), Value::Null).await;
    assert_eq!(code, 200);
    until(&cluster, &format!("{CRDS}/foos.e.com"), 404).await;
    until(&cluster, FOOS, 404).await;
    let (code, _) = call(&cluster, "POST", CRDS, definition()).await;
    assert_eq!(code, 201);
    let list = until(&cluster, FOOS, 200).await;
    assert_eq!(list["items"], json!([]), "the objects went with their definition");
}

#[tokio::test(flavor = "multi_thread")]
async fn shown_where_kinds_are_shown() {
    let cluster = defined().await;
    let told = |_, crd: &Value| crd["status"]["conditions"].is_array();
    let crd = until_it(&cluster, &format!("{CRDS}/foos.e.com"), told).await;
    let conditions = crd["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let said: Vec<String> = conditions.iter().map(|c| format!("{}={}", c["type"], c["status"])).collect();
    assert_eq!(said, [r#""NamesAccepted"="True""#, r#""Established"="True""#]);
    let (_, list) = call(&cluster, "GET", "/apis/e.com/v1", Value::Null).await;
    let names: Vec<&Value> = list["resources"].as_array().unwrap().iter().map(|r| &r["name"]).collect();
    assert_eq!(names, [&json!("foos"), &json!("foos/scale"), &json!("foos/status")]);
    let (_, document) = call(&cluster, "GET", "/openapi/v3/apis/e.com/v1", Value::Null).await;
    let schema = &document["components"]["schemas"]["com.e.v1.Foo"];
    assert_eq!(schema["properties"]["spec"]["properties"]["size"]["minimum"].as_f64(), Some(1.0), "{schema}");
    assert_eq!(schema["x-kubernetes-group-version-kind"][0]["kind"], "Foo");
    let (code, refused) =
        call(&cluster, "POST", "/apis/e.com/v1/namespaces/nope/foos", foo("a", json!({"mode": "a"}))).await;
    assert_eq!((code, &refused["message"]), (404, &json!("namespaces \"nope\" not found")));
    let patch = "application/strategic-merge-patch+json";
    call(&cluster, "POST", FOOS, foo("a", json!({"mode": "a"}))).await;
    let (code, _) = with_media(&cluster, "PATCH", &format!("{FOOS}/a"), patch, json!({})).await;
    assert_eq!(code, 415);
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_and_fields_to_select_by() {
    let cluster = Cluster::start().await;
    let mut crd = definition();
    let version = &mut crd["spec"]["versions"][0];
    version["selectableFields"] = json!([{"jsonPath": ".spec.mode"}, {"jsonPath": ".spec.size"}]);
    let spec = &mut version["schema"]["openAPIV3Schema"]["properties"]["spec"];
    spec["x-kubernetes-validations"] = json!([
        {"rule": "self.size <= 5 || self.mode == 'b'", "messageExpression": "'size is ' + string(self.size)"},
        {"rule": "self.mode == oldSelf.mode", "message": "mode is immutable", "fieldPath": ".mode"}]);
    let (code, made) = call(&cluster, "POST", CRDS, crd.clone()).await;
    assert_eq!(code, 201, "{made}");
    until(&cluster, FOOS, 200).await;
    let create = |name: &str, spec: Value| call(&cluster, "POST", FOOS, foo(name, spec));
    let (code, answer) = create("x", json!({"mode": "a", "size": 6})).await;
    assert_eq!(
        (code, answer["message"].as_str()),
        (422, Some("Foo.e.com \"x\" is invalid: spec: Invalid value: size is 6"))
    );
    assert_eq!(create("x", json!({"mode": "a", "size": 5})).await.0, 201);
    assert_eq!(create("y", json!({"mode": "b", "size": 6})).await.0, 201);
    let (code, answer) = call(&cluster, "PATCH", &format!("{FOOS}/x"), json!({"spec": {"mode": "b"}})).await;
    let want = "Foo.e.com \"x\" is invalid: spec.mode: Invalid value: mode is immutable";
    assert_eq!((code, answer["message"].as_str()), (422, Some(want)));
    for (selector, names) in [
        ("spec.mode=b", json!(["y"])),
        ("spec.mode!=b", json!(["x"])),
        ("spec.size=5,spec.mode=a", json!(["x"])),
        ("spec.size=9", json!([])),
    ] {
        let (code, list) =
            call(&cluster, "GET", &format!("{FOOS}?fieldSelector={selector}"), Value::Null).await;
        let found: Vec<_> =
            list["items"].as_array().unwrap().iter().map(|o| o["metadata"]["name"].clone()).collect();
        assert_eq!((code, json!(found)), (200, names), "{selector}");
    }
    let (code, answer) =
        call(&cluster, "GET", &format!("{FOOS}?fieldSelector=spec.name=x"), Value::Null).await;
    assert_eq!((code, answer["message"].as_str()), (400, Some("field label not supported: spec.name")));
    crd["metadata"]["name"] = json!("bars.e.com");
    crd["spec"]["names"] = json!({"plural": "bars", "kind": "Bar"});
    let spec = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    spec["x-kubernetes-validations"] = json!([{"rule": "self.nosuch == 1"}]);
    let (code, answer) = call(&cluster, "POST", CRDS, crd).await;
    let message = answer["message"].as_str().unwrap_or_default();
    assert!(code == 422 && message.contains("undefined field 'nosuch'"), "{answer}");
}
