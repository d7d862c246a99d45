//! Evictions and the budgets that they spend.

use client::{Options, Verb};
use serde_json::{Value, json};

use crate::harness::{Client, Cluster, default_account, pod, said};

const BUDGET: &str = "poddisruptionbudgets.policy/default/b";

async fn running(api: &Client, name: &str, ready: &str) {
    let mut made = pod(name);
    made["metadata"]["labels"] = json!({"a": "b"});
    made["spec"]["nodeName"] = "n".into();
    api.create("pods/default", made).await.unwrap();
    let status = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}});
    api.merge(&format!("pods/default/{name}/status"), status).await.unwrap();
}

async fn stands(api: &Client, status: Value) {
    api.merge(&format!("{BUDGET}/status"), json!({"status": status})).await.unwrap();
}

fn eviction(name: &str, options: Value) -> Value {
    json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}, "deleteOptions": options})
}

async fn evict(api: &Client, name: &str, options: Value) -> Result<Value, client::Status> {
    api.create(&format!("pods/default/{name}/eviction"), eviction(name, options)).await
}

/// Code, cause and delay of a refusal.
fn refusal(answer: Result<Value, client::Status>) -> (u16, String, i32) {
    let status = answer.unwrap_err();
    assert_eq!(status.message, "Cannot evict pod as it would violate the pod's disruption budget.");
    let details = status.details.unwrap();
    assert_eq!(details.causes[0].reason, "DisruptionBudget");
    (status.code, details.causes[0].message.clone(), details.retry_after_seconds)
}

async fn cluster() -> (Cluster, Client) {
    let cluster = Cluster::start().await;
    let api = cluster.admin();
    default_account(&api).await;
    let budget = json!({"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}});
    let made = api.create("poddisruptionbudgets.policy/default", budget).await.unwrap();
    let zero = json!({"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0});
    assert_eq!((&made["status"], &made["metadata"]["generation"]), (&zero, &json!(1)));
    (cluster, api)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_is_spent_once() {
    let (cluster, api) = cluster().await;
    running(&api, "p", "True").await;
    running(&api, "q", "True").await;
    assert_eq!(
        refusal(evict(&api, "p", Value::Null).await),
        (429, "The disruption budget b is still being processed by the server.".into(), 10)
    );
    let full = json!({"currentHealthy": 1, "desiredHealthy": 1, "disruptionsAllowed": 0, "expectedPods": 1,
        "observedGeneration": 1});
    stands(&api, full).await;
    let needs = "The disruption budget b needs 1 healthy pods and has 1 currently".to_owned();
    assert_eq!(refusal(evict(&api, "p", Value::Null).await), (429, needs, 0));
    stands(&api, json!({"currentHealthy": 2, "disruptionsAllowed": 1})).await;
    let dry = Options { dry_run: true, ..Options::default() };
    let verb = Verb::Create(eviction("p", Value::Null));
    api.call("pods/default/p/eviction", verb, dry).await.unwrap();
    evict(&api, "p", json!({"dryRun": ["All"]})).await.unwrap();
    assert_eq!(api.get(BUDGET).await.unwrap()["status"]["disruptionsAllowed"], 1);
    let wrong = json!({"preconditions": {"uid": "another"}});
    assert!(said(evict(&api, "p", wrong).await).starts_with("409 Conflict"));
    stands(&api, json!({"currentHealthy": 2, "disruptionsAllowed": 1})).await;
    // Of two at once one is refused.
    let (one, two) = tokio::join!(evict(&api, "p", Value::Null), evict(&api, "q", Value::Null));
    assert_eq!([&one, &two].iter().filter(|answer| answer.is_ok()).count(), 1, "{one:?} {two:?}");
    let status = api.get(BUDGET).await.unwrap()["status"].clone();
    let condition = &status["conditions"][0];
    assert_eq!(
        (&status["disruptionsAllowed"], &condition["reason"]),
        (&json!(0), &json!("InsufficientPods"))
    );
    let gone = if one.is_ok() { "p" } else { "q" };
    assert!(status["disruptedPods"][gone].is_string(), "{status}");
    let pod = api.get(&format!("pods/default/{gone}")).await.unwrap();
    assert!(pod["metadata"]["deletionTimestamp"].is_string());
    let conditions = pod["status"]["conditions"].as_array().unwrap();
    let told = conditions.iter().find(|c| c["type"] == "DisruptionTarget").unwrap();
    assert_eq!((&told["status"], &told["reason"]), (&json!("True"), &json!("EvictionByEvictionAPI")));
    assert_eq!(told["message"], "Eviction API: evicting");
    // What goes already needs no budget.
    evict(&api, gone, Value::Null).await.unwrap();
    drop(cluster);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_unwell_may_go() {
    let (_cluster, api) = cluster().await;
    running(&api, "p", "False").await;
    let status = json!({"currentHealthy": 0, "desiredHealthy": 1, "disruptionsAllowed": 0, "expectedPods": 1,
        "observedGeneration": 1});
    stands(&api, status).await;
    let needs = "The disruption budget b needs 1 healthy pods and has 0 currently".to_owned();
    assert_eq!(refusal(evict(&api, "p", Value::Null).await), (429, needs, 0));
    api.merge(BUDGET, json!({"spec": {"unhealthyPodEvictionPolicy": "AlwaysAllow"}})).await.unwrap();
    evict(&api, "p", Value::Null).await.unwrap();
    assert!(api.get("pods/default/p").await.unwrap()["metadata"]["deletionTimestamp"].is_string());
    // Two budgets are one too many; a Pod that does not run yet asks none.
    running(&api, "q", "True").await;
    let other = json!({"metadata": {"name": "c"}, "spec": {"selector": {}}});
    api.create("poddisruptionbudgets.policy/default", other).await.unwrap();
    assert_eq!(
        said(evict(&api, "q", Value::Null).await),
        "500  This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
    );
    let mut pending = pod("r");
    pending["metadata"]["labels"] = json!({"a": "b"});
    api.create("pods/default", pending).await.unwrap();
    evict(&api, "r", Value::Null).await.unwrap();
    assert!(said(evict(&api, "r", Value::Null).await).starts_with("404"));
}
