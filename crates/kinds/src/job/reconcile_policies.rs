//! Scenarios of failure and success policies and of back-off limits of single indexes.

use super::super::claim::{Observed, reconcile};
use super::tests::{NOW, at, job, pod, show, started};
use super::*;

/// A tracked Pod whose container ended so many seconds ago, after so many failures of its index.
fn exited(name: &str, code: i32, ago: i64, failures: u32) -> PodView {
    let mut pod = pod(name, "Failed", true);
    let state = json!({"terminated": {"exitCode": code, "finishedAt": at(NOW - ago)}});
    pod.status.container_statuses =
        vec![serde_json::from_value(json!({"name": "c", "state": state})).unwrap()];
    let key = "batch.kubernetes.io/job-index-failure-count";
    pod.metadata.annotations.insert(key.into(), failures.to_string());
    pod
}

fn rule(action: &str, code: i32) -> Value {
    json!({"action": action, "onExitCodes": {"operator": "In", "values": [code]}})
}

#[test]
fn failure_policies() {
    let policy = json!({"podFailurePolicy": {"rules": [rule("FailJob", 42), rule("Ignore", 43)]}});
    for (name, have, want) in [
        (
            "fails the Job",
            show(job(&policy, &started(&json!({"active": 1}))), vec![exited("p", 42, 5, 0)]),
            "status a0 r0 s0 f0 t0 u{\"failed\":[\"p\"]} [FailureTarget=True/PodFailurePolicy]\nrelease p",
        ),
        (
            "ignored: replaced and not counted",
            show(job(&policy, &started(&json!({"active": 1}))), vec![exited("p", 43, 60, 0)]),
            "create j-\nrelease p",
        ),
        (
            "counted",
            show(job(&policy, &started(&json!({"active": 1}))), vec![exited("p", 1, 60, 0)]),
            "create j-\nstatus a1 r0 s0 f0 t0 u{\"failed\":[\"p\"]} []\nrelease p",
        ),
    ] {
        assert_eq!(have, want, "{name}");
    }
}

fn indexed(more: &Value) -> Value {
    let mut spec = json!({"parallelism": 2, "completions": 2, "completionMode": "Indexed", "backoffLimit": i32::MAX,
        "backoffLimitPerIndex": 1});
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec
}

#[test]
fn limits_of_single_indexes() {
    let running = || pod("p1", "Running", true);
    let status = |lost: &str| started(&json!({"active": 1, "ready": 1, "failed": 1, "failedIndexes": lost}));
    let policy = json!({"podFailurePolicy": {"rules": [rule("FailIndex", 42)]}});
    for (name, have, want) in [
        (
            "the next Pod of an index waits, and the failed one for it",
            show(job(&indexed(&json!({})), &status("")), vec![exited("p0", 1, 4, 0), running()]),
            "wake +6",
        ),
        (
            "the next Pod comes; the failed one still holds the count",
            show(job(&indexed(&json!({})), &status("")), vec![exited("p0", 1, 60, 0), running()]),
            "create j-0-\nstatus a2 r1 s0 f1 t0 u{} []",
        ),
        (
            "once replaced it is counted",
            show(
                job(&indexed(&json!({})), &status("")),
                vec![exited("p0", 1, 60, 0), pod("q0", "Running", true), running()],
            ),
            "status a2 r2 s0 f1 t0 u{\"failed\":[\"p0\"]} []\nrelease p0",
        ),
        (
            "one failure too many loses the index",
            show(job(&indexed(&json!({})), &status("")), vec![exited("p0", 1, 60, 1), running()]),
            "status a1 r1 s0 f1 t0 u{\"failed\":[\"p0\"]} [] lost 0\nrelease p0",
        ),
        (
            "as does the policy at once",
            show(job(&indexed(&policy), &status("")), vec![exited("p0", 42, 60, 0), running()]),
            "status a1 r1 s0 f1 t0 u{\"failed\":[\"p0\"]} [] lost 0\nrelease p0",
        ),
        (
            "too many lost",
            show(
                job(&indexed(&json!({"maxFailedIndexes": 0})), &status("")),
                vec![exited("p0", 1, 60, 1), running()],
            ),
            "delete p1\nstatus a0 r0 s0 f1 t1 u{\"failed\":[\"p0\",\"p1\"]} \
             [FailureTarget=True/MaxFailedIndexesExceeded] lost 0\nrelease p0 release p1",
        ),
        (
            "all have ended, one badly",
            show(job(&indexed(&json!({})), &status("0")), vec![pod("p1", "Succeeded", true)]),
            "status a0 r0 s1 f1 t0 u{} [FailureTarget=True/FailedIndexes] lost 0\nrelease p1",
        ),
    ] {
        assert_eq!(have, want, "{name}");
    }
}

#[test]
fn replacements_carry_the_counts_on() {
    let policy = json!({"podFailurePolicy": {"rules": [rule("Ignore", 43)]}, "backoffLimitPerIndex": 9});
    for (code, failures, ignored) in [(1, "3", None), (43, "2", Some("1"))] {
        let stored = job(&indexed(&policy), &started(&json!({})));
        let pods = vec![exited("p0", code, 600, 2), pod("p1", "Running", true)];
        let plan = reconcile(Timestamp::from_seconds(NOW), &Observed::Job { job: stored, pods }).unwrap();
        let Action::Create(made) = &plan.stages[0][0].action else { panic!("not a create") };
        let count =
            |name: &str| made["metadata"]["annotations"][format!("batch.kubernetes.io/{name}")].as_str();
        assert_eq!(count("job-index-failure-count"), Some(failures));
        assert_eq!(count("job-index-ignored-failure-count"), ignored);
    }
}

#[test]
fn success_policies() {
    let policy = indexed(&json!({"backoffLimitPerIndex": null, "completions": 3,
        "successPolicy": {"rules": [{"succeededCount": 1}]}}));
    let pods = vec![pod("p0", "Succeeded", true), pod("p1", "Running", true)];
    assert_eq!(
        show(job(&policy, &started(&json!({"active": 2, "ready": 1}))), pods),
        "delete p1\nstatus a0 r0 s1 f0 t1 u{} [SuccessCriteriaMet=True/SuccessPolicy]\nrelease p0 release p1"
    );
    let met =
        json!([{"type": "SuccessCriteriaMet", "status": "True", "reason": "SuccessPolicy", "message": "m"}]);
    let status =
        started(&json!({"conditions": met, "completedIndexes": "0", "succeeded": 1, "terminating": 1}));
    assert_eq!(
        show(job(&policy, &status), vec![]),
        "status a0 r0 s1 f0 t0 u{} [SuccessCriteriaMet=True/SuccessPolicy Complete=True/SuccessPolicy] done\nevent N Completed"
    );
}
