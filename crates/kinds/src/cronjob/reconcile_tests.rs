//! CronJobs and their Jobs at a moment, and what is to be done.

use super::*;

/// 10:00:30 on a Friday.
const NOW: Timestamp = Timestamp::from_seconds(1_717_754_430);
/// 10:00:00.
const RUN: i64 = 1_717_754_400;

fn cronjob(spec: &Value, status: Value) -> Value {
    let base = json!({"schedule": "*/5 * * * *", "concurrencyPolicy": "Allow", "successfulJobsHistoryLimit": 1,
        "failedJobsHistoryLimit": 1, "jobTemplate": {"metadata": {"labels": {"a": "b"}}, "spec": {"backoffLimit": 2}}});
    let spec = schema::patch::merge_patch(&base, spec.to_string().as_bytes()).unwrap().value;
    json!({"metadata": {"name": "c", "namespace": "n", "uid": "cu",
        "creationTimestamp": Timestamp::from_seconds(RUN - 100).rfc3339()}, "spec": spec, "status": status})
}

fn child(run: i64, end: &str) -> ChildView {
    let name = job_name("c", Timestamp::from_seconds(run));
    let conditions = if end.is_empty() { json!([]) } else { json!([{"type": end, "status": "True"}]) };
    let at = |seconds: i64| Timestamp::from_seconds(seconds).rfc3339();
    let done = if end == "Complete" { json!(at(run + 20)) } else { Value::Null };
    serde_json::from_value(json!({"metadata": {"name": name, "namespace": "n", "uid": format!("u{run}"),
        "resourceVersion": "7", "annotations": {SCHEDULED: at(run)}},
        "status": {"conditions": conditions, "startTime": at(run), "completionTime": done}}))
    .unwrap()
}

fn reference(job: &ChildView) -> Value {
    let meta = &job.metadata;
    json!({"kind": "Job", "apiVersion": "batch/v1", "namespace": "n", "name": meta.name, "uid": meta.uid,
        "resourceVersion": "7"})
}

/// Writes and events in words; then the new status.
fn show(cronjob: Value, jobs: Vec<ChildView>) -> (Vec<String>, Value) {
    let plan = reconcile(NOW, &Observed { cronjob, jobs }).unwrap();
    let (mut words, mut status) = (Vec::new(), Value::Null);
    for write in plan.stages.iter().flatten() {
        match &write.action {
            Action::Create(_) => words.push(format!("begins {}", write.name)),
            Action::Delete(options) => {
                assert_eq!(options["propagationPolicy"], "Background");
                words.push(format!("deletes {}", write.name));
            }
            Action::Update(object) => status = object["status"].clone(),
            other => panic!("{other:?}"),
        }
    }
    words.extend(plan.events.iter().map(|e| format!("{}: {}", e.reason, e.message)));
    (words, status)
}

#[test]
fn runs_begin_at_their_time() {
    let old = child(RUN - 300, "");
    let active = || json!({"active": [reference(&old)], "lastScheduleTime": Timestamp::from_seconds(RUN - 300).rfc3339()});
    let begins = format!("begins c-{}", RUN / 60);
    for (spec, status, jobs, want) in [
        (json!({}), json!({}), vec![], vec![begins.as_str()]),
        (json!({"suspend": true}), json!({}), vec![], vec![]),
        (json!({"schedule": "7 * * * *"}), json!({}), vec![], vec![]),
        (json!({"startingDeadlineSeconds": 60}), json!({}), vec![], vec![&begins]),
        (json!({"startingDeadlineSeconds": 10}), json!({}), vec![], vec![]),
        (json!({}), json!({"lastScheduleTime": Timestamp::from_seconds(RUN).rfc3339()}), vec![], vec![]),
        (json!({}), active(), vec![old.clone()], vec![&begins]),
        (
            json!({"concurrencyPolicy": "Forbid"}),
            active(),
            vec![old.clone()],
            vec![
                "JobAlreadyActive: Not starting job because prior execution is running and concurrency policy is Forbid",
            ],
        ),
        (
            json!({"concurrencyPolicy": "Replace"}),
            active(),
            vec![old.clone()],
            vec![&format!("deletes {}", old.metadata.name), &begins],
        ),
        (
            json!({"schedule": "0 0 31 2 *"}),
            json!({}),
            vec![],
            vec![
                "InvalidSchedule: invalid schedule: 0 0 31 2 * : time difference between two schedules is less than 1 second",
            ],
        ),
        (
            json!({"timeZone": "Nowhere"}),
            json!({}),
            vec![],
            vec!["UnknownTimeZone: invalid timeZone: \"Nowhere\": unknown time zone Nowhere"],
        ),
    ] {
        assert_eq!(show(cronjob(&spec, status), jobs).0, want, "{spec}");
    }
}

#[test]
fn a_job_is_what_the_template_says() {
    let observed =
        Observed { cronjob: cronjob(&json!({"timeZone": "Asia/Kolkata"}), json!({})), jobs: Vec::new() };
    let plan = reconcile(NOW, &observed).unwrap();
    let Action::Create(job) = &plan.stages[0][0].action else { panic!("{plan:?}") };
    assert_eq!(job["metadata"]["labels"], json!({"a": "b"}));
    assert_eq!(job["metadata"]["annotations"][SCHEDULED], "2024-06-07T15:30:00+05:30");
    assert_eq!(
        (&job["spec"], &job["metadata"]["ownerReferences"][0]["kind"]),
        (&json!({"backoffLimit": 2}), &json!("CronJob"))
    );
    assert_eq!(plan.wake_at.map(|at| at.seconds), Some(RUN + 300));
}

#[test]
fn the_status_tells_of_jobs() {
    // What was just begun becomes known.
    let begun = child(RUN, "");
    let last = Timestamp::from_seconds(RUN).rfc3339();
    let (words, status) = show(cronjob(&json!({}), json!({})), vec![begun.clone()]);
    assert_eq!(words, [""; 0]);
    assert_eq!(status, json!({"active": [reference(&begun)], "lastScheduleTime": last}));
    // And it rests there.
    assert_eq!(show(cronjob(&json!({}), status.clone()), vec![begun]), (Vec::new(), Value::Null));
    // It has succeeded.
    let done = child(RUN, "Complete");
    let name = done.metadata.name.clone();
    let (words, status) = show(cronjob(&json!({}), status), vec![done]);
    assert_eq!(words, [format!("SawCompletedJob: Saw completed job: {name}, condition: Complete")]);
    let succeeded = Timestamp::from_seconds(RUN + 20).rfc3339();
    assert_eq!(status, json!({"lastScheduleTime": last, "lastSuccessfulTime": succeeded}));
    // One is gone, and one is nobody's.
    let mut stranger = child(RUN, "");
    stranger.metadata.annotations.clear();
    let told = json!({"active": [reference(&child(RUN - 300, ""))], "lastScheduleTime": last});
    let (words, status) = show(cronjob(&json!({}), told), vec![stranger]);
    assert_eq!(
        words,
        [
            format!("UnexpectedJob: Saw a job that the controller did not create or forgot: {name}"),
            format!("MissingJob: Active job went missing: c-{}", (RUN - 300) / 60),
        ]
    );
    assert_eq!(status, json!({"lastScheduleTime": last}));
}

#[test]
fn old_jobs_go() {
    let jobs = vec![
        child(RUN, "Complete"),
        child(RUN - 600, "Complete"),
        child(RUN - 300, "Complete"),
        child(RUN - 900, "Failed"),
        child(RUN - 1200, "Failed"),
    ];
    let status = json!({"lastScheduleTime": Timestamp::from_seconds(RUN).rfc3339(),
        "lastSuccessfulTime": Timestamp::from_seconds(RUN + 20).rfc3339()});
    let (words, status) = show(cronjob(&json!({}), status), jobs);
    let gone = [RUN - 600, RUN - 300, RUN - 1200].map(|run| format!("deletes c-{}", run / 60));
    assert_eq!((words, status), (gone.to_vec(), Value::Null));
}
