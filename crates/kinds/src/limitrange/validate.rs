//! What makes a range valid (`ValidateLimitRange`).

use std::collections::BTreeSet;

use base::Quantity;
use serde_json::Value;

use crate::field::{ErrorList, Path};
use crate::names;
use crate::pod::resources::quantity;
use crate::pod::validate::limits::{STANDARD, check_resource_name, is_huge_page, overcommits};
use crate::value::{entries, items, text};

const TYPES: &[&str] = &["Container", "PersistentVolumeClaim", "Pod"];
const LISTS: &[&str] = &["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];
/// `resource.MaxMilliValue`: what is above is compared in units.
const MAX_MILLI: i64 = i64::MAX / 1000;

pub(super) fn limits(list: &Value) -> ErrorList {
    let mut errors = ErrorList::default();
    let (spec, all) = (Path::new("spec"), items(list));
    for (i, item) in all.iter().enumerate() {
        let path = spec.item("limits", i);
        let kind = text(&item["type"]);
        type_name(&mut errors, &path.child("type"), kind);
        if all[..i].iter().any(|other| text(&other["type"]) == kind) {
            errors.duplicate(&path.child("type"), kind);
        }
        lists(&mut errors, &path, item);
        let names: BTreeSet<&str> =
            LISTS.iter().flat_map(|l| entries(&item[*l])).map(|(name, _)| name).collect();
        for name in names {
            order(&mut errors, &path, item, name);
            ratio(&mut errors, &path, item, name);
        }
    }
    errors
}

fn type_name(errors: &mut ErrorList, path: &Path<'_>, kind: &str) {
    let complaints = base::labels::qualified_name_errors(kind);
    if complaints.is_empty() && !kind.contains('/') && !TYPES.contains(&kind) {
        errors.invalid(path, kind, "must be a standard limit type or fully qualified");
    }
    names::check(errors, path, kind, complaints);
}

/// The names in each list, and which lists there may be.
fn lists(errors: &mut ErrorList, path: &Path<'_>, item: &Value) {
    let kind = text(&item["type"]);
    let check = |errors: &mut ErrorList, list: &str| {
        for (name, _) in entries(&item[list]) {
            resource_name(errors, &path.child(list).key(name), kind, name);
        }
    };
    check(errors, "max");
    check(errors, "min");
    for list in ["default", "defaultRequest"] {
        if kind != "Pod" {
            check(errors, list);
        } else if entries(&item[list]).next().is_some() {
            errors.forbidden(&path.child(list), "may not be specified when `type` is 'Pod'");
        }
    }
    let bounded = ["min", "max"].iter().any(|list| !item[*list]["storage"].is_null());
    if kind == "PersistentVolumeClaim" && !bounded {
        let why = "either minimum or maximum storage value is required, but neither was provided";
        errors.required(&path.child("limits"), why);
    }
    check(errors, "maxLimitRequestRatio");
}

/// `ValidateLimitRangeResourceName`.
fn resource_name(errors: &mut ErrorList, path: &Path<'_>, kind: &str, name: &str) {
    if matches!(kind, "Pod" | "Container") {
        return check_resource_name(errors, path, name);
    }
    let complaints = base::labels::qualified_name_errors(name);
    let known = name.contains('/') || STANDARD.contains(&name) || is_huge_page(name);
    if complaints.is_empty() && !known {
        errors.invalid(path, name, "must be a standard resource type or fully qualified");
    }
    names::check(errors, path, name, complaints);
}

fn amount(item: &Value, list: &str, name: &str) -> Option<Quantity> {
    item.get(list).and_then(|list| list.get(name)).and_then(quantity)
}

fn order(errors: &mut ErrorList, path: &Path<'_>, item: &Value, name: &str) {
    let of = |list: &str| amount(item, list, name);
    let is_pod = item["type"] == "Pod";
    let (min, max) = (of("min"), of("max"));
    let (default, request) = if is_pod { (None, None) } else { (of("default"), of("defaultRequest")) };
    // The lesser, the greater, where it is told, of what, and how the two are called.
    let rules = [
        (min, max, "min", 0, "min value {} is greater than max value {}"),
        (min, request, "defaultRequest", 1, "min value {} is greater than default request value {}"),
        (request, max, "defaultRequest", 0, "default request value {} is greater than max value {}"),
        (
            request,
            default,
            "defaultRequest",
            0,
            "default request value {} is greater than default limit value {}",
        ),
        (min, default, "default", 0, "min value {} is greater than default value {}"),
        (default, max, "default", 1, "default value {} is greater than max value {}"),
    ];
    for (less, more, list, shown, words) in rules {
        let (Some(less), Some(more)) = (less, more) else { continue };
        if less > more {
            let (less, more) = (less.to_string(), more.to_string());
            let value = if shown == 0 { less.clone() } else { more.clone() };
            let why = words.replacen("{}", &less, 1).replacen("{}", &more, 1);
            errors.invalid(&path.child(list).key(name), value, why);
        }
    }
    if let (Some(default), Some(request), false) = (default, request, overcommits(name))
        && default != request
    {
        let why = format!("default value {default} must equal to defaultRequest value {request} in {name}");
        errors.invalid(&path.child("defaultRequest").key(name), request.to_string(), why);
    }
}

fn ratio(errors: &mut ErrorList, path: &Path<'_>, item: &Value, name: &str) {
    let Some(ratio) = amount(item, "maxLimitRequestRatio", name) else { return };
    let path = path.child("maxLimitRequestRatio");
    if ratio < Quantity::from_milli(1000) {
        errors.invalid(&path.key(name), ratio.to_string(), format!("ratio {ratio} is less than 1"));
    }
    let (Some(min), Some(max)) = (amount(item, "min", name), amount(item, "max", name)) else { return };
    let small = [ratio, min, max].iter().all(|amount| amount.value() < MAX_MILLI);
    let of = |amount: Quantity| if small { amount.milli_value() } else { amount.value() };
    let float = |n: i64| n.to_string().parse::<f64>().unwrap_or(f64::INFINITY);
    let wanted = if small { float(ratio.milli_value()) / 1000.0 } else { float(ratio.value()) };
    let possible = float(of(max)) / float(of(min));
    if wanted > possible {
        let why = format!("ratio {ratio} is greater than max/min = {possible:.6}");
        errors.invalid(&path.key(name), ratio.to_string(), why);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kind::Strategy as _;

    #[test]
    fn ranges() {
        for (item, want) in [
            (
                json!({"type": "Container", "default": {"cpu": "2"}, "max": {"cpu": "1"}}),
                "[spec.limits[0].defaultRequest[cpu]: Invalid value: \"2\": default request value 2 is greater than max \
                 value 1, spec.limits[0].default[cpu]: Invalid value: \"1\": default value 2 is greater than max value 1]",
            ),
            (
                json!({"type": "Container", "min": {"cpu": "2"}, "max": {"cpu": "1"}}),
                "[spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1, \
                 spec.limits[0].defaultRequest[cpu]: Invalid value: \"1\": min value 2 is greater than default request value \
                 1, spec.limits[0].default[cpu]: Invalid value: \"2\": min value 2 is greater than default value 1]",
            ),
            (
                json!({"type": "Pod", "default": {"cpu": "1"}}),
                "spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'",
            ),
            (
                json!({"type": "X"}),
                "spec.limits[0].type: Invalid value: \"X\": must be a standard limit type or fully qualified",
            ),
            (
                json!({"type": "PersistentVolumeClaim"}),
                "spec.limits[0].limits: Required value: either minimum or maximum storage value is required, but neither was \
                 provided",
            ),
            (
                json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "500m"}}),
                "spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: \"500m\": ratio 500m is less than 1",
            ),
            (
                json!({"type": "Pod", "maxLimitRequestRatio": {"cpu": "4"}, "min": {"cpu": "1"}, "max": {"cpu": "2"}}),
                "spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: \"4\": ratio 4 is greater than max/min = 2.000000",
            ),
        ] {
            let mut range = json!({"spec": {"limits": [item]}});
            crate::limitrange::LimitRange.default(&mut range);
            assert_eq!(limits(&range["spec"]["limits"]).to_string(), want, "{range}");
        }
        let twice = limits(&json!([{"type": "Container"}, {"type": "Container"}])).to_string();
        assert_eq!(twice, "spec.limits[1].type: Duplicate value: \"Container\"");
    }
}
