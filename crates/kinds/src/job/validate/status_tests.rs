//! Tables: what a status says, and what of it is refused.

use serde_json::json;

use super::*;

/// Name, spec, old status, new status, errors.
type Case = (&'static str, Value, Value, Value, &'static str);

fn yes(kinds: &[&str]) -> Value {
    kinds.iter().map(|kind| json!({"type": kind, "status": "True"})).collect()
}

fn running() -> Value {
    json!({"startTime": START, "active": 1, "succeeded": 1})
}

fn done() -> Value {
    json!({"startTime": START, "completionTime": "2020-01-01T00:05:00Z", "succeeded": 3,
        "conditions": yes(&["SuccessCriteriaMet", "Complete"])})
}

fn failing() -> Value {
    json!({"startTime": START, "failed": 1, "conditions": yes(&["FailureTarget"])})
}

const START: &str = "2020-01-01T00:00:00Z";

fn check(cases: &[Case]) {
    for (name, spec, old, new, want) in cases {
        let mut errors = ErrorList::default();
        change(&mut errors, &json!({"spec": spec, "status": new}), &json!({"spec": spec, "status": old}));
        let got = errors.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        assert_eq!(got, *want, "{name}");
    }
}

#[test]
fn how_a_job_ends() {
    check(&[
        ("it goes on", json!({}), running(), json!({"startTime": START, "active": 2, "succeeded": 2}), ""),
        ("it completes", json!({}), running(), done(), ""),
        (
            "it fails",
            json!({}),
            failing(),
            json!({"startTime": START, "failed": 1,
                "conditions": yes(&["FailureTarget", "Failed"])}),
            "",
        ),
        (
            "nothing changes",
            json!({}),
            json!({"conditions": yes(&["Complete", "Failed"])}),
            json!({"conditions": yes(&["Complete", "Failed"])}),
            "",
        ),
        (
            "both ends",
            json!({}),
            done(),
            json!({"startTime": START, "completionTime": "2020-01-01T00:05:00Z",
                "succeeded": 3, "conditions": yes(&["Failed", "Complete"])}),
            "status.conditions: Invalid value: cannot set Complete=True and Failed=true conditions; \
                 status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true \
                 condition; status.conditions: Invalid value: cannot set Complete=True condition without the \
                 SuccessCriteriaMet=true condition; status.conditions: Invalid value: cannot disable the \
                 SuccessCriteriaMet=True condition",
        ),
        (
            "Complete without a time",
            json!({}),
            running(),
            json!({"startTime": START, "succeeded": 1,
                "conditions": yes(&["SuccessCriteriaMet", "Complete"])}),
            "status.completionTime: Required value: completionTime is required for Complete jobs",
        ),
        (
            "a time without Complete",
            json!({}),
            running(),
            json!({"startTime": START, "active": 1, "succeeded": 1,
                "completionTime": "2019-01-01T00:00:00Z"}),
            "status.completionTime: Invalid value: \"2019-01-01T00:00:00Z\": cannot set completionTime when there is \
                 no Complete=True condition; status.completionTime: Invalid value: \"2019-01-01T00:00:00Z\": must be \
                 equal to or after `startTime`",
        ),
        (
            "counters fall",
            json!({}),
            json!({"failed": 2, "succeeded": 2}),
            json!({"failed": 1, "succeeded": -1}),
            "status.succeeded: Invalid value: -1: must be greater than or equal to 0; status.failed: Invalid value: \
                 1: cannot decrease the failed counter; status.succeeded: Invalid value: -1: cannot decrease the \
                 succeeded counter",
        ),
        (
            "a Job made smaller",
            json!({"completionMode": "Indexed", "completions": 1, "parallelism": 1}),
            json!({"succeeded": 2}),
            json!({"succeeded": 1}),
            "",
        ),
    ]);
}

#[test]
fn what_stays_and_what_is_counted() {
    check(&[
        (
            "the end unsaid",
            json!({}),
            done(),
            running(),
            "status.conditions: Invalid value: cannot disable the terminal Complete=True condition; \
                 status.succeeded: Invalid value: 1: cannot decrease the succeeded counter; status.conditions: Invalid \
                 value: cannot disable the SuccessCriteriaMet=True condition",
        ),
        (
            "never started",
            json!({}),
            running(),
            json!({"active": 1, "succeeded": 1}),
            "status.startTime: Invalid value: null: field is immutable for unsuspended job once set",
        ),
        ("suspended", json!({"suspend": true}), running(), json!({"succeeded": 1}), ""),
        (
            "more ready than active",
            json!({}),
            Value::Null,
            json!({"ready": 2, "active": 1}),
            "status.ready: Invalid value: 2: cannot set more ready pods than active",
        ),
        (
            "finished with Pods",
            json!({}),
            failing(),
            json!({"startTime": START, "failed": 1, "active": 1,
                "terminating": 1, "conditions": yes(&["FailureTarget", "Failed"]),
                "uncountedTerminatedPods": {"failed": ["a", "a", ""]}}),
            "status.uncountedTerminatedPods.failed[1]: Duplicate value: \"a\"; \
                 status.uncountedTerminatedPods.failed[2]: Invalid value: \"\": must not be empty; status.active: \
                 Invalid value: 1: active>0 is invalid for finished job; status.uncountedTerminatedPods: Invalid value: \
                 {\"Succeeded\":null,\"Failed\":[\"a\",\"a\",\"\"]}: must be empty for finished job; \
                 status.terminating: Invalid value: 1: terminating>0 is invalid for finished job",
        ),
        (
            "sets of indexes",
            json!({"completions": 5}),
            Value::Null,
            json!({"completedIndexes": "1,0", "failedIndexes": ""}),
            "status.completedIndexes: Invalid value: \"1,0\": error parsing completedIndexes: non-increasing order, \
                 previous: 1, current: 0; status.completedIndexes: Invalid value: \"1,0\": cannot set non-empty \
                 completedIndexes when non-indexed completion mode; status.failedIndexes: Invalid value: \"\": cannot set \
                 non-null failedIndexes when backoffLimitPerIndex is null",
        ),
        (
            "sets that overlap",
            json!({"completions": 9, "completionMode": "Indexed", "backoffLimitPerIndex": 1}),
            Value::Null,
            json!({"completedIndexes": "0-3", "failedIndexes": "2,5"}),
            "status.failedIndexes: Invalid value: \"2,5\": failedIndexes and completedIndexes overlap at index: 2",
        ),
    ]);
}
