//! The columns of `kubectl get jobs` (`printJob`).

use base::duration::human;
use base::time::Timestamp;
use serde_json::{Value, json};

use crate::columns::{age, of_template};
use crate::kind::Column;
use crate::value::{int, is_set, items, text};

pub(super) const COLUMNS: &[Column] = &[
    Column::NAME,
    Column::string("Status"),
    Column::string("Completions"),
    Column::string("Duration"),
    Column::AGE,
    Column::CONTAINERS,
    Column::IMAGES,
    Column::SELECTOR,
];

pub(super) fn cells(job: &Value, now: i64) -> Vec<Value> {
    let (spec, status) = (&job["spec"], &job["status"]);
    let succeeded = int(&status["succeeded"]);
    let completions = match (spec["completions"].as_i64(), int(&spec["parallelism"])) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, parallelism) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    };
    let time = |field: &str| Timestamp::parse(text(&status[field])).ok().map(|t| t.seconds);
    let duration = match time("startTime") {
        None => String::new(),
        Some(start) => human(time("completionTime").unwrap_or(now) - start),
    };
    let mut cells = vec![
        json!(text(&job["metadata"]["name"])),
        json!(state(job)),
        json!(completions),
        json!(duration),
        json!(age(&job["metadata"]["creationTimestamp"], now)),
    ];
    cells.extend(of_template(spec));
    cells
}

fn state(job: &Value) -> &'static str {
    let is = |kind: &str| {
        let holds = |c: &Value| text(&c["type"]) == kind && text(&c["status"]) == "True";
        items(&job["status"]["conditions"]).iter().any(holds)
    };
    match () {
        () if is("Complete") => "Complete",
        () if is("Failed") => "Failed",
        () if is_set(&job["metadata"]["deletionTimestamp"]) => "Terminating",
        () if is("Suspended") => "Suspended",
        () if is("FailureTarget") => "FailureTarget",
        () if is("SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows() {
        let at = |s| Timestamp::from_seconds(s).rfc3339();
        let template =
            json!({"spec": {"containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "y"}]}});
        for (spec, status, want) in [
            (
                json!({"completions": 3, "template": template}),
                json!({}),
                json!(["j", "Running", "0/3", "", "100s", "a,b", "x,y", "<none>"]),
            ),
            (
                json!({"parallelism": 2, "template": template, "selector": {"matchLabels": {"a": "b"}}}),
                json!({"succeeded": 1, "startTime": at(40)}),
                json!(["j", "Running", "1/1 of 2", "60s", "100s", "a,b", "x,y", "a=b"]),
            ),
            (
                json!({"completions": 1, "template": template}),
                json!({"succeeded": 1, "startTime": at(40), "completionTime": at(45),
                       "conditions": [{"type": "SuccessCriteriaMet", "status": "True"}, {"type": "Complete", "status": "True"}]}),
                json!(["j", "Complete", "1/1", "5s", "100s", "a,b", "x,y", "<none>"]),
            ),
        ] {
            let job = json!({"metadata": {"name": "j", "creationTimestamp": at(0)}, "spec": spec, "status": status});
            assert_eq!(json!(cells(&job, 100)), want);
        }
    }
}
