//! What makes a volume valid and what of one may change, as tables.

use serde_json::{Value, json};

use super::*;

fn volume(spec: Value) -> Value {
    let mut all = json!({"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]});
    for (key, value) in entries(&spec) {
        all[key] = value.clone();
    }
    json!({"metadata": {"name": "a"}, "spec": all})
}

fn said(errors: &ErrorList) -> String {
    errors.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[test]
fn what_is_refused() {
    ALL.iter().for_each(|rules| assert_eq!(rules.unknown_fields(), Vec::<String>::new()));
    let nodes = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}]}});
    for (spec, want) in [
        (json!({"hostPath": {"path": "/x", "type": ""}}), ""),
        (json!({"local": {"path": "/x"}, "nodeAffinity": nodes}), ""),
        (
            json!({"local": {"path": "/x"}}),
            "spec.nodeAffinity: Required value: Local volume requires node affinity",
        ),
        (json!({}), "spec: Required value: must specify a volume type"),
        (
            json!({"hostPath": {"path": "/x", "type": ""}, "nfs": {"server": "s", "path": "/"}}),
            "spec.nfs: Forbidden: may not specify more than 1 volume type",
        ),
        (
            json!({"hostPath": {"path": "/./", "type": ""}, "persistentVolumeReclaimPolicy": "Recycle"}),
            "spec.persistentVolumeReclaimPolicy: Forbidden: may not be 'recycle' for a hostPath mount of '/'",
        ),
        (
            json!({"hostPath": {"path": "/x", "type": ""}, "capacity": {"storage": "0"}}),
            "spec.capacity[storage]: Invalid value: \"0\": must be greater than zero",
        ),
        (
            json!({"csi": {"driver": "a", "volumeHandle": "", "nodePublishSecretRef": {"name": "s"}},
                "accessModes": ["ReadWriteOncePod", "ReadWriteOnce"]}),
            "spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes; \
             spec.csi.volumeHandle: Required value; spec.csi.nodePublishSecretRef.namespace: Required value",
        ),
        (
            json!({"hostPath": {"path": "/x", "type": ""}, "volumeAttributesClassName": ""}),
            "spec.volumeAttributesClassName: Required value: an empty string is disallowed; spec.csi: Required value: \
             has to be specified when using volumeAttributesClassName",
        ),
    ] {
        assert_eq!(said(&RULES.validate(&volume(spec.clone()), None)), want, "{spec}");
    }
    let bare = RULES.validate(&json!({"spec": {}}), None);
    assert_eq!(
        said(&bare),
        "spec.accessModes: Required value; spec.capacity: Required value; spec.capacity: Unsupported value: null: \
         supported values: \"storage\"; spec: Required value: must specify a volume type"
    );
}

#[test]
fn what_may_change() {
    let zone = |key: &str| json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": key, "operator": "In", "values": ["a"]}]}]}});
    let old = volume(json!({"csi": {"driver": "d", "volumeHandle": "h"},
        "nodeAffinity": zone("failure-domain.beta.kubernetes.io/zone"), "volumeMode": "Filesystem"}));
    let check = |pointer: &str, value: Value| {
        let mut new = old.clone();
        *new.pointer_mut(pointer).unwrap() = value;
        said(&change(&new, &old))
    };
    assert_eq!(check("/spec/capacity", json!({"storage": "2Gi"})), "");
    let grown = json!({"driver": "d", "volumeHandle": "h", "controllerExpandSecretRef": {"name": "a", "namespace": "b"}});
    assert_eq!(check("/spec/csi", grown), "");
    assert_eq!(check("/spec/nodeAffinity", zone("topology.kubernetes.io/zone")), "");
    assert_eq!(
        check("/spec/nodeAffinity", json!({})),
        "nodeAffinity: Invalid value: {\"Required\":null}: field is immutable, except for updating from beta label to GA"
    );
    assert_eq!(
        check("/spec/volumeMode", json!("Block")),
        "volumeMode: Invalid value: \"Block\": field is immutable"
    );
    assert_eq!(
        check("/spec/csi/driver", json!("e")),
        "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation\n\
         @@ -21,7 +21,7 @@\n  \"Local\": null,\n  \"StorageOS\": null,\n  \"CSI\": {\n-  \"Driver\": \"d\",\n+  \"Driver\": \"e\",\n   \
         \"VolumeHandle\": \"h\",\n   \"ReadOnly\": false,\n   \"FSType\": \"\",\n"
    );
}
