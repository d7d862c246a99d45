//! DELETE: grace, finalizers, preconditions, propagation, namespaces.

use client::{Options, Verb};
use serde_json::{Value, json};

use crate::harness::{Client, Cluster, config_map, default_account, pod, said, target};

async fn bind(api: &Client, name: &str) {
    let binding = json!({"metadata": {"name": name}, "target": {"kind": "Node", "name": "n1"}});
    let done = api.create(&format!("pods/default/{name}/binding"), binding).await.unwrap();
    assert_eq!((done["kind"].as_str(), done["status"].as_str()), (Some("Status"), Some("Success")));
}

#[tokio::test(flavor = "multi_thread")]
async fn grace_of_pods() {
    let cluster = Cluster::start().await;
    let api = cluster.admin();
    default_account(&api).await;
    api.create("pods/default", pod("free")).await.unwrap();
    let gone = api.delete("pods/default/free", Value::Null).await.unwrap();
    assert_eq!(gone["kind"], "Pod", "a Pod's DELETE answers with the Pod");
    assert!(said(api.get("pods/default/free").await).starts_with("404"));

    api.create("pods/default", pod("p")).await.unwrap();
    bind(&api, "p").await;
    let bound = api.get("pods/default/p").await.unwrap();
    assert_eq!(bound["spec"]["nodeName"], "n1");
    assert_eq!(bound["status"]["conditions"][0]["type"], "PodScheduled");
    let binding = json!({"metadata": {"name": "p"}, "target": {"name": "n2"}});
    assert_eq!(
        said(api.create("pods/default/p/binding", binding).await),
        r#"409 Conflict Operation cannot be fulfilled on pods/binding "p": pod p is already assigned to node "n1""#
    );
    let going = api.delete("pods/default/p", Value::Null).await.unwrap();
    assert_eq!(going["metadata"]["deletionGracePeriodSeconds"], 30);
    let repeated = api.delete("pods/default/p", json!({"gracePeriodSeconds": 60})).await.unwrap();
    assert_eq!(repeated["metadata"], going["metadata"], "a repeated DELETE only shortens");
    let shorter = api.delete("pods/default/p", json!({"gracePeriodSeconds": 5})).await.unwrap();
    assert_eq!(shorter["metadata"]["deletionGracePeriodSeconds"], 5);
    assert!(
        shorter["metadata"]["deletionTimestamp"].as_str() < going["metadata"]["deletionTimestamp"].as_str()
    );
    let wrong = json!({"preconditions": {"uid": "1"}});
    assert!(
        said(api.delete("pods/default/p", wrong).await)
            .contains("the UID in the precondition (1) does not match")
    );
    api.delete("pods/default/p", json!({"gracePeriodSeconds": 0})).await.unwrap();
    assert!(said(api.get("pods/default/p").await).starts_with("404"));

    api.create("pods/default", pod("e")).await.unwrap();
    bind(&api, "e").await;
    let eviction = json!({"metadata": {"name": "e"}, "deleteOptions": {"gracePeriodSeconds": 7}});
    api.create("pods/default/e/eviction", eviction).await.unwrap();
    let evicted = api.get("pods/default/e").await.unwrap();
    assert_eq!(evicted["metadata"]["deletionGracePeriodSeconds"], 7);
    let conditions = evicted["status"]["conditions"].as_array().unwrap();
    assert!(
        conditions.iter().any(|c| c["type"] == "DisruptionTarget" && c["reason"] == "EvictionByEvictionAPI")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn finalizers_and_propagation() {
    let cluster = Cluster::start().await;
    let api = cluster.admin();
    let mut object = config_map("a", json!({}));
    object["metadata"]["finalizers"] = json!(["example.com/x"]);
    api.create("configmaps/default", object.clone()).await.unwrap();
    let marked = api.delete("configmaps/default/a", Value::Null).await.unwrap();
    assert_eq!(marked["kind"], "ConfigMap", "what stays is answered with");
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 0);
    let added = json!({"metadata": {"finalizers": ["example.com/x", "example.com/y"]}});
    assert!(said(api.merge("configmaps/default/a", added).await).contains("no new finalizers can be added"));
    assert_eq!(
        said(api.create("configmaps/default", object).await),
        r#"409 AlreadyExists object is being deleted: configmaps "a" already exists"#
    );
    api.merge("configmaps/default/a", json!({"metadata": {"finalizers": null}})).await.unwrap();
    assert!(said(api.get("configmaps/default/a").await).starts_with("404"));

    for (policy, finalizer) in [("Orphan", "orphan"), ("Foreground", "foregroundDeletion")] {
        api.create("configmaps/default", config_map("b", json!({}))).await.unwrap();
        let marked = api.delete("configmaps/default/b", json!({"propagationPolicy": policy})).await.unwrap();
        assert_eq!(marked["metadata"]["finalizers"], json!([finalizer]));
        api.merge("configmaps/default/b", json!({"metadata": {"finalizers": []}})).await.unwrap();
    }
    api.create("configmaps/default", config_map("c", json!({}))).await.unwrap();
    let both = json!({"propagationPolicy": "Orphan", "orphanDependents": true});
    assert!(said(api.delete("configmaps/default/c", both).await).starts_with("422 Invalid"));
    let done = api.delete("configmaps/default/c", Value::Null).await.unwrap();
    assert_eq!(
        (done["kind"].as_str(), done["details"]["kind"].as_str()),
        (Some("Status"), Some("configmaps"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn collections_and_namespaces() {
    let cluster = Cluster::start().await;
    let api = cluster.admin();
    let made = api.create("namespaces", json!({"metadata": {"name": "n"}})).await.unwrap();
    assert_eq!(made["spec"]["finalizers"], json!(["kubernetes"]));
    assert_eq!(made["metadata"]["labels"]["kubernetes.io/metadata.name"], "n");
    for name in ["a", "b", "c"] {
        let mut object = config_map(name, json!({}));
        object["metadata"]["labels"] = json!({"keep": (name == "b").to_string()});
        api.create("configmaps/n", object).await.unwrap();
    }
    let options = Options { label_selector: "keep=false".into(), ..Options::default() };
    let deleted = api.call("configmaps/n", Verb::DeleteCollection(None), options).await.unwrap();
    assert_eq!(
        (deleted["kind"].as_str(), deleted["items"].as_array().unwrap().len()),
        (Some("ConfigMapList"), 2)
    );
    let left = api.list("configmaps/n", Options::default()).await.unwrap();
    assert_eq!(left["items"].as_array().unwrap().len(), 1);

    let going = api.delete("namespaces/-/n", Value::Null).await.unwrap();
    assert_eq!(going["status"]["phase"], "Terminating");
    assert_eq!(
        said(api.create("configmaps/n", config_map("d", json!({}))).await),
        r#"403 Forbidden configmaps "d" is forbidden: unable to create new content in namespace n because it is being terminated"#
    );
    let mut finalize = api.get("namespaces/-/n").await.unwrap();
    finalize["spec"]["finalizers"] = json!([]);
    api.update("namespaces/-/n/finalize", finalize).await.unwrap();
    assert!(said(api.get("namespaces/-/n").await).starts_with("404"));
    assert_eq!(
        said(api.delete("namespaces/-/kube-system", Value::Null).await),
        r#"403 Forbidden namespaces "kube-system" is forbidden: this namespace may not be deleted"#
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_finalizer_and_a_page() {
    let cluster = Cluster::start().await;
    let api = cluster.admin();
    let held = json!({"metadata": {"name": "h", "finalizers": ["example.com/f"]}});
    api.create("configmaps/default", held).await.unwrap();
    let marked = api.delete("configmaps/default/h", Value::Null).await.unwrap();
    let from = Options { resource_version: said_version(&marked), ..Options::default() };
    let mut watch = api.0.watch(target("configmaps/default"), from).await.unwrap();
    let last = api.merge("configmaps/default/h", json!({"metadata": {"finalizers": null}})).await.unwrap();
    assert_eq!(said_version(&last), said_version(&marked), "what is removed gets no new version");
    assert_eq!(last["metadata"].get("finalizers"), None);
    let events = watch.next().await.unwrap();
    let gone: Value = events[0].object.as_ref().unwrap().parse().unwrap();
    assert_eq!(gone["metadata"]["finalizers"], json!(["example.com/f"]), "watchers see what was stored");
    assert_ne!(said_version(&gone), said_version(&marked));

    for n in 0..3 {
        api.create("configmaps/default", config_map(&format!("m{n}"), json!({}))).await.unwrap();
    }
    let page = |token: &str| Options { limit: 2, continue_token: token.into(), ..Options::default() };
    let first = api.call("configmaps/default", Verb::DeleteCollection(None), page("")).await.unwrap();
    assert_eq!(first["items"].as_array().unwrap().len(), 2);
    let token = first["metadata"]["continue"].as_str().unwrap();
    let names = |list: Value| {
        list["items"].as_array().unwrap().iter().map(|i| i["metadata"]["name"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(api.list("configmaps/default", Options::default()).await.unwrap()), ["m2"]);
    let second = api.call("configmaps/default", Verb::DeleteCollection(None), page(token)).await.unwrap();
    assert_eq!(names(second), ["m2"]);
    assert!(names(api.list("configmaps/default", Options::default()).await.unwrap()).is_empty());
}

fn said_version(object: &Value) -> String {
    object["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
}
