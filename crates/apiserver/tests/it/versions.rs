//! One kind in two served versions: stored once, read in both, its group-versions told apart.

use serde_json::{Value, json};

use crate::harness::Cluster;

async fn call(cluster: &Cluster, method: &str, path: &str, body: Value) -> (u16, Value) {
    let media = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let (code, _, answer) = cluster.raw(method, path, &[("content-type", media)], body).await;
    (code.as_u16(), serde_json::from_slice(&answer).unwrap_or_default())
}

const V1: &str = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
const V2: &str = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";

#[tokio::test(flavor = "multi_thread")]
async fn an_autoscaler_in_both() {
    let cluster = Cluster::start().await;
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"});
    let old = json!({"metadata": {"name": "a"}, "spec": {"maxReplicas": 3, "scaleTargetRef": target}});
    let (code, made) = call(&cluster, "POST", V1, old).await;
    assert_eq!((code, &made["apiVersion"]), (201, &json!("autoscaling/v1")), "{made}");
    assert_eq!(made["spec"]["targetCPUUtilizationPercentage"], 80);
    assert_eq!(made["status"], json!({"currentReplicas": 0, "desiredReplicas": 0}));

    let (code, new) = call(&cluster, "GET", &format!("{V2}/a"), Value::Null).await;
    assert_eq!((code, &new["apiVersion"]), (200, &json!("autoscaling/v2")));
    assert_eq!(new["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 80);
    assert_eq!(new["status"], json!({"currentMetrics": null, "desiredReplicas": 0}));
    assert_eq!(new["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);

    // What the older version has no field for survives a change through it.
    let metric = json!([{"type": "Pods", "pods": {"metric": {"name": "m"},
        "target": {"type": "AverageValue", "averageValue": "10"}}}]);
    let (code, both) =
        call(&cluster, "PATCH", &format!("{V2}/a"), json!({"spec": {"metrics": metric}})).await;
    assert_eq!((code, &both["spec"]["metrics"]), (200, &metric));
    let (code, changed) =
        call(&cluster, "PATCH", &format!("{V1}/a"), json!({"spec": {"maxReplicas": 5}})).await;
    assert_eq!((code, &changed["spec"]["maxReplicas"]), (200, &json!(5)), "{changed}");
    let kept = changed["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/metrics"].as_str();
    assert_eq!(kept, Some(r#"[{"type":"Pods","pods":{"metricName":"m","targetAverageValue":"10"}}]"#));
    let (_, new) = call(&cluster, "GET", &format!("{V2}/a"), Value::Null).await;
    assert_eq!((&new["spec"]["metrics"], &new["spec"]["maxReplicas"]), (&metric, &json!(5)));
    assert!(new["metadata"]["annotations"].is_null());

    // The status is a part of its own in both.
    let status = json!({"spec": {"maxReplicas": 9}, "status": {"currentReplicas": 2, "desiredReplicas": 4}});
    let (code, told) = call(&cluster, "PATCH", &format!("{V1}/a/status"), status).await;
    assert_eq!(
        (code, &told["spec"]["maxReplicas"], &told["status"]["desiredReplicas"]),
        (200, &json!(5), &json!(4))
    );
    let (code, refused) =
        call(&cluster, "PATCH", &format!("{V1}/a"), json!({"spec": {"minReplicas": 0}})).await;
    assert_eq!(
        (code, &refused["message"]),
        (
            422,
            &json!(
                "HorizontalPodAutoscaler.autoscaling \"a\" is invalid: \
        [spec.minReplicas: Invalid value: 0: must be greater than or equal to 1, spec.metrics: Forbidden: must specify at \
        least one Object or External metric to support scaling to zero replicas]"
            )
        )
    );

    let (_, group) = call(&cluster, "GET", "/apis/autoscaling", Value::Null).await;
    assert_eq!(group["preferredVersion"]["version"], "v2");
    let hash = |list: &Value| list["resources"][0]["storageVersionHash"].clone();
    let (_, v1) = call(&cluster, "GET", "/apis/autoscaling/v1", Value::Null).await;
    let (_, v2) = call(&cluster, "GET", "/apis/autoscaling/v2", Value::Null).await;
    assert_eq!((hash(&v1), hash(&v2)), (json!("qwQve8ut294="), json!("qwQve8ut294=")));
}
