//! Role objects: what every cluster has of them, what they allow at once, and that nobody grants more than he has.

use client::Verb;
use serde_json::{Value, json};

use crate::harness::{Client, Cluster, config_map, said};

const GROUP: &str = "rbac.authorization.k8s.io";

fn role(name: &str, rules: Value) -> Value {
    json!({"metadata": {"name": name}, "rules": rules})
}

fn binding(name: &str, role: (&str, &str), user: &str) -> Value {
    json!({"metadata": {"name": name}, "roleRef": {"apiGroup": GROUP, "kind": role.0, "name": role.1},
        "subjects": [{"kind": "User", "name": user}]})
}

const ROLES: &str = "roles.rbac.authorization.k8s.io/default";
const BINDINGS: &str = "rolebindings.rbac.authorization.k8s.io/default";
const CLUSTER_ROLES: &str = "clusterroles.rbac.authorization.k8s.io/-";

/// A cluster in which jane may write roles and bindings of the namespace, and read ConfigMaps.
async fn with_jane() -> (Cluster, Client, Client) {
    let cluster = Cluster::start().await;
    let (admin, jane) = (cluster.admin(), cluster.user("jane", "people"));
    let rules = json!([
        {"apiGroups": [GROUP], "resources": ["roles", "rolebindings"], "verbs": ["create", "get", "update", "patch"]},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]},
    ]);
    admin.create(ROLES, role("r", rules)).await.unwrap();
    assert!(said(jane.get(&format!("{ROLES}/r")).await).starts_with("403"));
    admin.create(BINDINGS, binding("b", ("Role", "r"), "jane")).await.unwrap();
    (cluster, admin, jane)
}

#[tokio::test]
async fn nobody_grants_more_than_he_has() {
    let (_cluster, admin, jane) = with_jane().await;
    let secrets = json!([{"apiGroups": [""], "resources": ["secrets", "pods"], "verbs": ["*"]}]);
    let lacks = "is attempting to grant RBAC permissions not currently held:\n";
    assert_eq!(
        said(jane.create(ROLES, role("esc", secrets.clone())).await),
        format!(
            "403 Forbidden roles.rbac.authorization.k8s.io \"esc\" is forbidden: user \"jane\" (groups=[\"people\" \
             \"system:authenticated\"]) {lacks}{{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"*\"]}}\n\
             {{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"*\"]}}"
        )
    );
    let own = json!([{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]);
    jane.create(ROLES, role("ok", own)).await.unwrap();
    let refused = said(jane.merge(&format!("{ROLES}/r"), json!({"rules": secrets})).await);
    assert!(refused.contains(lacks), "{refused}");
    // What grants nothing may be changed.
    jane.merge(&format!("{ROLES}/r"), json!({"metadata": {"finalizers": ["a.b/c"]}})).await.unwrap();
    jane.merge(&format!("{ROLES}/r"), json!({"metadata": {"finalizers": null}})).await.unwrap();

    let refused = said(jane.create(BINDINGS, binding("bb", ("ClusterRole", "cluster-admin"), "jane")).await);
    assert!(
        refused.ends_with(
            "{APIGroups:[\"*\"], Resources:[\"*\"], Verbs:[\"*\"]}\n{NonResourceURLs:[\"*\"], Verbs:[\"*\"]}"
        ),
        "{refused}"
    );
    assert_eq!(
        said(jane.create(BINDINGS, binding("bb", ("ClusterRole", "nosuch"), "jane")).await),
        "404 NotFound rolebindings.rbac.authorization.k8s.io \"nosuch\" not found"
    );
    // With the verbs for it he may.
    let more = json!([
        {"apiGroups": [GROUP], "resources": ["clusterroles"], "verbs": ["bind"], "resourceNames": ["view"]},
        {"apiGroups": [GROUP], "resources": ["roles"], "verbs": ["escalate"]},
    ]);
    admin.create(ROLES, role("more", more)).await.unwrap();
    admin.create(BINDINGS, binding("more", ("Role", "more"), "jane")).await.unwrap();
    jane.create(BINDINGS, binding("bb", ("ClusterRole", "view"), "joe")).await.unwrap();
    let refused = said(jane.create(BINDINGS, binding("cc", ("ClusterRole", "edit"), "joe")).await);
    assert!(refused.contains(lacks), "{refused}");
    jane.create(ROLES, role("esc", secrets)).await.unwrap();
}

#[tokio::test]
async fn a_right_comes_and_goes_with_its_objects() {
    let (cluster, admin, jane) = with_jane().await;
    admin.create("configmaps/default", config_map("c", json!({}))).await.unwrap();
    jane.get("configmaps/default/c").await.unwrap();
    let review = |spec: Value| json!({"spec": spec});
    let spec = json!({"namespace": "default", "verb": "get", "resource": "configmaps", "name": "c"});
    let asked = review(json!({"resourceAttributes": spec}));
    let answer = jane.create("selfsubjectaccessreviews.authorization.k8s.io", asked).await.unwrap();
    assert_eq!(
        answer["status"],
        json!({"allowed": true, "reason": "RBAC: allowed by RoleBinding \"b/default\" of Role \"r\" to User \"jane\""})
    );
    let rules = review(json!({"namespace": "default"}));
    let answer = jane.create("selfsubjectrulesreviews.authorization.k8s.io", rules).await.unwrap();
    let resources = answer["status"]["resourceRules"].as_array().unwrap();
    assert!(
        resources
            .contains(&json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]})),
        "{answer}"
    );
    assert_eq!(answer["status"]["incomplete"], true);

    admin.delete(&format!("{ROLES}/r"), Value::Null).await.unwrap();
    let refused = said(jane.get("configmaps/default/c").await);
    let missing = ": RBAC: role.rbac.authorization.k8s.io \"r\" not found";
    assert!(refused.starts_with("403") && refused.ends_with(missing), "{refused}");
    admin.delete(&format!("{BINDINGS}/b"), Value::Null).await.unwrap();
    assert!(said(jane.get("configmaps/default/c").await).ends_with("in the namespace \"default\""));

    // The role of a binding is not changed.
    admin.create(BINDINGS, binding("b", ("Role", "r"), "jane")).await.unwrap();
    let refused = said(admin.merge(&format!("{BINDINGS}/b"), json!({"roleRef": {"name": "other"}})).await);
    assert!(refused.ends_with("\"Name\":\"other\"}: cannot change roleRef"), "{refused}");
    drop(cluster);
}

#[tokio::test]
async fn a_start_puts_right_what_is_missing() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let count = |list: Value| list["items"].as_array().unwrap().len();
    let all = client::Options {
        label_selector: "kubernetes.io/bootstrapping=rbac-defaults".into(),
        ..Default::default()
    };
    assert_eq!(count(admin.list(CLUSTER_ROLES, all).await.unwrap()), 69);
    let basic = format!("{CLUSTER_ROLES}/system:basic-user");
    let version =
        admin.get(&format!("{CLUSTER_ROLES}/view")).await.unwrap()["metadata"]["resourceVersion"].clone();
    admin.merge(&basic, json!({"rules": []})).await.unwrap();
    admin.delete(&format!("{CLUSTER_ROLES}/edit"), Value::Null).await.unwrap();
    let kept = format!("{CLUSTER_ROLES}/system:discovery");
    let no = json!({"metadata": {"annotations": {"rbac.authorization.kubernetes.io/autoupdate": "false"}}, "rules": null});
    admin.merge(&kept, no).await.unwrap();
    cluster.server.bootstrap().await.unwrap();
    assert_eq!(admin.get(&basic).await.unwrap()["rules"].as_array().unwrap().len(), 3, "each missing part");
    assert!(
        !admin.get(&format!("{CLUSTER_ROLES}/edit")).await.unwrap()["rules"].as_array().unwrap().is_empty()
    );
    assert_eq!(admin.get(&kept).await.unwrap().get("rules"), None);
    let same = admin.get(&format!("{CLUSTER_ROLES}/view")).await.unwrap();
    assert_eq!(same["metadata"]["resourceVersion"], version, "what is right is not written again");
    // A controller's account may what its role says, and no more.
    let job =
        cluster.in_process("system:serviceaccount:kube-system:job-controller", "system:serviceaccounts");
    assert!(
        said(job.call("pods/default/p", Verb::Delete(None), client::Options::default()).await)
            .starts_with("404")
    );
    assert!(said(job.get("secrets/default/s").await).starts_with("403"));
}
