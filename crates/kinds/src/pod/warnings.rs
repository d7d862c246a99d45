//! `Warning` headers about Pods and templates (`pkg/api/pod/warnings.go`).
//!
//! Absent: warnings about deprecated volume types, node labels and annotations.

use std::collections::BTreeMap;

use serde_json::Value;

use super::resources::quantity;
use crate::field::{Path, quote};
use crate::value::{entries, int, items, text};

/// Warnings about a Pod; a change warns only where the spec changed.
pub(super) fn pod(pod: &Value, old: Option<&Value>) -> Vec<String> {
    if old.is_some_and(|old| crate::value::same(&old["spec"], &pod["spec"])) {
        return Vec::new();
    }
    spec(&pod["spec"], &Path::new("spec"))
}

/// Warnings about a Pod template.
pub(crate) fn template(template: &Value, path: &Path) -> Vec<String> {
    spec(&template["spec"], &path.child("spec"))
}

fn spec(spec: &Value, path: &Path) -> Vec<String> {
    let mut found = Vec::new();
    if int(&spec["terminationGracePeriodSeconds"]) < 0 {
        found.push(format!(
            "{}: must be >= 0; negative values are invalid and will be treated as 1",
            path.child("terminationGracePeriodSeconds")
        ));
    }
    for list in ["initContainers", "containers"] {
        for (i, container) in items(&spec[list]).iter().enumerate() {
            let path = path.child(list).index(i);
            env(&mut found, &path, container);
            ports(&mut found, &path, container);
            fractions(&mut found, &path.child("resources"), &container["resources"]);
        }
    }
    fractions(&mut found, &path.child("resources"), &spec["resources"]);
    for (i, secret) in items(&spec["imagePullSecrets"]).iter().enumerate() {
        if text(&secret["name"]).is_empty() {
            let path = path.child("imagePullSecrets").index(i);
            found.push(format!("{path}: invalid empty name \"\""));
        }
    }
    found
}

fn env(found: &mut Vec<String>, path: &Path, container: &Value) {
    let mut seen = BTreeMap::new();
    for (i, var) in items(&container["env"]).iter().enumerate() {
        let name = text(&var["name"]);
        if seen.insert(name, i).is_some() {
            found.push(format!(
                "{}: hides previous definition of {}, which may be dropped when using apply",
                path.child("env").index(i),
                quote(name)
            ));
        }
    }
}

fn ports(found: &mut Vec<String>, path: &Path, container: &Value) {
    let path = path.child("ports");
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for (i, port) in items(&container["ports"]).iter().enumerate() {
        let protocol = match text(&port["protocol"]) {
            "" => "TCP",
            other => other,
        };
        let (number, host) = (int(&port["containerPort"]), int(&port["hostPort"]));
        let key = format!("{protocol}/{number}/{host}/{}", text(&port["hostIP"]));
        if let Some(first) = seen.get(&key) {
            found.push(format!("{}: duplicate port definition with {}", path.index(i), path.index(*first)));
        } else {
            seen.insert(key, i);
        }
    }
}

/// Bytes are whole.
fn fractions(found: &mut Vec<String>, path: &Path, resources: &Value) {
    for list in ["limits", "requests"] {
        for (name, value) in entries(&resources[list]) {
            let bytes = matches!(name, "memory" | "ephemeral-storage") || name.starts_with("hugepages-");
            let Some(amount) = quantity(value).filter(|_| bytes) else { continue };
            if amount.milli_value() % 1000 != 0 {
                let path = path.child(list).key(name);
                let shown = quote(&amount.to_string());
                found.push(format!("{path}: fractional byte value {shown} is invalid, must be an integer"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts() {
        let obj = json!({"spec": {"terminationGracePeriodSeconds": -1, "containers": [{
            "env": [{"name": "A"}, {"name": "A"}],
            "ports": [{"containerPort": 80}, {"containerPort": 80, "protocol": "TCP"}],
            "resources": {"limits": {"memory": "100m", "cpu": "100m"}},
        }]}});
        assert_eq!(
            pod(&obj, None),
            [
                "spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1",
                "spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply",
                "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
                "spec.containers[0].resources.limits[memory]: fractional byte value \"100m\" is invalid, must be an integer",
            ]
        );
        assert!(pod(&obj, Some(&obj)).is_empty());
    }
}
