//! Who is who in a StatefulSet: names, ordinals and labels of its Pods (`pkg/controller/statefulset/stateful_set_utils.go`).
//!
//! Invariant: a Pod's name is the set's and its ordinal; what is named otherwise is none of the set's Pods.

use serde_json::{Value, json};

use super::view::StatefulSetView;
use super::{KIND, claims};
use crate::plan::{Action, Notice, Write};
use crate::pod::KIND as PODS;
use crate::rules::deletion::Deletion;
use crate::value::{child, items, text};
use crate::view::{Meta, PodView};
use crate::workload::pods;
use crate::workload::revisions::REVISION_HASH;

/// The label with a Pod's own name.
const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
/// The label with its ordinal.
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

/// The ordinal of a Pod that is named as one of the set.
pub(super) fn ordinal(set: &str, pod: &str) -> Option<i64> {
    let (parent, digits) = pod.rsplit_once('-')?;
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let number = if plain { digits.parse::<i32>().ok()? } else { return None };
    (parent == set).then_some(number.into())
}

/// The revision that a Pod is of.
pub(super) fn revision(pod: &PodView) -> &str {
    pod.metadata.labels.get(REVISION_HASH).map_or("", String::as_str)
}

/// A Pod of an ordinal, of a revision's template.
pub(super) fn pod(set: &StatefulSetView, ordinal: i64, revision: &str, template: &Value) -> Value {
    let meta = &set.metadata;
    let name = format!("{}-{ordinal}", meta.name);
    let mut pod = pods::from_template(template, &KIND, meta);
    let metadata = child(&mut pod, "metadata");
    if let Some(map) = metadata.as_object_mut() {
        map.remove("generateName");
    }
    let labels = child(metadata, "labels");
    labels[REVISION_HASH] = json!(revision);
    labels[POD_NAME] = json!(name);
    labels[POD_INDEX] = json!(ordinal.to_string());
    metadata["name"] = json!(name);
    let spec = child(&mut pod, "spec");
    claim_volumes(set, spec, ordinal);
    if !set.spec.service_name.is_empty() {
        spec["subdomain"] = json!(set.spec.service_name);
    }
    spec["hostname"] = json!(name);
    pod
}

/// The volumes of the set's claims, in the place of those of the same names.
fn claim_volumes(set: &StatefulSetView, spec: &mut Value, ordinal: i64) {
    let templates = &set.spec.volume_claim_templates;
    if templates.is_empty() {
        return;
    }
    let name = |claim: &Value| text(&claim["metadata"]["name"]).to_owned();
    let made = templates.iter().map(|template| {
        let claim = name(template);
        let claimed = claims::name(template, &set.metadata.name, ordinal);
        json!({"name": claim, "persistentVolumeClaim": {"claimName": claimed}})
    });
    let kept =
        items(&spec["volumes"]).iter().filter(|v| !templates.iter().any(|c| name(c) == text(&v["name"])));
    let all: Vec<Value> = made.chain(kept.cloned()).collect();
    spec["volumes"] = json!(all);
}

/// The write that gives a Pod the labels of its name, if it lacks them.
pub(super) fn named(set: &Meta, pod: &PodView, ordinal: i64) -> Option<Write> {
    let meta = &pod.metadata;
    if meta.labels.get(POD_NAME) == Some(&meta.name) {
        return None;
    }
    let patch = json!({"metadata": {"uid": meta.uid,
        "labels": {POD_NAME: meta.name, POD_INDEX: ordinal.to_string()}}});
    let write = Write::new(&PODS, &meta.namespace, &meta.name, Action::Merge(patch));
    Some(told(write, "update", "Update", &meta.name, &set.name))
}

/// The write that makes a Pod.
pub(super) fn create(set: &Meta, pod: Value) -> Write {
    let name = text(&pod["metadata"]["name"]).to_owned();
    let write = Write::new(&PODS, &set.namespace, &name, Action::Create(pod));
    told(write, "create", "Create", &name, &set.name)
}

/// What is said while a claim of a Pod that is to be made is on its way out.
pub(super) fn waits(set: &Meta, ordinal: i64, claim: &str) -> Notice {
    let (pod, set) = (format!("{}-{ordinal}", set.name), &set.name);
    let why = format!("create Pod {pod} in StatefulSet {set} failed error: pvc {claim} is being deleted");
    Notice::warning("FailedCreate", why)
}

/// The write that removes a Pod.
pub(super) fn delete(set: &Meta, pod: &PodView) -> Write {
    let meta = &pod.metadata;
    let options = Deletion::of(&meta.uid).body();
    let write = Write::new(&PODS, &meta.namespace, &meta.name, Action::Delete(options));
    told(write, "delete", "Delete", &meta.name, &set.name)
}

fn told(write: Write, verb: &str, noun: &str, pod: &str, set: &str) -> Write {
    let what = format!("{verb} Pod {pod} in StatefulSet {set}");
    let done = Notice::normal(&format!("Successful{noun}"), format!("{what} successful"));
    let failed = Notice::warning(&format!("Failed{noun}"), format!("{what} failed error: "));
    Write { failed: Some(failed), ..write.saying(done) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinals() {
        for (pod, want) in [
            ("web-0", Some(0)),
            ("web-12", Some(12)),
            ("web-", None),
            ("web-x", None),
            ("web-+1", None),
            ("web-2147483648", None),
            ("other-0", None),
            ("a-web-0", None),
            ("web", None),
        ] {
            assert_eq!(ordinal("web", pod), want, "{pod}");
        }
    }

    #[test]
    fn a_pod_has_its_name_everywhere() {
        let set: StatefulSetView = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "n", "uid": "u"},
            "spec": {"serviceName": "s", "volumeClaimTemplates": [{"metadata": {"name": "data"}}]}}))
        .unwrap();
        let template = json!({"metadata": {"labels": {"a": "b"}},
            "spec": {"volumes": [{"name": "data", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]}});
        let made = pod(&set, 3, "web-abc", &template);
        assert_eq!(made["metadata"]["name"], "web-3");
        assert_eq!(made["metadata"].get("generateName"), None);
        assert_eq!(
            made["metadata"]["labels"],
            json!({"a": "b", "controller-revision-hash": "web-abc", "statefulset.kubernetes.io/pod-name": "web-3",
                "apps.kubernetes.io/pod-index": "3"})
        );
        assert_eq!((&made["spec"]["hostname"], &made["spec"]["subdomain"]), (&json!("web-3"), &json!("s")));
        assert_eq!(
            made["spec"]["volumes"],
            json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data-web-3"}},
                {"name": "tmp", "emptyDir": {}}])
        );
        let stored: PodView = serde_json::from_value(made).unwrap();
        assert!(named(&set.metadata, &stored, 3).is_none());
        let bare: PodView = serde_json::from_value(json!({"metadata": {"name": "web-3"}})).unwrap();
        let write = named(&set.metadata, &bare, 3).unwrap();
        let said = write.said.map(|n| (n.reason, n.message));
        let want =
            ("SuccessfulUpdate".to_owned(), "update Pod web-3 in StatefulSet web successful".to_owned());
        assert_eq!(said, Some(want));
    }
}
