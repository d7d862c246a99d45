//! The Endpoints of a Service (`pkg/controller/endpoint`): the same Pods as in its slices, in one object.
//!
//! Invariant: at most a thousand addresses, ready ones first; an annotation says if that is not all. Absent: the annotation of
//! when the last change began.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::backends;
use super::families::{FAMILIES, family};
use crate::endpoints::{CONTROLLER, KIND as ENDPOINTS, MANAGED_BY};
use crate::plan::{Action, Plan, Write};
use crate::rules::deletion::Deletion;
use crate::value::{is_empty, is_set, is_true, items, remove, same, text};

/// Most addresses.
const MOST: usize = 1000;
const OVER: &str = "endpoints.kubernetes.io/over-capacity";

/// A Service, if there is one of this name, and what is behind it.
#[derive(Debug, Default)]
pub struct Observed {
    /// Namespace and name.
    pub name: [String; 2],
    /// The stored Service.
    pub service: Option<Value>,
    /// Whether it went just now: then its Endpoints go too, whoever wrote them.
    pub gone: bool,
    /// The Pods that it selects.
    pub pods: Vec<Value>,
    /// The Endpoints of its name.
    pub endpoints: Option<Value>,
}

/// Decides.
#[must_use]
pub fn reconcile(observed: &Observed) -> Plan {
    let mut plan = Plan::default();
    let [namespace, name] = &observed.name;
    let write = |action| Write::new(&ENDPOINTS, namespace, name, action);
    match (&observed.service, &observed.endpoints) {
        (None, Some(stored)) if observed.gone || is_ours(stored) => {
            let options = Deletion::of(text(&stored["metadata"]["uid"])).body();
            plan.stage(vec![write(Action::Delete(options))]);
        }
        (Some(service), stored) if backends::is_managed(service) => {
            let new = desired(service, &observed.pods, stored.as_ref());
            match stored {
                None => plan.stage(vec![write(Action::Create(new))]),
                Some(stored) if differ(stored, &new) => plan.stage(vec![write(Action::Update(new))]),
                Some(_) => {}
            }
        }
        _ => {}
    }
    plan
}

/// Others may be there before their Service.
fn is_ours(stored: &Value) -> bool {
    text(&stored["metadata"]["labels"][MANAGED_BY]) == CONTROLLER
}

fn differ(stored: &Value, new: &Value) -> bool {
    let fields = ["/subsets", "/metadata/labels", "/metadata/annotations"];
    let none = Value::Null;
    fields
        .iter()
        .any(|field| !same(stored.pointer(field).unwrap_or(&none), new.pointer(field).unwrap_or(&none)))
}

fn desired(service: &Value, pods: &[Value], stored: Option<&Value>) -> Value {
    let meta = &service["metadata"];
    let mut new = stored
        .cloned()
        .unwrap_or_else(|| json!({"metadata": {"name": meta["name"], "namespace": meta["namespace"]}}));
    let (subsets, cut) = capped(subsets(service, pods));
    new["subsets"] = subsets.into();
    new["metadata"]["labels"] = backends::labels(service, &[(MANAGED_BY, CONTROLLER)]);
    if !new["metadata"]["annotations"].is_object() {
        new["metadata"]["annotations"] = json!({});
    }
    if cut {
        new["metadata"]["annotations"][OVER] = json!("truncated");
    } else {
        remove(&mut new["metadata"]["annotations"], OVER);
        if is_empty(&new["metadata"]["annotations"]) {
            remove(&mut new["metadata"], "annotations");
        }
    }
    new
}

/// An address and whether it is ready.
type Place = (String, bool);
/// What is said of addresses.
type Addresses = BTreeMap<Place, Value>;
/// Ports, and the addresses that they have in common.
type Subset = (Vec<Value>, Addresses);

/// Ports that have the same addresses are one subset (`RepackSubsets`).
fn subsets(service: &Value, pods: &[Value]) -> Vec<Value> {
    let spec = &service["spec"];
    let mut of_port: BTreeMap<String, (Option<Value>, Addresses)> = BTreeMap::new();
    let first = items(&spec["ipFamilies"]).first().map_or(FAMILIES[0], text);
    let publish = is_true(&spec["publishNotReadyAddresses"]);
    for pod in pods.iter().filter(|pod| backends::is_backend(pod)) {
        let Some(ip) = address(pod, first).filter(|_| publish || !backends::is_terminating(pod)) else {
            continue;
        };
        let ready = publish || backends::is_serving(pod);
        let ports = backends::ports(spec, pod).into_iter().map(Some);
        // A Service without ports has addresses all the same; one whose ports are not found on the Pod has not.
        let alone = items(&spec["ports"]).is_empty().then_some(None);
        for port in ports.chain(alone) {
            let key = port.as_ref().map(Value::to_string).unwrap_or_default();
            let entry = of_port.entry(key).or_insert_with(|| (port, Addresses::new()));
            entry.1.insert((ip.clone(), ready), shown(service, pod, &ip));
        }
    }
    let mut of_addresses: BTreeMap<BTreeSet<Place>, Subset> = BTreeMap::new();
    for (port, addresses) in of_port.into_values() {
        let key = addresses.keys().cloned().collect();
        let entry = of_addresses.entry(key).or_insert_with(|| (Vec::new(), addresses));
        entry.0.extend(port.map(without_empty_name));
    }
    of_addresses.into_values().map(|(ports, addresses)| subset(ports, addresses)).collect()
}

fn without_empty_name(mut port: Value) -> Value {
    if text(&port["name"]).is_empty() {
        remove(&mut port, "name");
    }
    port
}

/// The Pod's address of the Service's first family.
fn address(pod: &Value, wanted: &str) -> Option<String> {
    let listed = backends::addresses(pod, wanted).first().map(|ip| (*ip).to_owned());
    let own = text(&pod["status"]["podIP"]);
    listed.or_else(|| Some(own.to_owned()).filter(|ip| !ip.is_empty() && family(ip) == wanted))
}

fn shown(service: &Value, pod: &Value, ip: &str) -> Value {
    let mut address = json!({"ip": ip, "targetRef": backends::target(pod)});
    let node = &pod["spec"]["nodeName"];
    if is_set(node) {
        address["nodeName"] = node.clone();
    }
    if let Some(hostname) = backends::hostname(service, pod) {
        address["hostname"] = json!(hostname);
    }
    address
}

fn subset(ports: Vec<Value>, addresses: Addresses) -> Value {
    let mut subset = json!({});
    for ((_, ready), address) in addresses {
        let field = if ready { "addresses" } else { "notReadyAddresses" };
        match subset[field].as_array_mut() {
            Some(list) => list.push(address),
            None => subset[field] = json!([address]),
        }
    }
    if !ports.is_empty() {
        subset["ports"] = ports.into();
    }
    subset
}

/// The first thousand addresses, ready ones before others; whether there were more.
fn capped(mut subsets: Vec<Value>) -> (Vec<Value>, bool) {
    let (mut room, mut cut) = (MOST, false);
    for field in ["addresses", "notReadyAddresses"] {
        for subset in &mut subsets {
            let Some(list) = subset[field].as_array_mut() else {
                remove(subset, field);
                continue;
            };
            cut |= list.len() > room;
            list.truncate(room);
            room -= list.len();
            if list.is_empty() {
                remove(subset, field);
            }
        }
    }
    subsets.retain(|subset| is_set(&subset["addresses"]) || is_set(&subset["notReadyAddresses"]));
    (subsets, cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> Value {
        json!({"metadata": {"name": "s", "namespace": "n"}, "spec": {"type": "ClusterIP", "clusterIPs": ["10.96.0.9"],
            "selector": {"a": "b"}, "ports": [{"name": "a", "port": 80, "protocol": "TCP", "targetPort": 80},
                {"name": "b", "port": 81, "protocol": "TCP", "targetPort": "web"}]}})
    }

    fn pod(i: usize, ready: &str) -> Value {
        let ip = format!("10.64.{}.{}", i / 200, i % 200 + 1);
        json!({"metadata": {"name": format!("p{i}"), "namespace": "n", "uid": format!("u{i}")},
            "spec": {"nodeName": "n1", "containers": [{"ports": [{"name": "web", "containerPort": 8080,
                "protocol": "TCP"}]}]},
            "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
                "conditions": [{"type": "Ready", "status": ready}]}})
    }

    fn world(pods: Vec<Value>) -> Observed {
        Observed { name: ["n".into(), "s".into()], service: Some(service()), pods, ..Observed::default() }
    }

    fn made(observed: &Observed) -> Value {
        match reconcile(observed).stages.into_iter().flatten().next().map(|write| write.action) {
            Some(Action::Create(object) | Action::Update(object)) => object,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn ready_and_not() {
        let mut observed = world(vec![pod(0, "True"), pod(1, "False")]);
        let object = made(&observed);
        let target = |i: usize| json!({"kind": "Pod", "namespace": "n", "name": format!("p{i}"), "uid": format!("u{i}")});
        assert_eq!(
            object["subsets"],
            json!([{
                "addresses": [{"ip": "10.64.0.1", "nodeName": "n1", "targetRef": target(0)}],
                "notReadyAddresses": [{"ip": "10.64.0.2", "nodeName": "n1", "targetRef": target(1)}],
                "ports": [{"name": "a", "port": 80, "protocol": "TCP"}, {"name": "b", "port": 8080, "protocol": "TCP"}],
            }])
        );
        assert_eq!(object["metadata"]["labels"], json!({MANAGED_BY: CONTROLLER}));
        observed.endpoints = Some(object);
        assert!(reconcile(&observed).is_idle());
        observed.service = None;
        let plan = reconcile(&observed);
        assert!(matches!(plan.stages[0][0].action, Action::Delete(_)), "they go with their Service");
        observed.endpoints = Some(json!({"metadata": {"name": "s"}}));
        assert!(reconcile(&observed).is_idle(), "those of others may be there first");
        observed.gone = true;
        assert!(!reconcile(&observed).is_idle());
    }

    #[test]
    fn a_port_that_one_pod_has_not() {
        let mut other = pod(1, "True");
        other["spec"]["containers"][0]["ports"] = json!([]);
        let object = made(&world(vec![pod(0, "True"), other]));
        let shape: Vec<(usize, usize)> = items(&object["subsets"])
            .iter()
            .map(|s| (items(&s["addresses"]).len(), items(&s["ports"]).len()))
            .collect();
        assert_eq!(shape, [(1, 1), (2, 1)]);
    }

    #[test]
    fn no_more_than_a_thousand() {
        let pods = (0..1100).map(|i| pod(i, if i % 2 == 0 { "True" } else { "False" })).collect();
        let mut observed = world(pods);
        let object = made(&observed);
        let subset = &object["subsets"][0];
        assert_eq!(
            (items(&subset["addresses"]).len(), items(&subset["notReadyAddresses"]).len()),
            (550, 450)
        );
        assert_eq!(object["metadata"]["annotations"][OVER], "truncated");
        observed.endpoints = Some(object);
        observed.pods.truncate(10);
        assert_eq!(made(&observed)["metadata"]["annotations"], Value::Null);
    }
}
