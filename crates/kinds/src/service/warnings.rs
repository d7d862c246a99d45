//! What a client is warned about (`pkg/api/service/warnings.go`).

use schema::addresses::{cidr_warning, ip_warning};
use serde_json::Value;

use super::{NO_ADDRESS, Needs};
use crate::field::Path;
use crate::value::{is_empty, is_set, items, text};

const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const MODE: &str = "service.kubernetes.io/topology-mode";

/// All of a Service.
pub(super) fn of(service: &Value) -> Vec<String> {
    let (spec, path) = (&service["spec"], Path::new("spec"));
    let mut all = Vec::new();
    if is_set(&service["metadata"]["annotations"][HINTS]) {
        all.push(format!("annotation {HINTS} is deprecated, please use {MODE} instead"));
    }
    if !matches!(text(&spec["clusterIP"]), "" | NO_ADDRESS) {
        all.extend(addresses(spec, "clusterIPs"));
    }
    if text(&spec["type"]) == "ClusterIP" && text(&spec["clusterIP"]) == NO_ADDRESS {
        let ignored = ["loadBalancerIP", "externalIPs"].into_iter().filter(|field| !is_empty(&spec[*field]));
        let affinity = (text(&spec["sessionAffinity"]) != "None").then_some("SessionAffinity");
        let all_ignored = ignored.chain(affinity);
        all.extend(all_ignored.map(|field| format!("spec.{field} is ignored for headless services")));
    }
    if !items(&spec["externalIPs"]).is_empty() {
        all.push("spec.externalIPs is deprecated and may no longer be implemented in some clusters".into());
    }
    all.extend(addresses(spec, "externalIPs"));
    all.extend(ip_warning(&path.child("loadBalancerIP"), text(&spec["loadBalancerIP"])));
    let ranges = items(&spec["loadBalancerSourceRanges"]).iter().enumerate();
    all.extend(
        ranges.filter_map(|(i, range)| cidr_warning(&path.item("loadBalancerSourceRanges", i), text(range))),
    );
    let other_name = Needs(spec).is_external_name();
    if other_name && !is_empty(&spec["externalIPs"]) {
        all.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".into());
    }
    if !other_name && !is_empty(&spec["externalName"]) {
        all.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".into());
    }
    if text(&spec["trafficDistribution"]) == "PreferClose" {
        all.push("spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"".into());
    }
    all
}

fn addresses<'a>(spec: &'a Value, field: &'a str) -> impl Iterator<Item = String> + 'a {
    let all = items(&spec[field]).iter().enumerate();
    all.filter_map(move |(i, ip)| ip_warning(&Path::new("spec").item(field, i), text(ip)))
}
