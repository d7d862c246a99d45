//! What a Job's podFailurePolicy makes of a failed Pod, and when its successPolicy is met
//! (`pkg/controller/job/pod_failure_policy.go`, `success_policy.go`).
//!
//! Invariant: the first rule that matches decides; a Pod that none matches counts.

use serde::Deserialize;

use super::indexes::Indexes;
use crate::view::{ContainerView, PodView};

/// `spec.podFailurePolicy`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct FailurePolicy {
    rules: Vec<FailureRule>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct FailureRule {
    action: String,
    on_exit_codes: Option<ExitCodes>,
    on_pod_conditions: Vec<Pattern>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ExitCodes {
    container_name: Option<String>,
    operator: String,
    values: Vec<i32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Pattern {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

/// What a failed Pod means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// One more failure.
    Count,
    /// Not counted; replaced.
    Ignore,
    /// Its index is lost.
    FailIndex,
    /// The Job fails, with this message.
    FailJob(String),
}

impl FailurePolicy {
    pub(super) fn judge(&self, pod: &PodView) -> Outcome {
        for (at, rule) in self.rules.iter().enumerate() {
            let Some(what) = rule.matched(pod) else { continue };
            return match rule.action.as_str() {
                "Ignore" => Outcome::Ignore,
                "FailIndex" => Outcome::FailIndex,
                "FailJob" => {
                    let action = &rule.action;
                    Outcome::FailJob(format!("{what} matching {action} rule at index {at}"))
                }
                _ => Outcome::Count,
            };
        }
        Outcome::Count
    }
}

impl FailureRule {
    /// What of the Pod matches, as the message names it.
    fn matched(&self, pod: &PodView) -> Option<String> {
        let (name, namespace) = (&pod.metadata.name, &pod.metadata.namespace);
        if let Some(codes) = &self.on_exit_codes {
            let all = pod.status.container_statuses.iter().chain(&pod.status.init_container_statuses);
            let (container, code) = all.filter_map(|c| Some((&c.name, codes.matched(c)?))).next()?;
            return Some(format!(
                "Container {container} for pod {namespace}/{name} failed with exit code {code}"
            ));
        }
        let matches = |kind: &str, status: &str| {
            self.on_pod_conditions.iter().any(|p| p.kind == kind && p.status == status)
        };
        let met = pod.status.conditions.iter().find(|c| matches(&c.kind, &c.status))?;
        Some(format!("Pod {namespace}/{name} has condition {}", met.kind))
    }
}

impl ExitCodes {
    fn matched(&self, container: &ContainerView) -> Option<i32> {
        let code = container.state.terminated.as_ref()?.exit_code;
        let named = self.container_name.as_ref().is_none_or(|n| *n == container.name);
        let listed = self.values.contains(&code);
        (named && code != 0 && listed == (self.operator == "In")).then_some(code)
    }
}

/// `spec.successPolicy`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SuccessPolicy {
    rules: Vec<SuccessRule>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SuccessRule {
    succeeded_indexes: Option<String>,
    succeeded_count: Option<i32>,
}

impl SuccessPolicy {
    /// The message of the rule that the succeeded indexes meet.
    pub(super) fn met(&self, completions: u32, succeeded: &Indexes) -> Option<String> {
        if succeeded.total() == 0 {
            return None;
        }
        let at = self.rules.iter().position(|rule| rule.met(completions, succeeded))?;
        Some(format!("Matched rules at index {at}"))
    }
}

impl SuccessRule {
    fn met(&self, completions: u32, succeeded: &Indexes) -> bool {
        let count = self.succeeded_count.map(|n| usize::try_from(n).unwrap_or(0));
        match &self.succeeded_indexes {
            Some(text) => {
                let required = Indexes::parse(text, completions);
                let enough = count.unwrap_or_else(|| required.total());
                required.total() > 0 && required.common(succeeded) >= enough
            }
            None => count.is_some_and(|n| succeeded.total() >= n),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn failed(code: i32, condition: &str) -> PodView {
        serde_json::from_value(
            json!({"metadata": {"name": "p", "namespace": "n"}, "status": {"phase": "Failed",
            "conditions": [{"type": condition, "status": "True"}],
            "initContainerStatuses": [{"name": "i", "state": {"terminated": {"exitCode": 0}}}],
            "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": code}}},
                {"name": "d", "state": {"running": {}}}]}}),
        )
        .unwrap()
    }

    #[test]
    fn failures() {
        let codes = |operator: &str, values: &[i32], container: Value| json!({"operator": operator, "values": values, "containerName": container});
        let condition = json!([{"type": "DisruptionTarget", "status": "True"}]);
        let policy: FailurePolicy = serde_json::from_value(json!({"rules": [
            {"action": "Count", "onExitCodes": codes("In", &[1], Value::Null)},
            {"action": "FailIndex", "onExitCodes": codes("In", &[2, 3], json!("c"))},
            {"action": "FailIndex", "onExitCodes": codes("In", &[42], json!("d"))},
            {"action": "Ignore", "onPodConditions": condition},
            {"action": "FailJob", "onExitCodes": codes("NotIn", &[5], Value::Null)},
            {"action": "FailJob", "onPodConditions": [{"type": "Custom", "status": "True"}]},
        ]}))
        .unwrap();
        let message = "Container c for pod n/p failed with exit code 42 matching FailJob rule at index 4";
        let custom = "Pod n/p has condition Custom matching FailJob rule at index 5";
        for (code, condition, want) in [
            (1, "DisruptionTarget", Outcome::Count),
            (3, "", Outcome::FailIndex),
            (42, "DisruptionTarget", Outcome::Ignore),
            (42, "", Outcome::FailJob(message.into())),
            (5, "", Outcome::Count),
            (5, "Custom", Outcome::FailJob(custom.into())),
        ] {
            assert_eq!(policy.judge(&failed(code, condition)), want, "{code} {condition}");
        }
    }

    #[test]
    fn successes() {
        let rule =
            |indexes: Value, count: Value| json!({"succeededIndexes": indexes, "succeededCount": count});
        for (rules, succeeded, want) in [
            (json!([rule(Value::Null, json!(2))]), "4,7", Some(0)),
            (json!([rule(Value::Null, json!(3))]), "4,7", None),
            (json!([rule(json!("0-3"), json!(2))]), "2,3,9", Some(0)),
            (json!([rule(json!("0-3"), json!(3))]), "2,3,9", None),
            (json!([rule(json!("5"), Value::Null), rule(json!("2,3"), Value::Null)]), "1-3", Some(1)),
            (json!([rule(json!("2-4"), Value::Null)]), "1-3", None),
            (json!([rule(json!(""), json!(0))]), "1-3", None),
            (json!([rule(Value::Null, json!(0))]), "", None),
        ] {
            let policy: SuccessPolicy = serde_json::from_value(json!({"rules": rules})).unwrap();
            let met = policy.met(10, &Indexes::parse(succeeded, 10));
            assert_eq!(met, want.map(|at| format!("Matched rules at index {at}")), "{rules} {succeeded}");
        }
    }
}
