//! Annotations that were the API of profiles before there were fields for them.
//!
//! Invariant: an AppArmor annotation of a new Pod becomes its container's field (`applyAppArmorVersionSkew`); seccomp
//! annotations have no effect. Absent: the way back, from fields to annotations.

use serde_json::{Value, json};

use crate::field::Path;
use crate::value::{child, is_set, items, items_mut, text};

/// Begins the key of a container's AppArmor profile.
pub(super) const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
/// The Pod's seccomp profile.
pub(super) const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
/// Begins the key of a container's seccomp profile.
pub(super) const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
/// The lists of containers in the order in which warnings go through them.
pub(super) const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// The field that an annotation stands for; nothing if it names no profile.
fn app_armor_field(profile: &str) -> Option<Value> {
    match profile {
        "unconfined" => Some(json!({"type": "Unconfined"})),
        "runtime/default" => Some(json!({"type": "RuntimeDefault"})),
        other => {
            let file = other.strip_prefix("localhost/").filter(|f| !f.is_empty() && f.trim() == *f)?;
            Some(json!({"type": "Localhost", "localhostProfile": file}))
        }
    }
}

/// What a container without the field gets from its annotation: the field's value, if it differs from the Pod's.
fn wanted(pod: &Value, container: &Value) -> Option<Option<Value>> {
    if is_set(&container["securityContext"]["appArmorProfile"]) || pod["spec"]["os"]["name"] == "windows" {
        return None;
    }
    let key = format!("{APP_ARMOR}{}", text(&container["name"]));
    let field = app_armor_field(pod["metadata"]["annotations"][&key].as_str()?);
    let of_pod = &pod["spec"]["securityContext"]["appArmorProfile"];
    if field.as_ref() == Some(of_pod) { None } else { Some(field) }
}

/// Gives the containers of a new Pod the fields that its annotations stand for.
pub(super) fn sync_app_armor(pod: &mut Value) {
    for list in LISTS {
        let fields: Vec<_> = items(&pod["spec"][list]).iter().map(|c| wanted(pod, c)).collect();
        for (container, field) in items_mut(child(pod, "spec"), list).zip(fields) {
            if let Some(Some(field)) = field {
                child(container, "securityContext")["appArmorProfile"] = field;
            }
        }
    }
}

/// Warnings about annotations that [`sync_app_armor`] is about to use, or cannot.
pub(super) fn notices(pod: &Value) -> Vec<String> {
    let path = Path::new("metadata.annotations");
    let all = LISTS.iter().flat_map(|list| items(&pod["spec"][*list]));
    all.filter(|c| wanted(pod, c).is_some())
        .map(|c| deprecated(&path.key(&format!("{APP_ARMOR}{}", text(&c["name"])))))
        .collect()
}

/// The warning about one AppArmor annotation.
pub(super) fn deprecated(path: &Path<'_>) -> String {
    format!("{path}: deprecated since v1.30; use the \"appArmorProfile\" field instead")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_become_fields() {
        let key = format!("{APP_ARMOR}c");
        for (profile, of_pod, own, want, warned) in [
            ("runtime/default", Value::Null, Value::Null, json!({"type": "RuntimeDefault"}), 1),
            (
                "localhost/x",
                Value::Null,
                Value::Null,
                json!({"type": "Localhost", "localhostProfile": "x"}),
                1,
            ),
            ("nonsense", Value::Null, Value::Null, Value::Null, 1),
            ("unconfined", json!({"type": "Unconfined"}), Value::Null, Value::Null, 0),
            (
                "unconfined",
                Value::Null,
                json!({"type": "RuntimeDefault"}),
                json!({"type": "RuntimeDefault"}),
                0,
            ),
        ] {
            let mut pod = json!({"metadata": {"annotations": {&key: profile}}, "spec": {
                "securityContext": {"appArmorProfile": of_pod},
                "containers": [{"name": "c", "securityContext": {"appArmorProfile": own}}, {"name": "d"}]}});
            assert_eq!(notices(&pod).len(), warned, "{profile}");
            sync_app_armor(&mut pod);
            let found = &pod["spec"]["containers"][0]["securityContext"]["appArmorProfile"];
            assert_eq!(*found, want, "{profile}");
        }
    }
}
