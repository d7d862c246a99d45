//! Turns of a DaemonSet as tables.

use super::*;
use crate::plan::Deed;

const NOW: Timestamp = Timestamp::from_seconds(1000);

fn merged(base: &Value, change: &Value) -> Value {
    schema::patch::merge_patch(base, change.to_string().as_bytes()).unwrap().value
}

fn set(change: &Value) -> Value {
    let base = json!({"metadata": {"name": "d", "namespace": "n", "uid": "d-uid", "generation": 3},
        "spec": {"selector": {"matchLabels": {"app": "x"}}, "revisionHistoryLimit": 1,
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
            "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": []}}}});
    merged(&base, change)
}

/// A revision of the set with that hash; `image` tells templates apart, empty is the set's.
fn revision(hash: &str, number: i64, image: &str) -> Revision {
    let mut template = set(&json!({}))["spec"]["template"].clone();
    if !image.is_empty() {
        template["spec"]["image"] = json!(image);
    }
    serde_json::from_value(json!({"metadata": {"name": format!("d-{hash}"), "namespace": "n", "uid": hash,
            "labels": {"app": "x", REVISION_HASH: hash},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "uid": "d-uid", "controller": true}]},
        "revision": number, "data": {"spec": {"template": template}}}))
    .unwrap()
}

/// A Pod of the set on a node, ready for a long time, but for `change`; its name is `NODE-HASH`.
fn pod(node: &str, hash: &str, change: &Value) -> PodView {
    let name = format!("{node}-{hash}");
    let base = json!({"metadata": {"name": name, "namespace": "n", "uid": name,
            "labels": {"app": "x", REVISION_HASH: hash},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "uid": "d-uid", "controller": true}]},
        "spec": {"nodeName": node}, "status": {"phase": "Running", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": Timestamp::from_seconds(100).rfc3339()}]}});
    serde_json::from_value(merged(&base, change)).unwrap()
}

fn unready(node: &str, hash: &str) -> PodView {
    pod(node, hash, &json!({"status": {"conditions": null}}))
}

fn nodes(names: &[&str]) -> Vec<Arc<NodeView>> {
    let node = |name: &&str| Arc::new(serde_json::from_value(json!({"metadata": {"name": name}})).unwrap());
    names.iter().map(node).collect()
}

/// What a plan does, stage by stage, without the status.
fn words(plan: &Plan) -> Vec<String> {
    let word = |w: &Write| match &w.action {
        Action::Create(made) if w.kind.is(&PODS) => {
            let made: PodView = serde_json::from_value(made.clone()).unwrap();
            format!("make {}", target(&made).unwrap())
        }
        Action::Create(made) => format!("revision {}", made["revision"]),
        Action::Delete(_) => format!("remove {}", w.name),
        Action::Merge(patch) if w.kind.is(&PODS) => {
            format!("label {} {}", w.name, patch["metadata"]["labels"])
        }
        Action::Merge(patch) => format!("number {} {}", w.name, patch["revision"]),
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

/// A settled one of the revision `b` on nodes 1 and 2, the revision `a` before.
fn observed(change: &Value, pods: Vec<PodView>) -> Observed {
    Observed {
        set: set(change),
        pods,
        revisions: vec![revision("a", 1, "old"), revision("b", 2, "")],
        nodes: nodes(&["1", "2"]),
        ..Observed::default()
    }
}

fn check(name: &str, observed: &Observed, want: &[&str]) -> Plan {
    let plan = reconcile(NOW, observed).unwrap();
    assert_eq!(words(&plan), want, "{name}");
    plan
}

#[test]
fn every_node_has_its_pod() {
    let going = json!({"metadata": {"deletionTimestamp": "t"}});
    let both = |one: PodView| vec![one, pod("2", "b", &json!({}))];
    let young =
        pod("1", "b", &json!({"metadata": {"name": "young", "creationTimestamp": "1970-01-01T00:00:09Z"}}));
    let waiting = json!({"spec": {"nodeName": null, "affinity": {"nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchFields": [
            {"key": "metadata.name", "operator": "In", "values": ["3"]}]}]}}}}});
    for (name, pods, want) in [
        ("nothing yet", vec![], &["make 1, make 2"][..]),
        ("all there", both(pod("1", "b", &json!({}))), &[]),
        ("one not ready", both(unready("1", "b")), &[]),
        ("one going", both(pod("1", "b", &going)), &[]),
        ("one ended", both(pod("1", "b", &json!({"status": {"phase": "Succeeded"}}))), &["remove 1-b"]),
        ("two on one", [both(pod("1", "b", &json!({}))), vec![young]].concat(), &["remove young"]),
        (
            "on a node that is gone",
            [both(pod("1", "b", &json!({}))), vec![pod("3", "b", &json!({}))]].concat(),
            &[],
        ),
        (
            "for a node that is gone",
            [both(pod("1", "b", &json!({}))), vec![pod("3", "b", &waiting)]].concat(),
            &["remove 3-b"],
        ),
    ] {
        check(name, &observed(&json!({}), pods), want);
    }
    let elsewhere = json!({"spec": {"template": {"spec": {"nodeSelector": {"a": "b"}}}}});
    let mut moved = observed(&elsewhere, both(pod("1", "b", &json!({}))));
    moved.revisions = vec![];
    let plan = check("nowhere", &moved, &["revision 1", "remove 1-b, remove 2-b"]);
    let want = json!({"currentNumberScheduled": 0, "numberMisscheduled": 2, "desiredNumberScheduled": 0,
        "numberReady": 0, "observedGeneration": 3});
    assert_eq!(status(&plan), want);
    moved.set["metadata"]["deletionTimestamp"] = json!("t");
    check("going itself", &moved, &[]);
}

#[test]
fn failed_pods_are_replaced_after_a_while() {
    let failed = pod("1", "b", &json!({"status": {"phase": "Failed"}}));
    let mut seen = observed(&json!({}), vec![failed, pod("2", "b", &json!({}))]);
    let plan = check("at once", &seen, &["remove 1-b"]);
    let message = "Found failed daemon pod n/1-b on node 1, will try to kill it";
    assert_eq!(plan.events, [Notice::warning("FailedDaemonPod", message)]);
    assert_eq!(replaced(NOW, &seen), ["1"]);
    seen.waits.insert("1".into(), Timestamp::from_seconds(1005));
    let plan = check("later", &seen, &[]);
    assert_eq!((plan.wake_at, replaced(NOW, &seen)), (Some(Timestamp::from_seconds(1005)), vec![]));
}

#[test]
fn rollouts() {
    let new = |node: &str| pod(node, "b", &json!({}));
    let old = |node: &str| pod(node, "a", &json!({}));
    let surge = json!({"spec": {"updateStrategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}}});
    let all = json!({"spec": {"updateStrategy": {"rollingUpdate": {"maxUnavailable": "100%"}}}});
    let on_delete = json!({"spec": {"updateStrategy": {"type": "OnDelete", "rollingUpdate": null}}});
    for (name, change, pods, want) in [
        ("one at a time", json!({}), vec![old("1"), old("2")], &["remove 1-a"][..]),
        ("the next once the first is there", json!({}), vec![new("1"), old("2")], &["remove 2-a"]),
        ("not before", json!({}), vec![unready("1", "b"), old("2")], &[]),
        (
            "broken ones at once",
            json!({}),
            vec![unready("1", "a"), unready("2", "a")],
            &["remove 1-a, remove 2-a"],
        ),
        ("broken ones first", json!({}), vec![old("1"), unready("2", "a")], &["remove 2-a"]),
        ("all at once", all, vec![old("1"), old("2")], &["remove 1-a, remove 2-a"]),
        ("by hand", on_delete, vec![old("1"), old("2")], &[]),
        ("one beside", surge.clone(), vec![old("1"), old("2")], &["make 1"]),
        ("one beside still", surge.clone(), vec![old("1"), unready("1", "b"), old("2")], &[]),
        ("it takes the place", surge.clone(), vec![old("1"), new("1"), old("2")], &["remove 1-a"]),
        (
            "a broken one is not waited for",
            surge.clone(),
            vec![unready("1", "a"), unready("1", "b"), old("2")],
            &["remove 1-a"],
        ),
        ("one beside a broken one", surge.clone(), vec![unready("1", "a"), old("2")], &["make 1, make 2"]),
        ("done", surge, vec![new("1"), new("2")], &[]),
    ] {
        check(name, &observed(&change, pods), want);
    }
    let plan = reconcile(NOW, &observed(&json!({}), vec![new("1"), old("2")])).unwrap();
    let want = json!({"currentNumberScheduled": 2, "numberMisscheduled": 0, "desiredNumberScheduled": 2,
        "numberReady": 2, "observedGeneration": 3, "updatedNumberScheduled": 1, "numberAvailable": 2});
    assert_eq!(status(&plan), want);
    let late = json!({"spec": {"minReadySeconds": 950}});
    let plan = check("too young", &observed(&late, vec![new("1"), new("2")]), &[]);
    assert_eq!(plan.wake_at, Some(Timestamp::from_seconds(1050)));
    assert_eq!(status(&plan)["numberUnavailable"], 2);
}

#[test]
fn revisions_are_kept() {
    let pods = || vec![pod("1", "b", &json!({})), pod("2", "b", &json!({}))];
    let seen = |revisions: Vec<Revision>| Observed { revisions, ..observed(&json!({}), pods()) };
    check("none", &seen(vec![]), &["revision 1", "remove 1-b"]);
    check("rolled back to", &seen(vec![revision("b", 1, ""), revision("a", 4, "old")]), &["number d-b 5"]);
    let three = vec![revision("x", 1, "x"), revision("y", 2, "y"), revision("b", 3, "")];
    check("one too many", &seen(three.clone()), &["remove d-x"]);
    let mut used = seen(three);
    used.pods.push(pod("3", "x", &json!({})));
    check("the oldest runs still", &used, &["remove 3-x", "remove d-y"]);
    check(
        "two of one template",
        &seen(vec![revision("b", 2, ""), revision("c", 3, "")]),
        &[
            "label 1-b {\"controller-revision-hash\":\"c\"}, label 2-b {\"controller-revision-hash\":\"c\"}",
            "remove d-b",
        ],
    );
    let strangers = Revision {
        metadata: crate::view::Meta { owner_references: vec![], ..revision("z", 1, "").metadata },
        ..revision("z", 1, "")
    };
    let plan = reconcile(NOW, &Observed { namesake: Some(strangers), ..seen(vec![]) }).unwrap();
    assert_eq!(words(&plan), ["remove 1-b"], "one of the same template is taken as it is");
    let other = Observed { namesake: Some(revision("z", 1, "other")), ..seen(vec![]) };
    let plan = check("its name is taken", &other, &[]);
    assert_eq!(status(&plan)["collisionCount"], 1);
}

#[test]
fn a_refusal_is_told_by_the_counts() {
    let failure =
        Failed { kind: PODS.clone(), deed: Deed::Create, message: "no".into(), reason: "Forbidden".into() };
    let plan = failed(NOW, &observed(&json!({}), vec![]), &failure).unwrap();
    assert_eq!((plan.stages.len(), &status(&plan)["numberUnavailable"]), (1, &json!(2)));
}
