//! A Pod from a template, and its end (`controller.GetPodFromTemplate`, `RealPodControl`).
//!
//! Invariant: a Pod is made with its controller as owner and removed only under its UID; both are told in events about
//! the controller.

use serde_json::{Value, json};

use super::claim::owner_reference;
use crate::kind::{Kind, NameRule};
use crate::plan::{Action, Notice, Write};
use crate::pod::KIND as POD;
use crate::rules::deletion::Deletion;
use crate::view::{Meta, PodView};

/// A Pod as its template has it, owned by a controller, in its namespace and with a name that begins as its.
#[must_use]
pub fn from_template(template: &Value, kind: &Kind, owner: &Meta) -> Value {
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": prefix(&owner.name),
            "namespace": owner.namespace,
            "ownerReferences": [owner_reference(kind, owner)],
        },
        "spec": template["spec"],
    });
    for part in ["labels", "annotations"] {
        if template["metadata"][part].is_object() {
            pod["metadata"][part] = template["metadata"][part].clone();
        }
    }
    if template["metadata"]["finalizers"].is_array() {
        pod["metadata"]["finalizers"] = template["metadata"]["finalizers"].clone();
    }
    pod
}

/// With a dash where that begins a name.
fn prefix(owner: &str) -> String {
    let dashed = format!("{owner}-");
    let valid = schema::meta::name_errors(NameRule::Subdomain, &dashed, true).is_empty();
    if valid { dashed } else { owner.to_owned() }
}

/// Makes a Pod.
#[must_use]
pub fn create(pod: Value, namespace: &str) -> Write {
    Write::new(&POD, namespace, "", Action::Create(pod)).telling(
        Notice::normal("SuccessfulCreate", "Created pod: "),
        Notice::warning("FailedCreate", "Error creating: "),
    )
}

/// Removes a Pod, with the grace it has.
#[must_use]
pub fn delete(pod: &PodView) -> Write {
    let meta = &pod.metadata;
    Write::new(&POD, &meta.namespace, &meta.name, Action::Delete(Deletion::of(&meta.uid).body())).telling(
        Notice::normal("SuccessfulDelete", "Deleted pod: "),
        Notice::warning("FailedDelete", "Error deleting: "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_what_its_template_says() {
        let template = json!({"metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}, "finalizers": ["f/x"],
            "name": "ignored"}, "spec": {"containers": []}});
        let owner = Meta { name: "w".into(), namespace: "n".into(), uid: "u".into(), ..Meta::default() };
        let pod = from_template(&template, &crate::job::KIND, &owner);
        let owners = [owner_reference(&crate::job::KIND, &owner)];
        assert_eq!(
            pod["metadata"],
            json!({"generateName": "w-", "namespace": "n", "labels": {"a": "b"}, "annotations": {"c": "d"},
                "finalizers": ["f/x"], "ownerReferences": owners})
        );
        assert_eq!(pod["spec"], template["spec"]);
    }
}
