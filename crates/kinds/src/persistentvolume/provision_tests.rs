//! Turns of the built-in provisioner as tables.

use super::*;
use crate::kind::Strategy as _;
use crate::persistentvolume::PersistentVolume;

fn claim(change: &Value) -> Value {
    let base = json!({"metadata": {"name": "c", "namespace": "n", "uid": "cu", "annotations": {SELECTED_NODE: "n1"}},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    schema::patch::merge_patch(&base, change.to_string().as_bytes()).unwrap().value
}

fn node() -> Value {
    json!({"metadata": {"name": "n1", "labels": {HOSTNAME: "h1"}, "annotations": {DIRECTORY: "/d/volumes"}}})
}

fn turn(claim: Value, nodes: Vec<Value>) -> Plan {
    let mut class = default_class();
    crate::value::child(&mut class, "metadata")["name"] = json!(CLASS);
    reconcile(&Observed::Claim { claim, class, volume: None, nodes })
}

#[test]
fn a_volume_is_made_where_the_pod_goes() {
    let plan = turn(claim(&json!({})), vec![node()]);
    let Action::Create(made) = &plan.stages[0][0].action else { panic!("a volume") };
    assert_eq!(made["metadata"]["name"], "pvc-cu");
    assert_eq!(made["spec"]["local"]["path"], "/d/volumes/pvc-cu");
    assert_eq!(made["spec"]["claimRef"]["uid"], "cu");
    let values =
        &made["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0]["values"];
    assert_eq!(*values, json!(["h1"]));
    let mut made = made.clone();
    PersistentVolume.default(&mut made);
    assert_eq!(PersistentVolume.validate(&made).to_string(), "[]");
    let reasons: Vec<&str> = plan.events.iter().map(|e| e.reason.as_str()).collect();
    assert_eq!(reasons, ["Provisioning", "ProvisioningSucceeded"]);
}

#[test]
fn what_is_not_made() {
    assert!(turn(claim(&json!({"metadata": {"annotations": null}})), vec![node()]).is_idle(), "it waits");
    assert!(turn(claim(&json!({"spec": {"volumeName": "v"}})), vec![node()]).is_idle());
    let block = turn(claim(&json!({"spec": {"volumeMode": "Block"}})), vec![node()]);
    assert!(block.events[0].message.ends_with("block volumes are not supported") && block.stages.is_empty());
    let nowhere = turn(claim(&json!({})), vec![]);
    assert_eq!(nowhere.stages.len(), 1, "the scheduler chooses again");
}

#[test]
fn growing_and_going() {
    let mut class = default_class();
    crate::value::child(&mut class, "metadata")["name"] = json!(CLASS);
    let ours = json!({"metadata": {"name": "pvc-cu", "uid": "v", "annotations": {PROVISIONED_BY: LOCAL}},
        "spec": {"capacity": {"storage": "1Gi"}, "persistentVolumeReclaimPolicy": "Delete"}, "status": {"phase": "Released"}});
    let bound = claim(&json!({"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}},
        "spec": {"volumeName": "pvc-cu", "resources": {"requests": {"storage": "2Gi"}}}}));
    let plan = grow(&bound, &class, &ours);
    assert_eq!(plan.stages.len(), 2);
    assert_eq!(plan.events[0].reason, "FileSystemResizeSuccessful");
    assert_eq!(remove(&ours, false).stages.len(), 1);
    assert!(remove(&ours, true).is_idle());
    let foreign = json!({"metadata": {"name": "x"}, "spec": ours["spec"], "status": ours["status"]});
    assert!(remove(&foreign, false).is_idle());
    assert!(reconcile(&Observed::Node { has_class: true }).is_idle());
}
