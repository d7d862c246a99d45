//! Priority classes: those of the system are there and stay, and a Pod has the number and the policy of its class.

use serde_json::{Value, json};

use crate::harness::{Cluster, default_account, pod, said};

const CLASSES: &str = "priorityclasses.scheduling.k8s.io/-";

fn of_class(name: &str, more: Value) -> Value {
    let mut made = pod(name);
    let spec = made["spec"].as_object_mut().unwrap();
    spec.extend(more.as_object().unwrap().clone());
    made
}

#[tokio::test(flavor = "multi_thread")]
async fn the_systems_classes_stay() {
    let cluster = Cluster::start().await;
    let api = cluster.admin();
    let class = api.get(&format!("{CLASSES}/system-node-critical")).await.unwrap();
    assert_eq!(
        (&class["value"], &class["preemptionPolicy"]),
        (&json!(2_000_001_000), &json!("PreemptLowerPriority"))
    );
    assert_eq!(class["metadata"]["generation"], 1);
    assert_eq!(
        said(api.delete(&format!("{CLASSES}/system-node-critical"), Value::Null).await),
        "403 Forbidden priorityclasses.scheduling.k8s.io \"system-node-critical\" is forbidden: this is a system priority \
         class and cannot be deleted"
    );
    let own = json!({"metadata": {"name": "own"}, "value": 7});
    api.create(CLASSES, own).await.unwrap();
    api.delete(&format!("{CLASSES}/own"), Value::Null).await.unwrap();
    // A start makes again only what is missing.
    cluster.server.bootstrap().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_has_its_classes_priority() {
    let cluster = Cluster::start().await;
    let api = cluster.admin();
    default_account(&api).await;
    let class = json!({"metadata": {"name": "c"}, "value": 77, "preemptionPolicy": "Never"});
    api.create(CLASSES, class).await.unwrap();
    let made = api.create("pods/default", of_class("a", json!({"priorityClassName": "c"}))).await.unwrap();
    assert_eq!((&made["spec"]["priority"], &made["spec"]["preemptionPolicy"]), (&json!(77), &json!("Never")));
    for (spec, want) in [
        (
            json!({"priorityClassName": "c", "priority": 1}),
            "the integer value of priority (1) must not be provided in pod spec; priority admission controller \
             computed 77 from the given PriorityClass name",
        ),
        (
            json!({"priorityClassName": "c", "preemptionPolicy": "PreemptLowerPriority"}),
            "the string value of PreemptionPolicy (PreemptLowerPriority) must not be provided in pod spec; priority \
             admission controller computed Never from the given PriorityClass name",
        ),
        (json!({"priorityClassName": "nosuch"}), "no PriorityClass with name nosuch was found"),
    ] {
        let refused = said(api.create("pods/default", of_class("b", spec)).await);
        assert_eq!(refused, format!("403 Forbidden pods \"b\" is forbidden: {want}"));
    }
    // Pods without a class have the default one's, of which there is one at most.
    let default = |name: &str| json!({"metadata": {"name": name}, "value": 9, "globalDefault": true});
    api.create(CLASSES, default("first")).await.unwrap();
    assert_eq!(
        said(api.create(CLASSES, default("second")).await),
        "403 Forbidden priorityclasses.scheduling.k8s.io \"second\" is forbidden: PriorityClass first is already marked \
         as default. Only one default can exist"
    );
    let again = api.merge(&format!("{CLASSES}/first"), json!({"description": "x"})).await.unwrap();
    assert_eq!(again["description"], "x");
    let made = api.create("pods/default", pod("d")).await.unwrap();
    assert_eq!((&made["spec"]["priority"], &made["spec"]["priorityClassName"]), (&json!(9), &json!("first")));
    assert_eq!(made["spec"]["preemptionPolicy"], "PreemptLowerPriority");
    api.delete(&format!("{CLASSES}/first"), Value::Null).await.unwrap();
    let made = api.create("pods/default", pod("e")).await.unwrap();
    assert_eq!((&made["spec"]["priority"], made["spec"].get("priorityClassName")), (&json!(0), None));
}
