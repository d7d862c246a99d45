//! The EndpointSlices of a Service (`staging/src/k8s.io/endpointslice`): one endpoint for each Pod behind it, in slices of
//! at most a hundred, those of one family and with the same ports together.
//!
//! Invariants: an endpoint that is there stays in its slice; a change touches as few slices as it can; a Service always has
//! a slice of each of its families. Absent: hints by the zones' share of CPUs (`topology-mode: Auto`), and the annotation of
//! when the last change began.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use super::backends;
use super::families::FAMILIES;
use crate::endpointslice::{CONTROLLERS, KIND as SLICES, MANAGED_BY, SERVICE_NAME};
use crate::kind::Kind;
use crate::plan::{Action, Plan, Write};
use crate::rules::deletion::Deletion;
use crate::value::{is_set, is_true, items, text};

/// Most endpoints that are put into a slice.
const MOST: usize = 100;

/// A Service and what is behind it.
#[derive(Debug, Default)]
pub struct Observed {
    /// The stored object.
    pub service: Value,
    /// The Pods that it selects.
    pub pods: Vec<Value>,
    /// The slices that name it.
    pub slices: Vec<Value>,
    /// The zones of the nodes that there are; empty where a node has none.
    pub zones: BTreeMap<String, String>,
}

/// Decides.
#[must_use]
pub fn reconcile(observed: &Observed) -> Plan {
    let mut plan = Plan::default();
    if !backends::is_managed(&observed.service) {
        return plan;
    }
    let families: BTreeSet<&str> = match items(&observed.service["spec"]["ipFamilies"]) {
        [] => BTreeSet::from([FAMILIES[0]]),
        list => list.iter().map(text).collect(),
    };
    let mine: Vec<&Value> =
        observed.slices.iter().filter(|slice| is_made_by(slice, CONTROLLERS[0])).collect();
    let mut writes: Vec<Write> = mine
        .iter()
        .filter(|slice| !families.contains(text(&slice["addressType"])))
        .map(|s| delete(s))
        .collect();
    for family in families {
        let slices = mine.iter().filter(|slice| text(&slice["addressType"]) == family).copied().collect();
        writes.extend(Turn { observed, family }.writes(slices));
    }
    plan.stage(writes);
    plan
}

/// Whether a slice is this writer's, and there to stay.
pub(super) fn is_made_by(slice: &Value, writer: &str) -> bool {
    let meta = &slice["metadata"];
    text(&meta["labels"][MANAGED_BY]) == writer && !is_set(&meta["deletionTimestamp"])
}

/// Endpoints with their ports, by what the ports are alike in ([`port_key`]).
pub(super) type Wanted = BTreeMap<String, (Vec<Value>, Vec<Value>)>;

/// What is to be written so that slices of one family show what is wanted, and how many there are then.
pub(super) fn spread(
    slices: Vec<&Value>,
    wanted: &Wanted,
    labels: &Value,
    create: &dyn Fn(&[Value], Vec<Value>) -> Write,
) -> (Vec<Write>, usize) {
    let mut existing: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for slice in slices {
        existing.entry(port_key(&slice["ports"])).or_default().push(slice);
    }
    let keys: BTreeSet<&String> = wanted.keys().chain(existing.keys()).collect();
    let (mut writes, mut left) = (Vec::new(), 0);
    for key in keys {
        let keeps_one = wanted.get(key).is_some_and(|(_, endpoints)| endpoints.is_empty());
        let (ports, endpoints) = wanted.get(key).cloned().unwrap_or_default();
        let old = existing.get(key).map(Vec::as_slice).unwrap_or_default();
        let packed = pack(old, endpoints, keeps_one);
        left += packed.kept.len() + packed.new.len();
        writes.extend(packed.gone.into_iter().map(delete));
        writes.extend(packed.kept.into_iter().filter_map(|(slice, list)| update(slice, list, labels)));
        writes.extend(packed.new.into_iter().map(|list| create(&ports, list)));
    }
    (writes, left)
}

/// The slices of one family.
struct Turn<'a> {
    observed: &'a Observed,
    family: &'a str,
}

impl Turn<'_> {
    fn writes(&self, slices: Vec<&Value>) -> Vec<Write> {
        let labels = self.labels();
        let wanted = self.wanted();
        let bare = port_key(&Value::Null);
        // One without endpoints stays, or comes, where it is the only one that there will be.
        let mut wanted = wanted;
        let is_alone = wanted.is_empty() && slices.iter().any(|slice| port_key(&slice["ports"]) == bare);
        if is_alone {
            wanted.insert(bare, (Vec::new(), Vec::new()));
        }
        let create = |ports: &[Value], list: Vec<Value>| self.create(&labels, ports, list);
        let (mut writes, left) = spread(slices, &wanted, &labels, &create);
        if left == 0 {
            writes.push(self.create(&labels, &[], Vec::new()));
        }
        writes
    }

    /// The endpoints that there should be, by their ports.
    fn wanted(&self) -> Wanted {
        let mut wanted = Wanted::new();
        let spec = &self.observed.service["spec"];
        for pod in self.observed.pods.iter().filter(|pod| backends::is_backend(pod)) {
            let addresses = backends::addresses(pod, self.family);
            let node = text(&pod["spec"]["nodeName"]);
            let zone = self.observed.zones.get(node);
            let lost = zone.is_none() && !node.is_empty() && !is_true(&spec["publishNotReadyAddresses"]);
            if addresses.is_empty() || lost {
                continue;
            }
            let ports = backends::ports(spec, pod);
            let endpoint = self.endpoint(pod, &addresses, zone.map_or("", String::as_str));
            let entry = wanted.entry(port_key(&json!(ports))).or_insert_with(|| (ports, Vec::new()));
            entry.1.push(endpoint);
        }
        wanted
    }

    fn endpoint(&self, pod: &Value, addresses: &[&str], zone: &str) -> Value {
        let (service, node) = (&self.observed.service, text(&pod["spec"]["nodeName"]));
        let ready = backends::is_ready(&service["spec"], pod);
        let mut endpoint = json!({
            "addresses": addresses,
            "conditions": {"ready": ready, "serving": backends::is_serving(pod),
                "terminating": backends::is_terminating(pod)},
            "targetRef": backends::target(pod),
        });
        if let Some(hostname) = backends::hostname(service, pod) {
            endpoint["hostname"] = json!(hostname);
        }
        for (field, value) in [("nodeName", node), ("zone", zone)] {
            if !value.is_empty() {
                endpoint[field] = json!(value);
            }
        }
        if let Some(hints) =
            hints(text(&service["spec"]["trafficDistribution"]), zone, node).filter(|_| ready)
        {
            endpoint["hints"] = hints;
        }
        endpoint
    }

    fn labels(&self) -> Value {
        let name = text(&self.observed.service["metadata"]["name"]);
        backends::labels(&self.observed.service, &[(SERVICE_NAME, name), (MANAGED_BY, CONTROLLERS[0])])
    }

    fn create(&self, labels: &Value, ports: &[Value], endpoints: Vec<Value>) -> Write {
        let meta = &self.observed.service["metadata"];
        let (namespace, name) = (text(&meta["namespace"]), text(&meta["name"]));
        let object = json!({
            "metadata": {"generateName": format!("{name}-"), "namespace": namespace, "labels": labels,
                "ownerReferences": [{"apiVersion": "v1", "kind": "Service", "name": name, "uid": meta["uid"],
                    "controller": true, "blockOwnerDeletion": true}]},
            "addressType": self.family, "endpoints": endpoints, "ports": ports,
        });
        Write::new(kind(), namespace, "", Action::Create(object))
    }
}

fn kind() -> &'static Arc<Kind> {
    &SLICES
}

/// Removes a slice.
pub(super) fn delete(slice: &Value) -> Write {
    let meta = &slice["metadata"];
    let options = Deletion::of(text(&meta["uid"])).body();
    Write::new(kind(), text(&meta["namespace"]), text(&meta["name"]), Action::Delete(options))
}

/// The slice with these endpoints and labels, if it has others.
fn update(slice: &Value, endpoints: Vec<Value>, labels: &Value) -> Option<Write> {
    let meta = &slice["metadata"];
    if items(&slice["endpoints"]) == endpoints.as_slice() && meta["labels"] == *labels {
        return None;
    }
    let mut new = slice.clone();
    new["endpoints"] = endpoints.into();
    new["metadata"]["labels"] = labels.clone();
    Some(Write::new(kind(), text(&meta["namespace"]), text(&meta["name"]), Action::Update(new)))
}

/// Where an endpoint should be used, for a Service that prefers near ones.
fn hints(distribution: &str, zone: &str, node: &str) -> Option<Value> {
    let zones = |hints: &mut Value| {
        if !zone.is_empty() {
            hints["forZones"] = json!([{"name": zone}]);
        }
    };
    let mut hints = json!({});
    match distribution {
        "PreferClose" | "PreferSameZone" => zones(&mut hints),
        "PreferSameNode" if !node.is_empty() => {
            hints["forNodes"] = json!([{"name": node}]);
            zones(&mut hints);
        }
        _ => {}
    }
    Some(hints).filter(|hints| !crate::value::is_empty(hints))
}

/// What ports are alike in, whatever their order.
pub(super) fn port_key(ports: &Value) -> String {
    let mut all: Vec<String> = items(ports)
        .iter()
        .map(|p| json!([text(&p["name"]), text(&p["protocol"]), p["port"], p["appProtocol"]]).to_string())
        .collect();
    all.sort();
    all.join(",")
}

/// What tells an endpoint from others.
fn identity(endpoint: &Value) -> String {
    let target = &endpoint["targetRef"];
    json!([endpoint["addresses"], endpoint["hostname"], target["namespace"], target["name"], target["uid"]])
        .to_string()
}

/// How endpoints of one port map are spread over slices.
#[derive(Debug, Default)]
struct Packed<'a> {
    /// Slices that stay, with what they hold then.
    kept: Vec<(&'a Value, Vec<Value>)>,
    new: Vec<Vec<Value>>,
    gone: Vec<&'a Value>,
}

/// Spreads them: first what is there stays there, then slices that change anyway are filled, then one that has room for
/// all the rest, then new ones.
fn pack<'a>(existing: &[&'a Value], wanted: Vec<Value>, keeps_one: bool) -> Packed<'a> {
    let mut open: BTreeMap<String, Value> = wanted.into_iter().map(|e| (identity(&e), e)).collect();
    let mut slices: Vec<(&Value, Vec<Value>, bool)> = Vec::new();
    for slice in existing {
        let before = items(&slice["endpoints"]);
        let list: Vec<Value> = before.iter().filter_map(|e| open.remove(&identity(e))).collect();
        let changed = list.as_slice() != before;
        slices.push((slice, list, changed));
    }
    let mut rest: Vec<Value> = open.into_values().collect();
    let fill = |list: &mut Vec<Value>, rest: &mut Vec<Value>| {
        let room = MOST.saturating_sub(list.len()).min(rest.len());
        list.extend(rest.drain(..room));
    };
    for (_, list, _) in slices.iter_mut().filter(|(_, list, changed)| *changed && !list.is_empty()) {
        fill(list, &mut rest);
    }
    let mut packed = Packed::default();
    while !rest.is_empty() {
        // The fullest that has room for all of it, so that slices do not stay half empty; else an empty one is used again.
        let roomy = slices.iter_mut().filter(|(_, list, _)| list.len() + rest.len() <= MOST);
        match roomy.max_by_key(|(_, list, _)| list.len()) {
            Some((_, list, _)) => fill(list, &mut rest),
            None => {
                let mut list = Vec::new();
                fill(&mut list, &mut rest);
                packed.new.push(list);
            }
        }
    }
    for (slice, list, _) in slices {
        let stays = !list.is_empty() || (keeps_one && packed.kept.is_empty());
        if stays { packed.kept.push((slice, list)) } else { packed.gone.push(slice) }
    }
    packed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(spec: &Value) -> Value {
        let mut all = json!({"type": "ClusterIP", "clusterIPs": ["10.96.0.9"], "ipFamilies": ["IPv4"],
            "selector": {"a": "b"}, "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "web"}]});
        for (key, value) in spec.as_object().into_iter().flatten() {
            all[key] = value.clone();
        }
        json!({"metadata": {"name": "s", "namespace": "n", "uid": "u", "labels": {"mine": "x"}}, "spec": all})
    }

    fn pod(i: usize, ready: &str) -> Value {
        json!({
            "metadata": {"name": format!("p{i}"), "namespace": "n", "uid": format!("u{i}")},
            "spec": {"nodeName": "n1", "containers": [{"name": "c",
                "ports": [{"name": "web", "containerPort": 8080, "protocol": "TCP"}]}]},
            "status": {"phase": "Running", "podIP": format!("10.64.{}.{}", i / 200, i % 200 + 1),
                "podIPs": [{"ip": format!("10.64.{}.{}", i / 200, i % 200 + 1)}, {"ip": format!("fd00::{i:x}")}],
                "conditions": [{"type": "Ready", "status": ready}]},
        })
    }

    fn observed(spec: &Value, pods: Vec<Value>) -> Observed {
        let zones = BTreeMap::from([("n1".to_owned(), "z1".to_owned())]);
        Observed { service: service(spec), pods, slices: Vec::new(), zones }
    }

    /// Does what is decided, until nothing is left to do; how many writes of each kind it took.
    fn settle(observed: &mut Observed) -> [usize; 3] {
        let mut counts = [0; 3];
        let plan = reconcile(observed);
        for write in plan.stages.into_iter().flatten() {
            match write.action {
                Action::Create(mut object) => {
                    counts[0] += 1;
                    let name = format!("s-{}", observed.slices.len() + counts[0] * 1000);
                    object["metadata"]["name"] = json!(name);
                    object["metadata"]["uid"] = json!(name);
                    observed.slices.push(object);
                }
                Action::Update(object) => {
                    counts[1] += 1;
                    let name = &object["metadata"]["name"];
                    let slot = observed.slices.iter_mut().find(|s| s["metadata"]["name"] == *name).unwrap();
                    *slot = object;
                }
                Action::Delete(_) => {
                    counts[2] += 1;
                    observed.slices.retain(|s| s["metadata"]["name"] != write.name.as_str());
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(reconcile(observed).is_idle(), "what is decided is enough: {:?}", reconcile(observed));
        counts
    }

    fn sizes(observed: &Observed) -> Vec<usize> {
        let mut all: Vec<usize> = observed.slices.iter().map(|s| items(&s["endpoints"]).len()).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn one_endpoint() {
        let mut world = observed(&json!({"trafficDistribution": "PreferSameNode"}), vec![pod(0, "True")]);
        assert_eq!(settle(&mut world), [1, 0, 0]);
        let slice = &world.slices[0];
        assert_eq!(
            slice["endpoints"],
            json!([{"addresses": ["10.64.0.1"], "nodeName": "n1", "zone": "z1",
                "conditions": {"ready": true, "serving": true, "terminating": false},
                "hints": {"forNodes": [{"name": "n1"}], "forZones": [{"name": "z1"}]},
                "targetRef": {"kind": "Pod", "namespace": "n", "name": "p0", "uid": "u0"}}])
        );
        assert_eq!(slice["ports"], json!([{"name": "http", "port": 8080, "protocol": "TCP"}]));
        assert_eq!(
            slice["metadata"]["labels"],
            json!({"mine": "x", SERVICE_NAME: "s", MANAGED_BY: "endpointslice-controller.k8s.io"})
        );
        assert_eq!(slice["metadata"]["ownerReferences"][0]["uid"], "u");
    }

    #[test]
    fn conditions() {
        let mut going = pod(0, "True");
        going["metadata"]["deletionTimestamp"] = json!("1970-01-01T00:00:00Z");
        let mut ended = pod(0, "True");
        ended["status"]["phase"] = json!("Succeeded");
        let mut lost = pod(0, "True");
        lost["spec"]["nodeName"] = json!("gone");
        let unready = json!({"publishNotReadyAddresses": true});
        let three = |ready: bool, serving: bool, terminating: bool| {
            vec![json!({"ready": ready, "serving": serving, "terminating": terminating})]
        };
        for (spec, pod, want) in [
            (json!({}), pod(0, "True"), three(true, true, false)),
            (json!({}), pod(0, "False"), three(false, false, false)),
            (unready.clone(), pod(0, "False"), three(true, false, false)),
            (json!({}), going.clone(), three(false, true, true)),
            (unready.clone(), going, three(true, true, true)),
            (json!({}), ended, vec![]),
            (json!({}), lost.clone(), vec![]),
            (unready, lost, three(true, true, false)),
        ] {
            let mut world = observed(&spec, vec![pod]);
            settle(&mut world);
            let got: Vec<Value> =
                items(&world.slices[0]["endpoints"]).iter().map(|e| e["conditions"].clone()).collect();
            assert_eq!(got, want, "{spec}");
        }
    }

    #[test]
    fn packing() {
        let pods = |range: std::ops::Range<usize>| range.map(|i| pod(i, "True")).collect::<Vec<_>>();
        let mut world = observed(&json!({}), pods(0..250));
        assert_eq!((settle(&mut world), sizes(&world)), ([3, 0, 0], vec![50, 100, 100]));
        world.pods.push(pod(250, "True"));
        assert_eq!((settle(&mut world), sizes(&world)), ([0, 1, 0], vec![51, 100, 100]), "one that has room");
        world.pods[0] = pod(0, "False");
        assert_eq!(settle(&mut world), [0, 1, 0], "only the slice that it is in");
        world.pods.truncate(2);
        let [_, _, gone] = settle(&mut world);
        assert_eq!((gone, sizes(&world).iter().sum::<usize>()), (3 - world.slices.len(), 2));
        world.pods.clear();
        settle(&mut world);
        assert_eq!(sizes(&world), [0], "one stays, or comes, without endpoints");
        world.pods = pods(0..1);
        settle(&mut world);
        assert_eq!(sizes(&world), [1]);
    }

    #[test]
    fn families_and_ports_are_kept_apart() {
        let both = json!({"ipFamilies": ["IPv4", "IPv6"]});
        let mut other = pod(1, "True");
        other["spec"]["containers"][0]["ports"][0]["containerPort"] = json!(9090);
        let mut world = observed(&both, vec![pod(0, "True"), other]);
        assert_eq!((settle(&mut world), sizes(&world)), ([4, 0, 0], vec![1, 1, 1, 1]));
        world.service["spec"]["ipFamilies"] = json!(["IPv4"]);
        assert_eq!(settle(&mut world), [0, 0, 2], "the other family's go");
        world.service["spec"]["clusterIPs"] = json!(["None"]);
        world.service["metadata"]["labels"] = json!(null);
        assert_eq!(settle(&mut world), [0, 2, 0]);
        assert_eq!(world.slices[0]["metadata"]["labels"][backends::HEADLESS], "");
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        let mut world = observed(&json!({"selector": null}), vec![pod(0, "True")]);
        assert!(reconcile(&world).is_idle());
        world.service = service(&json!({"type": "ExternalName"}));
        assert!(reconcile(&world).is_idle());
        let foreign = json!({"metadata": {"name": "f", "labels": {SERVICE_NAME: "s", MANAGED_BY: "me"}},
            "addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}]});
        world = observed(&json!({}), Vec::new());
        world.slices.push(foreign.clone());
        settle(&mut world);
        assert_eq!((world.slices.len(), &world.slices[0]), (2, &foreign));
    }
}
