//! Quotas and ranges of a namespace, as they are charged, refused, given back and completed.

use client::Options;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Client, Cluster, config_map, default_account, said};

const QUOTA: &str = "resourcequotas/default/q";

/// A quota whose status is known, as its controller would tell it.
async fn with_quota(hard: Value) -> (Cluster, Client) {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    default_account(&admin).await;
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": hard}});
    let mut quota = admin.create("resourcequotas/default", quota).await.unwrap();
    assert_eq!(quota["status"], json!({}));
    let used: Value = hard.as_object().unwrap().keys().map(|name| (name.clone(), json!("0"))).collect();
    quota["status"] = json!({"hard": hard, "used": used});
    admin.update("resourcequotas/default/q/status", quota).await.unwrap();
    (cluster, admin)
}

async fn used(admin: &Client) -> Value {
    admin.get(QUOTA).await.unwrap()["status"]["used"].clone()
}

#[tokio::test]
async fn the_last_of_something_goes_to_one() {
    let (_cluster, admin) = with_quota(json!({"count/configmaps": "5", "secrets": "1"})).await;
    let maps = (0..12).map(|n| {
        let admin = admin.clone();
        async move { admin.create("configmaps/default", config_map(&format!("c{n}"), json!({}))).await }
    });
    let made = join_all(maps).await;
    let refused: Vec<String> =
        made.iter().filter_map(|r| r.as_ref().err()).map(|e| e.message.clone()).collect();
    assert_eq!(refused.len(), 7, "{refused:?}");
    let words = "is forbidden: exceeded quota: q, requested: count/configmaps=1, used: count/configmaps=5, limited: \
                 count/configmaps=5";
    assert!(refused.iter().all(|message| message.ends_with(words)), "{refused:?}");
    assert_eq!(used(&admin).await, json!({"count/configmaps": "5", "secrets": "0"}));

    // A dry run takes nothing, and what came to nothing is given back.
    let secret = |name: &str| json!({"metadata": {"name": name}});
    let dry = Options { dry_run: true, ..Options::default() };
    admin.call("secrets/default", client::Verb::Create(secret("s")), dry).await.unwrap();
    assert_eq!(used(&admin).await["secrets"], "0");
    admin.create("secrets/default", secret("s")).await.unwrap();
    assert_eq!(used(&admin).await["secrets"], "1");
    assert!(
        said(admin.create("secrets/default", secret("t")).await)
            .contains("requested: secrets=1, used: secrets=1")
    );
    admin.merge(QUOTA, json!({"spec": {"hard": {"secrets": "2"}}})).await.unwrap();
    admin.merge(&format!("{QUOTA}/status"), json!({"status": {"hard": {"secrets": "2"}}})).await.unwrap();
    assert!(said(admin.create("secrets/default", secret("s")).await).starts_with("409 AlreadyExists"));
    assert_eq!(used(&admin).await["secrets"], "1");
}

#[tokio::test]
async fn pods_and_their_resources() {
    let (_cluster, admin) = with_quota(json!({"requests.cpu": "1", "limits.memory": "1Gi"})).await;
    let pod = |name: &str, resources: Value| json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i", "resources": resources}]}});
    let resources = json!({"requests": {"cpu": "600m"}, "limits": {"memory": "600Mi"}});
    let create = |name: &'static str, resources: Value| admin.create("pods/default", pod(name, resources));
    assert_eq!(
        said(create("a", json!({})).await),
        "403 Forbidden pods \"a\" is forbidden: failed quota: q: must specify limits.memory for: c; requests.cpu for: c"
    );
    create("b", resources.clone()).await.unwrap();
    assert_eq!(used(&admin).await, json!({"limits.memory": "600Mi", "requests.cpu": "600m"}));
    let refused = said(create("c", resources).await);
    assert!(refused.ends_with("limited: limits.memory=1Gi,requests.cpu=1"), "{refused}");
    // A range completes what the quota asks for, and is told where.
    let range = json!({"metadata": {"name": "r"}, "spec": {"limits": [{"type": "Container",
        "default": {"memory": "100Mi"}, "defaultRequest": {"cpu": "100m"}, "max": {"memory": "1Gi"}}]}});
    admin.create("limitranges/default", range).await.unwrap();
    let made = create("d", json!({})).await.unwrap();
    assert_eq!(
        made["metadata"]["annotations"]["kubernetes.io/limit-ranger"],
        "LimitRanger plugin set: cpu, memory request for container c; memory limit for container c"
    );
    let over = json!({"limits": {"memory": "2Gi"}});
    assert_eq!(
        said(create("e", over).await),
        "403 Forbidden pods \"e\" is forbidden: maximum memory usage per Container is 1Gi, but limit is 2Gi"
    );
}
