//! Round trips, known bytes, and what other encoders may send.

use serde_json::json;

use super::*;
use crate::decode::normalise;
use crate::types::root;

#[track_caller]
fn round_trip(gvk: (&str, &str, &str), value: Value) {
    let ty = root(gvk.0, gvk.1, gvk.2).expect("a root");
    let clean = normalise(value, ty).expect("valid");
    assert_eq!(clean.problems, Vec::<String>::new());
    let bytes = from_value(&clean.value, ty).expect("encodes");
    let envelope = open(&bytes).expect("opens");
    let back = to_value(&envelope, ty).expect("parses");
    assert_eq!(normalise(back, ty).expect("valid").value, clean.value);
}

#[test]
fn known_bytes() {
    let ty = root("", "v1", "ConfigMap").expect("ConfigMap");
    let value =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}});
    let want = b"k8s\0\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12\x0d\x0a\x03\x0a\x01a\x12\x06\x0a\x01k\x12\x01v\x1a\0\x22\0";
    assert_eq!(from_value(&value, ty).expect("encodes"), want);
    let envelope = open(want).expect("opens");
    assert_eq!((envelope.api_version.as_str(), envelope.kind.as_str()), ("v1", "ConfigMap"));
    assert_eq!(to_value(&envelope, ty).expect("parses"), value);
    let frame = watch_frame("ADDED", b"xyz");
    assert_eq!(frame, b"\0\0\0\x0e\x0a\x05ADDED\x12\x05\x0a\x03xyz");
}

#[test]
fn a_pod() {
    round_trip(
        ("", "v1", "Pod"),
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": "p", "labels": {"a": "", "b": "2"}, "creationTimestamp": "2024-01-02T03:04:05Z",
                "finalizers": ["x", "y"], "deletionGracePeriodSeconds": 0, "generation": -1,
                "managedFields": [{"manager": "m", "operation": "Update", "fieldsType": "FieldsV1",
                    "time": "1969-12-31T23:59:59Z", "fieldsV1": {"f:spec": {".": {}}}}],
                "ownerReferences": [{"apiVersion": "v1", "kind": "X", "name": "n", "uid": "u", "controller": true}],
            },
            "spec": {
                "nodeSelector": {"k": "v"}, "hostNetwork": true, "priority": 0, "terminationGracePeriodSeconds": 30,
                "volumes": [
                    {"name": "a", "emptyDir": {"sizeLimit": "1Gi"}},
                    {"name": "b", "hostPath": {"path": "/x", "type": ""}},
                    {"name": "c", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}},
                        {"downwardAPI": {"items": [{"path": "n", "fieldRef": {"fieldPath": "metadata.name"}}]}}]}},
                ],
                "containers": [{
                    "name": "c", "image": "i", "command": ["sh", "", "-c"],
                    "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
                    "ports": [{"containerPort": 65535, "protocol": "UDP"}],
                    "resources": {"limits": {"cpu": "500m", "memory": "1Gi"}},
                    "livenessProbe": {"httpGet": {"port": 80, "path": "/"}, "periodSeconds": 5},
                    "readinessProbe": {"tcpSocket": {"port": "web"}},
                    "lifecycle": {"preStop": {"sleep": {"seconds": 1}}},
                    "securityContext": {"runAsUser": 0, "runAsNonRoot": false, "capabilities": {"drop": ["ALL"]}},
                }],
                "ephemeralContainers": [{"name": "e", "targetContainerName": "c", "stdin": true}],
            },
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{"name": "c", "ready": true, "state": {"running": {"startedAt": "2024-01-02T03:04:05Z"}}}]},
        }),
    );
}

#[test]
fn special_forms() {
    round_trip(
        ("coordination.k8s.io", "v1", "Lease"),
        json!({"metadata": {"name": "l"}, "spec": {"renewTime": "2024-01-02T03:04:05.000006Z", "leaseDurationSeconds": 0}}),
    );
    round_trip(
        ("", "v1", "Secret"),
        json!({"data": {"a": "AAEC", "b": ""}, "immutable": false, "type": "Opaque"}),
    );
    round_trip(("apps", "v1", "ControllerRevision"), json!({"data": {"a": [null, 1.5, {}]}, "revision": 7}));
    round_trip(
        ("authentication.k8s.io", "v1", "TokenReview"),
        json!({"spec": {"token": "t"}, "status": {"user": {"username": "u", "extra": {"k": ["a", "b"], "e": ["c"]}}}}),
    );
    round_trip(
        ("batch", "v1", "Job"),
        json!({"spec": {"completions": 0, "podFailurePolicy": {"rules": [{"action": "Ignore",
            "onExitCodes": {"operator": "In", "values": [1, -2]}}]}, "template": {"spec": {"containers": [{"name": "c"}]}}}}),
    );
    round_trip(
        ("policy", "v1", "PodDisruptionBudget"),
        json!({"spec": {"minAvailable": "50%"}, "status": {"disruptedPods": {"p": "2024-01-02T03:04:05Z", "q": null}}}),
    );
    round_trip(
        ("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration"),
        json!({"webhooks": [{"name": "w", "sideEffects": "None", "admissionReviewVersions": ["v1"], "clientConfig": {"url": "u"},
            "rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]}]}),
    );
    round_trip(
        ("", "v1", "DeleteOptions"),
        json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0, "preconditions": {"uid": "u"}}),
    );
    round_trip(
        ("", "v1", "Status"),
        json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": 404, "details": {"name": "n", "causes": [{"reason": "r"}]}}),
    );
    round_trip(
        ("", "v1", "PodList"),
        json!({"metadata": {"resourceVersion": "5"}, "items": [{"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c"}]}}]}),
    );
}

#[test]
fn schemas_of_custom_resources() {
    let schema = json!({
        "type": "object", "x-kubernetes-preserve-unknown-fields": false, "$ref": "r", "default": {"a": [1]},
        "additionalProperties": true, "items": {"type": "string"}, "enum": ["a", 1], "maximum": 0.0,
        "properties": {"p": {"additionalProperties": {"type": "integer"}, "items": [{"type": "null"}]}},
        "dependencies": {"a": ["b"], "c": {"type": "x"}}, "required": ["p"],
    });
    round_trip(
        ("apiextensions.k8s.io", "v1", "CustomResourceDefinition"),
        json!({"spec": {"group": "g", "scope": "Namespaced", "names": {"plural": "p", "kind": "K"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}}),
    );
}

#[test]
fn what_gos_encoder_also_writes() {
    // A ContainerPort as gogo writes it: zero scalars of fields that are not pointers.
    let ty = root("", "v1", "Pod")
        .and_then(|t| t.at("spec.containers.ports"))
        .and_then(TypeRef::element)
        .expect("a port");
    let raw = b"\x0a\x00\x10\x00\x18\x50\x22\x03TCP\x2a\x00\x98\x06\x01";
    let envelope = Envelope { raw, ..Envelope::default() };
    let value = to_value(&envelope, ty).expect("parses");
    assert_eq!(normalise(value, ty).expect("valid").value, json!({"containerPort": 80, "protocol": "TCP"}));
}

#[test]
fn malformed() {
    let ty = root("", "v1", "Pod").expect("Pod");
    assert_eq!(
        open(b"{}").expect_err("JSON").to_string(),
        "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
    );
    for raw in [
        &b"\x0a\x05ab"[..],
        b"\x0b",
        b"\x08",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x08\x01",
        b"\x00",
    ] {
        let envelope = Envelope { raw, ..Envelope::default() };
        let error = to_value(&envelope, ty).expect_err("malformed");
        assert!(error.0.starts_with("proto: "), "{error}");
    }
}
