//! Turns of the binder as tables.

use super::*;

const NOW: Timestamp = Timestamp::from_seconds(1000);

fn merged(base: &Value, change: &Value) -> Value {
    schema::patch::merge_patch(base, change.to_string().as_bytes()).unwrap().value
}

fn claim(change: &Value) -> Value {
    let base = json!({"metadata": {"name": "c", "namespace": "n", "uid": "cu", "resourceVersion": "7"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "s"},
        "status": {"phase": "Pending"}});
    merged(&base, change)
}

fn volume(change: &Value) -> Value {
    let base = json!({"metadata": {"name": "v", "uid": "vu", "resourceVersion": "9"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "2Gi"}, "storageClassName": "s",
        "persistentVolumeReclaimPolicy": "Retain"}, "status": {"phase": "Available"}});
    merged(&base, change)
}

/// Writes as `plural/subresource body`, events as `reason: message`.
fn said(plan: &Plan) -> Vec<String> {
    let write = |write: &Write| match &write.action {
        Action::Merge(body) => format!("{}/{} {}", write.kind.plural, write.subresource, without_names(body)),
        other => format!("{other:?}"),
    };
    let events = plan.events.iter().map(|event| format!("{}: {}", event.reason, event.message));
    plan.stages.iter().flatten().map(write).chain(events).collect()
}

fn without_names(body: &Value) -> Value {
    let mut body = body.clone();
    if let Some(meta) = body["metadata"].as_object_mut() {
        meta.remove("uid");
        if meta.is_empty() {
            body.as_object_mut().unwrap().remove("metadata");
        }
    }
    body
}

fn of_claim(claim: Value, volumes: Vec<Value>, class: Option<Value>) -> Vec<String> {
    said(&reconcile(NOW, &Observed::Claim { claim, volumes, class, pod: None }))
}

#[test]
fn a_claim_gets_a_volume() {
    let steps = of_claim(claim(&json!({})), vec![volume(&json!({}))], None);
    assert_eq!(
        steps,
        [
            "persistentvolumes/ {\"metadata\":{\"annotations\":{\"pv.kubernetes.io/bound-by-controller\":\"yes\"},\
             \"resourceVersion\":\"9\"},\"spec\":{\"claimRef\":{\"apiVersion\":\"v1\",\"kind\":\"PersistentVolumeClaim\",\
             \"name\":\"c\",\"namespace\":\"n\",\"resourceVersion\":\"7\",\"uid\":\"cu\"}}}",
            "persistentvolumes/status {\"status\":{\"message\":null,\"phase\":\"Bound\",\"reason\":null}}",
            "persistentvolumeclaims/ {\"metadata\":{\"annotations\":{\"pv.kubernetes.io/bind-completed\":\"yes\",\
             \"pv.kubernetes.io/bound-by-controller\":\"yes\"}},\"spec\":{\"volumeName\":\"v\"}}",
            "persistentvolumeclaims/status {\"status\":{\"accessModes\":[\"ReadWriteOnce\"],\"capacity\":{\"storage\":\
             \"2Gi\"},\"phase\":\"Bound\"}}",
        ]
    );
    let done = json!({"metadata": {"annotations": {COMPLETED: "yes"}}, "spec": {"volumeName": "v"},
        "status": {"phase": "Bound", "capacity": {"storage": "2Gi"}}});
    let has = json!({"spec": {"claimRef": {"namespace": "n", "name": "c", "uid": "cu"}}, "status": {"phase": "Bound"}});
    assert!(of_claim(claim(&done), vec![volume(&has)], None).is_empty());
}

#[test]
fn a_claim_that_gets_none() {
    let class = |mode: &str, by: &str| Some(json!({"provisioner": by, "volumeBindingMode": mode}));
    let pending = json!({"status": {"phase": "Pending"}});
    let wait = "waiting for first consumer to be created before binding";
    for (change, volumes, class, want) in [
        (
            json!({"spec": {"storageClassName": null}}),
            vec![],
            None,
            "FailedBinding: no persistent volumes available for this claim and no storage class is set"
                .to_owned(),
        ),
        (
            pending.clone(),
            vec![volume(&json!({}))],
            class("WaitForFirstConsumer", "e"),
            format!("WaitForFirstConsumer: {wait}"),
        ),
        (
            pending.clone(),
            vec![],
            None,
            "ProvisioningFailed: storageclass.storage.k8s.io \"s\" not found".to_owned(),
        ),
        (
            json!({"spec": {"volumeName": "v"}}),
            vec![volume(&json!({"spec": {"capacity": {"storage": "1"}}}))],
            None,
            "VolumeMismatch: Cannot bind to requested volume \"v\": requested PV is too small".to_owned(),
        ),
        (
            json!({"spec": {"volumeName": "v"}}),
            vec![volume(&json!({"spec": {"claimRef": {"name": "x", "namespace": "n"}}}))],
            None,
            "FailedBinding: volume \"v\" already bound to a different claim.".to_owned(),
        ),
    ] {
        assert_eq!(of_claim(claim(&change), volumes, class), [want]);
    }
    let asks = of_claim(claim(&pending), vec![], class("Immediate", "e.com/p"));
    assert!(
        asks[0].contains("volume.kubernetes.io/storage-provisioner")
            && asks[1].starts_with("ExternalProvisioning: ")
    );
}

#[test]
fn a_claim_that_lost_its_volume() {
    let bound = json!({"metadata": {"annotations": {COMPLETED: "yes"}}, "spec": {"volumeName": "v"}, "status": {"phase": "Bound"}});
    let lost = of_claim(claim(&bound), vec![], None);
    assert_eq!(lost[1], "ClaimLost: Bound claim has lost its PersistentVolume. Data on the volume is lost!");
    let other = volume(&json!({"spec": {"claimRef": {"namespace": "n", "name": "c", "uid": "other"}}}));
    assert!(of_claim(claim(&bound), vec![other], None)[1].starts_with("ClaimMisbound: "));
}

#[test]
fn what_becomes_of_a_volume() {
    let had = json!({"namespace": "n", "name": "c", "uid": "cu"});
    let phase = |phase: &str| {
        format!(
            "persistentvolumes/status {{\"status\":{{\"message\":null,\"phase\":\"{phase}\",\"reason\":null}}}}"
        )
    };
    let of = |change: &Value, claim: Option<Value>| {
        said(&reconcile(NOW, &Observed::Volume { volume: volume(change), claim }))
    };
    assert!(of(&json!({}), None).is_empty());
    assert_eq!(of(&json!({"status": {"phase": "Pending"}}), None), [phase("Available")]);
    assert_eq!(
        of(&json!({"spec": {"claimRef": had}, "status": {"phase": "Bound"}}), None),
        [phase("Released")]
    );
    let ours = claim(&json!({"spec": {"volumeName": "v"}}));
    assert_eq!(of(&json!({"spec": {"claimRef": had}}), Some(ours)), [phase("Bound")]);
    let elsewhere = claim(&json!({"spec": {"volumeName": "w"}}));
    let freed = of(
        &json!({"spec": {"claimRef": had}, "metadata": {"annotations": {BY_CONTROLLER: "yes"}}}),
        Some(elsewhere),
    );
    assert!(freed[0].contains("\"claimRef\":null"), "{freed:?}");
    let recycled = json!({"spec": {"claimRef": had, "persistentVolumeReclaimPolicy": "Recycle"}, "status": {"phase": "Released"}});
    assert!(of(&recycled, None)[1].starts_with("VolumeFailedRecycle: "));
    let made = json!({"spec": {"claimRef": had, "persistentVolumeReclaimPolicy": "Delete"}, "status": {"phase": "Released"},
        "metadata": {"annotations": {PROVISIONED_BY: "e"}}});
    assert!(of(&made, None).is_empty(), "its provisioner removes it");
}
