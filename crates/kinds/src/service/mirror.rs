//! EndpointSlices of Endpoints that people write themselves, for a Service without a selector
//! (`pkg/controller/endpointslicemirroring`).
//!
//! Invariant: at most a thousand addresses of a subset are shown, ready ones first; slices go when there is nothing more to
//! show. Absent: the annotation of when the last change began.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::families::{FAMILIES, family};
use super::slices::{Wanted, delete, is_made_by, port_key, spread};
use crate::endpoints::SKIP_MIRROR;
use crate::endpointslice::{CONTROLLERS, KIND as SLICES, MANAGED_BY, SERVICE_NAME};
use crate::plan::{Action, Plan, Write};
use crate::value::{is_set, items, remove, size, text};

/// Most addresses of a subset.
const MOST: usize = 1000;
/// What elected leaders wrote into Endpoints once.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// Annotations that are about the Endpoints themselves.
const OWN: [&str; 2] =
    ["kubectl.kubernetes.io/last-applied-configuration", "endpoints.kubernetes.io/last-change-trigger-time"];

/// Endpoints and what is of their name.
#[derive(Debug, Default)]
pub struct Observed {
    /// The stored Endpoints.
    pub endpoints: Option<Value>,
    /// The Service.
    pub service: Option<Value>,
    /// The slices that name it.
    pub slices: Vec<Value>,
}

/// Decides.
#[must_use]
pub fn reconcile(observed: &Observed) -> Plan {
    let mut plan = Plan::default();
    let mine: Vec<&Value> =
        observed.slices.iter().filter(|slice| is_made_by(slice, CONTROLLERS[1])).collect();
    let by_hand = observed.service.as_ref().is_some_and(|service| size(&service["spec"]["selector"]) == 0);
    let Some(endpoints) = observed.endpoints.as_ref().filter(|endpoints| by_hand && is_shown(endpoints))
    else {
        plan.stage(mine.into_iter().map(delete).collect());
        return plan;
    };
    let labels = labels(endpoints);
    let mut writes = Vec::new();
    for family in FAMILIES {
        let slices = mine.iter().filter(|slice| text(&slice["addressType"]) == *family).copied().collect();
        let create = |ports: &[Value], list: Vec<Value>| create(endpoints, family, &labels, ports, list);
        writes.extend(spread(slices, &wanted(endpoints, family), &labels, &create).0);
    }
    plan.stage(writes);
    plan
}

fn is_shown(endpoints: &Value) -> bool {
    let meta = &endpoints["metadata"];
    text(&meta["labels"][SKIP_MIRROR]) != "true" && !is_set(&meta["annotations"][LEADER])
}

fn labels(endpoints: &Value) -> Value {
    let meta = &endpoints["metadata"];
    let mut labels = if meta["labels"].is_object() { meta["labels"].clone() } else { json!({}) };
    labels[SERVICE_NAME] = meta["name"].clone();
    labels[MANAGED_BY] = json!(CONTROLLERS[1]);
    labels
}

/// The endpoints of one family, by their ports.
fn wanted(endpoints: &Value, wished: &str) -> Wanted {
    let mut wanted: Wanted = BTreeMap::new();
    for subset in items(&endpoints["subsets"]) {
        let list = |field: &'static str| {
            items(&subset[field]).iter().map(move |address| (address, field == "addresses"))
        };
        let all = list("addresses").chain(list("notReadyAddresses")).take(MOST);
        let shown: Vec<Value> = all
            .filter(|(address, _)| family(text(&address["ip"])) == wished)
            .map(|(address, ready)| endpoint(address, ready))
            .collect();
        if !shown.is_empty() {
            let ports = items(&subset["ports"]).iter().map(port).collect::<Vec<_>>();
            let entry = wanted.entry(port_key(&json!(ports))).or_insert_with(|| (ports, Vec::new()));
            entry.1.extend(shown);
        }
    }
    wanted
}

fn endpoint(address: &Value, ready: bool) -> Value {
    let mut endpoint = json!({"addresses": [address["ip"]], "conditions": {"ready": ready}});
    for field in ["hostname", "nodeName", "targetRef"].into_iter().filter(|field| is_set(&address[*field])) {
        endpoint[field] = address[field].clone();
    }
    endpoint
}

fn port(port: &Value) -> Value {
    let mut shown = json!({"name": text(&port["name"]), "port": port["port"], "protocol": port["protocol"]});
    if is_set(&port["appProtocol"]) {
        shown["appProtocol"] = port["appProtocol"].clone();
    }
    shown
}

fn create(endpoints: &Value, family: &str, labels: &Value, ports: &[Value], list: Vec<Value>) -> Write {
    let meta = &endpoints["metadata"];
    let (namespace, name) = (text(&meta["namespace"]), text(&meta["name"]));
    let mut annotations = meta["annotations"].clone();
    OWN.iter().for_each(|own| remove(&mut annotations, own));
    let object = json!({
        "metadata": {"generateName": format!("{name}-"), "namespace": namespace, "labels": labels,
            "annotations": annotations,
            "ownerReferences": [{"apiVersion": "v1", "kind": "Endpoints", "name": name, "uid": meta["uid"],
                "controller": true, "blockOwnerDeletion": true}]},
        "addressType": family, "endpoints": list, "ports": ports,
    });
    Write::new(&SLICES, namespace, "", Action::Create(object))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world() -> Observed {
        let endpoints = json!({"metadata": {"name": "s", "namespace": "n", "uid": "u"}, "subsets": [{
            "addresses": [{"ip": "192.0.2.1", "hostname": "a"}, {"ip": "fd00::1"}],
            "notReadyAddresses": [{"ip": "192.0.2.2"}], "ports": [{"port": 80, "protocol": "TCP"}]}]});
        let service = json!({"metadata": {"name": "s"}, "spec": {}});
        Observed { endpoints: Some(endpoints), service: Some(service), slices: Vec::new() }
    }

    fn creations(observed: &Observed) -> Vec<Value> {
        let writes = reconcile(observed).stages.into_iter().flatten();
        let made = writes.map(|write| match write.action {
            Action::Create(object) => object,
            other => panic!("{other:?}"),
        });
        made.collect()
    }

    #[test]
    fn what_is_shown() {
        let mut observed = world();
        let made = creations(&observed);
        assert_eq!(made.len(), 2, "one for each family");
        assert_eq!(
            made[0]["endpoints"],
            json!([{"addresses": ["192.0.2.1"], "hostname": "a", "conditions": {"ready": true}},
                {"addresses": ["192.0.2.2"], "conditions": {"ready": false}}])
        );
        assert_eq!(made[0]["ports"], json!([{"name": "", "port": 80, "protocol": "TCP"}]));
        assert_eq!(made[0]["metadata"]["labels"][MANAGED_BY], CONTROLLERS[1]);
        observed.slices = made;
        assert!(reconcile(&observed).is_idle());
    }

    #[test]
    fn what_is_not() {
        let slices = creations(&world());
        let skipped = json!({"metadata": {"labels": {SKIP_MIRROR: "true"}}});
        for (endpoints, service) in [
            (None, Some(json!({"spec": {}}))),
            (Some(skipped), Some(json!({"spec": {}}))),
            (world().endpoints, Some(json!({"spec": {"selector": {"a": "b"}}}))),
            (world().endpoints, None),
        ] {
            let observed = Observed { endpoints, service, slices: slices.clone() };
            let writes: Vec<Write> = reconcile(&observed).stages.into_iter().flatten().collect();
            assert!(writes.len() == 2 && writes.iter().all(|w| matches!(w.action, Action::Delete(_))));
        }
    }
}
