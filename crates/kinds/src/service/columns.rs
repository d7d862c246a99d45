//! The columns of `kubectl get services` (`printService`).

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::columns::{age, labels};
use crate::kind::Column;
use crate::value::{int, items, text};

/// Longest list of a load balancer's addresses in a table.
const WIDTH: usize = 16;

pub(super) const COLUMNS: &[Column] = &[
    Column::NAME,
    Column::string("Type"),
    Column::string("Cluster-IP"),
    Column::string("External-IP"),
    Column::string("Port(s)"),
    Column::AGE,
    Column::string("Selector").wide(),
];

pub(super) fn cells(service: &Value, now: i64) -> Vec<Value> {
    let (meta, spec) = (&service["metadata"], &service["spec"]);
    let none = |shown: String| if shown.is_empty() { "<none>".to_owned() } else { shown };
    let internal = items(&spec["clusterIPs"]).first().map_or(String::new(), |ip| text(ip).to_owned());
    vec![
        json!(text(&meta["name"])),
        json!(text(&spec["type"])),
        json!(none(internal)),
        json!(external(spec, &service["status"])),
        json!(none(ports(spec))),
        json!(age(&meta["creationTimestamp"], now)),
        json!(labels(&spec["selector"])),
    ]
}

fn external(spec: &Value, status: &Value) -> String {
    let own = joined(items(&spec["externalIPs"]).iter().map(text));
    let shown = match text(&spec["type"]) {
        "ClusterIP" | "NodePort" => own,
        "ExternalName" => return text(&spec["externalName"]).to_owned(),
        "LoadBalancer" => {
            let balancer = balancer(status);
            let all = joined([balancer.as_str(), &own].into_iter().filter(|part| !part.is_empty()));
            return if all.is_empty() { "<pending>".to_owned() } else { all };
        }
        _ => return "<unknown>".to_owned(),
    };
    if shown.is_empty() { "<none>".to_owned() } else { shown }
}

fn joined<'a>(parts: impl Iterator<Item = &'a str>) -> String {
    parts.collect::<Vec<_>>().join(",")
}

/// Addresses or names of a load balancer; a long list is cut, since tables cannot be asked for a wide one.
fn balancer(status: &Value) -> String {
    let all: BTreeSet<&str> = items(&status["loadBalancer"]["ingress"])
        .iter()
        .map(|ingress| {
            Some(text(&ingress["ip"])).filter(|ip| !ip.is_empty()).unwrap_or(text(&ingress["hostname"]))
        })
        .filter(|shown| !shown.is_empty())
        .collect();
    let shown = joined(all.into_iter());
    match shown.get(..WIDTH - 3) {
        Some(begin) if shown.len() > WIDTH => format!("{begin}..."),
        _ => shown,
    }
}

fn ports(spec: &Value) -> String {
    let shown: Vec<String> = items(&spec["ports"])
        .iter()
        .map(|port| {
            let (number, node, protocol) =
                (int(&port["port"]), int(&port["nodePort"]), text(&port["protocol"]));
            if node > 0 { format!("{number}:{node}/{protocol}") } else { format!("{number}/{protocol}") }
        })
        .collect();
    shown.join(",")
}
