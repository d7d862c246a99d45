//! What other objects of its namespace a Pod names: Secrets, ConfigMaps, claims and its ServiceAccount.
//!
//! Invariant: whoever asks (a node's rights, what a mirror Pod may carry) gets the same answer. Absent: whether those
//! objects exist.

use serde_json::Value;

use crate::value::{entries, items, text};

/// An object that a Pod names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference<'a> {
    /// `secrets`, `configmaps`, `persistentvolumeclaims` or `serviceaccounts`, of the core group.
    pub plural: &'static str,
    /// Its name, never empty.
    pub name: &'a str,
}

/// Every object that the spec names; one may come more than once.
#[must_use]
pub fn of(spec: &Value) -> Vec<Reference<'_>> {
    let mut out = Vec::new();
    add(&mut out, "serviceaccounts", &spec["serviceAccountName"]);
    for secret in items(&spec["imagePullSecrets"]) {
        add(&mut out, "secrets", &secret["name"]);
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        items(&spec[list]).iter().for_each(|container| of_container(&mut out, container));
    }
    items(&spec["volumes"]).iter().for_each(|volume| of_volume(&mut out, volume));
    out
}

/// The claims of the Pod's ephemeral volumes, whose names are made of the Pod's and the volume's.
#[must_use]
pub fn ephemeral_claims(pod: &str, spec: &Value) -> Vec<String> {
    let volumes = items(&spec["volumes"]).iter().filter(|v| v["ephemeral"].is_object());
    volumes.map(|v| super::ephemeral::claim_name(pod, text(&v["name"]))).collect()
}

fn add<'a>(out: &mut Vec<Reference<'a>>, plural: &'static str, name: &'a Value) {
    if let Some(name) = name.as_str().filter(|n| !n.is_empty()) {
        out.push(Reference { plural, name });
    }
}

fn of_container<'a>(out: &mut Vec<Reference<'a>>, container: &'a Value) {
    for from in items(&container["envFrom"]) {
        add(out, "configmaps", &from["configMapRef"]["name"]);
        add(out, "secrets", &from["secretRef"]["name"]);
    }
    for variable in items(&container["env"]) {
        let from = &variable["valueFrom"];
        add(out, "configmaps", &from["configMapKeyRef"]["name"]);
        add(out, "secrets", &from["secretKeyRef"]["name"]);
    }
}

fn of_volume<'a>(out: &mut Vec<Reference<'a>>, volume: &'a Value) {
    add(out, "secrets", &volume["secret"]["secretName"]);
    add(out, "secrets", &volume["azureFile"]["secretName"]);
    add(out, "configmaps", &volume["configMap"]["name"]);
    add(out, "persistentvolumeclaims", &volume["persistentVolumeClaim"]["claimName"]);
    for source in items(&volume["projected"]["sources"]) {
        add(out, "secrets", &source["secret"]["name"]);
        add(out, "configmaps", &source["configMap"]["name"]);
    }
    // The drivers that log in with one: cephfs, cinder, csi, flexVolume, iscsi, rbd, scaleIO, storageos.
    for (_, source) in entries(volume) {
        add(out, "secrets", &source["secretRef"]["name"]);
        add(out, "secrets", &source["nodePublishSecretRef"]["name"]);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_spec_names() {
        let volume = |source: Value| json!({"volumes": [source]});
        let container = |list: &str, body: Value| json!({list: [body]});
        for (spec, want) in [
            (json!({}), vec![]),
            (json!({"serviceAccountName": "a"}), vec!["serviceaccounts a"]),
            (json!({"imagePullSecrets": [{"name": "p"}, {"name": ""}]}), vec!["secrets p"]),
            (volume(json!({"name": "v", "secret": {"secretName": "s"}})), vec!["secrets s"]),
            (volume(json!({"azureFile": {"secretName": "s"}})), vec!["secrets s"]),
            (volume(json!({"configMap": {"name": "c"}})), vec!["configmaps c"]),
            (volume(json!({"persistentVolumeClaim": {"claimName": "d"}})), vec!["persistentvolumeclaims d"]),
            (
                volume(
                    json!({"projected": {"sources": [{"secret": {"name": "s"}}, {"configMap": {"name": "c"}},
                    {"serviceAccountToken": {"path": "t"}}]}}),
                ),
                vec!["secrets s", "configmaps c"],
            ),
            (volume(json!({"cephfs": {"secretRef": {"name": "s"}}})), vec!["secrets s"]),
            (volume(json!({"csi": {"nodePublishSecretRef": {"name": "s"}}})), vec!["secrets s"]),
            (
                container("initContainers", json!({"envFrom": [{"secretRef": {"name": "s"}}]})),
                vec!["secrets s"],
            ),
            (
                container(
                    "ephemeralContainers",
                    json!({"env": [{"valueFrom": {"configMapKeyRef": {"name": "c"}}}]}),
                ),
                vec!["configmaps c"],
            ),
            (
                container(
                    "containers",
                    json!({"env": [{"valueFrom": {"secretKeyRef": {"name": "s"}}}, {"value": "x"}],
                    "envFrom": [{"configMapRef": {"name": "c"}}]}),
                ),
                vec!["configmaps c", "secrets s"],
            ),
        ] {
            let got: Vec<String> = of(&spec).iter().map(|r| format!("{} {}", r.plural, r.name)).collect();
            assert_eq!(got, want, "{spec}");
        }
        assert_eq!(ephemeral_claims("p", &volume(json!({"name": "v", "ephemeral": {}}))), ["p-v"]);
    }
}
