//! Scenarios of one reconcile each: the Job and its Pods in, the plan as text out.

use serde::Deserialize as _;

use super::super::claim::{Observed, reconcile};
use super::super::indexes;
use super::*;

pub(super) const NOW: i64 = 1_700_000_000;

pub(super) fn at(seconds: i64) -> String {
    Timestamp::from_seconds(seconds).rfc3339()
}

pub(super) fn job(spec: &Value, status: &Value) -> Value {
    let mut job = json!({
        "metadata": {"name": "j", "namespace": "d", "uid": "u", "resourceVersion": "7"},
        "spec": {"parallelism": 1, "completions": 1, "backoffLimit": 6, "completionMode": "NonIndexed", "template": {
            "metadata": {"labels": {"job-name": "j"}}, "spec": {"containers": [{"name": "c"}], "restartPolicy": "Never"}}},
        "status": status,
    });
    for (key, value) in spec.as_object().unwrap() {
        job["spec"][key] = value.clone();
    }
    job
}

pub(super) fn pod(name: &str, phase: &str, tracked: bool) -> PodView {
    let finalizers = if tracked { json!([FINALIZER]) } else { json!([]) };
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "d", "uid": name, "finalizers": finalizers,
            "annotations": {indexes::INDEX: name.trim_start_matches(|c: char| !c.is_ascii_digit())}},
        "status": {"phase": phase, "conditions": [{"type": "Ready", "status": if phase == "Running" { "True" } else { "False" },
            "lastTransitionTime": at(NOW - 5)}]},
    }))
    .unwrap()
}

fn deleted(mut pod: PodView) -> PodView {
    pod.metadata.deletion_timestamp = Some(at(NOW));
    pod
}

/// The plan as text: one line for each stage, then events and wake-up.
pub(super) fn show(job: Value, pods: Vec<PodView>) -> String {
    let plan = reconcile(Timestamp::from_seconds(NOW), &Observed::Job { job, pods }).unwrap();
    let mut lines = Vec::new();
    for stage in &plan.stages {
        lines.push(stage.iter().map(show_write).collect::<Vec<_>>().join(" "));
    }
    lines.extend(
        plan.events.iter().map(|e| format!("event {} {}", if e.warning { "W" } else { "N" }, e.reason)),
    );
    lines.extend(plan.wake_at.map(|t| format!("wake +{}", t.seconds - NOW)));
    lines.join("\n")
}

fn show_write(write: &Write) -> String {
    match &write.action {
        Action::Create(pod) => format!("create {}", pod["metadata"]["generateName"].as_str().unwrap()),
        Action::Merge(_) | Action::Strategic(_) | Action::Apply(..) => format!("release {}", write.name),
        Action::Delete(_) | Action::DeleteAll(_) => format!("delete {}", write.name),
        Action::Update(object) => {
            let status = &object["status"];
            let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
            let conditions: Vec<String> = conditions
                .iter()
                .map(|c| {
                    format!(
                        "{}={}/{}",
                        c["type"].as_str().unwrap(),
                        c["status"].as_str().unwrap(),
                        c["reason"].as_str().unwrap()
                    )
                })
                .collect();
            let number = |name: &str| status[name].as_i64().unwrap_or(0);
            format!(
                "status a{} r{} s{} f{} t{} u{} [{}]{}{}",
                number("active"),
                number("ready"),
                number("succeeded"),
                number("failed"),
                number("terminating"),
                status["uncountedTerminatedPods"],
                conditions.join(" "),
                status["failedIndexes"]
                    .as_str()
                    .filter(|l| !l.is_empty())
                    .map_or(String::new(), |l| format!(" lost {l}")),
                if status["completionTime"].is_string() { " done" } else { "" }
            )
        }
    }
}

pub(super) fn started(more: &Value) -> Value {
    let mut status =
        json!({"startTime": at(NOW - 60), "ready": 0, "terminating": 0, "uncountedTerminatedPods": {}});
    for (key, value) in more.as_object().unwrap() {
        status[key] = value.clone();
    }
    status
}

fn complete_target() -> Value {
    json!([{"type": "SuccessCriteriaMet", "status": "True", "reason": "CompletionsReached",
        "message": "Reached expected number of succeeded pods", "lastTransitionTime": at(NOW), "lastProbeTime": at(NOW)}])
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn the_life_of_a_job() {
    for (name, have, want) in [
        ("new", show(job(&json!({}), &json!({})), vec![]), "create j-\nstatus a1 r0 s0 f0 t0 u{} []"),
        (
            "parallel",
            show(job(&json!({"parallelism": 3, "completions": 2}), &json!({})), vec![]),
            "create j- create j-\nstatus a2 r0 s0 f0 t0 u{} []",
        ),
        (
            "running",
            show(
                job(&json!({}), &started(&json!({"active": 1, "ready": 1}))),
                vec![pod("p", "Running", true)],
            ),
            "",
        ),
        (
            "ready",
            show(job(&json!({}), &started(&json!({"active": 1}))), vec![pod("p", "Running", true)]),
            "status a1 r1 s0 f0 t0 u{} []",
        ),
        (
            "succeeded: note, then release",
            show(job(&json!({}), &started(&json!({"active": 1}))), vec![pod("p", "Succeeded", true)]),
            "status a0 r0 s0 f0 t0 u{\"succeeded\":[\"p\"]} [SuccessCriteriaMet=True/CompletionsReached]\nrelease p",
        ),
        (
            "released: count and complete",
            show(
                job(
                    &json!({}),
                    &started(
                        &json!({"conditions": complete_target(), "uncountedTerminatedPods": {"succeeded": ["p"]}}),
                    ),
                ),
                vec![pod("p", "Succeeded", false)],
            ),
            "status a0 r0 s1 f0 t0 u{} [SuccessCriteriaMet=True/CompletionsReached Complete=True/CompletionsReached] \
             done\nevent N Completed",
        ),
        (
            "noted but not yet released",
            show(
                job(
                    &json!({}),
                    &started(
                        &json!({"conditions": complete_target(), "uncountedTerminatedPods": {"succeeded": ["p"]}}),
                    ),
                ),
                vec![pod("p", "Succeeded", true)],
            ),
            "release p",
        ),
        (
            "one failed: back off",
            show(job(&json!({}), &started(&json!({"active": 1}))), vec![pod("p", "Failed", true)]),
            "status a0 r0 s0 f0 t0 u{\"failed\":[\"p\"]} []\nrelease p\nwake +5",
        ),
        (
            "scaled down: finalizer first, not counted",
            show(
                job(
                    &json!({"parallelism": 1, "completions": 3}),
                    &started(&json!({"active": 2, "ready": 1})),
                ),
                vec![pod("p", "Running", true), pod("q", "Pending", true)],
            ),
            "release q\ndelete q\nstatus a1 r1 s0 f0 t1 u{} []",
        ),
        (
            "work queue: nobody new after a success",
            show(
                job(
                    &json!({"parallelism": 2, "completions": null}),
                    &started(&json!({"succeeded": 1, "active": 1, "ready": 1})),
                ),
                vec![pod("p", "Running", true), pod("q", "Succeeded", false)],
            ),
            "",
        ),
    ] {
        assert_eq!(have, want, "{name}");
    }
}

#[test]
fn failing() {
    let target = json!([{"type": "FailureTarget", "status": "True", "reason": "DeadlineExceeded",
        "message": "Job was active longer than specified deadline", "lastTransitionTime": at(NOW), "lastProbeTime": at(NOW)}]);
    let mut restarted = pod("p", "Running", true);
    restarted
        .status
        .container_statuses
        .push(crate::view::ContainerView { restart_count: 2, ..Default::default() });
    let on_failure =
        json!({"backoffLimit": 2, "template": {"metadata": {}, "spec": {"restartPolicy": "OnFailure"}}});
    for (name, have, want) in [
        (
            "limit",
            show(
                job(&json!({"backoffLimit": 0}), &started(&json!({"active": 1}))),
                vec![pod("p", "Failed", true)],
            ),
            "status a0 r0 s0 f0 t0 u{\"failed\":[\"p\"]} [FailureTarget=True/BackoffLimitExceeded]\nrelease p",
        ),
        (
            "restarts count with OnFailure",
            show(job(&on_failure, &started(&json!({"active": 1, "ready": 1}))), vec![restarted]),
            "delete p\nstatus a0 r0 s0 f0 t1 u{\"failed\":[\"p\"]} [FailureTarget=True/BackoffLimitExceeded]\nrelease p",
        ),
        (
            "deadline",
            show(
                job(&json!({"activeDeadlineSeconds": 60}), &started(&json!({"active": 1, "ready": 1}))),
                vec![pod("p", "Running", true)],
            ),
            "delete p\nstatus a0 r0 s0 f0 t1 u{\"failed\":[\"p\"]} [FailureTarget=True/DeadlineExceeded]\nrelease p",
        ),
        (
            "deadline ahead",
            show(
                job(&json!({"activeDeadlineSeconds": 90}), &started(&json!({"active": 1, "ready": 1}))),
                vec![pod("p", "Running", true)],
            ),
            "wake +30",
        ),
        (
            "still terminating",
            show(
                job(&json!({}), &started(&json!({"failed": 1, "terminating": 1, "conditions": target}))),
                vec![deleted(pod("p", "Running", false))],
            ),
            "",
        ),
        (
            "all gone",
            show(
                job(
                    &json!({}),
                    &started(
                        &json!({"terminating": 1, "conditions": target, "uncountedTerminatedPods": {"failed": ["p"]}}),
                    ),
                ),
                vec![],
            ),
            "status a0 r0 s0 f1 t0 u{} [FailureTarget=True/DeadlineExceeded Failed=True/DeadlineExceeded]\nevent W DeadlineExceeded",
        ),
        (
            "a deleted Pod counts as failed and is replaced after the back-off",
            show(job(&json!({}), &started(&json!({"active": 1}))), vec![deleted(pod("p", "Running", true))]),
            "status a0 r0 s0 f0 t1 u{\"failed\":[\"p\"]} []\nrelease p\nwake +10",
        ),
    ] {
        assert_eq!(have, want, "{name}");
    }
}

#[test]
fn suspension_and_indexes() {
    let suspended = json!([{"type": "Suspended", "status": "True", "reason": "JobSuspended", "message": "Job suspended"}]);
    let indexed = json!({"parallelism": 2, "completions": 4, "completionMode": "Indexed"});
    for (name, have, want) in [
        (
            "suspend",
            show(
                job(&json!({"suspend": true}), &started(&json!({"active": 1, "ready": 1}))),
                vec![pod("p", "Running", true)],
            ),
            "release p\ndelete p\nstatus a0 r0 s0 f0 t1 u{} [Suspended=True/JobSuspended]\nevent N Suspended",
        ),
        (
            "resume",
            show(job(&json!({}), &json!({"conditions": suspended})), vec![]),
            "create j-\nstatus a1 r0 s0 f0 t0 u{} [Suspended=False/JobResumed]\nevent N Resumed",
        ),
        (
            "indexes not taken",
            show(
                job(
                    &indexed,
                    &started(&json!({"active": 1, "ready": 1, "completedIndexes": "0", "succeeded": 1})),
                ),
                vec![pod("p2", "Running", true)],
            ),
            "create j-1-\nstatus a2 r1 s1 f0 t0 u{} []",
        ),
        (
            "an index done",
            show(
                job(
                    &indexed,
                    &started(&json!({"active": 2, "ready": 1, "completedIndexes": "0", "succeeded": 1})),
                ),
                vec![pod("p1", "Succeeded", true), pod("p2", "Running", true)],
            ),
            "create j-3-\nstatus a2 r1 s2 f0 t0 u{} []\nrelease p1",
        ),
        (
            "a double",
            show(
                job(
                    &indexed,
                    &started(&json!({"active": 2, "ready": 1, "completedIndexes": "0,1", "succeeded": 2})),
                ),
                vec![pod("p2", "Running", true), pod("q2", "Pending", true)],
            ),
            "release q2\ndelete q2\nstatus a1 r1 s2 f0 t1 u{} []",
        ),
    ] {
        assert_eq!(have, want, "{name}");
    }
}

#[test]
fn time_to_live() {
    let ended =
        json!({"conditions": [{"type": "Complete", "status": "True", "lastTransitionTime": at(NOW)}]});
    for (spec, status, want) in [
        (json!({"ttlSecondsAfterFinished": 5}), ended.clone(), Some(NOW + 5)),
        (json!({}), ended, None),
        (json!({"ttlSecondsAfterFinished": 5}), json!({}), None),
    ] {
        let view = JobView::deserialize(&job(&spec, &status)).unwrap();
        assert_eq!(expires_at(&view).map(|t| t.seconds), want);
    }
}

#[test]
fn a_made_pod() {
    let view = JobView::deserialize(&job(&json!({}), &json!({}))).unwrap();
    let write = create(&job(&json!({}), &json!({})), &view, None, None);
    let Action::Create(pod) = write.action else { panic!("not a create") };
    assert_eq!(pod["metadata"]["ownerReferences"][0]["uid"], "u");
    assert_eq!(pod["metadata"]["finalizers"], json!([FINALIZER]));
    assert_eq!(pod["metadata"]["labels"]["job-name"], "j");
    assert_eq!(pod["spec"]["containers"][0]["name"], "c");
}

#[test]
fn a_suspended_job_has_no_start() {
    let status_of = |job: Value| {
        let observed = Observed::Job { job, pods: Vec::new() };
        let plan = reconcile(Timestamp::from_seconds(NOW), &observed).unwrap();
        let writes: Vec<&Write> = plan.stages.iter().flatten().collect();
        let update = writes.iter().find_map(|w| match &w.action {
            Action::Update(object) => Some(object["status"].clone()),
            _ => None,
        });
        update.expect("the status is written")
    };
    let suspended = json!([{"type": "Suspended", "status": "True", "reason": "JobSuspended", "message": "Job suspended"}]);
    for (name, spec, status, start) in [
        ("suspended", json!({"suspend": true}), started(&json!({})), Value::Null),
        ("resumed", json!({}), json!({"conditions": suspended}), json!(at(NOW))),
        ("runs on", json!({}), started(&json!({})), json!(at(NOW - 60))),
        ("over without having run", json!({"suspend": true, "completions": 0}), json!({}), json!(at(NOW))),
    ] {
        assert_eq!(status_of(job(&spec, &status))["startTime"], start, "{name}");
    }
}
