//! What a change takes over from the Service as it was, and what it loses with its old type
//! (`patchAllocatedValues`, `normalizeClusterIPs`, `dropTypeDependentFields`).
//!
//! Invariant: a field that the change itself sets to something else is left as it is set, for validation to judge.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use super::Needs;
use crate::value::{get_mut, int, is_empty, items, items_mut, remove, same, text};

/// Puts what was given out before where the new spec says nothing.
pub(super) fn take_over(new: &mut Value, old: &Value) {
    if Needs(old).addresses() && Needs(new).addresses() {
        if text(&new["clusterIP"]).is_empty() {
            put(new, "clusterIP", &old["clusterIP"]);
        }
        if items(&new["clusterIPs"]).is_empty() && text(&new["clusterIP"]) == text(&old["clusterIP"]) {
            put(new, "clusterIPs", &old["clusterIPs"]);
        }
    }
    if Needs(old).node_ports() && Needs(new).node_ports() {
        node_ports(new, old);
    }
    if Needs(old).health_check() && Needs(new).health_check() && int(&new["healthCheckNodePort"]) == 0 {
        put(new, "healthCheckNodePort", &old["healthCheckNodePort"]);
    }
}

fn put(spec: &mut Value, field: &str, value: &Value) {
    match value {
        Value::Null => remove(spec, field),
        value => spec[field] = value.clone(),
    }
}

/// Ports are known by their names; one that another port asks for now is not taken over.
fn node_ports(new: &mut Value, old: &Value) {
    let mut used: HashSet<i64> = node_ports_of(old).intersection(&node_ports_of(new)).copied().collect();
    let before: HashMap<&str, i64> =
        items(&old["ports"]).iter().map(|port| (text(&port["name"]), int(&port["nodePort"]))).collect();
    for port in items_mut(new, "ports").filter(|port| int(&port["nodePort"]) == 0) {
        let known = before.get(text(&port["name"])).copied().unwrap_or(0);
        if known != 0 && used.insert(known) {
            port["nodePort"] = known.into();
        }
    }
}

/// Keeps the one address and the list of them in step where a client knows one of the two only.
pub(super) fn align_addresses(new: &mut Value, old: Option<&Value>) {
    let one = text(&new["clusterIP"]).to_owned();
    let Some(old) = old else {
        if !one.is_empty() && items(&new["clusterIPs"]).is_empty() {
            new["clusterIPs"] = json!([one]);
        }
        return;
    };
    let before = text(&old["clusterIP"]);
    if items(&new["clusterIPs"]).is_empty() && one == before {
        put(new, "clusterIPs", &old["clusterIPs"]);
    }
    if before != one && same(&new["clusterIPs"], &old["clusterIPs"]) {
        if one.is_empty() {
            remove(new, "clusterIPs");
        } else {
            new["clusterIPs"] = json!([one]);
        }
    }
}

/// A type that has no use for a field loses it, if the type before had it and the change leaves it as it was.
pub(super) fn drop_what_the_type_has_no_use_for(new: &mut Value, old: &Value) {
    let (before, Some(spec)) = (&old["spec"], get_mut(new, "spec")) else { return };
    let (was, is) = (Needs(before), Needs(spec));
    let lost = [
        (was.addresses() && !is.addresses(), &["clusterIP", "clusterIPs"][..]),
        (was.addresses() && !is.addresses(), &["ipFamilies", "ipFamilyPolicy"]),
        (was.addresses() && !is.addresses(), &["internalTrafficPolicy"]),
        (was.health_check() && !is.health_check(), &["healthCheckNodePort"]),
        (was.is_load_balancer() && !is.is_load_balancer(), &["allocateLoadBalancerNodePorts"]),
        (was.is_load_balancer() && !is.is_load_balancer(), &["loadBalancerClass"]),
        (was.external_policy() && !is.external_policy(), &["externalTrafficPolicy"]),
    ];
    let loses_node_ports = was.node_ports() && !is.node_ports();
    for (lost, fields) in lost {
        if lost && fields.iter().all(|field| same(&spec[*field], &before[*field])) {
            fields.iter().for_each(|field| remove(spec, field));
        }
    }
    if loses_node_ports && node_ports_of(spec).is_subset(&node_ports_of(before)) {
        items_mut(spec, "ports").for_each(|port| remove(port, "nodePort"));
    }
    if !Needs(spec).is_load_balancer()
        && let Some(status) = get_mut(new, "status")
        && !is_empty(&status["loadBalancer"])
    {
        status["loadBalancer"] = json!({});
    }
}

fn node_ports_of(spec: &Value) -> HashSet<i64> {
    items(&spec["ports"]).iter().map(|port| int(&port["nodePort"])).filter(|port| *port != 0).collect()
}
