//! Rules of a Job's podFailurePolicy and successPolicy.
//!
//! Absent: what the policies do; `super::super::policy` and the reconciler decide that.

use schema::validation::{At, Run, field, here, set};
use serde_json::Value;

use super::SPEC_TYPE;
use crate::field::{GoField, go_form, in_order};
use crate::job::indexes;
use crate::value::{int, items, size, text};

/// Both policies inside upstream.
const FAILURE_FORM: &[GoField] = &[GoField::inner(
    "rules",
    "Rules",
    &[
        GoField::text("action", "Action"),
        GoField::inner(
            "onExitCodes",
            "OnExitCodes",
            &[
                GoField::pointer("containerName", "ContainerName"),
                GoField::text("operator", "Operator"),
                GoField::pointer("values", "Values"),
            ],
        ),
        GoField::inner(
            "onPodConditions",
            "OnPodConditions",
            &[GoField::text("type", "Type"), GoField::text("status", "Status")],
        ),
    ],
)];
const SUCCESS_FORM: &[GoField] = &[GoField::inner(
    "rules",
    "Rules",
    &[
        GoField::pointer("succeededIndexes", "SucceededIndexes"),
        GoField::pointer("succeededCount", "SucceededCount"),
    ],
)];

/// A field of a Job's spec as errors show it.
pub(super) fn shown(field: &str, value: &Value) -> String {
    match field {
        "podFailurePolicy" => go_form(value, FAILURE_FORM),
        "successPolicy" => go_form(value, SUCCESS_FORM),
        _ => in_order(value, &["matchLabels", "matchExpressions"]),
    }
}

/// Most bytes of `succeededIndexes`.
const MAX_SUCCEEDED_INDEXES: usize = 64 * 1024;

schema::rules! {
    /// `spec.podFailurePolicy`.
    pub(super) FAILURE: "io.k8s.api.batch.v1.PodFailurePolicy" = [
        field("rules").max_items(20).each(&FAILURE_RULE),
    ];
    FAILURE_RULE: "io.k8s.api.batch.v1.PodFailurePolicyRule" = [
        field("action")
            .required_as("valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]")
            .one_of(&["Count", "FailIndex", "FailJob", "Ignore"])
            .with(fails_by_index),
        set("onExitCodes").inner(&EXIT_CODES),
        field("onPodConditions").max_items(20).each(&CONDITION),
        here().with(one_requirement),
    ];
    CONDITION: "io.k8s.api.batch.v1.PodFailurePolicyOnPodConditionsPattern" = [
        field("type").format(base::labels::qualified_name_errors),
        field("status")
            .required_as("valid values: [\"False\" \"True\" \"Unknown\"]")
            .one_of(&["False", "True", "Unknown"]),
    ];
    EXIT_CODES: "io.k8s.api.batch.v1.PodFailurePolicyOnExitCodesRequirement" = [
        field("operator").required_as("valid values: [\"In\" \"NotIn\"]").one_of(&["In", "NotIn"]),
        set("containerName").with(known_container),
        field("values").with(exit_values),
    ];
    SUCCESS: "io.k8s.api.batch.v1.SuccessPolicy" = [
        field("rules")
            .required_as("at least one rules must be specified when the successPolicy is specified")
            .max_items(20)
            .each(&SUCCESS_RULE),
    ];
    SUCCESS_RULE: "io.k8s.api.batch.v1.SuccessPolicyRule" = [
        here().with(success_rule),
    ];
}

fn fails_by_index<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let limited = at.enclosing(SPEC_TYPE).is_some_and(|spec| spec.has("backoffLimitPerIndex"));
    if at.text() == "FailIndex" && !limited {
        run.invalid(at, "FailIndex", "requires the backoffLimitPerIndex to be set");
    }
}

fn one_requirement<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let problem = match (at.has("onExitCodes"), size(at.get("onPodConditions")) == 0) {
        (true, false) => "specifying both OnExitCodes and OnPodConditions is not supported",
        (false, true) => "specifying one of OnExitCodes and OnPodConditions is required",
        _ => return,
    };
    run.contradiction(at, problem);
}

fn known_container<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let Some(spec) = at.enclosing(SPEC_TYPE) else { return };
    let template = &spec.get("template")["spec"];
    let mut names = ["containers", "initContainers"].iter().flat_map(|list| items(&template[*list]));
    if !names.any(|container| text(&container["name"]) == at.text()) {
        let detail = "must be one of the container or initContainer names in the pod template";
        run.invalid(at, at.text(), detail);
    }
}

fn exit_values<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let operator = at.up().map_or("", |codes| codes.text_of("operator"));
    let values = items(at.value());
    if values.is_empty() {
        run.invalid(at, at.value().clone(), "at least one value is required");
    } else if values.len() > 255 {
        run.too_many(at, values.len(), 255);
    }
    for (i, value) in at.items().enumerate() {
        if operator == "In" && value.int() == 0 {
            run.invalid(&value, value.value().clone(), "must not be 0 for the In operator");
        }
        if values[..i].contains(value.value()) {
            run.duplicate(&value, value.value().clone());
        }
    }
    if !values.is_sorted_by_key(int) {
        run.invalid(at, at.value().clone(), "must be ordered");
    }
}

/// `spec.successPolicy`.
pub(super) fn success_policy<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if at.up().is_some_and(|spec| spec.text_of("completionMode") == "Indexed") {
        SUCCESS.check(at, run);
    } else {
        run.invalid_as(at, shown("successPolicy", at.value()), "requires indexed completion mode");
    }
}

fn success_rule<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let (indexes, count) = (at.child("succeededIndexes"), at.child("succeededCount"));
    if !count.is_set() && !indexes.is_set() {
        run.required(at, "at least one of succeededCount or succeededIndexes must be specified");
    }
    let completions = at.enclosing(SPEC_TYPE).map_or(0, |spec| int(spec.get("completions")));
    let named = indexes.is_set().then(|| succeeded_indexes(&indexes, completions, run));
    if !count.is_set() {
        return;
    }
    if count.int() < 1 {
        run.invalid(&count, count.int(), "must be greater than zero");
    }
    if let Some(total) = named.filter(|total| count.int() > *total) {
        let detail = format!(
            "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
        );
        run.invalid(&count, count.int(), detail);
    }
    if count.int() > completions {
        let detail =
            format!("must be less than or equal to {completions} (the number of specified completions)");
        run.invalid(&count, count.int(), detail);
    }
}

/// How many indexes a set names.
fn succeeded_indexes<'v>(at: &At<'v, '_>, completions: i64, run: &mut Run<'v>) -> i64 {
    if at.text().len() > MAX_SUCCEEDED_INDEXES {
        run.too_long(at, MAX_SUCCEEDED_INDEXES);
    }
    indexes::check(at.text(), completions).unwrap_or_else(|why| {
        run.invalid(at, at.text(), format!("error parsing succeededIndexes: {why}"));
        0
    })
}
