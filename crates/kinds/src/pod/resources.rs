//! What a Pod asks for and may use (`k8s.io/component-helpers/resource`), and its QoS class
//! (`pkg/apis/core/v1/helper/qos`). Everybody who counts resources counts here.
//!
//! Invariant: pure functions of the Pod's `spec`. Absent: in-place resize (status.resources plays no part).

use std::collections::BTreeMap;
use std::fmt;

use base::quantity::Quantity;
use serde_json::{Value, json};

use super::default::is_sidecar;
use crate::value::{child, entries, get_mut, is_set, items, size};

/// Amounts by resource name.
pub type Amounts = BTreeMap<String, Quantity>;

/// The quality-of-service class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Qos {
    /// Nothing asked for.
    BestEffort,
    /// Something asked for.
    Burstable,
    /// CPU and memory limited in every container, and requested to the same amount.
    Guaranteed,
}

impl fmt::Display for Qos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BestEffort => "BestEffort",
            Self::Burstable => "Burstable",
            Self::Guaranteed => "Guaranteed",
        })
    }
}

/// The amount in a JSON value; nothing if it is not a quantity.
#[must_use]
pub fn quantity(v: &Value) -> Option<Quantity> {
    match v {
        Value::String(s) => s.parse().ok(),
        Value::Number(n) => n.to_string().parse().ok(),
        _ => None,
    }
}

fn amounts(list: &Value) -> Amounts {
    entries(list).filter_map(|(name, v)| Some((name.to_owned(), quantity(v)?))).collect()
}

fn add(to: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let sum = to.get(name).map_or(*amount, |have| *have + *amount);
        to.insert(name.clone(), sum);
    }
}

fn raise(to: &mut Amounts, at_least: &Amounts) {
    for (name, amount) in at_least {
        if to.get(name).is_none_or(|have| have < amount) {
            to.insert(name.clone(), *amount);
        }
    }
}

/// Whether the Pod as a whole may ask for it.
pub(crate) fn is_pod_level(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

/// What all containers together need at their worst moment: the sum of app containers and sidecars, or an init
/// container with the sidecars started before it, if that is more. `list` is `requests` or `limits`.
#[must_use]
pub fn of_containers(spec: &Value, list: &str) -> Amounts {
    let mut total = Amounts::new();
    for container in items(&spec["containers"]) {
        add(&mut total, &amounts(&container["resources"][list]));
    }
    let (mut sidecars, mut init) = (Amounts::new(), Amounts::new());
    for container in items(&spec["initContainers"]) {
        let own = amounts(&container["resources"][list]);
        if is_sidecar(container) {
            add(&mut total, &own);
            add(&mut sidecars, &own);
            raise(&mut init, &sidecars);
        } else {
            let mut moment = own;
            add(&mut moment, &sidecars);
            raise(&mut init, &moment);
        }
    }
    raise(&mut total, &init);
    total
}

/// What the scheduler must find free: containers, replaced by what the Pod asks as a whole, and overhead.
#[must_use]
pub fn requests(spec: &Value) -> Amounts {
    let mut total = of_containers(spec, "requests");
    pod_level(&mut total, &spec["resources"]["requests"]);
    add(&mut total, &amounts(&spec["overhead"]));
    total
}

/// The most the Pod may use; a resource without limit in some container has none here unless the Pod has one.
/// Overhead is added to limits that exist.
#[must_use]
pub fn limits(spec: &Value) -> Amounts {
    let mut total = of_containers(spec, "limits");
    pod_level(&mut total, &spec["resources"]["limits"]);
    for (name, amount) in amounts(&spec["overhead"]) {
        if let Some(limit) = total.get_mut(&name) {
            *limit = *limit + amount;
        }
    }
    total
}

fn pod_level(total: &mut Amounts, list: &Value) {
    for (name, amount) in amounts(list) {
        if is_pod_level(&name) {
            total.insert(name, amount);
        }
    }
}

/// The QoS class of a Pod's spec.
#[must_use]
pub fn qos(spec: &Value) -> Qos {
    let counted = |list: &Value| -> Amounts {
        let mut found = amounts(list);
        found.retain(|name, amount| matches!(name.as_str(), "cpu" | "memory") && amount.sign() > 0);
        found
    };
    let (mut requests, mut limits) = (Amounts::new(), Amounts::new());
    let mut guaranteed = true;
    let whole = &spec["resources"];
    if size(&whole["requests"]) + size(&whole["limits"]) > 0 {
        requests = counted(&whole["requests"]);
        limits = counted(&whole["limits"]);
        guaranteed = limits.len() == 2;
    } else {
        for container in items(&spec["containers"]).iter().chain(items(&spec["initContainers"])) {
            add(&mut requests, &counted(&container["resources"]["requests"]));
            let own = counted(&container["resources"]["limits"]);
            guaranteed &= own.len() == 2;
            add(&mut limits, &own);
        }
    }
    match () {
        () if requests.is_empty() && limits.is_empty() => Qos::BestEffort,
        () if guaranteed && requests == limits => Qos::Guaranteed,
        () => Qos::Burstable,
    }
}

/// Rounds the amounts at `key` up to thousandths, as resource lists are stored.
pub(crate) fn round(v: &mut Value, key: &str) {
    let Some(list) = get_mut(v, key).and_then(Value::as_object_mut) else { return };
    for amount in list.values_mut() {
        let Some(given) = quantity(amount) else { continue };
        let rounded = given.rounded_to_milli();
        if rounded != given || amount.is_number() {
            *amount = json!(rounded.to_string());
        }
    }
}

/// Defaults of a Pod's own resources, once some limit or request of the Pod as a whole is given.
pub(crate) fn default_pod_level(spec: &mut Value) {
    if !is_set(&spec["resources"]) {
        return;
    }
    let of = of_containers(spec, "requests");
    let all_limits = limits_in_every_container(spec);
    let resources = child(spec, "resources");
    round(resources, "limits");
    round(resources, "requests");
    if size(&resources["limits"]) > 0 {
        let limits = resources["limits"].clone();
        let requests = child(resources, "requests");
        for (name, amount) in of.iter().filter(|(name, _)| matches!(name.as_str(), "cpu" | "memory")) {
            if !is_set(&requests[name]) {
                requests[name] = json!(amount.to_string());
            }
        }
        for (name, amount) in entries(&limits).filter(|(name, _)| is_pod_level(name)) {
            if !is_set(&requests[name]) {
                requests[name] = amount.clone();
            }
        }
    }
    if size(&resources["requests"]) > 0 {
        for (name, amount) in all_limits {
            if !is_set(&resources["limits"][&name]) {
                child(resources, "limits")[&name] = json!(amount.to_string());
            }
        }
    }
}

/// CPU and memory where every container and sidecar has a limit, with the sum.
fn limits_in_every_container(spec: &Value) -> Amounts {
    let mut total = of_containers(spec, "limits");
    let everywhere = |name: &str| {
        items(&spec["containers"])
            .iter()
            .chain(items(&spec["initContainers"]))
            .all(|c| is_set(&c["resources"]["limits"][name]))
    };
    total.retain(|name, _| matches!(name.as_str(), "cpu" | "memory") && everywhere(name));
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(requests: Value, limits: Value) -> Value {
        json!({"resources": {"requests": requests, "limits": limits}})
    }

    #[test]
    fn classes() {
        let both = json!({"cpu": "1", "memory": "1Gi"});
        let full = container(both.clone(), both.clone());
        let none = json!({});
        for (name, spec, want) in [
            ("nothing", json!({"containers": [{}]}), Qos::BestEffort),
            ("zeros", json!({"containers": [container(json!({"cpu": "0"}), json!({}))]}), Qos::BestEffort),
            (
                "only others",
                json!({"containers": [container(json!({"a/b": "1"}), json!({}))]}),
                Qos::BestEffort,
            ),
            ("full", json!({"containers": [full]}), Qos::Guaranteed),
            (
                "other spelling",
                json!({"containers": [container(
                json!({"cpu": "1000m", "memory": "1024Mi"}), both.clone())]}),
                Qos::Guaranteed,
            ),
            ("one of two", json!({"containers": [full, none]}), Qos::Burstable),
            (
                "request below limit",
                json!({"containers": [container(
                json!({"cpu": "500m", "memory": "1Gi"}), both.clone())]}),
                Qos::Burstable,
            ),
            (
                "limits of one only",
                json!({"containers": [container(
                json!({"cpu": "1"}), json!({"cpu": "1"}))]}),
                Qos::Burstable,
            ),
            ("init spoils it", json!({"containers": [full], "initContainers": [{}]}), Qos::Burstable),
            (
                "whole Pod",
                json!({"containers": [{}], "resources": {"requests": both, "limits": both}}),
                Qos::Guaranteed,
            ),
        ] {
            assert_eq!(qos(&spec), want, "{name}");
        }
    }

    #[test]
    fn sums() {
        let cpu =
            |amount: &str| json!({"resources": {"requests": {"cpu": amount}, "limits": {"cpu": amount}}});
        let sidecar = |amount: &str| {
            let mut c = cpu(amount);
            c["restartPolicy"] = json!("Always");
            c
        };
        for (spec, requests_want, limits_want) in [
            (json!({"containers": [cpu("1"), cpu("500m")]}), "1500m", "1500m"),
            (json!({"containers": [cpu("1")], "initContainers": [cpu("3"), cpu("2")]}), "3", "3"),
            (json!({"containers": [cpu("1")], "initContainers": [sidecar("1"), cpu("3")]}), "4", "4"),
            (json!({"containers": [cpu("1")], "initContainers": [cpu("1"), sidecar("1")]}), "2", "2"),
            (json!({"containers": [cpu("1")], "overhead": {"cpu": "250m"}}), "1250m", "1250m"),
            (json!({"containers": [cpu("1")], "resources": {"requests": {"cpu": "2"}}}), "2", "1"),
        ] {
            assert_eq!(requests(&spec)["cpu"].to_string(), requests_want, "{spec}");
            assert_eq!(limits(&spec)["cpu"].to_string(), limits_want, "{spec}");
        }
    }

    #[test]
    fn defaults_of_the_whole_pod() {
        let mut spec = json!({
            "containers": [container(json!({"cpu": "1"}), json!({}))],
            "resources": {"limits": {"cpu": "2", "memory": "1Gi"}},
        });
        default_pod_level(&mut spec);
        assert_eq!(spec["resources"]["requests"], json!({"cpu": "1", "memory": "1Gi"}));
    }
}
