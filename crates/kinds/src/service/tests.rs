//! Services by table: what is refused, settled, taken over and shown.

use serde_json::{Value, json};

use super::families::settle;
use super::{KIND, Service, change, validate};
use crate::kind::{Endpoint, Strategy};

/// A defaulted Service of this spec, with one port if it names none.
fn service(spec: Value) -> Value {
    let mut obj =
        json!({"metadata": {"name": "s", "namespace": "n"}, "spec": spec, "status": {"loadBalancer": {}}});
    if obj["spec"]["ports"].is_null() {
        obj["spec"]["ports"] = json!([{"port": 80}]);
    }
    Service.default(&mut obj);
    obj
}

/// The errors that a new Service comes to, those of its families first and alone.
fn refused(spec: Value, cluster: &[&'static str]) -> String {
    let mut obj = service(spec);
    match settle(&mut obj["spec"], None, cluster) {
        Err(errors) => errors.to_string(),
        Ok(()) => Service.validate(&obj).to_string(),
    }
}

const FOUR: &[&str] = &["IPv4"];
const BOTH: &[&str] = &["IPv4", "IPv6"];

#[test]
fn rules_name_fields() {
    for rules in validate::ALL.iter().chain(super::families::ALL) {
        assert_eq!(rules.unknown_fields(), Vec::<String>::new());
    }
}

#[test]
fn new_ones() {
    for (spec, want) in [
        (json!({}), "[]"),
        (json!({"type": "NodePort"}), "[]"),
        (json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local"}), "[]"),
        (json!({"clusterIP": "None", "ports": []}), "[]"),
        (json!({"ports": []}), "spec.ports: Required value"),
        (
            json!({"ports": [{"port": 80}, {"port": 81}]}),
            "[spec.ports[0].name: Required value, spec.ports[1].name: Required value]",
        ),
        (
            json!({"ports": [{"port": 80, "name": "a"}, {"port": 80, "name": "b"}]}),
            "spec.ports[1]: Duplicate value: \
             {\"Name\":\"\",\"Protocol\":\"TCP\",\"AppProtocol\":null,\"Port\":80,\"TargetPort\":0,\"NodePort\":0}",
        ),
        (
            json!({"ports": [{"port": 80, "nodePort": 30100}]}),
            "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
        ),
        (
            json!({"ports": [{"port": 80, "targetPort": "Bad_"}]}),
            "spec.ports[0].targetPort: Invalid value: \"Bad_\": must contain only alpha-numeric characters (a-z, 0-9), \
             and hyphens (-)",
        ),
        (
            json!({"externalTrafficPolicy": "Local"}),
            "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible services",
        ),
        (json!({"type": "ExternalName"}), "spec.externalName: Required value"),
        (json!({"type": "ExternalName", "externalName": "a.example.com."}), "[]"),
        (
            json!({"type": "LoadBalancer", "clusterIP": "None"}),
            "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for LoadBalancer services",
        ),
        (
            json!({"clusterIP": "x"}),
            "spec.clusterIPs[0]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        ),
        (
            json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 0}}}),
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 0: must be greater than 0 and less than \
             86400",
        ),
        (
            json!({"loadBalancerSourceRanges": ["10.0.0.0/8"], "loadBalancerClass": "a/b",
                "allocateLoadBalancerNodePorts": true}),
            "[spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer', \
             spec.allocateLoadBalancerNodePorts: Forbidden: may only be used when `type` is 'LoadBalancer', \
             spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer']",
        ),
        (
            json!({"healthCheckNodePort": 30333}),
            "spec.healthCheckNodePort: Invalid value: 30333: may only be set when `type` is 'LoadBalancer' and \
             `externalTrafficPolicy` is 'Local'",
        ),
        (
            json!({"trafficDistribution": "Near"}),
            "spec.trafficDistribution: Unsupported value: \"Near\": supported values: \"PreferClose\", \
             \"PreferSameZone\", \"PreferSameNode\"",
        ),
    ] {
        assert_eq!(refused(spec.clone(), FOUR), want, "{spec}");
    }
}

#[test]
fn families_that_are_refused() {
    for (spec, want) in [
        (
            json!({"ipFamilyPolicy": "RequireDualStack"}),
            "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack \
             services",
        ),
        (
            json!({"ipFamilies": ["IPv6"]}),
            "spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster",
        ),
        (
            json!({"ipFamilies": ["IPv4x"]}),
            "spec.ipFamilies[0]: Unsupported value: \"IPv4x\": supported values: \"IPv4\", \"IPv6\"",
        ),
    ] {
        assert_eq!(refused(spec.clone(), FOUR), want, "{spec}");
    }
}

#[test]
fn families() {
    let one = "10.96.0.9";
    for (spec, cluster, want) in [
        (json!({}), FOUR, json!(["SingleStack", ["IPv4"]])),
        (json!({"ipFamilyPolicy": "PreferDualStack"}), FOUR, json!(["PreferDualStack", ["IPv4"]])),
        (json!({"ipFamilyPolicy": "PreferDualStack"}), BOTH, json!(["PreferDualStack", ["IPv4", "IPv6"]])),
        (
            json!({"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv6"]}),
            BOTH,
            json!(["RequireDualStack", ["IPv6", "IPv4"]]),
        ),
        (json!({"clusterIP": "None"}), FOUR, json!(["RequireDualStack", ["IPv4", "IPv6"]])),
        (json!({"clusterIP": "None", "selector": {"a": "b"}}), FOUR, json!(["SingleStack", ["IPv4"]])),
        (json!({"clusterIP": "fd00::9"}), BOTH, json!(["SingleStack", ["IPv6"]])),
        (json!({"clusterIP": one, "clusterIPs": [one]}), FOUR, json!(["SingleStack", ["IPv4"]])),
        (json!({"type": "ExternalName"}), FOUR, json!([null, null])),
    ] {
        let mut obj = service(spec.clone());
        settle(&mut obj["spec"], None, cluster).expect("good families");
        assert_eq!(json!([obj["spec"]["ipFamilyPolicy"], obj["spec"]["ipFamilies"]]), want, "{spec}");
    }
}

/// A stored Service with an address, changed by `merge`; what is stored then, or the errors.
fn changed(old: Value, merge: Value, cluster: &[&'static str]) -> Result<Value, String> {
    let mut old = service(old);
    let addresses = old["spec"]["clusterIPs"].clone();
    settle(&mut old["spec"], None, cluster).map_err(|errors| errors.to_string())?;
    if addresses.is_null() && old["spec"]["type"] != "ExternalName" {
        old["spec"]["clusterIP"] = json!("10.96.0.9");
        old["spec"]["clusterIPs"] = json!(["10.96.0.9"]);
    }
    old["metadata"]["resourceVersion"] = json!("1");
    let mut new = old.clone();
    for (key, value) in merge.as_object().into_iter().flatten() {
        match value {
            Value::Null => crate::value::remove(&mut new["spec"], key),
            value => new["spec"][key] = value.clone(),
        }
    }
    Service.default(&mut new);
    settle(&mut new["spec"], Some(&old["spec"]), cluster).map_err(|errors| errors.to_string())?;
    KIND.prepare_update(&mut new, &old, Endpoint::Main);
    let errors = Service.validate_update(&new, &old, Endpoint::Main);
    if errors.is_empty() { Ok(new) } else { Err(errors.to_string()) }
}

#[test]
fn changes() {
    let new = changed(json!({}), json!({"clusterIP": null, "clusterIPs": null}), FOUR).expect("taken over");
    assert_eq!(new["spec"]["clusterIPs"], json!(["10.96.0.9"]));
    for (old, merge, want) in [
        (
            json!({}),
            json!({"clusterIP": "10.96.44.44"}),
            "spec.clusterIPs[0]: Invalid value: [\"10.96.44.44\"]: may not change once set",
        ),
        (
            json!({}),
            json!({"clusterIP": "None"}),
            "spec.clusterIPs[0]: Invalid value: [\"None\"]: may not change once set",
        ),
        (
            json!({"type": "LoadBalancer", "loadBalancerClass": "a/b"}),
            json!({"loadBalancerClass": null}),
            "spec.loadBalancerClass: Invalid value: null: may not change once set",
        ),
        (
            json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 30001}),
            json!({"healthCheckNodePort": 30002}),
            "spec.healthCheckNodePort: Forbidden: field is immutable",
        ),
    ] {
        assert_eq!(changed(old, merge.clone(), FOUR).unwrap_err(), want, "{merge}");
    }
}

#[test]
fn the_old_type_leaves_nothing_behind() {
    let balancer = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 30001,
        "ports": [{"port": 80, "nodePort": 30000}]});
    let new = changed(balancer.clone(), json!({"type": "ClusterIP"}), FOUR).expect("a good change");
    let gone = ["externalTrafficPolicy", "healthCheckNodePort", "allocateLoadBalancerNodePorts"];
    assert!(gone.iter().all(|field| new["spec"][*field].is_null()), "{new}");
    assert_eq!(new["spec"]["ports"], json!([{"port": 80, "protocol": "TCP", "targetPort": 80}]));
    let name = json!({"type": "ExternalName", "externalName": "a.b"});
    let new = changed(balancer, name, FOUR).expect("a good change");
    for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"] {
        assert!(new["spec"][field].is_null(), "{field} in {new}");
    }
}

#[test]
fn dual_stack_comes_and_goes() {
    let addresses = json!({"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9", "fd00::9"],
        "ipFamilyPolicy": "RequireDualStack"});
    let new = changed(addresses.clone(), json!({"ipFamilyPolicy": "SingleStack"}), BOTH).expect("let go");
    assert_eq!(
        json!([new["spec"]["clusterIPs"], new["spec"]["ipFamilies"]]),
        json!([["10.96.0.9"], ["IPv4"]])
    );
    let why = changed(addresses, json!({"clusterIPs": ["10.96.0.9"]}), BOTH).unwrap_err();
    assert!(why.contains("must be 'SingleStack' to release the secondary cluster IP"), "{why}");
    let new = changed(json!({}), json!({"ipFamilyPolicy": "RequireDualStack"}), BOTH).expect("one more");
    assert_eq!(new["spec"]["ipFamilies"], json!(["IPv4", "IPv6"]));
}

#[test]
fn node_ports_are_taken_over_by_name() {
    let old = json!({"type": "NodePort", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"],
        "ports": [{"name": "a", "port": 1, "nodePort": 30001}, {"name": "b", "port": 2, "nodePort": 30002}]});
    for (ports, want) in [
        (json!([{"name": "a", "port": 9}, {"name": "c", "port": 3}]), json!([30001, null])),
        (
            json!([{"name": "a", "port": 1}, {"name": "c", "port": 3, "nodePort": 30001}]),
            json!([null, 30001]),
        ),
    ] {
        let mut new = json!({"type": "NodePort", "ports": ports});
        change::take_over(&mut new, &old);
        assert_eq!(json!([new["ports"][0]["nodePort"], new["ports"][1]["nodePort"]]), want);
        assert_eq!(new["clusterIPs"], old["clusterIPs"]);
    }
}

#[test]
fn rows() {
    let status = json!({"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}, {"hostname": "x.y"}]}});
    for (spec, status, want) in [
        (json!({"clusterIPs": ["10.96.0.9"]}), json!({}), ["ClusterIP", "10.96.0.9", "<none>", "80/TCP"]),
        (json!({"externalIPs": ["1.1.1.1"]}), json!({}), ["ClusterIP", "<none>", "1.1.1.1", "80/TCP"]),
        (json!({"type": "LoadBalancer"}), json!({}), ["LoadBalancer", "<none>", "<pending>", "80/TCP"]),
        (json!({"type": "LoadBalancer"}), status, ["LoadBalancer", "<none>", "1.2.3.4,x.y", "80/TCP"]),
        (
            json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30000}]}),
            json!({}),
            ["NodePort", "<none>", "<none>", "80:30000/TCP"],
        ),
        (
            json!({"type": "ExternalName", "externalName": "a.b"}),
            json!({}),
            ["ExternalName", "<none>", "a.b", "80/TCP"],
        ),
    ] {
        let mut obj = service(spec);
        obj["status"] = status;
        assert_eq!(Service.cells(&obj, 0)[1..5], want.map(|cell| json!(cell)));
    }
}

#[test]
fn what_is_warned_about() {
    let warned = |spec: Value| Service.warnings(&service(spec), None);
    assert_eq!(warned(json!({})), Vec::<String>::new());
    assert_eq!(
        warned(
            json!({"clusterIP": "None", "externalIPs": ["2001:DB8::1"], "trafficDistribution": "PreferClose"})
        ),
        [
            "spec.externalIPs is ignored for headless services",
            "spec.externalIPs is deprecated and may no longer be implemented in some clusters",
            "spec.externalIPs[0]: IPv6 address \"2001:DB8::1\" should be in RFC 5952 canonical format (\"2001:db8::1\")",
            "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"",
        ]
    );
}
