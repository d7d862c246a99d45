//! Turns of a ReplicaSet as tables.

use super::*;
use crate::plan::Action;
use crate::replicaset::FORM;

const NOW: Timestamp = Timestamp::from_seconds(1000);

fn set(change: &Value) -> Value {
    let base = json!({"metadata": {"name": "r", "namespace": "n", "uid": "r-uid", "generation": 3},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "x"}},
            "template": {"metadata": {"labels": {"app": "x", "v": "1"}}, "spec": {"containers": []}}}});
    schema::patch::merge_patch(&base, change.to_string().as_bytes()).unwrap().value
}

/// A ready Pod of the set for so many seconds, but for `change`.
fn pod(name: &str, ready_for: i64, change: &Value) -> PodView {
    let since = Timestamp::from_seconds(NOW.seconds - ready_for).rfc3339();
    let base = json!({"metadata": {"name": name, "namespace": "n", "uid": name, "labels": {"app": "x", "v": "1"},
            "ownerReferences": [{"kind": "ReplicaSet", "apiVersion": "apps/v1", "uid": "r-uid", "controller": true}]},
        "spec": {"nodeName": "n1"},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": since}]}});
    serde_json::from_value(schema::patch::merge_patch(&base, change.to_string().as_bytes()).unwrap().value)
        .unwrap()
}

/// What a plan does, stage by stage: `make`, `remove NAME`, `patch NAME`, `status {…}`.
fn words(plan: &Plan) -> Vec<String> {
    let word = |w: &Write| match &w.action {
        Action::Create(_) => "make".to_owned(),
        Action::Delete(_) => format!("remove {}", w.name),
        Action::Update(object) => format!("status {}", object["status"]),
        other => {
            format!("patch {} {}", w.name, if format!("{other:?}").contains("$patch") { "off" } else { "on" })
        }
    };
    plan.stages.iter().map(|s| s.iter().map(word).collect::<Vec<_>>().join(", ")).collect()
}

fn status(replicas: i32, labeled: i32, ready: i32, available: i32, terminating: i32) -> String {
    let mut status = Status::default();
    status.set("replicas", json!(replicas));
    status.number("fullyLabeledReplicas", labeled);
    status.number("readyReplicas", ready);
    status.number("availableReplicas", available);
    status.set("terminatingReplicas", json!(terminating));
    status.number("observedGeneration", 3);
    let Some(Write { action: Action::Update(object), .. }) = status.write(&super::super::KIND, &json!({}))
    else {
        panic!()
    };
    format!("status {}", object["status"])
}

#[test]
fn turns() {
    let mine = |name| pod(name, 100, &json!({}));
    let young = pod("young", 5, &json!({}));
    let going = pod("going", 100, &json!({"metadata": {"deletionTimestamp": "t"}}));
    let ended = pod("ended", 100, &json!({"status": {"phase": "Succeeded"}}));
    let orphan = pod("orphan", 100, &json!({"metadata": {"ownerReferences": null}}));
    let stray = pod("stray", 100, &json!({"metadata": {"labels": {"app": "y"}}}));
    let odd = pod("odd", 100, &json!({"metadata": {"labels": {"v": "2"}}}));
    let pending = pod(
        "pending",
        0,
        &json!({"spec": {"nodeName": null}, "status": {"phase": "Pending", "conditions": null}}),
    );
    for (name, change, pods, want) in [
        ("nothing yet", json!({}), vec![], vec!["make, make".to_owned(), status(0, 0, 0, 0, 0)]),
        ("one missing", json!({}), vec![mine("a"), going, ended], vec!["make".into(), status(1, 1, 1, 1, 1)]),
        (
            "one orphan",
            json!({}),
            vec![mine("a"), orphan.clone()],
            vec!["patch orphan on".into(), status(2, 2, 2, 2, 0)],
        ),
        (
            "one stray",
            json!({}),
            vec![mine("a"), stray],
            vec!["patch stray off".into(), "make".into(), status(1, 1, 1, 1, 0)],
        ),
        (
            "one too many",
            json!({}),
            vec![mine("a"), pending, mine("b")],
            vec!["remove pending".into(), status(3, 3, 2, 2, 0)],
        ),
        (
            "none wanted",
            json!({"spec": {"replicas": 0}}),
            vec![mine("a")],
            vec!["remove a".into(), status(1, 1, 1, 1, 0)],
        ),
        (
            "too young",
            json!({"spec": {"minReadySeconds": 10}}),
            vec![mine("a"), young],
            vec![status(2, 2, 2, 1, 0)],
        ),
        ("other labels", json!({}), vec![mine("a"), odd], vec![status(2, 1, 2, 2, 0)]),
        (
            "going itself",
            json!({"metadata": {"deletionTimestamp": "t"}}),
            vec![mine("a"), orphan],
            vec![status(1, 1, 1, 1, 0)],
        ),
    ] {
        let observed = Observed { set: set(&change), related: pods.clone(), pods };
        let plan = reconcile(&FORM, NOW, &observed).unwrap();
        assert_eq!(words(&plan), want, "{name}");
        let wake = (name == "too young").then(|| Timestamp::from_seconds(1005));
        assert_eq!(plan.wake_at, wake, "{name}");
    }
}

#[test]
fn what_is_told_already_is_not_written() {
    let pods = vec![pod("a", 100, &json!({})), pod("b", 100, &json!({}))];
    let told = json!({"status": {"replicas": 2, "fullyLabeledReplicas": 2, "readyReplicas": 2, "availableReplicas": 2,
        "terminatingReplicas": 0, "observedGeneration": 3}});
    let plan = reconcile(&FORM, NOW, &Observed { set: set(&told), pods, related: Vec::new() }).unwrap();
    assert!(plan.is_idle(), "{plan:?}");
}

#[test]
fn a_failure_is_a_condition_until_it_goes_well() {
    let failure = Failed {
        kind: crate::pod::KIND.clone(),
        deed: Deed::Create,
        message: "pods \"x\" is forbidden: no".into(),
        reason: "Forbidden".into(),
    };
    let observed = Observed { set: set(&json!({})), ..Observed::default() };
    let conditions = |plan: &Plan| match &plan.stages.last().unwrap()[0].action {
        Action::Update(object) => object["status"]["conditions"].clone(),
        other => panic!("{other:?}"),
    };
    let told = conditions(&failed(&FORM, NOW, &observed, &failure).unwrap());
    assert_eq!(
        told,
        json!([{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate",
            "message": "pods \"x\" is forbidden: no", "lastTransitionTime": NOW.rfc3339()}])
    );
    let failing = Observed { set: set(&json!({"status": {"conditions": told}})), ..Observed::default() };
    assert_eq!(conditions(&reconcile(&FORM, NOW, &failing).unwrap()), Value::Null);
    let other = Failed { message: "another".into(), deed: Deed::Delete, ..failure };
    assert_eq!(conditions(&failed(&FORM, NOW, &failing, &other).unwrap()), told);
}

#[test]
fn at_most_a_burst_at_once() {
    let observed = Observed { set: set(&json!({"spec": {"replicas": 2000}})), ..Observed::default() };
    assert_eq!(reconcile(&FORM, NOW, &observed).unwrap().stages[0].len(), BURST);
}
