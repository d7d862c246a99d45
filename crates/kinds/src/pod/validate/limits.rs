//! Requests and limits (`validateResourceRequirements`).

use std::collections::BTreeSet;

use base::quantity::Quantity;
use schema::validation::{At, Run, Seen};
use serde_json::Value;

use super::spec::SPEC_TYPE;
use crate::field::{ErrorList, ErrorType, FieldError, Path};
use crate::names;
use crate::pod::resources::{is_pod_level, of_containers, quantity};
use crate::rules::resources::{is_extended, is_native};
use crate::value::{entries, items, text};

/// Names without a domain that something in a cluster counts; of these only the first three fit a container.
pub(crate) const STANDARD: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "storage",
    "requests.storage",
    "services.nodeports",
    "services.loadbalancers",
];

pub(crate) fn is_huge_page(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// Whether more may be promised than there is; else request and limit must be equal.
pub(crate) fn overcommits(name: &str) -> bool {
    is_native(name) && !is_huge_page(name)
}

/// The name of a resource that a container may use (`ValidateContainerResourceName`).
pub(crate) fn check_resource_name(errors: &mut ErrorList, path: &Path<'_>, name: &str) {
    let complaints = base::labels::qualified_name_errors(name);
    let bad = !complaints.is_empty();
    names::check(errors, path, name, complaints);
    if !name.contains('/') {
        if !bad && !STANDARD.contains(&name) && !is_huge_page(name) {
            errors.invalid(path, name, "must be a standard resource type or fully qualified");
        }
        if !STANDARD[..3].contains(&name) && !is_huge_page(name) {
            errors.invalid(path, name, "must be a standard resource for containers");
        }
    } else if !is_native(name) && !is_extended(name) {
        errors.invalid(path, name, "doesn't follow extended resource name standard");
    }
}

fn pod_name(errors: &mut ErrorList, path: &Path<'_>, name: &str) {
    if !is_pod_level(name) {
        errors.not_supported(path, name, &["cpu", "hugepages-", "memory"]);
    }
}

/// Resources of one container.
pub(super) fn container<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    requirements(run, at, at.get("limits"), at.get("requests"), check_resource_name);
    claim_names(&at.child("claims"), run);
}

/// Overhead, checked as limits are.
pub(crate) fn overhead<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    requirements(run, at, at.value(), &Value::Null, check_resource_name);
}

/// Resources of the Pod as a whole.
pub(super) fn pod<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let Some(spec) = at.up() else { return };
    if at.has("claims") {
        run.forbidden(&at.child("claims"), "claims cannot be set for Resources at pod-level");
    }
    let (limits, requests) = (at.get("limits"), at.get("requests"));
    requirements(run, at, limits, requests, pod_name);
    let sums = of_containers(spec.value(), "requests");
    for (name, sum) in sums.iter().filter(|(name, _)| is_pod_level(name)) {
        let whole = quantity(&requests[name]).unwrap_or(Quantity::ZERO);
        if *sum > whole {
            let detail = format!("must be greater than or equal to aggregate container requests of {sum}");
            run.invalid(&at.child("requests").key(name), whole.to_string(), detail);
        }
    }
    for (i, container) in items(spec.get("containers")).iter().enumerate() {
        for (name, limit) in entries(&container["resources"]["limits"]) {
            let (Some(own), Some(whole)) = (quantity(limit), quantity(&limits[name])) else {
                continue;
            };
            if own > whole {
                let detail = format!("must be less than or equal to pod limits of {whole}");
                let path = at.item("containers", i);
                run.invalid(&path.key(name).child("limits"), own.to_string(), detail);
            }
        }
    }
}

fn requirements(
    errors: &mut ErrorList,
    path: &Path<'_>,
    limits: &Value,
    requests: &Value,
    name_rule: fn(&mut ErrorList, &Path<'_>, &str),
) {
    let (limits_path, requests_path) = (path.child("limits"), path.child("requests"));
    for (name, value) in entries(limits) {
        name_rule(errors, &limits_path.key(name), name);
        amount(errors, &limits_path.key(name), name, value);
    }
    for (name, value) in entries(requests) {
        name_rule(errors, &requests_path.key(name), name);
        let Some(request) = amount(errors, &requests_path.key(name), name, value) else { continue };
        match quantity(&limits[name]) {
            Some(limit) if request != limit && !overcommits(name) => {
                let detail = format!("must be equal to {name} limit of {limit}");
                errors.invalid(&requests_path, request.to_string(), detail);
            }
            Some(limit) if request > limit => {
                let detail = format!("must be less than or equal to {name} limit of {limit}");
                errors.invalid(&requests_path, request.to_string(), detail);
            }
            None if !overcommits(name) => {
                errors.required(&limits_path, "Limit must be set for non overcommitable resources");
            }
            _ => {}
        }
    }
    let named = |test: fn(&str) -> bool| {
        [limits, requests].iter().any(|list| entries(list).any(|(name, _)| test(name)))
    };
    if named(is_huge_page) && !named(|name| matches!(name, "cpu" | "memory")) {
        errors.forbidden(path, "HugePages require cpu or memory");
    }
}

/// An amount of any resource: never negative, and whole where it counts things (`ValidateResourceQuantityValue`).
pub(crate) fn check_amount(
    errors: &mut ErrorList,
    path: &Path<'_>,
    name: &str,
    value: &Value,
) -> Option<Quantity> {
    let amount = quantity(value)?;
    if amount.sign() < 0 {
        errors.invalid(path, amount.to_string(), "must be greater than or equal to 0");
    }
    if (is_extended(name) || name == "pods") && amount.milli_value() % 1000 != 0 {
        errors.invalid(path, amount.to_string(), "must be an integer");
    }
    Some(amount)
}

fn amount(errors: &mut ErrorList, path: &Path<'_>, name: &str, value: &Value) -> Option<Quantity> {
    let amount = check_amount(errors, path, name, value)?;
    if let Some(page) = name.strip_prefix("hugepages-").and_then(|p| p.parse::<Quantity>().ok())
        && (page.value() <= 0 || amount.value() % page.value() != 0)
    {
        errors.invalid(
            path,
            amount.to_string(),
            format!("{amount} is not positive integer multiple of {name}"),
        );
    }
    Some(amount)
}

/// Claims by name, each one that the Pod has.
fn claim_names<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let Some(spec) = at.enclosing(SPEC_TYPE).filter(|_| at.size() > 0) else { return };
    let known: BTreeSet<&str> = items(spec.get("resourceClaims"))
        .iter()
        .map(|c| text(&c["name"]))
        .filter(|n| !n.is_empty())
        .collect();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for claim in at.items() {
        let (name, request) = (claim.text_of("name"), claim.child("request"));
        if name.is_empty() {
            run.required(&claim, "");
            continue;
        }
        if !request.text().is_empty() {
            names::check_label(run, &request, request.text());
        }
        let whole = request.text().is_empty();
        let key = if whole { name.to_owned() } else { format!("{name}/{}", request.text()) };
        let overlaps = whole && seen.iter().any(|s| s.starts_with(&format!("{name}/")));
        if seen.contains(name) || overlaps {
            run.duplicate(&claim, name);
        } else if !seen.insert(key.clone()) {
            run.duplicate(&claim, key);
        }
        if !known.contains(name) {
            let list: Vec<&str> = known.iter().copied().collect();
            let mut detail = "must be one of the names in pod.spec.resourceClaims".to_owned();
            if list.is_empty() {
                detail.push_str(" which is empty");
            } else {
                detail = format!("{detail}: {}", list.join(", "));
            }
            run.push(FieldError::new(ErrorType::NotFound, &claim, Value::from(name), detail));
        }
    }
}

/// How a container takes a change of its resources; told of the list, as upstream does.
pub(super) fn resize_policy<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let mut seen = Seen::default();
    for policy in at.items() {
        let (resource, restart) = (policy.text_of("resourceName"), policy.text_of("restartPolicy"));
        if !seen.insert(resource) {
            run.duplicate(&policy, resource);
        }
        match resource {
            "cpu" | "memory" => {}
            "" => run.required(at, ""),
            other => run.not_supported(at, other, &["cpu", "memory"]),
        }
        match restart {
            "NotRequired" | "RestartContainer" => {}
            "" => run.required(at, ""),
            other => run.not_supported(at, other, &["NotRequired", "RestartContainer"]),
        }
        let never = at.enclosing(SPEC_TYPE).is_some_and(|spec| spec.text_of("restartPolicy") == "Never");
        if never && restart != "NotRequired" {
            run.invalid(at, restart, "must be 'NotRequired' when pod `restartPolicy` is 'Never'");
        }
    }
}
