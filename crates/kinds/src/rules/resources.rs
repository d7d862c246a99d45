//! What a Pod asks for and may use (`k8s.io/component-helpers/resource`). Everybody who counts resources counts here.
//!
//! Invariants: amounts are added exactly and rounded by whoever compares them; texts that are no quantities count as
//! nothing (the API refuses them). Absent: devices' claims, and a Pod's own amounts while they are resized.

use std::collections::BTreeMap;

use base::Quantity;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodSpec, PodStatus, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

use super::containers::{all, init, is_sidecar};

/// Amounts by resource name.
pub type Amounts = BTreeMap<String, Quantity>;

/// A resource list as the API has it.
pub type List = BTreeMap<String, Text>;

/// One of the two lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// What is reserved.
    Requests,
    /// What is the most.
    Limits,
}

impl Side {
    /// This list of what a container, or a Pod as a whole, says.
    #[must_use]
    pub fn of(self, said: Option<&ResourceRequirements>) -> Option<&List> {
        match self {
            Self::Requests => said?.requests.as_ref(),
            Self::Limits => said?.limits.as_ref(),
        }
    }

    /// One amount of it.
    #[must_use]
    pub fn amount(self, said: Option<&ResourceRequirements>, name: &str) -> Option<Quantity> {
        self.of(said)?.get(name)?.0.parse().ok()
    }
}

/// The amounts of a list.
#[must_use]
pub fn amounts(list: Option<&List>) -> Amounts {
    list.into_iter().flatten().filter_map(|(name, text)| Some((name.clone(), text.0.parse().ok()?))).collect()
}

/// Adds amount by amount.
pub fn add(to: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let sum = to.get(name).map_or(*amount, |have| *have + *amount);
        to.insert(name.clone(), sum);
    }
}

/// Keeps the greater of each amount.
pub fn raise(to: &mut Amounts, at_least: &Amounts) {
    for (name, amount) in at_least {
        if to.get(name).is_none_or(|have| have < amount) {
            to.insert(name.clone(), *amount);
        }
    }
}

/// Whether a Pod as a whole may ask for it.
#[must_use]
pub fn is_pod_level(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

/// Whether the name belongs to Kubernetes.
#[must_use]
pub fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether it is a resource that somebody else's plugin or extender brings.
#[must_use]
pub fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && base::labels::qualified_name_errors(&format!("requests.{name}")).is_empty()
}

/// What containers need together at their worst moment: the sum of app containers and sidecars, or an init container with
/// the sidecars started before it, if that is more. Of `inits` it is told which are sidecars.
pub fn together(
    apps: impl IntoIterator<Item = Amounts>,
    inits: impl IntoIterator<Item = (bool, Amounts)>,
) -> Amounts {
    let mut total = Amounts::new();
    apps.into_iter().for_each(|own| add(&mut total, &own));
    let (mut sidecars, mut worst) = (Amounts::new(), Amounts::new());
    for (sidecar, mut moment) in inits {
        if sidecar {
            add(&mut total, &moment);
            add(&mut sidecars, &moment);
            raise(&mut worst, &sidecars);
        } else {
            add(&mut moment, &sidecars);
            raise(&mut worst, &moment);
        }
    }
    raise(&mut total, &worst);
    total
}

fn containers(spec: &PodSpec, of: impl Fn(&Container) -> Amounts) -> Amounts {
    together(spec.containers.iter().map(&of), init(spec).map(|c| (is_sidecar(c), of(c))))
}

/// What all containers need together by one of their lists.
#[must_use]
pub fn of_containers(spec: &PodSpec, side: Side) -> Amounts {
    containers(spec, |c| amounts(side.of(c.resources.as_ref())))
}

/// What the spec asks for: its containers, replaced by what the Pod asks as a whole, and overhead.
#[must_use]
pub fn requests(spec: &PodSpec) -> Amounts {
    whole(spec, of_containers(spec, Side::Requests))
}

/// What the Pod holds of its node, or is to be given there: what it asks for or, while it is resized, what it was granted
/// or still has, if that is more; what a node cannot ever grant does not count. A container without a request counts as
/// `missing` (empty but for scores).
#[must_use]
pub fn held(pod: &Pod, missing: &Amounts) -> Amounts {
    let (no_spec, no_status) = (PodSpec::default(), PodStatus::default());
    let spec = pod.spec.as_ref().unwrap_or(&no_spec);
    let status = pod.status.as_ref().unwrap_or(&no_status);
    let sum = |of: &dyn Fn(&Container) -> Amounts| {
        containers(spec, |c| {
            let mut own = missing.clone();
            own.extend(of(c));
            own
        })
    };
    let said = |c: &Container| amounts(Side::Requests.of(c.resources.as_ref()));
    if resizable(status).next().is_none() {
        return whole(spec, sum(&said));
    }
    let infeasible = is_infeasible(status);
    let wanted = |c: &Container| if infeasible { Amounts::new() } else { said(c) };
    let of = |c: &Container| resizable(status).find(|s| s.name == c.name);
    let granted = |c: &Container| Some(amounts(Some(of(c)?.allocated_resources.as_ref()?)));
    let has = |c: &Container| Some(amounts(Some(of(c)?.resources.as_ref()?.requests.as_ref()?)));
    let mut total = sum(&|c| granted(c).unwrap_or_else(|| wanted(c)));
    raise(&mut total, &sum(&|c| has(c).or_else(|| granted(c)).unwrap_or_else(|| wanted(c))));
    if !infeasible {
        raise(&mut total, &sum(&said));
    }
    whole(spec, total)
}

/// What limits there are, together: of containers, replaced by those of the Pod as a whole; overhead is added to limits
/// that exist. A container without a limit counts as nothing, so that this is no bound of the Pod's ([`limit`] is).
#[must_use]
pub fn limits(spec: &PodSpec) -> Amounts {
    let mut total = of_containers(spec, Side::Limits);
    pod_level(&mut total, spec, Side::Limits);
    for (name, amount) in amounts(spec.overhead.as_ref()) {
        if let Some(limit) = total.get_mut(&name) {
            *limit = *limit + amount;
        }
    }
    total
}

/// The most of something that the Pod as a whole may use: its own limit, or all containers' if each of them has one above
/// zero (`ResourceConfigForPod`).
#[must_use]
pub fn limit(spec: &PodSpec, name: &str) -> Option<Quantity> {
    let bounded = |said: Option<&ResourceRequirements>| {
        Side::Limits.amount(said, name).is_some_and(|amount| amount.sign() > 0)
    };
    let all_bounded = || all(spec).all(|c| bounded(c.resources.as_ref()));
    if bounded(spec.resources.as_ref()) || all_bounded() { limits(spec).get(name).copied() } else { None }
}

fn whole(spec: &PodSpec, mut total: Amounts) -> Amounts {
    pod_level(&mut total, spec, Side::Requests);
    add(&mut total, &amounts(spec.overhead.as_ref()));
    total
}

fn pod_level(total: &mut Amounts, spec: &PodSpec, side: Side) {
    let own = amounts(side.of(spec.resources.as_ref()));
    total.extend(own.into_iter().filter(|(name, _)| is_pod_level(name)));
}

/// What is known of containers whose resources the node tells.
fn resizable(status: &PodStatus) -> impl Iterator<Item = &ContainerStatus> {
    let all =
        status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten());
    all.filter(|c| c.allocated_resources.is_some() || c.resources.is_some())
}

/// Whether the node has said that it will never have room for what the spec asks (`IsPodResizeInfeasible`).
#[must_use]
pub fn is_infeasible(status: &PodStatus) -> bool {
    let mut conditions = status.conditions.iter().flatten();
    let pending = conditions.find(|c| c.type_ == "PodResizePending");
    pending.is_some_and(|c| c.reason.as_deref() == Some("Infeasible"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::pod_spec;
    use super::*;

    fn cpu(amount: &str) -> Value {
        json!({"name": "c", "resources": {"requests": {"cpu": amount}, "limits": {"cpu": amount}}})
    }

    fn sidecar(amount: &str) -> Value {
        let mut container = cpu(amount);
        container["restartPolicy"] = json!("Always");
        container
    }

    #[test]
    fn sums() {
        for (spec, requests_want, limits_want) in [
            (json!({"containers": [cpu("1"), cpu("500m")]}), "1500m", "1500m"),
            (json!({"containers": [cpu("1")], "initContainers": [cpu("3"), cpu("2")]}), "3", "3"),
            (json!({"containers": [cpu("1")], "initContainers": [sidecar("1"), cpu("3")]}), "4", "4"),
            (json!({"containers": [cpu("1")], "initContainers": [cpu("1"), sidecar("1")]}), "2", "2"),
            (json!({"containers": [cpu("1")], "overhead": {"cpu": "250m"}}), "1250m", "1250m"),
            (json!({"containers": [cpu("1")], "resources": {"requests": {"cpu": "2"}}}), "2", "1"),
            (json!({"containers": [cpu("2")], "resources": {"requests": {"cpu": "1"}}}), "1", "2"),
        ] {
            let typed = pod_spec(&spec);
            assert_eq!(requests(&typed)["cpu"].to_string(), requests_want, "{spec}");
            assert_eq!(limits(&typed)["cpu"].to_string(), limits_want, "{spec}");
            let pod = Pod { spec: Some(typed.clone()), ..Pod::default() };
            assert_eq!(held(&pod, &Amounts::new()), requests(&typed), "{spec}");
        }
        let tiny = pod_spec(&json!({"containers": [cpu("100u"), cpu("900u")]}));
        assert_eq!(requests(&tiny)["cpu"].milli_value(), 1, "added before it is rounded");
    }

    #[test]
    fn bounds_of_the_whole() {
        let none = json!({"name": "n"});
        for (spec, want) in [
            (json!({"containers": [cpu("1"), cpu("2")]}), Some("3")),
            (json!({"containers": [cpu("1"), none]}), None),
            (json!({"containers": [cpu("1")], "initContainers": [none]}), None),
            (json!({"containers": [cpu("1"), none], "resources": {"limits": {"cpu": "4"}}}), Some("4")),
            (json!({"containers": [cpu("1"), cpu("0")]}), None),
            (json!({"containers": [none]}), None),
            (json!({"containers": []}), None),
        ] {
            let found = limit(&pod_spec(&spec), "cpu").map(|amount| amount.to_string());
            assert_eq!(found.as_deref(), want, "{spec}");
        }
    }

    #[test]
    fn what_is_held_during_a_resize() {
        let pod = |granted: Value, has: Value, condition: Value| -> Pod {
            serde_json::from_value(json!({
                "spec": {"containers": [cpu("3")]},
                "status": {"conditions": condition, "containerStatuses": [{"name": "c",
                    "allocatedResources": granted, "resources": {"requests": has}}]},
            }))
            .unwrap()
        };
        let pending =
            |reason: &str| json!([{"type": "PodResizePending", "status": "True", "reason": reason}]);
        let at = |amount: &str| json!({ "cpu": amount });
        for (granted, has, condition, want) in [
            (at("1"), at("1"), json!([]), "3"),
            (at("1"), at("1"), pending("Deferred"), "3"),
            (at("1"), at("2"), pending("Infeasible"), "2"),
            (at("4"), at("1"), json!([]), "4"),
            (at("3"), at("5"), json!([]), "5"),
            (json!(null), at("5"), json!([]), "5"),
        ] {
            let pod = pod(granted, has, condition);
            assert_eq!(held(&pod, &Amounts::new())["cpu"].to_string(), want, "{pod:?}");
        }
    }

    #[test]
    fn what_says_nothing_counts_as_something() {
        let missing = Amounts::from([("cpu".to_owned(), "100m".parse().unwrap())]);
        for (containers, want) in [
            (json!([{"name": "a"}, {"name": "b"}]), "200m"),
            (json!([{"name": "a", "resources": {"requests": {"cpu": "0"}}}]), "0"),
            (json!([{"name": "a", "resources": {"requests": {"memory": "1Gi"}}}]), "100m"),
        ] {
            let pod: Pod = serde_json::from_value(json!({"spec": {"containers": containers}})).unwrap();
            assert_eq!(held(&pod, &missing)["cpu"].to_string(), want, "{pod:?}");
        }
    }
}
