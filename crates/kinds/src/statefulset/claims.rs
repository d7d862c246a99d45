//! The claims of a StatefulSet's Pods: made before their Pods, and given away or kept as
//! `persistentVolumeClaimRetentionPolicy` says.
//!
//! Invariant: a claim is never deleted here: who owns it decides what becomes of it. Absent: claims of templates that
//! were removed.

use serde_json::{Value, json};

use super::KIND;
use super::view::StatefulSetView;
use crate::persistentvolumeclaim::KIND as CLAIMS;
use crate::plan::{Action, Notice, Write};
use crate::pod::KIND as PODS;
use crate::value::{child, is_set, items, same, text};
use crate::view::{Meta, PodView};

/// What becomes of claims.
const DELETE: &str = "Delete";

/// The name of a claim of a Pod.
pub(super) fn name(template: &Value, set: &str, ordinal: i64) -> String {
    format!("{}-{set}-{ordinal}", text(&template["metadata"]["name"]))
}

/// The names of the claims that the Pods of these ordinals have.
pub(super) fn names(set: &StatefulSetView, ordinals: impl Iterator<Item = i64>) -> Vec<String> {
    let templates = &set.spec.volume_claim_templates;
    ordinals.flat_map(|ordinal| templates.iter().map(move |t| name(t, &set.metadata.name, ordinal))).collect()
}

fn find<'c>(claims: &'c [Value], name: &str) -> Option<&'c Value> {
    claims.iter().find(|claim| text(&claim["metadata"]["name"]) == name)
}

/// The claim of an ordinal that is on its way out, so that its Pod must wait.
pub(super) fn going<'c>(set: &StatefulSetView, claims: &'c [Value], ordinal: i64) -> Option<&'c str> {
    let templates = set.spec.volume_claim_templates.iter();
    let known = templates.filter_map(|t| find(claims, &name(t, &set.metadata.name, ordinal)));
    let mut known = known.filter(|claim| is_set(&claim["metadata"]["deletionTimestamp"]));
    known.next().map(|claim| text(&claim["metadata"]["name"]))
}

/// The claims of an ordinal that are not there.
pub(super) fn missing(set: &StatefulSetView, claims: &[Value], ordinal: i64) -> Vec<Write> {
    let (meta, templates) = (&set.metadata, &set.spec.volume_claim_templates);
    let absent = templates.iter().filter(|t| find(claims, &name(t, &meta.name, ordinal)).is_none());
    absent.map(|template| create(set, template, ordinal)).collect()
}

fn create(set: &StatefulSetView, template: &Value, ordinal: i64) -> Write {
    let (meta, name) = (&set.metadata, name(template, &set.metadata.name, ordinal));
    let mut claim = json!({"metadata": template["metadata"], "spec": template["spec"]});
    let metadata = child(&mut claim, "metadata");
    metadata["name"] = json!(name);
    metadata["namespace"] = json!(meta.namespace);
    let labels = child(metadata, "labels");
    for (key, value) in crate::value::entries(&set.spec.selector["matchLabels"]) {
        labels[key] = value.clone();
    }
    if policy(set, "whenDeleted") == DELETE {
        metadata["ownerReferences"] = json!([owner(&KIND, meta)]);
    }
    let pod = format!("{}-{ordinal}", meta.name);
    let set = &meta.name;
    let done = format!("create Claim {name} Pod {pod} in StatefulSet {set} success");
    let failed = format!("create Claim {name} for Pod {pod} in StatefulSet {set} failed error: ");
    let write = Write::new(&CLAIMS, &meta.namespace, &name, Action::Create(claim));
    Write {
        failed: Some(Notice::warning("FailedCreate", failed)),
        ..write.saying(Notice::normal("SuccessfulCreate", done))
    }
}

fn policy<'s>(set: &'s StatefulSetView, when: &str) -> &'s str {
    text(&set.spec.persistent_volume_claim_retention_policy[when])
}

/// Who a claim goes with: not as its controller, so nobody else is kept from it.
fn owner(kind: &crate::kind::Kind, meta: &Meta) -> Value {
    json!({"apiVersion": kind.api_version(), "kind": kind.kind, "name": meta.name, "uid": meta.uid})
}

/// What puts the owners of a Pod's claims right; `condemned` is a Pod that the set is to lose.
pub(super) fn retention(
    set: &StatefulSetView,
    claims: &[Value],
    ordinal: i64,
    pod: &PodView,
    condemned: bool,
) -> Vec<Write> {
    let goes_with_pod = condemned && policy(set, "whenScaled") == DELETE;
    let goes_with_set = !goes_with_pod && policy(set, "whenDeleted") == DELETE;
    let wanted = [(goes_with_set, owner(&KIND, &set.metadata)), (goes_with_pod, owner(&PODS, &pod.metadata))];
    let ours = |reference: &Value| {
        let kind = (text(&reference["apiVersion"]), text(&reference["kind"]));
        let of_pod = kind == ("v1", "Pod") && text(&reference["name"]) == pod.metadata.name;
        of_pod || reference["uid"] == json!(set.metadata.uid)
    };
    let one = |template: &Value| {
        let claim = find(claims, &name(template, &set.metadata.name, ordinal))?;
        let meta = &claim["metadata"];
        let before = items(&meta["ownerReferences"]);
        let has = |owner: &Value| before.iter().any(|known| known["uid"] == owner["uid"]);
        let stale = before
            .iter()
            .filter(|o| ours(o))
            .any(|known| !wanted.iter().any(|(w, o)| *w && o["uid"] == known["uid"]));
        if is_set(&meta["deletionTimestamp"]) || (!stale && wanted.iter().all(|(w, owner)| !w || has(owner)))
        {
            return None;
        }
        let mut after: Vec<Value> = before.iter().filter(|reference| !ours(reference)).cloned().collect();
        after.extend(wanted.iter().filter(|(w, _)| *w).map(|(_, owner)| owner.clone()));
        let after = if after.is_empty() { Value::Null } else { json!(after) };
        if same(&after, &meta["ownerReferences"]) {
            return None;
        }
        let change = json!({"metadata": {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"],
            "ownerReferences": after}});
        Some(Write::new(&CLAIMS, &set.metadata.namespace, text(&meta["name"]), Action::Merge(change)))
    };
    set.spec.volume_claim_templates.iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(deleted: &str, scaled: &str) -> StatefulSetView {
        serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "n", "uid": "s"}, "spec": {
            "selector": {"matchLabels": {"app": "x"}}, "replicas": 1,
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": deleted, "whenScaled": scaled},
            "volumeClaimTemplates": [{"metadata": {"name": "data", "labels": {"a": "b"}}, "spec": {"accessModes": ["ReadWriteOnce"]}}]}}))
        .unwrap()
    }

    #[test]
    fn made_before_the_pod() {
        let writes = missing(&set("Delete", "Retain"), &[], 2);
        let Action::Create(claim) = &writes[0].action else { panic!("a claim") };
        assert_eq!(claim["metadata"]["name"], "data-web-2");
        assert_eq!(claim["metadata"]["labels"], json!({"a": "b", "app": "x"}));
        assert_eq!(claim["metadata"]["ownerReferences"][0]["uid"], "s");
        let said = writes[0].said.as_ref().map(|n| n.message.as_str());
        assert_eq!(said, Some("create Claim data-web-2 Pod web-2 in StatefulSet web success"));
        let kept = missing(&set("Retain", "Retain"), &[], 2);
        let Action::Create(kept) = &kept[0].action else { panic!("a claim") };
        assert!(missing(&set("Retain", "Retain"), std::slice::from_ref(kept), 2).is_empty());
        assert!(!is_set(&kept["metadata"]["ownerReferences"]));
        let mut leaving = kept.clone();
        leaving["metadata"]["deletionTimestamp"] = json!("t");
        assert_eq!(going(&set("Retain", "Retain"), &[leaving], 2), Some("data-web-2"));
    }

    #[test]
    fn whom_a_claim_goes_with() {
        let pod: PodView =
            serde_json::from_value(json!({"metadata": {"name": "web-2", "uid": "p"}})).unwrap();
        let owners = |owners: &[&str]| -> Value {
            owners
                .iter()
                .map(|uid| match *uid {
                    "s" => json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": "s"}),
                    "p" => json!({"apiVersion": "v1", "kind": "Pod", "name": "web-2", "uid": "p"}),
                    other => json!({"apiVersion": "e/v1", "kind": "X", "name": "x", "uid": other}),
                })
                .collect()
        };
        for (deleted, scaled, condemned, before, want) in [
            ("Retain", "Retain", true, &[][..], None),
            ("Retain", "Retain", false, &["s", "x"], Some(&["x"][..])),
            ("Delete", "Retain", true, &["s"], None),
            ("Delete", "Retain", false, &[], Some(&["s"])),
            ("Retain", "Delete", false, &["p"], Some(&[])),
            ("Retain", "Delete", true, &[], Some(&["p"])),
            ("Delete", "Delete", true, &["s"], Some(&["p"])),
            ("Delete", "Delete", false, &["p"], Some(&["s"])),
        ] {
            let claim =
                json!({"metadata": {"name": "data-web-2", "uid": "c", "ownerReferences": owners(before)}});
            let writes = retention(&set(deleted, scaled), &[claim], 2, &pod, condemned);
            let got = writes.first().map(|write| match &write.action {
                Action::Merge(change) => change["metadata"]["ownerReferences"].clone(),
                other => panic!("{other:?}"),
            });
            let want = want.map(|uids| if uids.is_empty() { Value::Null } else { owners(uids) });
            assert_eq!(got, want, "{deleted} {scaled} {condemned} {before:?}");
        }
    }
}
