//! Budgets and Pods, and what the status says of them.

use super::*;
use crate::plan::Action;

const NOW: Timestamp = Timestamp::from_seconds(1000);

fn pod(name: &str, ready: bool, controller: &str) -> PodView {
    let ready = if ready { "True" } else { "False" };
    let owners = match controller {
        "" => json!([]),
        uid => json!([{"kind": "ReplicaSet", "apiVersion": "apps/v1", "uid": uid, "controller": true}]),
    };
    let pod = json!({"metadata": {"name": name, "namespace": "n", "ownerReferences": owners},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}});
    serde_json::from_value(pod).unwrap()
}

fn observed(spec: Value, pods: Vec<PodView>, scales: &[(&str, Scale)]) -> Observed {
    let budget = json!({"metadata": {"name": "b", "namespace": "n", "generation": 3}, "spec": spec});
    let scales = scales.iter().map(|(uid, scale)| ((*uid).to_owned(), scale.clone())).collect();
    Observed { budget, pods, scales }
}

fn status(plan: &Plan) -> Value {
    let [stage] = &plan.stages[..] else { return Value::Null };
    assert_eq!(stage[0].subresource, "status");
    let Action::Update(object) = &stage[0].action else { panic!("{stage:?}") };
    object["status"].clone()
}

/// Allowed, healthy, desired, expected.
fn numbers(status: &Value) -> [i64; 4] {
    ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"]
        .map(|f| status[f].as_i64().unwrap())
}

#[test]
fn how_many_may_go() {
    let three = || vec![pod("a", true, "s"), pod("b", true, "s"), pod("c", false, "s")];
    let of = |n| [("s", Scale::Of("d".into(), n))];
    for (spec, pods, scales, want) in [
        (json!({"minAvailable": 1}), three(), vec![], [1, 2, 1, 3]),
        (json!({"minAvailable": 2}), three(), vec![], [0, 2, 2, 3]),
        (json!({"minAvailable": 9}), three(), vec![], [0, 2, 9, 3]),
        (json!({"minAvailable": "30%"}), three(), of(4).to_vec(), [0, 2, 2, 4]),
        (json!({"minAvailable": "25%"}), three(), of(4).to_vec(), [1, 2, 1, 4]),
        (json!({"maxUnavailable": 1}), three(), of(3).to_vec(), [0, 2, 2, 3]),
        (json!({"maxUnavailable": 5}), three(), of(3).to_vec(), [2, 2, 0, 3]),
        (json!({"maxUnavailable": "1%"}), three(), of(4).to_vec(), [0, 2, 3, 4]),
        (json!({"minAvailable": 0}), vec![], vec![], [0, 0, 0, 0]),
        (json!({}), three(), vec![], [0, 2, 0, 0]),
    ] {
        let plan = reconcile(NOW, &observed(spec.clone(), pods, &scales)).unwrap();
        let status = status(&plan);
        assert_eq!(numbers(&status), want, "{spec}");
        let condition = &status["conditions"][0];
        let (verdict, reason) =
            if want[0] > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
        assert_eq!((text(&condition["status"]), text(&condition["reason"])), (verdict, reason), "{spec}");
        assert_eq!((&condition["observedGeneration"], &status["observedGeneration"]), (&json!(3), &json!(3)));
    }
}

#[test]
fn what_is_told_is_not_told_again() {
    let mut observed = observed(json!({"minAvailable": 1}), vec![pod("a", true, "")], &[]);
    let told = status(&reconcile(NOW, &observed).unwrap());
    observed.budget["status"] = told;
    let plan = reconcile(Timestamp::from_seconds(2000), &observed).unwrap();
    assert!(plan.is_idle(), "{plan:?}");
}

#[test]
fn evictions_are_waited_for() {
    let mut observed =
        observed(json!({"minAvailable": 1}), vec![pod("a", true, ""), pod("b", true, "")], &[]);
    let (fresh, old) = (Timestamp::from_seconds(950).rfc3339(), Timestamp::from_seconds(880).rfc3339());
    observed.budget["status"] = json!({"disruptedPods": {"a": fresh, "b": old, "gone": fresh}});
    let plan = reconcile(NOW, &observed).unwrap();
    let status = status(&plan);
    assert_eq!((numbers(&status), &status["disruptedPods"]), ([0, 1, 1, 2], &json!({"a": fresh})));
    assert_eq!(plan.wake_at, Some(Timestamp::from_seconds(1070)));
    let (about, notice) = &plan.others[0];
    assert_eq!((about.name.as_str(), notice.reason.as_str()), ("b", "NotDeleted"));
    assert_eq!(notice.message, "Pod was expected by PDB n/b to be deleted but it wasn't");
}

#[test]
fn nothing_is_allowed_where_nothing_is_known() {
    let jobs = PodDisruptionBudget::unscalable("jobs.batch");
    for (scales, why) in [
        (vec![("s", jobs)], "jobs.batch does not implement the scale subresource"),
        (vec![("s", Scale::Gone)], "found no controllers for pod \"a\""),
        (vec![], "found no controllers for pod \"a\""),
    ] {
        let mut observed = observed(json!({"maxUnavailable": 1}), vec![pod("a", true, "s")], &scales);
        observed.budget["status"] = json!({"disruptionsAllowed": 4, "observedGeneration": 2});
        let plan = reconcile(NOW, &observed).unwrap();
        let status = status(&plan);
        assert_eq!(status["disruptionsAllowed"], 0);
        let condition = &status["conditions"][0];
        assert_eq!((text(&condition["reason"]), text(&condition["message"])), ("SyncFailed", why));
        assert_eq!(condition["observedGeneration"], 2);
        assert_eq!(
            plan.events,
            [Notice::warning(
                "CalculateExpectedPodCountFailed",
                format!("Failed to calculate the number of expected pods: {why}")
            )]
        );
    }
}

#[test]
fn pods_without_a_controller_are_told_of() {
    let spec = json!({"maxUnavailable": 0, "selector": {"matchLabels": {"a": "b"},
        "matchExpressions": [{"key": "c", "operator": "In", "values": ["d", "e"]}]}});
    let plan = reconcile(NOW, &observed(spec, vec![pod("a", true, "")], &[])).unwrap();
    let told = &plan.events[0];
    assert_eq!(told.reason, "UnmanagedPods");
    let selector = "&LabelSelector{MatchLabels:map[string]string{a: b,},MatchExpressions:[]LabelSelectorRequirement\
                    {LabelSelectorRequirement{Key:c,Operator:In,Values:[d e],},},}";
    assert!(
        told.message.contains(&format!("(selector: {selector}) were found to be unmanaged.")),
        "{}",
        told.message
    );
    let none = reconcile(NOW, &observed(json!({"minAvailable": 1}), vec![], &[])).unwrap();
    assert_eq!(none.events, [Notice::normal("NoPods", "No matching pods found")]);
}
