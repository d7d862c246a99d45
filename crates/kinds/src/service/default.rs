//! Defaults that depend on other fields (`SetDefaults_Service`).

use serde_json::{Value, json};

use super::Needs;
use crate::value::{
    child, default_missing, default_to, get_mut, int, is_empty, is_set, items_mut, remove, text,
};

/// How long a client stays with its endpoint if nothing else is said, in seconds.
const STICKY: i64 = 10_800;

/// All of them.
pub(super) fn set(obj: &mut Value) {
    let spec = child(obj, "spec");
    default_to(spec, "sessionAffinity", "None");
    match text(&spec["sessionAffinity"]) {
        "None" => remove(spec, "sessionAffinityConfig"),
        "ClientIP" if !is_set(&spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"]) => {
            spec["sessionAffinityConfig"] = json!({"clientIP": {"timeoutSeconds": STICKY}});
        }
        _ => {}
    }
    default_to(spec, "type", "ClusterIP");
    for port in items_mut(spec, "ports") {
        default_to(port, "protocol", "TCP");
        if is_empty(&port["targetPort"]) {
            port["targetPort"] = int(&port["port"]).into();
        }
    }
    if Needs(spec).node_ports() {
        default_to(spec, "externalTrafficPolicy", "Cluster");
    }
    if Needs(spec).node_ports() || text(&spec["type"]) == "ClusterIP" {
        default_missing(spec, "internalTrafficPolicy", "Cluster");
    }
    if Needs(spec).is_load_balancer() {
        default_missing(spec, "allocateLoadBalancerNodePorts", true);
        modes(obj);
    }
}

/// How the addresses of a load balancer are used.
fn modes(obj: &mut Value) {
    let balancer = get_mut(obj, "status").and_then(|status| get_mut(status, "loadBalancer"));
    for ingress in balancer.into_iter().flat_map(|balancer| items_mut(balancer, "ingress")) {
        if !text(&ingress["ip"]).is_empty() {
            default_missing(ingress, "ipMode", "VIP");
        }
    }
}
