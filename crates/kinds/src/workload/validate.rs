//! What the specs of kinds that keep a number of Pods have in common (`pkg/apis/apps/validation`).
//!
//! Invariant: errors in upstream's order and words.

use base::labels::Selector;
use serde_json::Value;

use crate::field::{ErrorList, Path, in_order};
use crate::names;
use crate::pod::validate::TEMPLATE;
use crate::value::{int, is_set, same, size, text};

const NEGATIVE: &str = "must be greater than or equal to 0";
const PERCENT: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', \
                       regex used for validation is '[0-9]+%')";

/// No number below zero.
pub(crate) fn not_negative(errors: &mut ErrorList, path: &Path<'_>, value: &Value) {
    if int(value) < 0 {
        errors.invalid(path, value.clone(), NEGATIVE);
    }
}

/// The selector, then the template that it must match (`ValidatePodTemplateSpecForReplicaSet`). `of` is the kind that
/// an empty selector is said to be invalid for.
pub(crate) fn selector_and_template(errors: &mut ErrorList, path: &Path<'_>, spec: &Value, of: &str) {
    let (at, selector) = (path.child("selector"), &spec["selector"]);
    if is_set(selector) {
        names::check_label_selector(errors, &at, selector);
        if size(&selector["matchLabels"]) + size(&selector["matchExpressions"]) == 0 {
            let detail = format!("empty selector is invalid for {of}");
            errors.invalid_as(&at, shown(selector), detail);
        }
    } else {
        errors.required(&at, "");
    }
    match readable(selector) {
        None => errors.invalid_as(&at, shown(selector), "invalid label selector"),
        Some(parsed) => {
            let labels = &spec["template"]["metadata"]["labels"];
            if !parsed.matches_json(labels.as_object()) {
                let detail = "`selector` does not match template `labels`";
                errors.invalid(&path.child("template.metadata.labels"), labels.clone(), detail);
            }
            let (at, template) = (path.child("template"), &spec["template"]);
            errors.extend(TEMPLATE.validate_at(at, template, None));
            runs_for_ever(errors, &at, template, "ReplicaSet");
        }
    }
}

/// A selector, if its keys and values are those of labels and fit its operators.
pub(crate) fn readable(selector: &Value) -> Option<Selector> {
    let mut errors = ErrorList::default();
    names::check_label_selector(&mut errors, &Path::root(), selector);
    if errors.is_empty() { Selector::from_label_selector(selector).ok() } else { None }
}

/// Pods of a template that are always there: they restart and have no deadline. `of` is the kind that says so.
pub(crate) fn runs_for_ever(errors: &mut ErrorList, path: &Path<'_>, template: &Value, of: &str) {
    let spec = &template["spec"];
    let policy = text(&spec["restartPolicy"]);
    if policy != "Always" {
        errors.not_supported(&path.child("spec.restartPolicy"), policy, &["Always"]);
    }
    if is_set(&spec["activeDeadlineSeconds"]) {
        let detail = format!("activeDeadlineSeconds in {of} is not Supported");
        errors.forbidden(&path.child("spec.activeDeadlineSeconds"), detail);
    }
}

/// A number that is not negative, or a percentage (`ValidatePositiveIntOrPercent`).
pub(crate) fn number_or_percent(errors: &mut ErrorList, path: &Path<'_>, value: &Value) {
    if value.is_string() && percent(value).is_none() {
        errors.invalid(path, value.clone(), PERCENT);
    }
    not_negative(errors, path, value);
}

/// No more percent than all (`IsNotMoreThan100Percent`).
pub(crate) fn not_more_than_all(errors: &mut ErrorList, path: &Path<'_>, value: &Value) {
    if percent(value).is_some_and(|p| p > 100) {
        errors.invalid(path, value.clone(), "must not be greater than 100%");
    }
}

/// The number, or the percent (`getIntOrPercentValue`).
pub(crate) fn amount(value: &Value) -> i64 {
    percent(value).unwrap_or_else(|| int(value))
}

fn percent(value: &Value) -> Option<i64> {
    let digits = value.as_str()?.strip_suffix('%')?;
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    // More digits than a number has are a great many percent.
    plain.then(|| digits.parse().unwrap_or(i64::MAX))
}

/// A count of names that were taken is never forgotten.
pub(crate) fn collisions_are_kept(errors: &mut ErrorList, new: &Value, old: &Value) {
    let (count, before) = (&new["status"]["collisionCount"], &old["status"]["collisionCount"]);
    if is_set(before) && int(count) < int(before) {
        errors.invalid(&Path::new("status.collisionCount"), int(count), "cannot be decremented");
    }
}

/// The selector never changes.
pub(crate) fn selector_is_kept(errors: &mut ErrorList, new: &Value, old: &Value) {
    let (new, old) = (&new["spec"]["selector"], &old["spec"]["selector"]);
    if !same(new, old) {
        errors.invalid_as(&Path::new("spec.selector"), shown(new), "field is immutable");
    }
}

/// Fields of a status that count Pods: none negative, none of the second group above `replicas`.
pub(crate) fn counts(errors: &mut ErrorList, status: &Value, fields: &[&str], parts: &[&str]) {
    let path = Path::new("status");
    for field in fields {
        not_negative(errors, &path.child(field), &status[*field]);
    }
    for part in parts {
        if int(&status[*part]) > int(&status["replicas"]) {
            let detail = "cannot be greater than status.replicas";
            errors.invalid(&path.child(part), int(&status[*part]), detail);
        }
    }
    let available = int(&status["availableReplicas"]);
    if available > int(&status["readyReplicas"]) {
        errors.invalid(&path.child("availableReplicas"), available, "cannot be greater than readyReplicas");
    }
}

/// A selector as Go writes it.
pub(crate) fn shown(selector: &Value) -> String {
    let order = ["matchLabels", "matchExpressions", "key", "operator", "values"];
    in_order(selector, &order)
}

/// Warnings about a workload and its template: of a new one its name too, of a changed one only if the template did.
pub(crate) fn warnings(object: &Value, old: Option<&Value>) -> Vec<String> {
    let mut found = Vec::new();
    if old.is_none() {
        let complaints = base::names::dns1123_label(text(&object["metadata"]["name"]));
        if !complaints.is_empty() {
            found.push(format!(
                "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS \
                 label is recommended: [{}]",
                complaints.join(" ")
            ));
        }
    }
    found.extend(template_warnings(object, old));
    found
}

/// Warnings about the template, of a changed object only if its spec did change.
pub(crate) fn template_warnings(object: &Value, old: Option<&Value>) -> Vec<String> {
    if old.is_some_and(|old| same(&old["spec"], &object["spec"])) {
        return Vec::new();
    }
    crate::pod::warnings::template(&object["spec"]["template"], &Path::new("spec.template"))
}
