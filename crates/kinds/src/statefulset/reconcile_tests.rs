//! Turns of a StatefulSet as tables.

use super::*;
use crate::plan::{Action, Deed};
use crate::workload::revisions::REVISION_HASH;

const NOW: Timestamp = Timestamp::from_seconds(1000);

fn merged(base: &Value, change: &Value) -> Value {
    schema::patch::merge_patch(base, change.to_string().as_bytes()).unwrap().value
}

/// Three Pods, at the revision `s-a` before, `s-b` now.
fn set(change: &Value) -> Value {
    let base = json!({"metadata": {"name": "s", "namespace": "n", "uid": "s-uid", "generation": 3},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "x"}}, "revisionHistoryLimit": 1,
            "podManagementPolicy": "OrderedReady",
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
            "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": []}}},
        "status": {"currentRevision": "s-a"}});
    merged(&base, change)
}

fn owners() -> Value {
    json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "uid": "s-uid", "controller": true}])
}

/// A revision of the set; `image` tells templates apart, empty is the set's.
fn revision(hash: &str, number: i64, image: &str) -> Revision {
    let mut template = set(&json!({}))["spec"]["template"].clone();
    if !image.is_empty() {
        template["spec"]["image"] = json!(image);
    }
    serde_json::from_value(json!({"metadata": {"name": format!("s-{hash}"), "namespace": "n", "uid": hash,
            "labels": {"app": "x", REVISION_HASH: hash}, "ownerReferences": owners()},
        "revision": number, "data": {"spec": {"template": template}}}))
    .unwrap()
}

/// A Pod of the set, ready for a long time, but for `change`.
fn pod(ordinal: u32, hash: &str, change: &Value) -> PodView {
    let name = format!("s-{ordinal}");
    let labels =
        json!({"app": "x", REVISION_HASH: format!("s-{hash}"), "statefulset.kubernetes.io/pod-name": name});
    let base = json!({"metadata": {"name": name, "namespace": "n", "uid": name, "labels": labels,
            "ownerReferences": owners()},
        "status": {"phase": "Running", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": Timestamp::from_seconds(100).rfc3339()}]}});
    serde_json::from_value(merged(&base, change)).unwrap()
}

fn unready(ordinal: u32, hash: &str) -> PodView {
    pod(ordinal, hash, &json!({"status": {"conditions": null}}))
}

fn going(ordinal: u32, hash: &str) -> PodView {
    pod(ordinal, hash, &json!({"metadata": {"deletionTimestamp": "t"}}))
}

fn ended(ordinal: u32, hash: &str) -> PodView {
    pod(ordinal, hash, &json!({"status": {"phase": "Failed"}}))
}

/// Pods of those revisions, from ordinal 0 on.
fn pods(hashes: &[&str]) -> Vec<PodView> {
    (0..).zip(hashes).map(|(ordinal, hash)| pod(ordinal, hash, &json!({}))).collect()
}

fn observed(change: &Value, pods: Vec<PodView>) -> Observed {
    let revisions = vec![revision("a", 1, "old"), revision("b", 2, "")];
    Observed { set: set(change), pods, revisions, namesake: None, claims: Vec::new() }
}

/// What a plan does, stage by stage, without the status.
fn words(plan: &Plan) -> Vec<String> {
    let word = |w: &Write| match &w.action {
        Action::Create(made) if w.kind.is(&PODS) => {
            format!("make {} {}", w.name, made["metadata"]["labels"][REVISION_HASH].as_str().unwrap())
        }
        Action::Create(made) => format!("revision {}", made["revision"]),
        Action::Delete(_) => format!("remove {}", w.name),
        Action::Merge(patch) if w.kind.is(&PODS) => {
            format!("name {} {}", w.name, patch["metadata"]["labels"])
        }
        Action::Merge(patch) => format!("number {} {}", w.name, patch["revision"]),
        Action::Strategic(patch) if patch.to_string().contains("$patch") => format!("release {}", w.name),
        Action::Strategic(_) => format!("adopt {}", w.name),
        Action::Update(_) => "status".to_owned(),
        other => panic!("{other:?}"),
    };
    let stages = plan.stages.iter().map(|s| s.iter().map(word).collect::<Vec<_>>().join(", "));
    stages.filter(|s| s != "status").collect()
}

fn status(plan: &Plan) -> Value {
    let writes = plan.stages.iter().flatten();
    let mut told = writes.rev().filter_map(|w| match &w.action {
        Action::Update(object) => Some(object["status"].clone()),
        _ => None,
    });
    told.next().unwrap_or_default()
}

fn check(name: &str, observed: &Observed, want: &[&str]) -> Plan {
    let plan = reconcile(NOW, observed).unwrap();
    assert_eq!(words(&plan), want, "{name}");
    plan
}

#[test]
fn in_order() {
    let b = |n: u32| pod(n, "b", &json!({}));
    for (name, change, pods, want) in [
        ("the first", json!({}), vec![], &["make s-0 s-b"][..]),
        ("it is waited for", json!({}), vec![unready(0, "b")], &[]),
        ("the second", json!({}), vec![b(0)], &["make s-1 s-b"]),
        ("a gap", json!({}), vec![b(0), b(2)], &["make s-1 s-b"]),
        ("going ones are waited for", json!({}), vec![going(0, "b"), b(1)], &[]),
        ("ended ones are replaced", json!({}), vec![b(0), ended(1, "b"), b(2)], &["remove s-1"]),
        ("all there", json!({}), pods(&["b", "b", "b"]), &[]),
        ("too many", json!({"spec": {"replicas": 1}}), pods(&["b", "b", "b"]), &["remove s-2"]),
        ("the last is gone first", json!({"spec": {"replicas": 1}}), vec![b(0), b(1), going(2, "b")], &[]),
        ("an unwell one stops it", json!({"spec": {"replicas": 1}}), vec![unready(0, "b"), b(1)], &[]),
        (
            "it is the unwell one",
            json!({"spec": {"replicas": 1}}),
            vec![b(0), b(1), unready(2, "b")],
            &["remove s-2"],
        ),
        (
            "it is not the first unwell one",
            json!({"spec": {"replicas": 1}}),
            vec![b(0), unready(1, "b"), unready(2, "b")],
            &[],
        ),
        (
            "from another ordinal",
            json!({"spec": {"ordinals": {"start": 1}, "replicas": 2}}),
            vec![b(0), b(1)],
            &["make s-2 s-b"],
        ),
        (
            "below the first ordinal",
            json!({"spec": {"ordinals": {"start": 1}, "replicas": 2}}),
            vec![b(0), b(1), b(2)],
            &["remove s-0"],
        ),
        ("going itself", json!({"metadata": {"deletionTimestamp": "t"}}), vec![], &[]),
    ] {
        check(name, &observed(&change, pods), want);
    }
}

#[test]
fn all_at_once() {
    let parallel = |change: Value| merged(&json!({"spec": {"podManagementPolicy": "Parallel"}}), &change);
    let b = |n: u32| pod(n, "b", &json!({}));
    let few = json!({"spec": {"replicas": 1}});
    for (name, change, pods, want) in [
        ("nothing yet", json!({}), vec![], &["make s-0 s-b, make s-1 s-b, make s-2 s-b"][..]),
        ("one missing", json!({}), vec![unready(0, "b"), going(2, "b")], &["make s-1 s-b"]),
        ("too many", few, vec![unready(0, "b"), b(1), unready(2, "b")], &["remove s-2, remove s-1"]),
        ("ended ones", json!({}), vec![ended(0, "b"), b(1), ended(2, "a")], &["remove s-0, remove s-2"]),
    ] {
        check(name, &observed(&parallel(change), pods), want);
    }
}

#[test]
fn rollouts() {
    let a = |n: u32| pod(n, "a", &json!({}));
    let b = |n: u32| pod(n, "b", &json!({}));
    let rolling = |change: Value| json!({"spec": {"updateStrategy": {"rollingUpdate": change}}});
    let parallel = |change: Value| merged(&json!({"spec": {"podManagementPolicy": "Parallel"}}), &change);
    let on_delete = json!({"spec": {"updateStrategy": {"type": "OnDelete", "rollingUpdate": null}}});
    for (name, change, pods, want) in [
        ("the last first", json!({}), vec![a(0), a(1), a(2)], &["remove s-2"][..]),
        ("the next", json!({}), vec![a(0), a(1), b(2)], &["remove s-1"]),
        ("not before the last is there", parallel(json!({})), vec![a(0), a(1), unready(2, "b")], &[]),
        ("it comes back new", json!({}), vec![a(0), a(1)], &["make s-2 s-b"]),
        ("down to the partition", rolling(json!({"partition": 2})), vec![a(0), a(1), b(2)], &[]),
        ("below it comes back old", rolling(json!({"partition": 2})), vec![a(0)], &["make s-1 s-a"]),
        (
            "without a partition",
            json!({"spec": {"updateStrategy": {"rollingUpdate": null}}, "status": {"currentReplicas": 1}}),
            vec![],
            &["make s-0 s-a"],
        ),
        ("by hand", on_delete.clone(), vec![a(0), a(1), a(2)], &[]),
        ("by hand, new", on_delete, vec![a(0), a(1)], &["make s-2 s-b"]),
        (
            "two at once",
            rolling(json!({"maxUnavailable": 2})),
            vec![a(0), a(1), a(2)],
            &["remove s-2, remove s-1"],
        ),
        (
            "of two one is missing",
            parallel(rolling(json!({"maxUnavailable": 2}))),
            vec![a(0), a(1), unready(2, "b")],
            &["remove s-1"],
        ),
        (
            "what is no loss goes first",
            parallel(rolling(json!({"maxUnavailable": 1}))),
            vec![unready(0, "a"), a(1), a(2)],
            &["remove s-0"],
        ),
        (
            "a part of them",
            rolling(json!({"maxUnavailable": "67%"})),
            vec![a(0), a(1), a(2)],
            &["remove s-2, remove s-1"],
        ),
    ] {
        check(name, &observed(&change, pods), want);
    }
}

#[test]
fn what_is_told() {
    let base = |replicas: i32| {
        json!({"observedGeneration": 3, "replicas": replicas, "readyReplicas": replicas, "collisionCount": 0,
            "updateRevision": "s-b", "availableReplicas": replicas})
    };
    let with = |replicas, more: Value| merged(&base(replicas), &more);
    for (hashes, want) in [
        (
            &["b", "b", "b"][..],
            with(3, json!({"currentRevision": "s-b", "currentReplicas": 3, "updatedReplicas": 3})),
        ),
        (
            &["a", "a", "b"],
            with(3, json!({"currentRevision": "s-a", "currentReplicas": 1, "updatedReplicas": 1})),
        ),
        (&["a"], with(1, json!({"currentRevision": "s-a", "currentReplicas": 1}))),
    ] {
        let plan = reconcile(NOW, &observed(&json!({}), pods(hashes))).unwrap();
        assert_eq!(status(&plan), want, "{hashes:?}");
    }
    let late = json!({"spec": {"minReadySeconds": 950}});
    let plan = check("too young", &observed(&late, pods(&["b"])), &[]);
    assert_eq!(
        (plan.wake_at, &status(&plan)["availableReplicas"]),
        (Some(Timestamp::from_seconds(1050)), &json!(0))
    );
    let plan = reconcile(NOW, &observed(&json!({}), vec![])).unwrap();
    let made = &plan.stages[0][0];
    let said = made.said.as_ref().map(|n| (n.reason.as_str(), n.message.as_str()));
    assert_eq!(said, Some(("SuccessfulCreate", "create Pod s-0 in StatefulSet s successful")));
    assert_eq!(made.failed.as_ref().unwrap().message, "create Pod s-0 in StatefulSet s failed error: ");
    assert_eq!(plan.wake_at, Some(NOW + TAKEN), "the name may be somebody else's");
    let failure =
        Failed { kind: PODS.clone(), deed: Deed::Create, message: "no".into(), reason: "Forbidden".into() };
    let plan = failed(NOW, &observed(&json!({}), vec![]), &failure).unwrap();
    assert_eq!((plan.stages.len(), &status(&plan)["replicas"]), (1, &json!(0)));
}

#[test]
fn whose_is_whose() {
    let orphan = |name: &str| {
        let change = json!({"metadata": {"name": name, "ownerReferences": null, "labels": {REVISION_HASH: "s-b",
            "statefulset.kubernetes.io/pod-name": null}}});
        pod(0, "b", &change)
    };
    let misnamed = pod(7, "b", &json!({"metadata": {"name": "other-7"}}));
    let all = || pods(&["b", "b", "b"]);
    let seen =
        observed(&json!({}), [all().split_off(1), vec![orphan("s-0"), orphan("free"), misnamed]].concat());
    check(
        "by name",
        &seen,
        &[
            "adopt s-0, release other-7",
            "name s-0 {\"apps.kubernetes.io/pod-index\":\"0\",\"statefulset.kubernetes.io/pod-name\":\"s-0\"}",
        ],
    );
}

#[test]
fn revisions_are_kept() {
    let all = || pods(&["b", "b", "b"]);
    let seen = |revisions: Vec<Revision>| Observed { revisions, ..observed(&json!({}), all()) };
    let fresh = Observed { revisions: vec![], ..observed(&json!({"status": null}), vec![]) };
    let name = revisions::next_name(&fresh.set);
    let plan = check("none", &fresh, &["revision 1", &format!("make s-0 {name}")]);
    assert_eq!(status(&plan)["currentRevision"], json!(name));
    check("rolled back to", &seen(vec![revision("b", 1, ""), revision("a", 4, "old")]), &["number s-b 5"]);
    let many =
        vec![revision("x", 1, "x"), revision("y", 2, "y"), revision("a", 3, "old"), revision("b", 4, "")];
    check("what was before is kept too", &seen(many.clone()), &["remove s-x"]);
    let mut for_ever = seen(many);
    for_ever.set["spec"]["revisionHistoryLimit"] = json!(-1);
    check("all are kept", &for_ever, &[]);
    let taken = Observed { namesake: Some(revision("z", 1, "other")), ..seen(vec![]) };
    let plan = check("its name is taken", &taken, &[]);
    assert_eq!(status(&plan)["collisionCount"], 1);
}
