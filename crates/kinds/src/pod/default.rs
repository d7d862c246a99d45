//! Defaults of Pods and Pod templates (`pkg/apis/core/v1/defaults.go`).
//!
//! Invariant: running twice changes nothing more. What only a Pod gets, and a template does not, is in [`pod`].

use serde_json::{Value, json};

use super::resources;
use crate::value::{
    child, default_number, default_to, get_mut, int, is_empty, is_true, items, items_mut, text,
};

/// Files in volumes are 0644 unless the manifest says otherwise.
const FILE_MODE: i64 = 0o644;

/// Defaults of a whole Pod.
pub fn pod(obj: &mut Value) {
    if let Some(status) = get_mut(obj, "status") {
        addresses(status);
    }
    let spec = child(obj, "spec");
    pod_spec(spec);
    for list in ["containers", "initContainers"] {
        for container in items_mut(spec, list) {
            limits_fill_requests(container);
        }
    }
    resources::default_pod_level(spec);
    default_to(spec, "enableServiceLinks", true);
    if is_true(&spec["hostNetwork"]) {
        for list in ["containers", "initContainers"] {
            for container in items_mut(spec, list) {
                for port in items_mut(container, "ports") {
                    let number = int(&port["containerPort"]);
                    default_number(port, "hostPort", number);
                }
            }
        }
    }
}

/// `podIP` and the first of `podIPs` mirror each other; the single one wins (`Convert_v1_PodStatus_To_core_PodStatus`).
fn addresses(status: &mut Value) {
    let single = text(&status["podIP"]).to_owned();
    let first = items(&status["podIPs"]).first().map(|a| text(&a["ip"]).to_owned());
    match first {
        Some(first) if single.is_empty() => status["podIP"] = json!(first),
        Some(first) if first == single => {}
        _ if single.is_empty() => {}
        _ => status["podIPs"] = json!([{ "ip": single }]),
    }
}

/// Defaults of a Pod template, at `template` of a PodTemplate or a Job's spec.
pub fn template(template: &mut Value) {
    if template.is_object() {
        pod_spec(child(template, "spec"));
    }
}

/// What Pods and templates share.
fn pod_spec(spec: &mut Value) {
    default_to(spec, "dnsPolicy", "ClusterFirst");
    default_to(spec, "restartPolicy", "Always");
    default_to(spec, "schedulerName", "default-scheduler");
    default_to(spec, "securityContext", json!({}));
    default_to(spec, "terminationGracePeriodSeconds", 30);
    // The deprecated alias and the field mirror each other, as upstream's conversion does.
    let account = text(&spec["serviceAccountName"]).to_owned();
    if account.is_empty() {
        let alias = text(&spec["serviceAccount"]).to_owned();
        if !alias.is_empty() {
            spec["serviceAccountName"] = json!(alias);
        }
    } else {
        spec["serviceAccount"] = json!(account);
    }
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for item in items_mut(spec, list) {
            container(item);
        }
    }
    for item in items_mut(spec, "volumes") {
        volume(item);
    }
    resources::round(spec, "overhead");
}

fn container(c: &mut Value) {
    let policy = if is_latest(text(&c["image"])) { "Always" } else { "IfNotPresent" };
    default_to(c, "imagePullPolicy", policy);
    default_to(c, "terminationMessagePath", "/dev/termination-log");
    default_to(c, "terminationMessagePolicy", "File");
    default_to(c, "resources", json!({}));
    for port in items_mut(c, "ports") {
        default_to(port, "protocol", "TCP");
    }
    for env in items_mut(c, "env") {
        if let Some(from) = get_mut(env, "valueFrom") {
            if let Some(field) = get_mut(from, "fieldRef") {
                default_to(field, "apiVersion", "v1");
            }
            if let Some(resource) = get_mut(from, "resourceFieldRef") {
                default_to(resource, "divisor", "0");
            }
            if let Some(file) = get_mut(from, "fileKeyRef") {
                default_to(file, "optional", false);
            }
        }
    }
    if let Some(resources) = get_mut(c, "resources") {
        resources::round(resources, "limits");
        resources::round(resources, "requests");
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(found) = get_mut(c, name) {
            probe(found);
        }
    }
    if let Some(lifecycle) = get_mut(c, "lifecycle") {
        for hook in ["postStart", "preStop"] {
            if let Some(get) = get_mut(lifecycle, hook).and_then(|h| get_mut(h, "httpGet")) {
                http_get(get);
            }
        }
    }
}

fn probe(probe: &mut Value) {
    default_number(probe, "timeoutSeconds", 1);
    default_number(probe, "periodSeconds", 10);
    default_number(probe, "successThreshold", 1);
    default_number(probe, "failureThreshold", 3);
    if let Some(get) = get_mut(probe, "httpGet") {
        http_get(get);
    }
    if let Some(grpc) = get_mut(probe, "grpc") {
        default_to(grpc, "service", "");
    }
}

fn http_get(get: &mut Value) {
    default_to(get, "path", "/");
    default_to(get, "scheme", "HTTP");
}

fn volume(volume: &mut Value) {
    let Some(map) = volume.as_object_mut() else { return };
    if !map.iter().any(|(key, source)| key != "name" && !source.is_null()) {
        map.insert("emptyDir".to_owned(), json!({}));
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = get_mut(volume, source) {
            default_to(source, "defaultMode", FILE_MODE);
        }
    }
    if let Some(source) = get_mut(volume, "downwardAPI") {
        downward_items(source);
    }
    if let Some(source) = get_mut(volume, "hostPath") {
        default_to(source, "type", "");
    }
    if let Some(source) = get_mut(volume, "iscsi") {
        default_to(source, "iscsiInterface", "default");
    }
    if let Some(image) = get_mut(volume, "image") {
        let policy = if is_latest(text(&image["reference"])) { "Always" } else { "IfNotPresent" };
        default_to(image, "pullPolicy", policy);
    }
    if let Some(spec) = get_mut(volume, "ephemeral")
        .and_then(|e| get_mut(e, "volumeClaimTemplate"))
        .and_then(|t| get_mut(t, "spec"))
    {
        default_to(spec, "volumeMode", "Filesystem");
    }
    if let Some(projected) = get_mut(volume, "projected") {
        for source in items_mut(projected, "sources") {
            if let Some(token) = get_mut(source, "serviceAccountToken") {
                default_to(token, "expirationSeconds", 3600);
            }
            if let Some(downward) = get_mut(source, "downwardAPI") {
                downward_items(downward);
            }
        }
    }
}

fn downward_items(source: &mut Value) {
    for item in items_mut(source, "items") {
        if let Some(field) = get_mut(item, "fieldRef") {
            default_to(field, "apiVersion", "v1");
        }
        if let Some(resource) = get_mut(item, "resourceFieldRef") {
            default_to(resource, "divisor", "0");
        }
    }
}

/// Whether a reference means the tag `latest`, said or unsaid; a digest without a tag is no tag at all.
#[must_use]
pub fn is_latest(reference: &str) -> bool {
    let (name, digest) = match reference.split_once('@') {
        Some((name, _)) => (name, true),
        None => (reference, false),
    };
    let last = name.rsplit('/').next().unwrap_or_default();
    match last.split_once(':') {
        Some((_, tag)) => tag == "latest",
        None => !digest && !name.is_empty(),
    }
}

fn limits_fill_requests(container: &mut Value) {
    let Some(resources) = get_mut(container, "resources") else { return };
    let Some(limits) = resources["limits"].as_object().filter(|l| !l.is_empty()).cloned() else { return };
    let requests = child(resources, "requests");
    for (name, amount) in limits {
        if is_empty(&requests[&name]) {
            requests[&name] = amount;
        }
    }
}

/// The names of the containers that run for the Pod's whole life before the app containers: init containers with
/// restartPolicy Always.
#[must_use]
pub fn is_sidecar(init_container: &Value) -> bool {
    text(&init_container["restartPolicy"]) == "Always"
}

/// Sidecars among the init containers of a spec.
pub fn sidecars(spec: &Value) -> impl Iterator<Item = &Value> {
    items(&spec["initContainers"]).iter().filter(|c| is_sidecar(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags() {
        for (reference, latest) in [
            ("busybox", true),
            ("busybox:latest", true),
            ("busybox:1.36", false),
            ("localhost:5000/a/b", true),
            ("localhost:5000/a/b:v1", false),
            ("busybox@sha256:0123", false),
            ("busybox:latest@sha256:0123", true),
            ("", false),
        ] {
            assert_eq!(is_latest(reference), latest, "{reference}");
        }
    }

    #[test]
    fn addresses_mirror() {
        for (given, want) in [
            (json!({}), json!({})),
            (json!({"podIP": "a"}), json!({"podIP": "a", "podIPs": [{"ip": "a"}]})),
            (
                json!({"podIPs": [{"ip": "a"}, {"ip": "b"}]}),
                json!({"podIP": "a", "podIPs": [{"ip": "a"}, {"ip": "b"}]}),
            ),
            (json!({"podIP": "a", "podIPs": [{"ip": "b"}]}), json!({"podIP": "a", "podIPs": [{"ip": "a"}]})),
        ] {
            let mut status = given;
            addresses(&mut status);
            assert_eq!(status, want);
        }
    }

    #[test]
    fn pods_and_templates() {
        let spec = json!({
            "hostNetwork": true,
            "serviceAccountName": "a",
            "containers": [{
                "name": "c", "image": "busybox", "ports": [{"containerPort": 80}],
                "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "100u"}},
                "livenessProbe": {"httpGet": {"port": 80}},
                "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            }],
            "volumes": [
                {"name": "a"}, {"name": "b", "hostPath": {"path": "/x"}},
                {"name": "c", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
            ],
        });
        let mut whole = json!({ "spec": spec });
        pod(&mut whole);
        assert_eq!(
            whole["spec"],
            json!({
                "hostNetwork": true, "serviceAccountName": "a", "serviceAccount": "a", "dnsPolicy": "ClusterFirst",
                "restartPolicy": "Always", "schedulerName": "default-scheduler", "securityContext": {},
                "terminationGracePeriodSeconds": 30, "enableServiceLinks": true,
                "containers": [{
                    "name": "c", "image": "busybox", "imagePullPolicy": "Always",
                    "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                    "ports": [{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}],
                    "resources": {"limits": {"cpu": "1", "memory": "1Gi"},
                                  "requests": {"cpu": "1m", "memory": "1Gi"}},
                    "livenessProbe": {"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1,
                                      "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
                    "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name",
                                                                     "apiVersion": "v1"}}}],
                }],
                "volumes": [
                    {"name": "a", "emptyDir": {}}, {"name": "b", "hostPath": {"path": "/x", "type": ""}},
                    {"name": "c", "projected": {"defaultMode": 420, "sources": [
                        {"serviceAccountToken": {"path": "t", "expirationSeconds": 3600}}]}},
                ],
            })
        );
        let once = whole.clone();
        pod(&mut whole);
        assert_eq!(whole, once);

        let mut tmpl = json!({ "spec": spec });
        template(&mut tmpl);
        let container = &tmpl["spec"]["containers"][0];
        assert_eq!(container["resources"]["requests"], json!({"cpu": "1m"}));
        assert!(container["ports"][0].get("hostPort").is_none());
        assert!(tmpl["spec"].get("enableServiceLinks").is_none());
    }
}
