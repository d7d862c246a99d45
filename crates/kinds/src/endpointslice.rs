//! EndpointSlice: some of the addresses behind a Service, with the ports that they have in common.
//!
//! Invariant: `deprecatedTopology` is not written any more (`dropTopologyOnV1`). Absent: what makes slices of Pods.

use schema::addresses::{check_endpoint, ip_warning, is_ipv6};
use schema::validation::{At, Run, Seen, field, here, set};
use serde_json::{Value, json};

use crate::columns::{age, some};
use crate::field::{ErrorList, Path};
use crate::kind::{Column, Endpoint, Kind, Row, Strategy};
use crate::pod::validate::labels;
use crate::value::{default_missing, int, is_set, items, items_mut, remove, same, text};
use crate::{meta, names};

/// The label that names the Service.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The label that names who writes a slice.
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Writers that bring addresses into their usual form themselves.
pub const CONTROLLERS: &[&str] =
    &["endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"];

/// Most endpoints of a slice.
pub const MAX_ENDPOINTS: usize = 1000;
const MAX_ADDRESSES: usize = 100;
const MAX_PORTS: usize = 20_000;
const MAX_HINTS: usize = 8;
const MAX_TOPOLOGY: usize = 16;
/// Where the name of the node was once.
const HOSTNAME: &str = "kubernetes.io/hostname";
/// Entries of a list that a table shows.
const SHOWN: usize = 3;

/// The row.
pub static KIND: Row = Row::new(|| {
    Kind::new(["discovery.k8s.io", "v1"], ["EndpointSlice", "endpointslices"], EndpointSlice)
        .with_generation()
        .build()
});

schema::rules! {
    RULES: "io.k8s.api.discovery.v1.EndpointSlice" = [
        field("addressType").required().one_of(&["FQDN", "IPv4", "IPv6"]),
        field("endpoints").with(endpoints),
        field("ports").with(ports),
    ];
    ENDPOINT: "io.k8s.api.discovery.v1.Endpoint" = [
        here().with(addresses),
        set("nodeName").format(base::names::dns1123_subdomain),
        field("deprecatedTopology").max_items(MAX_TOPOLOGY).with(labels),
        set("hostname").format(base::names::dns1123_label),
        set("hints").inner(&HINTS),
    ];
    HINTS: "io.k8s.api.discovery.v1.EndpointHints" = [
        field("forZones").with(|at, run| hints(at, run, base::labels::value_errors)),
        field("forNodes").with(|at, run| hints(at, run, base::names::dns1123_subdomain)),
    ];
    PORT: "io.k8s.api.discovery.v1.EndpointPort" = [
        field("protocol").required().one_of(&["SCTP", "TCP", "UDP"]),
        set("appProtocol").format(base::labels::qualified_name_errors),
    ];
}

fn endpoints<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if at.size() > MAX_ENDPOINTS {
        return run.too_many(at, at.size(), MAX_ENDPOINTS);
    }
    at.items().for_each(|endpoint| ENDPOINT.check(&endpoint, run));
}

fn addresses<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let list = at.child("addresses");
    match list.size() {
        0 => run.required(&list, "must contain at least 1 address"),
        many if many > MAX_ADDRESSES => run.too_many(&list, many, MAX_ADDRESSES),
        _ => {}
    }
    let slice = at.enclosing("io.k8s.api.discovery.v1.EndpointSlice");
    let kind = slice.map_or("", |slice| slice.text_of("addressType"));
    for address in list.items() {
        match kind {
            "IPv4" | "IPv6" => ip(&address, &list, kind, run),
            "FQDN" => domain(&address, run),
            _ => {}
        }
    }
}

fn ip<'v>(address: &At<'v, '_>, list: &Path<'_>, kind: &str, run: &mut Run<'v>) {
    let complaints = names::ip(address.text());
    if complaints.is_empty() {
        if is_ipv6(address.text()) != (kind == "IPv6") {
            run.invalid(list, address.text(), format!("must be an {kind} address"));
        }
        check_endpoint(run, address, address.text());
    }
    names::check(run, address, address.text(), complaints);
}

/// A domain of at least two labels; the dot at its end may be written.
fn domain<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    let name = at.text().strip_suffix('.').unwrap_or(at.text());
    let complaints = base::names::dns1123_subdomain(name);
    if at.text().is_empty() {
        run.required(at, "");
    } else if !complaints.is_empty() {
        run.invalid(at, name, complaints.join(","));
    } else if !name.contains('.') {
        run.invalid(at, name, "should be a domain with at least two segments separated by dots");
    } else {
        for label in name.split('.') {
            let complaints = base::names::dns1123_label(label);
            if !complaints.is_empty() {
                run.invalid(at, label, complaints.join(","));
            }
        }
    }
}

fn hints<'v>(at: &At<'v, '_>, run: &mut Run<'v>, rule: fn(&str) -> Vec<String>) {
    if at.size() > MAX_HINTS {
        return run.too_many(at, at.size(), MAX_HINTS);
    }
    let mut seen = Seen::default();
    for hint in at.items() {
        let name = hint.child("name");
        if !seen.insert(name.text()) {
            run.duplicate(&name, name.text());
        }
        names::check(run, &name, name.text(), rule(name.text()));
    }
}

fn ports<'v>(at: &At<'v, '_>, run: &mut Run<'v>) {
    if at.size() > MAX_PORTS {
        return run.too_many(at, at.size(), MAX_PORTS);
    }
    let mut seen = Seen::default();
    for port in at.items() {
        let name = port.child("name");
        if !name.text().is_empty() {
            names::check_label(run, &name, name.text());
        }
        if !seen.insert(name.text()) {
            run.duplicate(&name, name.text());
        }
        PORT.check(&port, run);
    }
}

/// Its behaviour.
#[derive(Debug)]
pub struct EndpointSlice;

impl Strategy for EndpointSlice {
    fn is_selected(&self) -> bool {
        true
    }
    fn default(&self, obj: &mut Value) {
        for port in items_mut(obj, "ports") {
            default_missing(port, "name", "");
            default_missing(port, "protocol", "TCP");
        }
    }
    fn prepare_create(&self, obj: &mut Value) {
        drop_topology(obj, &Value::Null);
    }
    fn prepare_update(&self, new: &mut Value, old: &Value, _endpoint: Endpoint<'_>) {
        let fields = ["addressType", "endpoints", "ports"];
        let changed = fields.iter().any(|field| !same(&new[*field], &old[*field]));
        if changed || !same(&new["metadata"]["labels"], &old["metadata"]["labels"]) {
            new["metadata"]["generation"] = json!(int(&old["metadata"]["generation"]) + 1);
        }
        if !same(&new["endpoints"], &old["endpoints"]) {
            drop_topology(new, old);
        }
    }
    fn validate(&self, obj: &Value) -> ErrorList {
        RULES.validate(obj, None)
    }
    fn checks_changed_metadata(&self) -> bool {
        false
    }
    fn validate_update(&self, new: &Value, old: &Value, _endpoint: Endpoint<'_>) -> ErrorList {
        let mut errors = meta::whole(new, &KIND);
        errors.extend(self.validate(new));
        if new["addressType"] != old["addressType"] {
            errors.invalid(&Path::new("addressType"), text(&new["addressType"]), "field is immutable");
        }
        errors
    }
    fn warnings(&self, obj: &Value, old: Option<&Value>) -> Vec<String> {
        let mut all = Vec::new();
        if text(&obj["addressType"]) == "FQDN" && old.is_none() {
            all.push("spec.addressType: FQDN endpoints are deprecated".into());
        }
        if !CONTROLLERS.contains(&text(&obj["metadata"]["labels"][MANAGED_BY])) {
            all.extend(odd_addresses(obj));
        }
        all
    }
    fn columns(&self) -> &'static [Column] {
        const {
            &[
                Column::NAME,
                Column::string("AddressType"),
                Column::string("Ports"),
                Column::string("Endpoints"),
                Column::AGE,
            ]
        }
    }
    fn cells(&self, obj: &Value, now: i64) -> Vec<Value> {
        let ports = items(&obj["ports"]).iter().map(|port| match &port["port"] {
            Value::Null => port["name"].as_str().unwrap_or("*").to_owned(),
            number => int(number).to_string(),
        });
        let endpoints = items(&obj["endpoints"]).iter().flat_map(|endpoint| items(&endpoint["addresses"]));
        vec![
            json!(text(&obj["metadata"]["name"])),
            json!(text(&obj["addressType"])),
            json!(some(ports, SHOWN).unwrap_or("<unset>".into())),
            json!(some(endpoints.map(|ip| text(ip).to_owned()), SHOWN).unwrap_or("<unset>".into())),
            json!(age(&obj["metadata"]["creationTimestamp"], now)),
        ]
    }
}

/// Endpoints lose the old place of their node's name; one that had it there before keeps the name.
fn drop_topology(new: &mut Value, old: &Value) {
    let known: Vec<&str> = items(&old["endpoints"])
        .iter()
        .map(|endpoint| text(&endpoint["deprecatedTopology"][HOSTNAME]))
        .collect();
    for endpoint in items_mut(new, "endpoints") {
        let name = text(&endpoint["deprecatedTopology"][HOSTNAME]).to_owned();
        if !name.is_empty() && !is_set(&endpoint["nodeName"]) && known.contains(&name.as_str()) {
            endpoint["nodeName"] = name.into();
        }
        remove(endpoint, "deprecatedTopology");
    }
}

fn odd_addresses(obj: &Value) -> impl Iterator<Item = String> + '_ {
    items(&obj["endpoints"]).iter().enumerate().flat_map(|(i, endpoint)| {
        items(&endpoint["addresses"]).iter().enumerate().filter_map(move |(j, address)| {
            let endpoint = Path::new("endpoints");
            let endpoint = endpoint.index(i);
            ip_warning(&endpoint.item("addresses", j), text(address))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(endpoint: Value, port: Value) -> Value {
        json!({"metadata": {"name": "s", "namespace": "n"}, "addressType": "IPv4", "endpoints": [endpoint],
            "ports": [port]})
    }

    #[test]
    fn what_is_refused() {
        ALL.iter().for_each(|rules| assert_eq!(rules.unknown_fields(), Vec::<String>::new()));
        let port = json!({"name": "", "protocol": "TCP", "port": 80});
        let invalid = |at: &str, value: &str, why: &str| format!("{at}: Invalid value: \"{value}\": {why}");
        for (endpoint, want) in [
            (json!({"addresses": ["10.0.0.1"]}), "[]".to_owned()),
            (json!({}), "endpoints[0].addresses: Required value: must contain at least 1 address".to_owned()),
            (
                json!({"addresses": ["2001:db8::1"]}),
                invalid("endpoints[0].addresses", "2001:db8::1", "must be an IPv4 address"),
            ),
            (
                json!({"addresses": ["127.0.0.1"]}),
                invalid(
                    "endpoints[0].addresses[0]",
                    "127.0.0.1",
                    "may not be in the loopback range (127.0.0.0/8, ::1/128)",
                ),
            ),
            (
                json!({"addresses": ["10.0.0.1"], "hints": {"forZones": [{"name": "a"}, {"name": "a"}]}}),
                "endpoints[0].hints.forZones[1].name: Duplicate value: \"a\"".to_owned(),
            ),
        ] {
            assert_eq!(EndpointSlice.validate(&slice(endpoint, port.clone())).to_string(), want);
        }
        let mut named = slice(json!({"addresses": ["x.example.com"]}), port);
        named["addressType"] = json!("FQDN");
        assert_eq!(EndpointSlice.validate(&named).to_string(), "[]");
        named["endpoints"][0]["addresses"][0] = json!("example");
        let why = "should be a domain with at least two segments separated by dots";
        assert_eq!(
            EndpointSlice.validate(&named).to_string(),
            invalid("endpoints[0].addresses[0]", "example", why)
        );
    }

    #[test]
    fn topology_of_old_clients() {
        let old = slice(json!({"addresses": ["10.0.0.1"], "deprecatedTopology": {HOSTNAME: "a"}}), json!({}));
        let mut new = old.clone();
        new["endpoints"][0]["addresses"] = json!(["10.0.0.2"]);
        EndpointSlice.prepare_update(&mut new, &old, Endpoint::Main);
        assert_eq!(new["endpoints"], json!([{"addresses": ["10.0.0.2"], "nodeName": "a"}]));
        assert_eq!(new["metadata"]["generation"], 1);
    }

    #[test]
    fn long_lists_are_cut() {
        let mut obj = slice(json!({"addresses": ["a", "b", "c", "d", "e"]}), json!({"port": 80}));
        let cells = EndpointSlice.cells(&obj, 0);
        assert_eq!(cells[2..4], [json!("80"), json!("a,b,c + 2 more...")]);
        obj["ports"] = json!([{"name": "x"}, {}]);
        obj["endpoints"] = json!([]);
        assert_eq!(EndpointSlice.cells(&obj, 0)[2..4], [json!("x,*"), json!("<unset>")]);
    }
}
