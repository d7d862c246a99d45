//! Endpoints: all addresses behind a Service in one object, as before there were slices.
//!
//! Absent: what makes it of Pods, and slices of what others write here.

use schema::addresses::{check_endpoint, ip_warning};
use schema::validation::{At, Run, any, field, here, set};
use serde_json::{Value, json};

use crate::columns::{age, some};
use crate::field::{ErrorList, Path};
use crate::kind::{Column, Endpoint, Kind, Row, Strategy};
use crate::value::{int, items, items_mut, same, text};
use crate::{meta, names};

/// The label that names who writes it.
pub const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
/// The controller that writes most of them.
pub const CONTROLLER: &str = "endpoint-controller";
/// The label of those that no slices are made of.
pub const SKIP_MIRROR: &str = "endpointslice.kubernetes.io/skip-mirror";
const DEPRECATED: &str = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice";
/// Addresses that a table shows.
const SHOWN: usize = 3;

/// The row.
pub static KIND: Row = Row::new(|| {
    Kind::new(["", "v1"], ["Endpoints", "endpoints"], Endpoints)
        .short(&["ep"])
        .create_on_update()
        .deprecated(DEPRECATED)
        .build()
});

schema::rules! {
    RULES: "io.k8s.api.core.v1.Endpoints" = [field("subsets").each(&SUBSET)];
    SUBSET: "io.k8s.api.core.v1.EndpointSubset" = [
        here().with(some_address),
        field("addresses").each(&ADDRESS),
        field("notReadyAddresses").each(&ADDRESS),
        field("ports").each(&PORT),
    ];
    ADDRESS: "io.k8s.api.core.v1.EndpointAddress" = [
        field("ip").format(names::ip),
        any("hostname").format(base::names::dns1123_label),
        set("nodeName").format(base::names::dns1123_subdomain),
        field("ip").with(|at, run| check_endpoint(run, at, at.text())),
    ];
    PORT: "io.k8s.api.core.v1.EndpointPort" = [
        here().with(name),
        field("port").within(1, 65535),
        field("protocol").required().one_of(&["SCTP", "TCP", "UDP"]),
        set("appProtocol").format(base::labels::qualified_name_errors),
    ];
}

fn some_address<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if at.child("addresses").size() == 0 && at.child("notReadyAddresses").size() == 0 {
        run.required(at, "must specify `addresses` or `notReadyAddresses`");
    }
}

/// One port needs no name.
fn name<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let name = at.child("name");
    if !name.text().is_empty() {
        names::check_label(run, &name, name.text());
    } else if at.up().is_some_and(|ports| ports.size() > 1) {
        run.required(&name, "");
    }
}

/// Its behaviour.
#[derive(Debug)]
pub struct Endpoints;

impl Strategy for Endpoints {
    fn default(&self, obj: &mut Value) {
        for subset in items_mut(obj, "subsets") {
            items_mut(subset, "ports").for_each(|port| crate::value::default_to(port, "protocol", "TCP"));
        }
    }
    fn validate(&self, obj: &Value) -> ErrorList {
        RULES.validate(obj, None)
    }
    fn validate_update(&self, new: &Value, old: &Value, _endpoint: Endpoint<'_>) -> ErrorList {
        let mut errors = meta::whole(new, &KIND);
        if !same(&new["subsets"], &old["subsets"]) {
            errors.extend(self.validate(new));
        }
        errors
    }
    fn warnings(&self, obj: &Value, _old: Option<&Value>) -> Vec<String> {
        if text(&obj["metadata"]["labels"][MANAGED_BY]) == CONTROLLER {
            return Vec::new();
        }
        let mut all = Vec::new();
        for (i, subset) in items(&obj["subsets"]).iter().enumerate() {
            let path = Path::new("subsets");
            let path = path.index(i);
            for field in ["addresses", "notReadyAddresses"] {
                let addresses = items(&subset[field]).iter().enumerate();
                all.extend(addresses.filter_map(|(j, address)| {
                    ip_warning(&path.item(field, j).child("ip"), text(&address["ip"]))
                }));
            }
        }
        all
    }
    fn columns(&self) -> &'static [Column] {
        const { &[Column::NAME, Column::string("Endpoints"), Column::AGE] }
    }
    fn cells(&self, obj: &Value, now: i64) -> Vec<Value> {
        let subsets = items(&obj["subsets"]);
        let shown = some(subsets.iter().flat_map(shown), SHOWN).unwrap_or_default();
        vec![
            json!(text(&obj["metadata"]["name"])),
            json!(if subsets.is_empty() { "<none>".to_owned() } else { shown }),
            json!(age(&obj["metadata"]["creationTimestamp"], now)),
        ]
    }
}

/// Each address with each port, or alone where there are no ports.
fn shown(subset: &Value) -> Vec<String> {
    let addresses: Vec<&str> =
        items(&subset["addresses"]).iter().map(|address| text(&address["ip"])).collect();
    let with = |port: i64, ip: &str| {
        if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
    };
    match items(&subset["ports"]) {
        [] => addresses.iter().map(|ip| (*ip).to_owned()).collect(),
        ports => {
            let ports = ports.iter().map(|port| int(&port["port"]));
            ports.flat_map(|port| addresses.iter().map(move |ip| with(port, ip))).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused() {
        ALL.iter().for_each(|rules| assert_eq!(rules.unknown_fields(), Vec::<String>::new()));
        let port = |name: &str| json!({"name": name, "port": 80, "protocol": "TCP"});
        for (subset, want) in [
            (json!({"addresses": [{"ip": "10.0.0.1"}], "ports": [port("")]}), "[]"),
            (json!({}), "subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"),
            (
                json!({"addresses": [{"ip": "x"}]}),
                "[subsets[0].addresses[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or \
                 2001:db8::ffff), subsets[0].addresses[0].ip: Invalid value: \"x\": must be a valid IP address]",
            ),
            (
                json!({"addresses": [{"ip": "10.0.0.1"}], "ports": [port(""), port("a")]}),
                "subsets[0].ports[0].name: Required value",
            ),
        ] {
            assert_eq!(Endpoints.validate(&json!({"subsets": [subset]})).to_string(), want);
        }
    }

    #[test]
    fn rows() {
        let addresses = json!([{"ip": "1.2.3.5"}, {"ip": "::1"}]);
        let ports = json!([{"port": 2}, {"port": 1}]);
        for (subsets, want) in [
            (json!([]), "<none>"),
            (json!([{"notReadyAddresses": addresses}]), ""),
            (json!([{"addresses": addresses}]), "1.2.3.5,::1"),
            (json!([{"addresses": addresses, "ports": ports}]), "1.2.3.5:2,[::1]:2,1.2.3.5:1 + 1 more..."),
        ] {
            assert_eq!(Endpoints.cells(&json!({"subsets": subsets}), 0)[1], want);
        }
    }
}
