//! What an object counts as, in the names that quotas have for it (`pkg/quota/v1/evaluator/core`).
//!
//! Invariant: every stored object of a namespace counts as one of its kind; compute resources are those of Pods that run or
//! will. A resource is named `pods`, `jobs.batch`.

use base::{Quantity, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

use crate::pod::resources::quantity;
use crate::pod::validate::limits::is_huge_page;
use crate::rules::phase;
use crate::rules::resources::{self, Amounts, is_extended};
use crate::value::{int, items, text};
use crate::view::time;
use crate::view::typed;

const STORAGE_CLASS: &str = ".storageclass.storage.k8s.io/";
const CLAIMS: &str = "persistentvolumeclaims";
const REQUESTS: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
/// Kinds that a quota also knows by their plain names, besides those with a count of their own.
const PLAIN: &[&str] = &["configmaps", "replicationcontrollers", "resourcequotas", "secrets"];

fn one() -> Quantity {
    Quantity::from_milli(1000)
}

/// What an object counts as.
#[must_use]
pub fn of(resource: &str, object: &Value, now: Timestamp) -> Amounts {
    let mut usage = Amounts::from([(format!("count/{resource}"), one())]);
    match resource {
        "pods" if !is_over(object, now) => compute(&mut usage, object),
        "services" => services(&mut usage, &object["spec"]),
        CLAIMS => claims(&mut usage, object),
        plain if PLAIN.contains(&plain) => drop(usage.insert(plain.to_owned(), one())),
        _ => {}
    }
    usage
}

/// Whether the quota's name for something is about objects of a resource.
#[must_use]
pub fn is_about(name: &str, resource: &str) -> bool {
    if let Some(counted) = name.strip_prefix("count/") {
        return counted == resource;
    }
    let (side, rest) = name.split_once('.').unwrap_or(("", name));
    match resource {
        "pods" => {
            name == "pods"
                || REQUESTS.contains(&name)
                || matches!(side, "requests" | "limits") && REQUESTS.contains(&rest)
                || is_huge_page(name)
                || side == "requests" && (is_huge_page(rest) || is_extended(rest))
        }
        "services" => matches!(name, "services" | "services.nodeports" | "services.loadbalancers"),
        CLAIMS => matches!(name, "requests.storage" | CLAIMS) || name.contains(STORAGE_CLASS),
        plain => PLAIN.contains(&plain) && name == plain,
    }
}

/// Whether a Pod has ended, or should have by now.
fn is_over(pod: &Value, now: Timestamp) -> bool {
    let gone = || {
        let grace = pod["metadata"]["deletionGracePeriodSeconds"].as_i64()?;
        let at = time(pod["metadata"]["deletionTimestamp"].as_str())?;
        Some(now > at + std::time::Duration::from_secs(grace.max(0).unsigned_abs()))
    };
    phase::is_finished(text(&pod["status"]["phase"])) || gone().unwrap_or(false)
}

fn compute(usage: &mut Amounts, pod: &Value) {
    usage.insert("pods".into(), one());
    // What is stored, or has been validated, is a Pod.
    let pod: Pod = typed(pod).unwrap_or_default();
    let limits = pod.spec.as_ref().map(resources::limits).unwrap_or_default();
    usage.extend(named(&resources::held(&pod, &Amounts::new()), &limits));
}

/// Requests and limits as quotas name them.
pub(super) fn named(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut out = Amounts::new();
    for (name, amount) in requests {
        if REQUESTS.contains(&name.as_str()) || is_huge_page(name) {
            out.insert(name.clone(), *amount);
        } else if !is_extended(name) {
            continue;
        }
        out.insert(format!("requests.{name}"), *amount);
    }
    let limited = limits.iter().filter(|(name, _)| REQUESTS.contains(&name.as_str()));
    out.extend(limited.map(|(name, amount)| (format!("limits.{name}"), *amount)));
    out
}

fn services(usage: &mut Amounts, spec: &Value) {
    usage.insert("services".into(), one());
    let ports = items(&spec["ports"]);
    let balanced = spec["type"] == "LoadBalancer";
    let count = match text(&spec["type"]) {
        "LoadBalancer" if spec["allocateLoadBalancerNodePorts"] == false => {
            ports.iter().filter(|port| int(&port["nodePort"]) != 0).count()
        }
        "NodePort" | "LoadBalancer" => ports.len(),
        _ => 0,
    };
    let units = |count: usize| Quantity::from_milli(i64::try_from(count).unwrap_or(i64::MAX / 1000) * 1000);
    usage.insert("services.nodeports".into(), units(count));
    usage.insert("services.loadbalancers".into(), units(usize::from(balanced)));
}

fn claims(usage: &mut Amounts, claim: &Value) {
    let class = text(&claim["spec"]["storageClassName"]);
    let asked = quantity(&claim["spec"]["resources"]["requests"]["storage"]);
    let held = quantity(&claim["status"]["allocatedResources"]["storage"]);
    let storage = asked.max(held);
    for (name, amount) in [(CLAIMS, Some(one())), ("requests.storage", storage)] {
        let Some(amount) = amount else { continue };
        usage.insert(name.to_owned(), amount);
        if !class.is_empty() {
            usage.insert(format!("{class}{STORAGE_CLASS}{name}"), amount);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(usage: &Amounts) -> String {
        let set = usage.iter().filter(|(_, amount)| !amount.is_zero());
        set.map(|(name, amount)| format!("{name}={amount}")).collect::<Vec<_>>().join(",")
    }

    #[test]
    fn objects() {
        let containers = json!([{"name": "c", "resources": {"requests": {"cpu": "600m", "example.com/gpu": "2"},
            "limits": {"memory": "1Gi", "example.com/gpu": "2"}}}]);
        let pod = json!({"spec": {"containers": containers}});
        for (resource, object, want) in [
            (
                "pods",
                pod.clone(),
                "count/pods=1,cpu=600m,limits.memory=1Gi,pods=1,requests.cpu=600m,requests.example.com/gpu=2",
            ),
            (
                "pods",
                json!({"spec": {"containers": containers}, "status": {"phase": "Failed"}}),
                "count/pods=1",
            ),
            (
                "pods",
                json!({"spec": {}, "metadata": {"deletionTimestamp": "1970-01-01T00:00:10Z", "deletionGracePeriodSeconds": 5}}),
                "count/pods=1",
            ),
            ("secrets", json!({}), "count/secrets=1,secrets=1"),
            ("jobs.batch", json!({}), "count/jobs.batch=1"),
            (
                "services",
                json!({"spec": {"type": "NodePort", "ports": [{"port": 1}, {"port": 2}]}}),
                "count/services=1,services=1,services.nodeports=2",
            ),
            (
                "services",
                json!({"spec": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": [{"port": 1}]}}),
                "count/services=1,services=1,services.loadbalancers=1",
            ),
            (
                "persistentvolumeclaims",
                json!({"spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "1Gi"}}}}),
                "count/persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/persistentvolumeclaims=1,\
                 gold.storageclass.storage.k8s.io/requests.storage=1Gi,persistentvolumeclaims=1,requests.storage=1Gi",
            ),
        ] {
            let now = Timestamp::parse("1970-01-01T00:00:20Z").unwrap();
            let usage = of(resource, &object, now);
            assert_eq!(shown(&usage), want, "{object}");
            for name in usage.keys() {
                assert!(is_about(name, resource), "{name} is about {resource}");
            }
        }
        for (name, resource) in
            [("pods", "services"), ("requests.storage", "pods"), ("count/pods", "secrets")]
        {
            assert!(!is_about(name, resource), "{name}");
        }
    }
}
