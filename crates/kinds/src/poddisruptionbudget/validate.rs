//! What makes a budget valid (`pkg/apis/policy/validation`).
//!
//! Invariant: errors in upstream's order and words; metadata is not looked at, as there.

use schema::validation::{At, Run, field, here, set};
use serde_json::Value;

use crate::condition;
use crate::field::{ErrorList, Path};
use crate::kind::Endpoint;
use crate::pod::validate::label_selector;
use crate::value::is_set;
use crate::workload::validate::{not_more_than_all, number_or_percent, shown};

schema::rules! {
    SPEC: "io.k8s.api.policy.v1.PodDisruptionBudgetSpec" = [
        here().with(not_both),
        set("minAvailable").with(amount),
        set("maxUnavailable").with(amount),
        set("selector").with(label_selector),
        set("unhealthyPodEvictionPolicy").one_of(&["AlwaysAllow", "IfHealthyBudget"]),
    ];
    STATUS: "io.k8s.api.policy.v1.PodDisruptionBudgetStatus" = [
        field("conditions").with(condition::all),
        field("disruptionsAllowed").at_least(0),
        field("currentHealthy").at_least(0),
        field("desiredHealthy").at_least(0),
        field("expectedPods").at_least(0),
    ];
}

fn not_both<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if at.has("minAvailable") && at.has("maxUnavailable") {
        run.invalid_as(at, go_spec(at.value()), "minAvailable and maxUnavailable cannot be both set");
    }
}

/// A spec as Go prints its inner form.
fn go_spec(spec: &Value) -> String {
    let selector = &spec["selector"];
    let selector = if is_set(selector) { shown(selector) } else { "null".to_owned() };
    format!(
        "{{\"MinAvailable\":{},\"Selector\":{selector},\"MaxUnavailable\":{},\"UnhealthyPodEvictionPolicy\":{}}}",
        spec["minAvailable"], spec["maxUnavailable"], spec["unhealthyPodEvictionPolicy"]
    )
}

fn amount<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    number_or_percent(run, at, at.value());
    not_more_than_all(run, at, at.value());
}

pub(super) fn create(budget: &Value) -> ErrorList {
    SPEC.validate_at(Path::new("spec"), &budget["spec"], None)
}

pub(super) fn update(new: &Value, endpoint: Endpoint<'_>) -> ErrorList {
    match endpoint {
        Endpoint::Main => create(new),
        Endpoint::Sub(_) => STATUS.validate_at(Path::new("status"), &new["status"], None),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(errors: &ErrorList) -> Vec<String> {
        errors.0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn specs() {
        ALL.iter().for_each(|rules| assert_eq!(rules.unknown_fields(), Vec::<String>::new()));
        let percent = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', \
                       regex used for validation is '[0-9]+%')";
        for (spec, want) in [
            (json!({}), vec![]),
            (json!({"minAvailable": 1, "selector": {}, "unhealthyPodEvictionPolicy": "AlwaysAllow"}), vec![]),
            (
                json!({"minAvailable": 1, "maxUnavailable": "1%", "selector": {"matchLabels": {"a": "b"}}}),
                vec![
                    "spec: Invalid value: {\"MinAvailable\":1,\"Selector\":{\"matchLabels\":{\"a\":\"b\"}},\
                     \"MaxUnavailable\":\"1%\",\"UnhealthyPodEvictionPolicy\":null}: minAvailable and maxUnavailable \
                     cannot be both set"
                        .to_owned(),
                ],
            ),
            (
                json!({"minAvailable": -1}),
                vec!["spec.minAvailable: Invalid value: -1: must be greater than or equal to 0".to_owned()],
            ),
            (json!({"maxUnavailable": "x"}), vec![format!("spec.maxUnavailable: Invalid value: \"x\": {percent}")]),
            (
                json!({"maxUnavailable": "101%"}),
                vec!["spec.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%".to_owned()],
            ),
            (
                json!({"unhealthyPodEvictionPolicy": ""}),
                vec![
                    "spec.unhealthyPodEvictionPolicy: Unsupported value: \"\": supported values: \"AlwaysAllow\", \
                     \"IfHealthyBudget\""
                        .to_owned(),
                ],
            ),
        ] {
            assert_eq!(said(&create(&json!({"spec": spec}))), want, "{spec}");
        }
    }

    #[test]
    fn statuses() {
        let condition = json!({"type": "A", "status": "True", "reason": "R", "lastTransitionTime": "2020-01-01T00:00:00Z"});
        let status = json!({"disruptionsAllowed": -1, "conditions": [condition, condition, {"type": "B", "status": "x"}]});
        assert_eq!(
            said(&update(&json!({"status": status}), Endpoint::Sub("status"))),
            [
                "status.conditions[1].type: Duplicate value: \"A\"",
                "status.conditions[2].status: Unsupported value: \"x\": supported values: \"False\", \"True\", \"Unknown\"",
                "status.conditions[2].lastTransitionTime: Required value: must be set",
                "status.conditions[2].reason: Required value: must be set",
                "status.disruptionsAllowed: Invalid value: -1: must be greater than or equal to 0",
            ]
        );
    }
}
