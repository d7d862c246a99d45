//! What claims ask of nodes, as a table.

use std::sync::Arc;

use super::*;
use crate::cache::{Cache, Key};
use crate::node::NodeFacts;

fn key(namespace: &str, name: &str) -> Key {
    (namespace.into(), name.into())
}

/// Two nodes and these objects.
fn world(objects: &[(&str, Value)]) -> Snapshot {
    let mut cache = Cache::default();
    for name in ["n1", "n2"] {
        let node = json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}});
        cache.set_node(&Arc::from(name), Some(NodeFacts::new(&serde_json::from_value(node).unwrap())));
    }
    for (resource, object) in objects {
        let meta = &object["metadata"];
        let key = key(meta["namespace"].as_str().unwrap_or_default(), meta["name"].as_str().unwrap());
        cache.set_storage(resource, &key, Some(object.clone()));
    }
    let mut snapshot = Snapshot::default();
    cache.refresh(&mut snapshot);
    snapshot
}

fn claim(change: &Value) -> (&'static str, Value) {
    let base = json!({"metadata": {"name": "c", "namespace": "n", "uid": "cu"}, "spec": {"storageClassName": "s",
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    ("persistentvolumeclaims", kinds::patch::merge_patch(&base, change.to_string().as_bytes()).unwrap().value)
}

fn volume(node: &str) -> (&'static str, Value) {
    let reach = json!({"key": "kubernetes.io/hostname", "operator": "In", "values": [node]});
    (
        "persistentvolumes",
        json!({"metadata": {"name": "v", "uid": "vu", "resourceVersion": "3"}, "status": {"phase": "Available"},
        "spec": {"storageClassName": "s", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [reach]}]}}}}),
    )
}

fn class(mode: &str, provisioner: &str) -> (&'static str, Value) {
    (
        "storageclasses",
        json!({"metadata": {"name": "s"}, "volumeBindingMode": mode, "provisioner": provisioner}),
    )
}

fn pod() -> PodInfo {
    let pod = json!({"metadata": {"name": "p", "namespace": "n", "uid": "pu"}, "spec": {"containers": [],
        "volumes": [{"name": "a", "persistentVolumeClaim": {"claimName": "c"}}]}});
    PodInfo::new(&serde_json::from_value(pod).unwrap())
}

/// For each node `fits` or why not; or why the Pod fits nowhere.
fn answers(objects: &[(&str, Value)]) -> Vec<String> {
    let (world, pod) = (world(objects), pod());
    let said = |refusal: &Refusal| refusal.reasons().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let node = |name: &str, check: &dyn Fn(&NodeInfo) -> Verdict| match check(world.node(name).unwrap().1) {
        Ok(()) => "fits".to_owned(),
        Err(refusal) => said(&refusal),
    };
    match VolumeBinding.pre_filter(&pod, &world) {
        PreFilter::Filter(filter) => ["n1", "n2"].map(|name| node(name, &|n| filter.check(n))).to_vec(),
        PreFilter::Refuse(refusal) => vec![said(&refusal)],
        _ => vec!["skipped".to_owned()],
    }
}

#[test]
fn where_claims_let_a_pod_go() {
    let (fits, elsewhere) = ("fits", "node(s) didn't match PersistentVolume's node affinity");
    let none = "node(s) didn't find available persistent volumes to bind";
    let wait = "WaitForFirstConsumer";
    let bound = json!({"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}, "spec": {"volumeName": "v"}});
    let selected = json!({"metadata": {"annotations": {SELECTED_NODE: "n2"}}});
    for (objects, want) in [
        (vec![], vec!["persistentvolumeclaim \"c\" not found"]),
        (vec![claim(&json!({}))], vec!["pod has unbound immediate PersistentVolumeClaims"]),
        (
            vec![claim(&json!({})), class("Immediate", "e")],
            vec!["pod has unbound immediate PersistentVolumeClaims"],
        ),
        (vec![claim(&json!({})), class(wait, "e")], vec![fits, fits]),
        (vec![claim(&json!({})), class(wait, NO_PROVISIONER)], vec![none, none]),
        (vec![claim(&json!({})), class(wait, NO_PROVISIONER), volume("n2")], vec![none, fits]),
        (vec![claim(&selected), class(wait, "e")], vec![none, fits]),
        (vec![claim(&bound), volume("n1")], vec![fits, elsewhere]),
        (
            vec![claim(&bound)],
            vec!["node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"; 2],
        ),
        (
            vec![claim(&json!({"metadata": {"deletionTimestamp": "t"}}))],
            vec!["persistentvolumeclaim \"c\" is being deleted"],
        ),
    ] {
        assert_eq!(answers(&objects), want, "{objects:?}");
    }
}

#[test]
fn what_is_written_first() {
    let prepared = |objects: &[(&str, Value)]| {
        let world = world(objects);
        let writes = VolumeBinding.prepare(&pod(), world.node("n2").unwrap().1, &world)?;
        Some(writes.iter().map(|w| format!("{}/{}", w.kind.plural, w.name)).collect::<Vec<_>>())
    };
    let wait = "WaitForFirstConsumer";
    let open = claim(&json!({}));
    assert_eq!(
        prepared(&[open.clone(), class(wait, "e")]),
        Some(vec!["persistentvolumeclaims/c".to_owned()])
    );
    assert_eq!(
        prepared(&[open.clone(), class(wait, "e"), volume("n2")]),
        Some(vec!["persistentvolumes/v".to_owned()])
    );
    let asked = claim(&json!({"metadata": {"annotations": {SELECTED_NODE: "n2"}}}));
    assert_eq!(prepared(&[asked, class(wait, "e")]), Some(Vec::new()), "it waits for what was asked for");
    let bound = claim(
        &json!({"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}}, "spec": {"volumeName": "v"}}),
    );
    assert_eq!(prepared(&[bound, volume("n2")]), None);
}
