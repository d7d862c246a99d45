//! The rules of an autoscaler (`pkg/apis/autoscaling/validation`), in upstream's order and words.
//!
//! Absent: scaling to zero, a feature that is off by default.

use serde_json::Value;

use crate::field::{ErrorList, Path};
use crate::kind::Endpoint;
use crate::meta;
use crate::names;
use crate::pod::validate::check_resource_name;
use crate::value::{int, is_set, items, text};

const TYPES: &[(&str, &str)] = &[
    ("Object", "object"),
    ("External", "external"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
];
const KNOWN: &[&str] = &["ContainerResource", "External", "Object", "Pods", "Resource"];
const MAX_WINDOW: i64 = 3600;
const MAX_PERIOD: i64 = 1800;

pub(super) fn new(obj: &Value) -> ErrorList {
    let mut errors = ErrorList::default();
    spec(&mut errors, &obj["spec"], None);
    errors
}

pub(super) fn update(new: &Value, old: &Value, endpoint: Endpoint<'_>) -> ErrorList {
    let mut errors = meta::change(new, old);
    if endpoint == Endpoint::Main {
        spec(&mut errors, &new["spec"], Some(&old["spec"]));
        return errors;
    }
    for field in ["currentReplicas", "desiredReplicas"] {
        let count = &new["status"][field];
        if int(count) < 0 {
            let status = Path::new("status");
            errors.invalid(&status.child(field), count.clone(), "must be greater than or equal to 0");
        }
    }
    errors
}

fn spec(errors: &mut ErrorList, spec: &Value, old: Option<&Value>) {
    let path = Path::new("spec");
    let (least, most) = (&spec["minReplicas"], int(&spec["maxReplicas"]));
    if is_set(least) && int(least) < 1 {
        errors.invalid(&path.child("minReplicas"), least.clone(), "must be greater than or equal to 1");
    }
    if most == 0 {
        errors.required(&path.child("maxReplicas"), "must be set and greater than 0");
    } else if most < 0 {
        errors.invalid(&path.child("maxReplicas"), most, "must be greater than 0");
    }
    if is_set(least) && most < int(least) {
        errors.invalid(&path.child("maxReplicas"), most, "must be greater than or equal to `minReplicas`");
    }
    let target = &spec["scaleTargetRef"];
    let path_of_target = path.child("scaleTargetRef");
    reference(errors, &path_of_target, target);
    let same = old.is_some_and(|old| {
        let old = &old["scaleTargetRef"];
        text(&old["apiVersion"]) == text(&target["apiVersion"]) && text(&old["kind"]) == text(&target["kind"])
    });
    let core = text(&target["kind"]) == "ReplicationController";
    if !same && !core && !text(&target["apiVersion"]).contains('/') {
        errors.invalid(
            &path_of_target.child("apiVersion"),
            text(&target["apiVersion"]),
            "apiVersion must specify API group",
        );
    }
    for (i, metric) in items(&spec["metrics"]).iter().enumerate() {
        self::metric(errors, &path.child("metrics").index(i), metric);
    }
    let by_others = |metric: &Value| matches!(text(&metric["type"]), "Object" | "External");
    if is_set(least) && int(least) == 0 && !items(&spec["metrics"]).iter().any(by_others) {
        let why = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.forbidden(&path.child("metrics"), why);
    }
    for direction in ["scaleUp", "scaleDown"] {
        let given = &spec["behavior"][direction];
        if is_set(given) {
            rules(errors, &path.child("behavior").child(direction), given);
        }
    }
}

fn segment(errors: &mut ErrorList, path: &Path<'_>, name: &str) {
    names::check(errors, path, name, base::names::path_segment(name));
}

fn reference(errors: &mut ErrorList, path: &Path<'_>, reference: &Value) {
    for field in ["kind", "name"] {
        match text(&reference[field]) {
            "" => errors.required(&path.child(field), ""),
            name => segment(errors, &path.child(field), name),
        }
    }
}

fn metric(errors: &mut ErrorList, path: &Path<'_>, metric: &Value) {
    let kind = text(&metric["type"]);
    if kind.is_empty() {
        errors.required(&path.child("type"), "must specify a metric source type");
    }
    let expected = TYPES.iter().find(|(name, _)| *name == kind).map(|(_, field)| *field);
    if expected.is_none() {
        errors.not_supported(&path.child("type"), kind, KNOWN);
    }
    let present: Vec<&str> =
        TYPES.iter().map(|(_, field)| *field).filter(|field| is_set(&metric[*field])).collect();
    if let Some(first) = present.first() {
        source(errors, &path.child(first), first, &metric[*first]);
    }
    match expected {
        Some(field) if !present.contains(&field) => {
            errors.required(&path.child(field), "must populate information for the given metric source");
        }
        Some(_) => {}
        // Upstream says it twice.
        None => errors.not_supported(&path.child("type"), kind, KNOWN),
    }
    if present.len() > 1 {
        for field in present.iter().filter(|field| Some(**field) != expected) {
            errors.forbidden(&path.child(field), "must populate the given metric source only");
        }
    }
}

fn source(errors: &mut ErrorList, path: &Path<'_>, field: &str, source: &Value) {
    let goal = &source["target"];
    let at = path.child("target");
    let (value, average) = (is_set(&goal["value"]), is_set(&goal["averageValue"]));
    match field {
        "object" => {
            reference(errors, &path.child("describedObject"), &source["describedObject"]);
            identifier(errors, &path.child("metric"), &source["metric"]);
            target(errors, &at, goal);
            if !value && !average {
                errors.required(&at.child("averageValue"), "must set either a target value or averageValue");
            }
        }
        "external" => {
            identifier(errors, &path.child("metric"), &source["metric"]);
            target(errors, &at, goal);
            if !value && !average {
                let why = "must set either a target value for metric or a per-pod target";
                errors.required(&at.child("averageValue"), why);
            }
            if value && average {
                let why = "may not set both a target value for metric and a per-pod target";
                errors.forbidden(&at.child("value"), why);
            }
        }
        "pods" => {
            identifier(errors, &path.child("metric"), &source["metric"]);
            target(errors, &at, goal);
            if !average {
                errors.required(&at.child("averageValue"), "must specify a positive target averageValue");
            }
        }
        _ => resource(errors, path, field, source),
    }
}

fn resource(errors: &mut ErrorList, path: &Path<'_>, field: &str, source: &Value) {
    let in_container = field == "containerResource";
    match text(&source["name"]) {
        "" => errors.required(&path.child("name"), "must specify a resource name"),
        name if in_container => check_resource_name(errors, &path.child("name"), name),
        _ => {}
    }
    if in_container {
        match text(&source["container"]) {
            "" => errors.required(&path.child("container"), "must specify a container"),
            name => names::check_label(errors, &path.child("container"), name),
        }
    }
    let (goal, at) = (&source["target"], path.child("target"));
    target(errors, &at, goal);
    let (percent, amount) = (is_set(&goal["averageUtilization"]), is_set(&goal["averageValue"]));
    if !percent && !amount {
        let why = "must set either a target raw value or a target utilization";
        errors.required(&at.child("averageUtilization"), why);
    }
    if percent && amount {
        let why = "may not set both a target raw value and a target utilization";
        errors.forbidden(&at.child("averageValue"), why);
    }
}

fn identifier(errors: &mut ErrorList, path: &Path<'_>, metric: &Value) {
    match text(&metric["name"]) {
        "" => errors.required(&path.child("name"), "must specify a metric name"),
        name => segment(errors, &path.child("name"), name),
    }
}

fn target(errors: &mut ErrorList, path: &Path<'_>, target: &Value) {
    let kind = text(&target["type"]);
    if kind.is_empty() {
        errors.required(&path.child("type"), "must specify a metric target type");
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        let why = "must be either Utilization, Value, or AverageValue";
        errors.invalid(&path.child("type"), kind, why);
    }
    for field in ["value", "averageValue"] {
        let amount = text(&target[field]).parse::<base::Quantity>();
        if amount.is_ok_and(|amount| amount.sign() != 1) {
            errors.invalid(&path.child(field), target[field].clone(), "must be positive");
        }
    }
    let percent = &target["averageUtilization"];
    if is_set(percent) && int(percent) < 1 {
        errors.invalid(&path.child("averageUtilization"), percent.clone(), "must be greater than 0");
    }
}

fn rules(errors: &mut ErrorList, path: &Path<'_>, rules: &Value) {
    let window = &rules["stabilizationWindowSeconds"];
    let at = path.child("stabilizationWindowSeconds");
    if is_set(window) && int(window) < 0 {
        errors.invalid(&at, window.clone(), "must be greater than or equal to zero");
    }
    if int(window) > MAX_WINDOW {
        errors.invalid(&at, window.clone(), format!("must be less than or equal to {MAX_WINDOW}"));
    }
    let select = &rules["selectPolicy"];
    if is_set(select) && !matches!(text(select), "Max" | "Min" | "Disabled") {
        errors.not_supported(&path.child("selectPolicy"), select.clone(), &["Disabled", "Max", "Min"]);
    }
    let policies = items(&rules["policies"]);
    if policies.is_empty() {
        errors.required(&path.child("policies"), "must specify at least one Policy");
    }
    for (i, policy) in policies.iter().enumerate() {
        let all = path.child("policies");
        let path = all.index(i);
        if !matches!(text(&policy["type"]), "Pods" | "Percent") {
            errors.not_supported(&path.child("type"), text(&policy["type"]), &["Percent", "Pods"]);
        }
        for field in ["value", "periodSeconds"] {
            if int(&policy[field]) <= 0 {
                errors.invalid(&path.child(field), int(&policy[field]), "must be greater than zero");
            }
        }
        if int(&policy["periodSeconds"]) > MAX_PERIOD {
            let why = format!("must be less than or equal to {MAX_PERIOD}");
            errors.invalid(&path.child("periodSeconds"), int(&policy["periodSeconds"]), why);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn told_as_upstream_tells() {
        let good = json!({"maxReplicas": 2, "minReplicas": 1,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}});
        let with = |field: &str, value: Value| {
            let mut spec = good.clone();
            spec[field] = value;
            new(&json!({"spec": spec})).to_string()
        };
        let metric = |source: Value| with("metrics", json!([source]));
        for (got, want) in [
            (with("minReplicas", json!(1)), "[]"),
            (
                new(&json!({"spec": {"minReplicas": 1}})).to_string(),
                "[spec.maxReplicas: Required value: must be set and greater than 0, spec.maxReplicas: Invalid value: 0: \
                 must be greater than or equal to `minReplicas`, spec.scaleTargetRef.kind: Required value, \
                 spec.scaleTargetRef.name: Required value, spec.scaleTargetRef.apiVersion: Invalid value: \"\": \
                 apiVersion must specify API group]",
            ),
            (
                metric(json!({"type": "Resource", "resource": {"name": "cpu", "target": {}}})),
                "[spec.metrics[0].resource.target.type: Required value: must specify a metric target type, \
                 spec.metrics[0].resource.target.type: Invalid value: \"\": must be either Utilization, Value, or \
                 AverageValue, spec.metrics[0].resource.target.averageUtilization: Required value: must set either a \
                 target raw value or a target utilization]",
            ),
            (
                metric(json!({"type": "Object"})),
                "spec.metrics[0].object: Required value: must populate information for the given metric source",
            ),
            (
                with(
                    "behavior",
                    json!({"scaleUp": {"policies": [{"type": "Pods", "value": 0, "periodSeconds": 1}]}}),
                ),
                "spec.behavior.scaleUp.policies[0].value: Invalid value: 0: must be greater than zero",
            ),
        ] {
            assert_eq!(got, want);
        }
    }
}
