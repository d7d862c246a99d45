//! What a node may do: over HTTPS and in-process alike, its own objects and what its Pods name, and nothing more.

use client::{Options, Status};
use serde_json::{Value, json};

use crate::harness::{Client, Cluster, config_map, default_account, pod, said};

const MIRROR: &str = "kubernetes.io/config.mirror";

fn bound(name: &str, node: &str) -> Value {
    let mut pod = pod(name);
    pod["spec"]["nodeName"] = node.into();
    pod
}

/// What was said beyond the code and the object.
fn why(result: Result<Value, Status>) -> String {
    said(result).split_once("is forbidden: ").map(|(_, why)| why.to_owned()).unwrap()
}

async fn cluster() -> (Cluster, Client, Client) {
    let cluster = Cluster::start().await;
    let (api, node) = (cluster.admin(), cluster.user("system:node:n1", "system:nodes"));
    default_account(&api).await;
    (cluster, api, node)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_sees_what_its_pods_refer_to() {
    let (cluster, api, node) = cluster().await;
    for name in ["mine", "theirs", "other"] {
        api.create("configmaps/default", config_map(name, json!({}))).await.unwrap();
    }
    let with = |name: &str, node: &str, map: &str| {
        let mut pod = bound(name, node);
        pod["spec"]["containers"][0]["envFrom"] = json!([{"configMapRef": {"name": map}}]);
        pod
    };
    let unrelated = r#"User "system:node:n1" cannot get resource "configmaps" in API group "" in the namespace "default": no relationship found between node 'n1' and this object"#;
    assert_eq!(why(node.get("configmaps/default/mine").await), unrelated);
    let made = api.create("pods/default", with("p", "n1", "mine")).await.unwrap();
    api.create("pods/default", with("q", "n2", "theirs")).await.unwrap();
    for client in [&node, &cluster.in_process("system:node:n1", "system:nodes")] {
        assert!(client.get("configmaps/default/mine").await.is_ok());
        for other in ["theirs", "other"] {
            assert_eq!(why(client.get(&format!("configmaps/default/{other}")).await), unrelated);
        }
        let own = Options { field_selector: "spec.nodeName=n1".into(), ..Options::default() };
        assert_eq!(client.list("pods", own).await.unwrap()["items"].as_array().unwrap().len(), 1);
        assert!(said(client.list("pods", Options::default()).await).starts_with("403"));
        assert!(said(client.list("nodes", Options::default()).await).starts_with("403"));
        assert!(said(client.list("serviceaccounts", Options::default()).await).starts_with("403"));
        assert!(said(client.list("namespaces", Options::default()).await).starts_with("403"));
        assert!(client.get("pods/default/p").await.is_ok());
        assert!(said(client.get("pods/default/q").await).starts_with("403"));
    }
    node.merge("pods/default/p/status", json!({"status": {"phase": "Running"}})).await.unwrap();
    api.create("serviceaccounts/default", json!({"metadata": {"name": "unused"}})).await.unwrap();
    let request = |uid: &Value, audiences: Value| {
        let pod = json!({"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": uid});
        json!({"spec": {"expirationSeconds": 600, "boundObjectRef": pod, "audiences": audiences}})
    };
    let (uid, account) = (&made["metadata"]["uid"], "serviceaccounts/default/default/token");
    assert!(node.create(account, request(uid, json!([]))).await.is_ok());
    assert_eq!(
        why(node.create(account, request(uid, json!(["vault"]))).await),
        r#"audience "vault" not found in pod spec volume, system:node:n1 is not authorized to request tokens for this audience"#
    );
    assert_eq!(
        why(node.create(account, request(&json!("another"), json!([]))).await),
        "the UID in the bound object reference (another) does not match the UID in record. The object might have been \
         deleted and then recreated"
    );
    assert_eq!(
        why(node.create(account, json!({"spec": {}})).await),
        "node requested token not bound to a pod"
    );
    let unused = node.create("serviceaccounts/default/unused/token", request(uid, json!([]))).await;
    assert!(why(unused).ends_with("no relationship found between node 'n1' and this object"));
    // With the Pod its node's rights are gone.
    node.delete("pods/default/p", json!({"gracePeriodSeconds": 0})).await.unwrap();
    assert_eq!(why(node.get("configmaps/default/mine").await), unrelated);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_writes_its_own_objects_only() {
    let (_cluster, api, node) = cluster().await;
    node.create("nodes", json!({"metadata": {"name": "n1", "labels": {"zone": "a"}}})).await.unwrap();
    api.create("nodes", json!({"metadata": {"name": "n2"}})).await.unwrap();
    api.create("pods/default", bound("p", "n1")).await.unwrap();
    api.create("pods/default", bound("q", "n2")).await.unwrap();
    let lease = |name: &str| json!({"metadata": {"name": name}, "spec": {"holderIdentity": name}});
    let restricted = json!({"metadata": {"labels": {"node-restriction.kubernetes.io/x": "y"}}});
    let taint = json!({"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}});
    let owner = json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n2", "uid": "u"}]}});
    let foreign = r#"node "n1" is not allowed to modify node "n2""#;
    let evict = |name: &str| json!({"metadata": {"name": name}});
    for (result, want) in [
        (
            node.create("nodes", json!({"metadata": {"name": "n3"}})).await,
            r#"node "n1" is not allowed to modify node "n3""#,
        ),
        (node.merge("nodes/-/n2", json!({"metadata": {"labels": {"a": "b"}}})).await, foreign),
        (node.merge("nodes/-/n2/status", json!({"status": {"phase": "x"}})).await, foreign),
        (
            node.merge("nodes/-/n1", restricted.clone()).await,
            "is not allowed to modify labels: node-restriction.kubernetes.io/x",
        ),
        (
            node.merge("nodes/-/n1/status", restricted).await,
            "is not allowed to modify labels: node-restriction.kubernetes.io/x",
        ),
        (node.merge("nodes/-/n1", taint.clone()).await, r#"node "n1" is not allowed to modify taints"#),
        (node.merge("nodes/-/n1/status", taint).await, r#"node "n1" is not allowed to modify taints"#),
        (node.merge("nodes/-/n1", owner).await, r#"node "n1" is not allowed to modify ownerReferences"#),
        (
            node.create("leases.coordination.k8s.io/kube-node-lease", lease("n2")).await,
            "can only access node lease with the same name as the requesting node",
        ),
        (
            node.create("pods/default", bound("x", "n1")).await,
            r#"pod does not have "kubernetes.io/config.mirror" annotation, node "n1" can only create mirror pods"#,
        ),
        (
            node.merge("pods/default/q/status", json!({"status": {"phase": "Failed"}})).await,
            r#"node "n1" can only update pod status for pods with spec.nodeName set to itself"#,
        ),
        (
            node.merge("pods/default/p/status", json!({"metadata": {"labels": {"a": "b"}}})).await,
            r#"node "n1" cannot update labels through pod status"#,
        ),
        (
            node.delete("pods/default/q", Value::Null).await,
            r#"node "n1" can only delete pods with spec.nodeName set to itself"#,
        ),
        (
            node.create("pods/default/q/eviction", evict("q")).await,
            "node n1 can only evict pods with spec.nodeName set to itself",
        ),
    ] {
        assert_eq!(why(result), want);
    }
    let labels = json!({"metadata": {"labels": {"kubernetes.io/os": "linux", "zone": "b"}}});
    node.merge("nodes/-/n1", labels).await.unwrap();
    node.create("leases.coordination.k8s.io/kube-node-lease", lease("n1")).await.unwrap();
    node.create("pods/default/p/eviction", evict("p")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_makes_mirrors_of_its_own_pods_only() {
    let (_cluster, _api, node) = cluster().await;
    let made = node.create("nodes", json!({"metadata": {"name": "n1"}})).await.unwrap();
    let mut mirror = bound("m", "n1");
    mirror["metadata"]["annotations"] = json!({MIRROR: "hash"});
    mirror["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "Node", "name": "n1",
        "uid": made["metadata"]["uid"], "controller": true}]);
    let mut greedy = mirror.clone();
    greedy["spec"]["volumes"] = json!([{"name": "v", "configMap": {"name": "c"}}]);
    assert_eq!(
        why(node.create("pods/default", greedy).await),
        r#"node "n1" can not create pods that reference configmaps"#
    );
    node.create("pods/default", mirror).await.unwrap();
    node.delete("pods/default/m", json!({"gracePeriodSeconds": 0})).await.unwrap();
}
