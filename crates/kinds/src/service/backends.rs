//! Pods as Services see them: which stand behind one, with which addresses and ports, and how well they do.
//!
//! Invariant: what slices and Endpoints say of a Pod is read here, once. Absent: how they are written down.

use serde_json::{Value, json};

use crate::rules::phase;
use crate::value::{int, is_set, is_true, items, text};

/// Whether a Pod can stand behind a Service at all: it has an address and has not ended.
#[must_use]
pub fn is_backend(pod: &Value) -> bool {
    let status = &pod["status"];
    let addressed = !text(&status["podIP"]).is_empty() || !items(&status["podIPs"]).is_empty();
    addressed && !phase::is_finished(text(&status["phase"]))
}

/// Whether it is on its way out.
#[must_use]
pub fn is_terminating(pod: &Value) -> bool {
    is_set(&pod["metadata"]["deletionTimestamp"])
}

/// Whether it says that it can serve.
#[must_use]
pub fn is_serving(pod: &Value) -> bool {
    let ready =
        |condition: &Value| text(&condition["type"]) == "Ready" && text(&condition["status"]) == "True";
    items(&pod["status"]["conditions"]).iter().any(ready)
}

/// Whether traffic goes to it.
#[must_use]
pub fn is_ready(spec: &Value, pod: &Value) -> bool {
    is_true(&spec["publishNotReadyAddresses"]) || (is_serving(pod) && !is_terminating(pod))
}

/// Its addresses of one family.
#[must_use]
pub fn addresses<'p>(pod: &'p Value, family: &str) -> Vec<&'p str> {
    let all = items(&pod["status"]["podIPs"]).iter().map(|ip| text(&ip["ip"]));
    all.filter(|ip| !ip.is_empty() && super::families::family(ip) == family).collect()
}

/// The ports of a Service on this Pod; those that are named and not found are left out.
#[must_use]
pub fn ports(spec: &Value, pod: &Value) -> Vec<Value> {
    let found = items(&spec["ports"]).iter().filter_map(|port| {
        let number = number(port, pod)?;
        let mut shown =
            json!({"name": text(&port["name"]), "port": number, "protocol": text(&port["protocol"])});
        if is_set(&port["appProtocol"]) {
            shown["appProtocol"] = port["appProtocol"].clone();
        }
        Some(shown)
    });
    let mut found: Vec<Value> = found.collect();
    found.sort_by(|a, b| text(&a["name"]).cmp(text(&b["name"])));
    found
}

/// The number of a port on a Pod: as it is said, or of the container's port of that name.
fn number(port: &Value, pod: &Value) -> Option<i64> {
    let name = match &port["targetPort"] {
        Value::String(name) => name,
        number => return Some(int(number)),
    };
    let sidecars = items(&pod["spec"]["initContainers"]).iter();
    let sidecars = sidecars.filter(|container| text(&container["restartPolicy"]) == "Always");
    let containers = items(&pod["spec"]["containers"]).iter().chain(sidecars);
    let mut ports = containers.flat_map(|container| items(&container["ports"]));
    let same = |p: &&Value| text(&p["name"]) == name && text(&p["protocol"]) == text(&port["protocol"]);
    ports.find(same).map(|port| int(&port["containerPort"]))
}

/// The name under which it is found beside the Service's, if it asks for one.
#[must_use]
pub fn hostname<'p>(service: &Value, pod: &'p Value) -> Option<&'p str> {
    let spec = &pod["spec"];
    let asks = text(&spec["subdomain"]) == text(&service["metadata"]["name"]);
    Some(text(&spec["hostname"])).filter(|name| !name.is_empty() && asks)
}

/// What an endpoint says of the Pod behind it.
#[must_use]
pub fn target(pod: &Value) -> Value {
    let meta = &pod["metadata"];
    json!({"kind": "Pod", "namespace": text(&meta["namespace"]), "name": text(&meta["name"]), "uid": text(&meta["uid"])})
}

/// The labels of what is made for a Service: its own, those that say what it is for, and whether it has an address.
#[must_use]
pub fn labels(service: &Value, own: &[(&str, &str)]) -> Value {
    let mut labels = match &service["metadata"]["labels"] {
        Value::Object(map) => Value::Object(map.clone()),
        _ => json!({}),
    };
    for reserved in [HEADLESS].iter().chain(own.iter().map(|(key, _)| key)) {
        crate::value::remove(&mut labels, reserved);
    }
    let has_address = super::allocation::addresses(&service["spec"]).next().is_some();
    if !has_address {
        labels[HEADLESS] = json!("");
    }
    for (key, value) in own {
        labels[*key] = json!(value);
    }
    labels
}

/// The label of what belongs to a Service without an address.
pub const HEADLESS: &str = "service.kubernetes.io/headless";

/// Whether Pods are looked for at all: others fill in what stands behind a Service without a selector.
#[must_use]
pub fn is_managed(service: &Value) -> bool {
    let spec = &service["spec"];
    !super::Needs(spec).is_external_name() && crate::value::size(&spec["selector"]) > 0
}
