//! Requests and limits (`validateResourceRequirements`).

use std::collections::BTreeSet;

use base::quantity::Quantity;
use serde_json::Value;

use crate::field::{ErrorList, ErrorType, FieldError, Path};
use crate::names;
use crate::pod::resources::{is_pod_level, of_containers, quantity};
use crate::value::{entries, is_set, items, text};

/// Names without a domain that something in a cluster counts; of these only the first three fit a container.
const STANDARD: &[&str] = &[
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

fn is_huge_page(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// Whether the name belongs to Kubernetes.
fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && base::labels::qualified_name_errors(&format!("requests.{name}")).is_empty()
}

/// Whether more may be promised than there is; else request and limit must be equal.
fn overcommits(name: &str) -> bool {
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
pub(super) fn container(errors: &mut ErrorList, path: &Path<'_>, resources: &Value, claims: &BTreeSet<&str>) {
    requirements(errors, path, resources, check_resource_name);
    claim_names(errors, &path.child("claims"), &resources["claims"], claims);
}

/// Overhead, checked as limits are.
pub(crate) fn overhead(errors: &mut ErrorList, path: &Path<'_>, overhead: &Value) {
    let limits = serde_json::json!({ "limits": overhead });
    requirements(errors, path, &limits, check_resource_name);
}

/// Resources of the Pod as a whole.
pub(super) fn pod(errors: &mut ErrorList, path: &Path<'_>, spec: &Value) {
    let resources = &spec["resources"];
    if !is_set(resources) {
        return;
    }
    if is_set(&resources["claims"]) {
        errors.forbidden(&path.child("claims"), "claims cannot be set for Resources at pod-level");
    }
    requirements(errors, path, resources, pod_name);
    for (name, sum) in of_containers(spec, "requests").iter().filter(|(name, _)| is_pod_level(name)) {
        let whole = quantity(&resources["requests"][name]).unwrap_or(Quantity::ZERO);
        if *sum > whole {
            let detail = format!("must be greater than or equal to aggregate container requests of {sum}");
            errors.invalid(&path.entry("requests", name), whole.to_string(), detail);
        }
    }
    for (i, container) in items(&spec["containers"]).iter().enumerate() {
        for (name, limit) in entries(&container["resources"]["limits"]) {
            let (Some(own), Some(whole)) = (quantity(limit), quantity(&resources["limits"][name])) else {
                continue;
            };
            if own > whole {
                let outer = path.item("containers", i);
                let outer = outer.key(name);
                let path = outer.child("limits");
                let detail = format!("must be less than or equal to pod limits of {whole}");
                errors.invalid(&path, own.to_string(), detail);
            }
        }
    }
}

fn requirements(
    errors: &mut ErrorList,
    path: &Path<'_>,
    resources: &Value,
    name_rule: fn(&mut ErrorList, &Path<'_>, &str),
) {
    let (limits, requests) = (path.child("limits"), path.child("requests"));
    for (name, value) in entries(&resources["limits"]) {
        name_rule(errors, &limits.key(name), name);
        amount(errors, &limits.key(name), name, value);
    }
    for (name, value) in entries(&resources["requests"]) {
        name_rule(errors, &requests.key(name), name);
        let Some(request) = amount(errors, &requests.key(name), name, value) else { continue };
        match quantity(&resources["limits"][name]) {
            Some(limit) if request != limit && !overcommits(name) => {
                let detail = format!("must be equal to {name} limit of {limit}");
                errors.invalid(&requests, request.to_string(), detail);
            }
            Some(limit) if request > limit => {
                let detail = format!("must be less than or equal to {name} limit of {limit}");
                errors.invalid(&requests, request.to_string(), detail);
            }
            None if !overcommits(name) => {
                errors.required(&limits, "Limit must be set for non overcommitable resources");
            }
            _ => {}
        }
    }
    let named = |test: fn(&str) -> bool| {
        ["limits", "requests"].iter().any(|list| entries(&resources[*list]).any(|(name, _)| test(name)))
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

fn claim_names(errors: &mut ErrorList, path: &Path<'_>, claims: &Value, known: &BTreeSet<&str>) {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for (i, claim) in items(claims).iter().enumerate() {
        let path = path.index(i);
        let (name, request) = (text(&claim["name"]), text(&claim["request"]));
        if name.is_empty() {
            errors.required(&path, "");
            continue;
        }
        if !request.is_empty() {
            names::check_label(errors, &path.child("request"), request);
        }
        let key = if request.is_empty() { name.to_owned() } else { format!("{name}/{request}") };
        let overlaps = request.is_empty() && seen.iter().any(|s| s.starts_with(&format!("{name}/")));
        if seen.contains(name) || overlaps {
            errors.duplicate(&path, name);
        } else if !seen.insert(key.clone()) {
            errors.duplicate(&path, key);
        }
        if !known.contains(name) {
            let list: Vec<&str> = known.iter().copied().collect();
            let mut detail = "must be one of the names in pod.spec.resourceClaims".to_owned();
            if list.is_empty() {
                detail.push_str(" which is empty");
            } else {
                detail = format!("{detail}: {}", list.join(", "));
            }
            errors.push(FieldError::new(ErrorType::NotFound, &path, Value::from(name), detail));
        }
    }
}

/// How a container takes a change of its resources.
pub(super) fn resize_policy(errors: &mut ErrorList, path: &Path<'_>, policies: &Value, pod_restart: &str) {
    let mut seen = BTreeSet::new();
    for (i, policy) in items(policies).iter().enumerate() {
        let (resource, restart) = (text(&policy["resourceName"]), text(&policy["restartPolicy"]));
        if !seen.insert(resource) {
            errors.duplicate(&path.index(i), resource);
        }
        match resource {
            "cpu" | "memory" => {}
            "" => errors.required(path, ""),
            other => errors.not_supported(path, other, &["cpu", "memory"]),
        }
        match restart {
            "NotRequired" | "RestartContainer" => {}
            "" => errors.required(path, ""),
            other => errors.not_supported(path, other, &["NotRequired", "RestartContainer"]),
        }
        if pod_restart == "Never" && restart != "NotRequired" {
            errors.invalid(path, restart, "must be 'NotRequired' when pod `restartPolicy` is 'Never'");
        }
    }
}
