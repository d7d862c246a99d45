//! The columns of `kubectl get pods` (`pkg/printers/internalversion/printers.go`, `printPod`).

use base::duration::human;
use base::time::Timestamp;
use serde_json::{Value, json};

use super::default::{is_sidecar, sidecars};
use crate::kind::Column;
use crate::rules::phase::is_finished;
use crate::value::{int, is_set, is_true, items, size, text};

/// Ready, Status, Restarts and where it runs.
pub(super) const COLUMNS: &[Column] = &[
    Column::NAME,
    Column::string("Ready"),
    Column::string("Status"),
    Column::string("Restarts"),
    Column::AGE,
    Column::string("IP").wide(),
    Column::string("Node").wide(),
    Column::string("Nominated Node").wide(),
    Column::string("Readiness Gates").wide(),
];

/// The cells of one Pod.
pub(super) fn cells(pod: &Value, now: i64) -> Vec<Value> {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let summary = Summary::of(pod);
    let mut restarts = summary.restarts.to_string();
    if let (true, Some(last)) = (summary.restarts != 0, summary.last_restart) {
        restarts = format!("{restarts} ({} ago)", human(now - last));
    }
    let ip = match items(&status["podIPs"]).first() {
        Some(first) => text(&first["ip"]),
        None => text(&status["podIP"]),
    };
    let or_none = |s: &str| json!(if s.is_empty() { "<none>" } else { s });
    vec![
        json!(text(&pod["metadata"]["name"])),
        json!(format!("{}/{}", summary.ready, summary.total)),
        json!(summary.reason),
        json!(restarts),
        json!(crate::columns::age(&pod["metadata"]["creationTimestamp"], now)),
        or_none(ip),
        or_none(text(&spec["nodeName"])),
        or_none(text(&status["nominatedNodeName"])),
        or_none(&readiness_gates(spec, status)),
    ]
}

fn readiness_gates(spec: &Value, status: &Value) -> String {
    let gates = items(&spec["readinessGates"]);
    if gates.is_empty() {
        return String::new();
    }
    let met = gates.iter().filter(|gate| has_condition(status, text(&gate["conditionType"]))).count();
    format!("{met}/{}", gates.len())
}

/// Whether the condition of that type is True.
fn has_condition(status: &Value, kind: &str) -> bool {
    items(&status["conditions"]).iter().any(|c| text(&c["type"]) == kind && text(&c["status"]) == "True")
}

#[derive(Default)]
struct Summary {
    reason: String,
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: Option<i64>,
}

/// Restarts so far, and when the last one was.
#[derive(Default, Clone, Copy)]
struct Restarts {
    count: i64,
    last: Option<i64>,
}

impl Restarts {
    fn count(&mut self, container: &Value) {
        self.count += int(&container["restartCount"]);
        let finished = Timestamp::parse(text(&container["lastState"]["terminated"]["finishedAt"]));
        self.last = self.last.max(finished.ok().map(|t| t.seconds));
    }
}

impl Summary {
    fn of(pod: &Value) -> Self {
        let (spec, status) = (&pod["spec"], &pod["status"]);
        let phase = text(&status["phase"]);
        let own_reason = text(&status["reason"]);
        let mut summary = Self {
            reason: if own_reason.is_empty() { phase } else { own_reason }.to_owned(),
            total: size(&spec["containers"]) + sidecars(spec).count(),
            ..Self::default()
        };
        let gated = |c: &Value| text(&c["type"]) == "PodScheduled" && text(&c["reason"]) == "SchedulingGated";
        if items(&status["conditions"]).iter().any(gated) {
            "SchedulingGated".clone_into(&mut summary.reason);
        }
        let sidecar_restarts = summary.init_containers(spec, status);
        if let Some(restarts) = sidecar_restarts {
            summary.app_containers(status, restarts);
        }
        if is_set(&pod["metadata"]["deletionTimestamp"]) {
            if own_reason == "NodeLost" {
                "Unknown".clone_into(&mut summary.reason);
            } else if !is_finished(phase) {
                "Terminating".clone_into(&mut summary.reason);
            }
        }
        summary
    }

    /// Looks at init containers up to the first that is not done. The restarts of sidecars if the app containers
    /// count too: every init container is done, or was once.
    fn init_containers(&mut self, spec: &Value, status: &Value) -> Option<Restarts> {
        let declared = items(&spec["initContainers"]);
        let sidecar = |name: &str| declared.iter().any(|c| text(&c["name"]) == name && is_sidecar(c));
        let (mut all, mut of_sidecars) = (Restarts::default(), Restarts::default());
        let mut pending = None;
        for (i, container) in items(&status["initContainerStatuses"]).iter().enumerate() {
            all.count(container);
            let sidecar = sidecar(text(&container["name"]));
            if sidecar {
                of_sidecars.count(container);
            }
            let state = &container["state"];
            if is_set(&state["terminated"]) && int(&state["terminated"]["exitCode"]) == 0 {
                continue;
            }
            if sidecar && is_true(&container["started"]) {
                self.ready += usize::from(is_true(&container["ready"]));
                continue;
            }
            pending = Some(match text(&state["waiting"]["reason"]) {
                _ if is_set(&state["terminated"]) => format!("Init:{}", ended(&state["terminated"])),
                "" | "PodInitializing" => format!("Init:{i}/{}", declared.len()),
                reason => format!("Init:{reason}"),
            });
            break;
        }
        self.restarts = all.count;
        self.last_restart = all.last;
        let waiting = pending.is_some();
        if let Some(reason) = pending {
            self.reason = reason;
        }
        (!waiting || has_condition(status, "Initialized")).then_some(of_sidecars)
    }

    /// Looks at app containers from the last to the first; the first one's reason wins.
    fn app_containers(&mut self, status: &Value, mut restarts: Restarts) {
        let (mut running, mut failure) = (false, None);
        for container in items(&status["containerStatuses"]).iter().rev() {
            restarts.count(container);
            let state = &container["state"];
            let (waiting, terminated) = (text(&state["waiting"]["reason"]), &state["terminated"]);
            if !waiting.is_empty() {
                waiting.clone_into(&mut self.reason);
            } else if is_set(terminated) {
                self.reason = ended(terminated);
                if int(&terminated["exitCode"]) != 0 {
                    failure = Some(self.reason.clone());
                }
            } else if is_true(&container["ready"]) && is_set(&state["running"]) {
                running = true;
                self.ready += 1;
            }
        }
        self.restarts = restarts.count;
        self.last_restart = restarts.last;
        if self.reason == "Completed" {
            if running && has_condition(status, "Ready") {
                "Running".clone_into(&mut self.reason);
            } else if let Some(failure) = failure {
                self.reason = failure;
            } else if running {
                "NotReady".clone_into(&mut self.reason);
            }
        }
    }
}

/// Why a container ended: its reason, else its signal, else its exit code.
fn ended(terminated: &Value) -> String {
    match (text(&terminated["reason"]), int(&terminated["signal"])) {
        ("", 0) => format!("ExitCode:{}", int(&terminated["exitCode"])),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(pod: &Value) -> String {
        let cells = cells(pod, 1_000_000);
        cells.iter().map(|c| c.as_str().unwrap_or("?").to_owned()).collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn rows() {
        let at = |seconds| Timestamp::from_seconds(seconds).rfc3339();
        let meta = json!({"name": "p", "creationTimestamp": at(1_000_000 - 90)});
        let two = json!([{"name": "a"}, {"name": "b"}]);
        let ran = |code: i64, reason: &str| json!({"terminated": {"exitCode": code, "reason": reason}});
        let up = || json!({"name": "a", "ready": true, "started": true, "state": {"running": {}}});
        for (spec, status, want) in [
            (
                json!({"containers": two}),
                json!({"phase": "Pending"}),
                "p | 0/2 | Pending | 0 | 90s | <none> | <none>",
            ),
            (
                json!({"containers": two}),
                json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]}),
                "p | 0/2 | SchedulingGated | 0 |",
            ),
            (
                json!({"containers": two, "nodeName": "n"}),
                json!({"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}], "containerStatuses": [
                    up(), {"ready": true, "restartCount": 3, "state": {"running": {}},
                           "lastState": {"terminated": {"finishedAt": at(1_000_000 - 303)}}}]}),
                "p | 2/2 | Running | 3 (5m3s ago) | 90s | 10.0.0.1 | n | <none> | <none>",
            ),
            (
                json!({"containers": two}),
                json!({"phase": "Running", "containerStatuses": [
                    {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "restartCount": 1}, up()]}),
                "p | 1/2 | CrashLoopBackOff | 1 |",
            ),
            (
                json!({"containers": two}),
                json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
                       "containerStatuses": [{"state": ran(0, "Completed")}, up()]}),
                "p | 1/2 | Running | 0 |",
            ),
            (
                json!({"containers": two}),
                json!({"phase": "Running", "containerStatuses": [{"state": ran(0, "Completed")}, up()]}),
                "p | 1/2 | NotReady | 0 |",
            ),
            (
                json!({"containers": two}),
                json!({"phase": "Failed", "containerStatuses": [{"state": ran(0, "Completed")},
                                                                {"state": ran(1, "Error")}]}),
                "p | 0/2 | Error | 0 |",
            ),
        ] {
            let got = row(&json!({"metadata": meta, "spec": spec, "status": status}));
            assert!(got.starts_with(want), "{got}\nwanted {want}");
        }
    }

    #[test]
    fn init_containers() {
        let at = |seconds| Timestamp::from_seconds(seconds).rfc3339();
        let meta = json!({"name": "p", "creationTimestamp": at(1_000_000 - 90)});
        let two = json!([{"name": "a"}, {"name": "b"}]);
        let ran = |code: i64, reason: &str| json!({"terminated": {"exitCode": code, "reason": reason}});
        let up = || json!({"name": "a", "ready": true, "started": true, "state": {"running": {}}});
        let init = json!([{"name": "i"}, {"name": "s", "restartPolicy": "Always"}]);
        for (spec, status, want) in [
            (
                json!({"containers": two, "initContainers": init}),
                json!({"phase": "Pending", "initContainerStatuses": [
                    {"name": "i", "restartCount": 2, "state": {"terminated": {"exitCode": 3}}}]}),
                "p | 0/3 | Init:ExitCode:3 | 2 |",
            ),
            (
                json!({"containers": two, "initContainers": init}),
                json!({"phase": "Pending", "initContainerStatuses": [
                    {"name": "i", "state": ran(0, "Completed")}, {"name": "s", "state": {"waiting": {}}}]}),
                "p | 0/3 | Init:1/2 | 0 |",
            ),
            (
                json!({"containers": two, "initContainers": init}),
                json!({"phase": "Running", "initContainerStatuses": [
                    {"name": "i", "restartCount": 5, "state": ran(0, "Completed")},
                    {"name": "s", "started": true, "ready": true, "restartCount": 1, "state": {"running": {}}}],
                    "containerStatuses": [up(), up()]}),
                "p | 3/3 | Running | 1 |",
            ),
        ] {
            let got = row(&json!({"metadata": meta, "spec": spec, "status": status}));
            assert!(got.starts_with(want), "{got}\nwanted {want}");
        }
    }

    #[test]
    fn deletion() {
        let at = |seconds| Timestamp::from_seconds(seconds).rfc3339();
        let two = json!([{"name": "a"}, {"name": "b"}]);
        let mut going = json!({"metadata": {"name": "p", "deletionTimestamp": at(1)}, "spec": {"containers": two},
                               "status": {"phase": "Running"}});
        assert!(row(&going).starts_with("p | 0/2 | Terminating | 0 | <unknown>"), "{}", row(&going));
        going["status"]["phase"] = json!("Succeeded");
        assert!(row(&going).starts_with("p | 0/2 | Succeeded"));
        going["status"]["reason"] = json!("NodeLost");
        assert!(row(&going).starts_with("p | 0/2 | Unknown"));
    }
}
