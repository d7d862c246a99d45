//! What kubectl looks for in the documents.

use serde_json::{Value, json};

use std::collections::BTreeSet;

use super::*;
use crate::built_in;

#[test]
fn v3_of_core() {
    let doc = v3("", "v1", built_in());
    let patch = &doc["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"];
    assert_eq!(patch["operationId"], "patchCoreV1NamespacedPod");
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({"group": "", "version": "v1", "kind": "Pod"})
    );
    let names: Vec<&str> =
        patch["parameters"].as_array().expect("a list").iter().filter_map(|p| p["name"].as_str()).collect();
    assert_eq!(names, ["dryRun", "fieldManager", "fieldValidation", "force"]);
    assert!(patch["requestBody"]["content"]["application/apply-patch+yaml"].is_object());
    let list = &doc["paths"]["/api/v1/pods"]["get"];
    assert_eq!(list["operationId"], "listCoreV1PodForAllNamespaces");
    assert_eq!(doc["paths"]["/api/v1/pods"].get("post"), None);
    let schemas = &doc["components"]["schemas"];
    let containers = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(
        containers,
        &json!({
            "type": "array",
            "items": {"$ref": "#/components/schemas/io.k8s.api.core.v1.Container"},
            "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "x-kubernetes-patch-merge-key": "name", "x-kubernetes-patch-strategy": "merge",
        })
    );
    let pod = &schemas["io.k8s.api.core.v1.Pod"];
    assert_eq!(
        pod["x-kubernetes-group-version-kind"],
        json!([{"group": "", "version": "v1", "kind": "Pod"}])
    );
    assert_eq!(schemas["io.k8s.api.core.v1.PodSpec"]["required"], json!(["containers"]));
    assert!(doc["paths"].as_object().expect("paths").keys().all(|p| p.starts_with("/api/v1/")));
}

/// What each operation takes beyond its path, the path's own parameters, and the groups of what is in every group.
#[test]
fn what_a_path_takes_is_said_once() {
    let doc = v3("events.k8s.io", "v1", built_in());
    let names = |at: &Value| -> Vec<String> {
        at["parameters"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|p| p["name"].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    let everywhere = &doc["paths"]["/apis/events.k8s.io/v1/events"];
    assert_eq!(names(&everywhere["get"]), [""; 0]);
    assert!(names(everywhere).contains(&"shardSelector".to_owned()));
    let one = &doc["paths"]["/apis/events.k8s.io/v1/watch/namespaces/{namespace}/events/{name}"];
    assert_eq!(one["get"]["operationId"], "watchEventsV1NamespacedEvent");
    assert_eq!(one["get"]["x-kubernetes-action"], "watch");
    let resources = &doc["paths"]["/apis/events.k8s.io/v1/"];
    assert_eq!(resources["get"]["operationId"], "getEventsV1APIResources");
    assert_eq!(resources["get"].get("x-kubernetes-action"), None);
    assert_eq!(names(resources), [""; 0]);
    let options = &doc["components"]["schemas"]["io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"];
    assert_eq!(
        options["x-kubernetes-group-version-kind"],
        json!([
            {"group": "", "version": "v1", "kind": "DeleteOptions"},
            {"group": "events.k8s.io", "version": "v1", "kind": "DeleteOptions"},
        ])
    );
    let exec = &v3("", "v1", built_in())["paths"]["/api/v1/namespaces/{namespace}/pods/{name}/exec"];
    assert_eq!(exec["post"]["operationId"], "connectCoreV1PostNamespacedPodExec");
}

fn references(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            out.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
            map.values().for_each(|v| references(v, out));
        }
        Value::Array(items) => items.iter().for_each(|v| references(v, out)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let mut documents = vec![v2(built_in())];
    documents.extend(built_in().iter().map(|k| v3(&k.group, &k.version, built_in())));
    for doc in documents {
        let mut all = Vec::new();
        references(&doc, &mut all);
        assert!(!all.is_empty());
        for reference in all {
            let pointer = reference.trim_start_matches('#');
            assert!(doc.pointer(pointer).is_some(), "{reference}");
        }
    }
}

#[test]
fn operation_ids_are_unique() {
    for doc in [v2(built_in()), v3("", "v1", built_in()), v3("batch", "v1", built_in())] {
        let mut ids = BTreeSet::new();
        for (path, item) in doc["paths"].as_object().expect("paths") {
            for (method, operation) in
                item.as_object().expect("an item").iter().filter(|(m, _)| *m != "parameters")
            {
                let id = operation["operationId"].as_str().expect("an id");
                assert!(ids.insert(id.to_owned()), "{method} {path}: {id}");
            }
        }
    }
}
