//! What makes a Deployment valid, and what may change in it (`ValidateDeployment…` of `pkg/apis/apps/validation`).
//!
//! Invariant: works on defaulted objects; errors in upstream's order and words.

use serde_json::Value;

use crate::field::{ErrorList, GoField, Path, go_form};
use crate::kind::Endpoint;
use crate::value::{int, is_set, text};
use crate::workload::validate::{
    amount, collisions_are_kept, counts, not_more_than_all, not_negative, number_or_percent,
    selector_and_template, selector_is_kept,
};

pub(super) fn create(deployment: &Value) -> ErrorList {
    let mut errors = ErrorList::default();
    let (path, spec) = (Path::new("spec"), &deployment["spec"]);
    not_negative(&mut errors, &path.child("replicas"), &spec["replicas"]);
    selector_and_template(&mut errors, &path, spec, "deployment");
    strategy(&mut errors, &path.child("strategy"), &spec["strategy"]);
    for field in ["minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"] {
        not_negative(&mut errors, &path.child(field), &spec[field]);
    }
    let deadline = &spec["progressDeadlineSeconds"];
    if is_set(deadline) && int(deadline) <= int(&spec["minReadySeconds"]) {
        let detail = "must be greater than minReadySeconds";
        errors.invalid(&path.child("progressDeadlineSeconds"), deadline.clone(), detail);
    }
    errors
}

fn strategy(errors: &mut ErrorList, path: &Path<'_>, strategy: &Value) {
    let rolling = path.child("rollingUpdate");
    match text(&strategy["type"]) {
        "Recreate" if is_set(&strategy["rollingUpdate"]) => {
            errors.forbidden(&rolling, "may not be specified when strategy `type` is 'Recreate'");
        }
        "Recreate" => {}
        "RollingUpdate" => bounds(errors, &rolling, &strategy["rollingUpdate"]),
        _ => {
            const ROLLING: &[GoField] = &[
                GoField::pointer("maxUnavailable", "MaxUnavailable"),
                GoField::pointer("maxSurge", "MaxSurge"),
            ];
            const STRATEGY: &[GoField] =
                &[GoField::text("type", "Type"), GoField::inner("rollingUpdate", "RollingUpdate", ROLLING)];
            errors.not_supported_as(path, go_form(strategy, STRATEGY), &["Recreate", "RollingUpdate"]);
        }
    }
}

fn bounds(errors: &mut ErrorList, path: &Path<'_>, rolling: &Value) {
    let (unavailable, surge) = (&rolling["maxUnavailable"], &rolling["maxSurge"]);
    number_or_percent(errors, &path.child("maxUnavailable"), unavailable);
    number_or_percent(errors, &path.child("maxSurge"), surge);
    if amount(unavailable) == 0 && amount(surge) == 0 {
        let detail = "may not be 0 when `maxSurge` is 0";
        errors.invalid(&path.child("maxUnavailable"), unavailable.clone(), detail);
    }
    not_more_than_all(errors, &path.child("maxUnavailable"), unavailable);
}

pub(super) fn update(new: &Value, old: &Value, endpoint: Endpoint<'_>) -> ErrorList {
    if endpoint == Endpoint::Sub("status") {
        return status(new, old);
    }
    let mut errors = create(new);
    selector_is_kept(&mut errors, new, old);
    errors
}

fn status(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::default();
    let fields = [
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "terminatingReplicas",
        "collisionCount",
    ];
    let parts = ["updatedReplicas", "readyReplicas", "availableReplicas"];
    counts(&mut errors, &new["status"], &fields, &parts);
    collisions_are_kept(&mut errors, new, old);
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::workload::cases::valid_but;

    fn deployment(change: &Value) -> Value {
        valid_but(&super::super::Deployment, change)
    }

    fn texts(errors: &ErrorList) -> Vec<String> {
        errors.0.iter().map(|e| format!("{}: {}", e.field, e.body())).collect()
    }

    #[test]
    fn specs() {
        let rolling =
            |u: Value, s: Value| json!({"strategy": {"rollingUpdate": {"maxUnavailable": u, "maxSurge": s}}});
        for (change, want) in [
            (json!({}), vec![]),
            (rolling(json!(0), json!("1%")), vec![]),
            (
                rolling(json!(1), json!("")),
                vec!["spec.strategy.rollingUpdate.maxSurge: Invalid value: \"\": a valid percent string must be a numeric \
                      string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"
                    .to_owned()],
            ),
            (
                rolling(json!(0), json!("0%")),
                vec!["spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"
                    .to_owned()],
            ),
            (
                rolling(json!("101%"), json!("30%x")),
                vec![
                    "spec.strategy.rollingUpdate.maxSurge: Invalid value: \"30%x\": a valid percent string must be a numeric \
                     string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')"
                        .to_owned(),
                    "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%"
                        .into(),
                ],
            ),
            (
                json!({"strategy": {"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}}),
                vec!["spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"
                    .into()],
            ),
            (
                json!({"strategy": {"type": "X", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": "30%"}}}),
                vec!["spec.strategy: Unsupported value: {\"Type\":\"X\",\"RollingUpdate\":{\"MaxUnavailable\":1,\
                      \"MaxSurge\":\"30%\"}}: supported values: \"Recreate\", \"RollingUpdate\""
                    .into()],
            ),
            (
                json!({"progressDeadlineSeconds": 0}),
                vec!["spec.progressDeadlineSeconds: Invalid value: 0: must be greater than minReadySeconds".into()],
            ),
        ] {
            assert_eq!(texts(&create(&deployment(&change))), want, "{change}");
        }
    }

    #[test]
    fn collisions_are_never_forgotten() {
        let with = |count: i64| json!({"status": {"collisionCount": count}});
        assert!(status(&with(2), &with(1)).is_empty());
        let want = ["status.collisionCount: Invalid value: 0: cannot be decremented"];
        assert_eq!(texts(&status(&with(0), &with(1))), want);
    }
}
