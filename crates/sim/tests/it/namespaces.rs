//! Namespaces: what each gets, and how one goes.

use serde_json::Value;

use crate::world::{World, pod};

#[tokio::test(start_paused = true)]
async fn are_furnished_and_emptied_pods_first() {
    let world = World::start().await;
    world.create("namespaces", serde_json::json!({"metadata": {"name": "other"}})).await;
    for namespace in ["other", "kube-system"] {
        world.until("the account", |w| w.find("serviceaccounts", namespace, "default")).await;
        let map = world.until("the root CA", |w| w.find("configmaps", namespace, "kube-root-ca.crt")).await;
        assert!(map["data"]["ca.crt"].as_str().unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
    }
    let mut made = pod("p", "1");
    made["metadata"]["namespace"] = "other".into();
    world.create("pods", made).await;
    let bound = |w: &World| w.find("pods", "other", "p").filter(|p| p["spec"]["nodeName"].is_string());
    world.until("a bound Pod", bound).await;
    world.delete("namespaces", "other", Value::Null).await;
    let remaining = "Some resources are remaining: pods. has 1 resource instances";
    let says = |w: &World| {
        let conditions = w.find("namespaces", "", "other")?["status"]["conditions"].as_array().cloned()?;
        conditions.iter().any(|c| c["message"] == remaining).then_some(())
    };
    world.until("a condition", says).await;
    assert!(world.find("configmaps", "other", "kube-root-ca.crt").is_some());
    let now = client::Verb::Delete(Some(serde_json::json!({"gracePeriodSeconds": 0})));
    world.call("pods", "other", "p", "", now).await;
    world.until("no namespace", |w| w.is_gone("namespaces", "other")).await;
    assert!(world.all("serviceaccounts", "other").is_empty());
    world.stop().await;
}
