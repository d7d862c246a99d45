//! Which endpoints a Service leads to from one node.

use std::sync::Arc;

use client::Facts;
use serde_json::{Value, json};

use super::*;

fn object(namespace: &str, name: &str, value: &Value) -> Told {
    Told::Now(Object {
        namespace: namespace.into(),
        name: name.into(),
        revision: 1,
        json: value.to_string().into(),
        facts: Arc::new(Facts::default()),
    })
}

fn everything() -> Told {
    Told::All(BTreeSet::from([("d".into(), "web".into()), ("d".into(), "s".into())]))
}

fn slice(endpoints: &Value) -> Told {
    let value = json!({
        "metadata": {"labels": {SERVICE_NAME: "web"}}, "addressType": "IPv4",
        "ports": [{"name": "", "port": 8080, "protocol": "TCP"}, {"name": "metrics", "port": 9090}],
        "endpoints": endpoints,
    });
    object("d", "s", &value)
}

/// A view of node `n1` in zone `a`.
fn view(spec: &Value, endpoints: &Value) -> View {
    let mut view = View::new("n1");
    view.node(object("", "n1", &json!({"metadata": {"labels": {ZONE: "a"}}})));
    view.services(object("d", "web", &json!({"spec": spec})));
    view.slices(slice(endpoints));
    assert!(view.changed().is_none(), "not all is known");
    view.services(everything());
    view.slices(everything());
    view
}

fn web() -> Value {
    json!({"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"], "ports": [{"port": 80}]})
}

#[test]
fn endpoints_are_chosen_as_upstream_chooses() {
    let one = |last: u8, node: &str, conditions: Value| json!({"addresses": [format!("10.64.3.{last}")], "nodeName": node, "conditions": conditions});
    let (ready, unready) = (json!({"ready": true}), json!({"ready": false}));
    let ending = json!({"ready": false, "serving": true, "terminating": true});
    let over = json!({"ready": false, "serving": false, "terminating": true});
    let hinted = |mut endpoint: Value, hints: Value| {
        endpoint["hints"] = hints;
        endpoint
    };
    let zone = |name: &str| json!({"forZones": [{"name": name}]});
    let node = |name: &str| json!({"forZones": [{"name": "a"}], "forNodes": [{"name": name}]});
    for (endpoints, all, local) in [
        (json!([one(2, "n1", ready.clone()), one(3, "n2", ready.clone())]), &[2, 3][..], &[2][..]),
        (json!([one(2, "n1", unready.clone()), one(3, "n2", ready.clone())]), &[3], &[]),
        (json!([one(2, "n1", ending.clone()), one(3, "n2", ready.clone())]), &[3], &[2]),
        (json!([one(2, "n1", ending), one(3, "n2", unready)]), &[2], &[2]),
        (json!([one(2, "n1", over)]), &[], &[]),
        (json!([one(2, "n1", json!({}))]), &[2], &[2]),
        (
            json!([
                hinted(one(2, "n2", ready.clone()), zone("a")),
                hinted(one(3, "n3", ready.clone()), zone("b"))
            ]),
            &[2],
            &[],
        ),
        (
            json!([
                hinted(one(2, "n2", ready.clone()), zone("c")),
                hinted(one(3, "n3", ready.clone()), zone("b"))
            ]),
            &[2, 3],
            &[],
        ),
        (json!([hinted(one(2, "n2", ready.clone()), zone("a")), one(3, "n3", ready.clone())]), &[2, 3], &[]),
        (
            json!([hinted(one(2, "n1", ready.clone()), node("n1")), hinted(one(3, "n3", ready), node("n3"))]),
            &[2],
            &[2],
        ),
    ] {
        let service = view(&web(), &endpoints).service("d/web").unwrap();
        let last = |list: &[net::Endpoint]| -> Vec<u8> {
            list.iter()
                .map(|endpoint| match endpoint.ip {
                    IpAddr::V4(ip) if endpoint.port == 8080 => ip.octets()[3],
                    _ => 0,
                })
                .collect()
        };
        assert_eq!(last(&service.ports[0].endpoints), all, "{endpoints}");
        assert_eq!(last(&service.ports[0].local), local, "{endpoints}");
    }
}

#[test]
fn what_has_no_address_is_not_led() {
    for (spec, led) in [
        (web(), true),
        (json!({"clusterIP": "None", "clusterIPs": ["None"], "ports": [{"port": 80}]}), false),
        (json!({"type": "ExternalName", "externalName": "example.com"}), false),
    ] {
        assert_eq!(view(&spec, &json!([])).service("d/web").is_some(), led, "{spec}");
    }
}

#[test]
fn fields_of_a_service() {
    let spec = json!({
        "type": "LoadBalancer", "clusterIPs": ["10.96.0.9", "fd00::9"], "externalIPs": ["203.0.113.1"],
        "ports": [
            {"name": "metrics", "port": 80, "nodePort": 30080, "protocol": "TCP"},
            {"name": "other", "port": 53, "protocol": "UDP"},
        ],
        "sessionAffinity": "ClientIP", "externalTrafficPolicy": "Local", "healthCheckNodePort": 31_000,
        "loadBalancerSourceRanges": [" 192.0.2.0/24 "],
    });
    let mut view = view(&spec, &json!([{"addresses": ["10.64.3.2"], "nodeName": "n1"}]));
    let status = json!({"loadBalancer": {"ingress": [{"ip": "203.0.113.7", "ipMode": "VIP"}, {"ip": "203.0.113.8",
        "ipMode": "Proxy"}, {"hostname": "x"}]}});
    view.services(object("d", "web", &json!({"spec": spec, "status": status})));
    let service = view.service("d/web").unwrap();
    assert_eq!(service.load_balancer_ips, ["203.0.113.7".parse::<IpAddr>().unwrap()]);
    assert_eq!(service.source_ranges, ["192.0.2.0/24".parse().unwrap()]);
    assert_eq!(
        (service.affinity, service.external_local, service.internal_local),
        (Some(10_800), true, false)
    );
    assert_eq!(service.ports[0].endpoints[0].port, 9090);
    assert_eq!((service.ports[0].node_port, service.ports[1].endpoints.len()), (Some(30_080), 0));
    assert_eq!((view.health_port("d/web"), view.local_endpoints("d/web")), (Some(31_000), 1));
}

#[test]
fn only_what_changed_is_told() {
    let mut view = view(&web(), &json!([{"addresses": ["10.64.3.2"]}]));
    let mut changed = move |told: fn(&mut View)| {
        told(&mut view);
        let changed = view.changed().unwrap();
        (changed.all, Vec::from_iter(changed.services))
    };
    let web = || vec!["d/web".to_owned()];
    assert_eq!(changed(|_| {}), (true, web()));
    assert_eq!(changed(|_| {}), (false, vec![]));
    assert_eq!(changed(|view| view.slices(slice(&json!([{"addresses": ["10.64.3.2"]}])))), (false, vec![]));
    assert_eq!(changed(|view| view.slices(slice(&json!([])))), (false, web()));
    assert_eq!(changed(|view| view.slices(Told::Gone(("d".into(), "s".into())))), (false, web()));
    assert_eq!(changed(|view| view.services(Told::All(BTreeSet::new()))), (false, web()));
    let range = |view: &mut View| {
        view.ranges(object("", "kubernetes", &json!({"spec": {"cidrs": ["10.96.0.0/12", "fd00::/108"]}})));
    };
    assert_eq!(changed(range), (true, vec![]));
}
