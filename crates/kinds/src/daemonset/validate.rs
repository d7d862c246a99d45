//! What makes a DaemonSet valid, and what may change in it (`ValidateDaemonSet…` of `pkg/apis/apps/validation`).
//!
//! Invariant: works on defaulted objects; errors in upstream's order and words.

use schema::validation::{At, Run, field, here, set};
use serde_json::Value;

use crate::field::{ErrorList, GoField, go_form};
use crate::kind::Endpoint;
use crate::pod::validate::{TEMPLATE, label_selector};
use crate::workload::validate::{
    amount, collisions_are_kept, not_more_than_all, number_or_percent, readable, runs_for_ever,
    selector_is_kept, shown,
};

schema::rules! {
    SPEC: "io.k8s.api.apps.v1.DaemonSetSpec" = [
        set("selector").with(label_selector),
        here().with(selects_template),
        set("selector").with(not_everything),
        field("template").inner(&TEMPLATE).with(restarts),
        field("minReadySeconds").at_least(0),
        field("updateStrategy").with(strategy),
        set("revisionHistoryLimit").at_least(0),
    ];
    WHOLE: "io.k8s.api.apps.v1.DaemonSet" = [field("spec").inner(&SPEC)];
    STATUS: "io.k8s.api.apps.v1.DaemonSetStatus" = [
        field("currentNumberScheduled").at_least(0),
        field("numberMisscheduled").at_least(0),
        field("desiredNumberScheduled").at_least(0),
        field("numberReady").at_least(0),
        field("observedGeneration").at_least(0),
        field("updatedNumberScheduled").at_least(0),
        field("numberAvailable").at_least(0),
        field("numberUnavailable").at_least(0),
        set("collisionCount").at_least(0),
    ];
    TOLD: "io.k8s.api.apps.v1.DaemonSet" = [field("status").inner(&STATUS)];
}

pub(super) fn create(set: &Value) -> ErrorList {
    WHOLE.validate(set, None)
}

pub(super) fn update(new: &Value, old: &Value, endpoint: Endpoint<'_>) -> ErrorList {
    let mut errors = ErrorList::default();
    if endpoint == Endpoint::Sub("status") {
        errors.extend(TOLD.validate(new, None));
        collisions_are_kept(&mut errors, new, old);
    } else {
        selector_is_kept(&mut errors, new, old);
        errors.extend(create(new));
    }
    errors
}

/// A selector that does not parse says so itself.
fn selects_template<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let (template, selector) = (at.child("template"), at.get("selector"));
    let (metadata, labels) = (template.child("metadata"), &template.get("metadata")["labels"]);
    if readable(selector).is_some_and(|s| !s.matches_json(labels.as_object())) {
        run.invalid(&metadata.child("labels"), labels.clone(), "`selector` does not match template `labels`");
    }
}

fn not_everything<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if at.child("matchLabels").size() + at.child("matchExpressions").size() == 0 {
        run.invalid_as(at, shown(at.value()), "empty selector is invalid for daemonset");
    }
}

fn restarts<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    runs_for_ever(run, at, at.value(), "DaemonSet");
}

fn strategy<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    const ROLLING: &[GoField] =
        &[GoField::pointer("maxUnavailable", "MaxUnavailable"), GoField::pointer("maxSurge", "MaxSurge")];
    const STRATEGY: &[GoField] =
        &[GoField::text("type", "Type"), GoField::inner("rollingUpdate", "RollingUpdate", ROLLING)];
    let rolling_update = at.child("rollingUpdate");
    match at.text_of("type") {
        "OnDelete" => {}
        "RollingUpdate" if rolling_update.is_set() => rolling(&rolling_update, run),
        "RollingUpdate" => run.required(&rolling_update, ""),
        _ => run.not_supported_as(at, go_form(at.value(), STRATEGY), &["RollingUpdate", "OnDelete"]),
    }
}

/// Either more Pods than wanted or fewer, not both and not neither.
fn rolling<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let (unavailable, surge) = (at.child("maxUnavailable"), at.child("maxSurge"));
    for bound in [&unavailable, &surge] {
        number_or_percent(run, bound, bound.value());
    }
    for bound in [&unavailable, &surge] {
        not_more_than_all(run, bound, bound.value());
    }
    match (amount(unavailable.value()) != 0, amount(surge.value()) != 0) {
        (true, true) => {
            run.invalid(&surge, surge.value().clone(), "may not be set when maxUnavailable is non-zero");
        }
        (false, false) => run.required(&unavailable, "cannot be 0 when maxSurge is 0"),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::workload::cases::valid_but;

    #[test]
    fn rules_name_fields_of_the_table() {
        for rules in ALL {
            assert_eq!(rules.unknown_fields(), Vec::<String>::new(), "{}", rules.of());
        }
    }

    fn daemons(change: &Value) -> Value {
        valid_but(&super::super::DaemonSet, change)
    }

    #[test]
    fn specs() {
        let rolling = |u: Value, s: Value| json!({"updateStrategy": {"rollingUpdate": {"maxUnavailable": u, "maxSurge": s}}});
        let mismatch = "spec.template.metadata.labels: Invalid value: {\"app\":\"x\"}: `selector` does not match \
                        template `labels`";
        let at = "spec.updateStrategy.rollingUpdate";
        for (change, want) in [
            (json!({}), "[]".to_owned()),
            (rolling(json!(0), json!("1%")), "[]".into()),
            (json!({"updateStrategy": {"type": "OnDelete"}}), "[]".into()),
            (json!({"selector": null}), mismatch.into()),
            (json!({"selector": {"matchLabels": {"app": "y"}}}), mismatch.into()),
            (
                json!({"selector": {"matchLabels": null}}),
                "spec.selector: Invalid value: {}: empty selector is invalid for daemonset".into(),
            ),
            (
                rolling(json!(1), json!(1)),
                format!("{at}.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero"),
            ),
            (
                rolling(json!(0), json!(0)),
                format!("{at}.maxUnavailable: Required value: cannot be 0 when maxSurge is 0"),
            ),
            (
                rolling(json!("101%"), json!(0)),
                format!("{at}.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%"),
            ),
            (
                json!({"updateStrategy": {"type": "X", "rollingUpdate": {"maxSurge": 1}}}),
                "spec.updateStrategy: Unsupported value: {\"Type\":\"X\",\"RollingUpdate\":{\"MaxUnavailable\":null,\
                 \"MaxSurge\":1}}: supported values: \"RollingUpdate\", \"OnDelete\""
                    .into(),
            ),
            (
                json!({"minReadySeconds": -1, "revisionHistoryLimit": -1}),
                "[spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0, \
                 spec.revisionHistoryLimit: Invalid value: -1: must be greater than or equal to 0]"
                    .into(),
            ),
            (
                json!({"template": {"spec": {"restartPolicy": "Never", "activeDeadlineSeconds": 1}}}),
                "[spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\", \
                 spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in DaemonSet is not \
                 Supported]"
                    .into(),
            ),
        ] {
            assert_eq!(create(&daemons(&change)).to_string(), want, "{change}");
        }
    }

    #[test]
    fn changes() {
        let other = json!({"selector": {"matchLabels": {"app": "x", "z": "z"}}});
        let errors = update(&daemons(&other), &daemons(&json!({})), Endpoint::Main).to_string();
        assert_eq!(
            errors,
            "[spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"x\",\"z\":\"z\"}}: field is immutable, \
             spec.template.metadata.labels: Invalid value: {\"app\":\"x\"}: `selector` does not match template \
             `labels`]"
        );
        let told = |status: Value| json!({"status": status});
        let status =
            |new: Value, old: Value| update(&told(new), &told(old), Endpoint::Sub("status")).to_string();
        assert_eq!(
            status(json!({"currentNumberScheduled": -1, "observedGeneration": -1}), json!({})),
            "[status.currentNumberScheduled: Invalid value: -1: must be greater than or equal to 0, \
             status.observedGeneration: Invalid value: -1: must be greater than or equal to 0]"
        );
        let want = "status.collisionCount: Invalid value: 1: cannot be decremented";
        assert_eq!(status(json!({"collisionCount": 1}), json!({"collisionCount": 2})), want);
    }
}
