//! Services get their addresses and ports, and give them back; the server's own Service.

use std::net::SocketAddr;
use std::time::Duration;

use client::{Options, Verb};
use serde_json::{Value, json};
use store::{Interest, Scope};

use crate::harness::{Client, Cluster, said};

/// A cluster with these ranges and two ports on the nodes.
async fn cluster(ranges: &[&str]) -> Cluster {
    let ranges = ranges.iter().map(|range| range.parse().unwrap()).collect();
    Cluster::start_with(|config| {
        config.services.ranges = ranges;
        config.services.node_ports = 30_000..=30_001;
        config.services.endpoint = Some(SocketAddr::from(([10, 64, 0, 1], 6443)));
    })
    .await
}

fn service(name: &str, mut spec: Value) -> Value {
    if spec["ports"].is_null() {
        spec["ports"] = json!([{"port": 80}]);
    }
    json!({"metadata": {"name": name}, "spec": spec})
}

async fn make(api: &Client, name: &str, spec: Value) -> Result<Value, String> {
    let made = api.create("services/default", service(name, spec)).await;
    made.map(|made| made["spec"].clone()).map_err(|status| said::<()>(Err(status)))
}

/// Addresses that are taken, with whose they are.
async fn taken(api: &Client) -> Vec<String> {
    let all = api.list("ipaddresses.networking.k8s.io", Options::default()).await.unwrap();
    let shown = |ip: &Value| {
        let owner = &ip["spec"]["parentRef"]["name"];
        format!("{} {}", ip["metadata"]["name"].as_str().unwrap(), owner.as_str().unwrap())
    };
    all["items"].as_array().unwrap().iter().map(shown).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_come_and_go() {
    let cluster = cluster(&["10.9.0.0/29"]).await;
    let api = cluster.admin();
    let fixed = json!({"clusterIP": "10.9.0.3"});
    make(&api, "a", fixed.clone()).await.unwrap();
    assert_eq!(taken(&api).await, ["10.9.0.1 kubernetes", "10.9.0.3 a"]);
    assert_eq!(
        make(&api, "b", fixed.clone()).await.unwrap_err(),
        "422 Invalid Service \"b\" is invalid: spec.clusterIPs: Invalid value: [\"10.9.0.3\"]: failed to allocate IP \
         10.9.0.3: provided IP is already allocated"
    );
    for (ip, why) in [
        ("10.8.0.1", "the provided network does not match the current range"),
        (
            "10.9.0.0",
            "the provided IP (10.9.0.0) is not in the valid range. The range of valid IPs is 10.9.0.0/29",
        ),
        (
            "10.9.0.7",
            "the provided IP (10.9.0.7) is not in the valid range. The range of valid IPs is 10.9.0.0/29",
        ),
    ] {
        let said = make(&api, "b", json!({"clusterIP": ip})).await.unwrap_err();
        assert!(said.ends_with(&format!("failed to allocate IP {ip}: {why}")), "{said}");
    }
    assert!(make(&api, "a", json!({})).await.unwrap_err().starts_with("409"), "its address goes back");
    let dry = Options { dry_run: true, ..Options::default() };
    let shown = api.call("services/default", Verb::Create(service("dry", json!({}))), dry).await.unwrap();
    assert!(shown["spec"]["clusterIP"].as_str().unwrap().starts_with("10.9.0."));
    assert_eq!(taken(&api).await.len(), 2);
    for name in ["b", "c", "d", "e"] {
        make(&api, name, json!({})).await.unwrap();
    }
    assert_eq!(
        make(&api, "f", json!({})).await.unwrap_err(),
        "500 InternalError Internal error occurred: failed to allocate a serviceIP: range is full"
    );
    api.delete("services/default/a", Value::Null).await.unwrap();
    assert_eq!(make(&api, "f", json!({})).await.unwrap()["clusterIP"], "10.9.0.3", "it was free again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_type_gives_back_what_it_has_no_use_for() {
    let cluster = cluster(&["10.9.0.0/29"]).await;
    let api = cluster.admin();
    let local = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local"});
    let made = make(&api, "a", local).await.unwrap();
    let held = [&made["ports"][0]["nodePort"], &made["healthCheckNodePort"]];
    assert!(held.iter().all(|port| matches!(port.as_i64(), Some(30_000 | 30_001))), "{made}");
    assert_eq!(
        make(&api, "b", json!({"type": "NodePort"})).await.unwrap_err(),
        "500 InternalError Internal error occurred: failed to allocate a nodePort: range is full"
    );
    let wanted = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30_000}]});
    assert_eq!(
        make(&api, "b", wanted.clone()).await.unwrap_err(),
        "422 Invalid Service \"b\" is invalid: spec.ports[0].nodePort: Invalid value: 30000: provided port is already \
         allocated"
    );
    assert_eq!(taken(&api).await.len(), 2, "a refused Service keeps no address");
    let name = json!({"spec": {"type": "ExternalName", "externalName": "a.example.com"}});
    let changed = api.merge("services/default/a", name).await.unwrap();
    assert!(changed["spec"]["clusterIP"].is_null() && changed["spec"]["ports"][0]["nodePort"].is_null());
    assert_eq!(taken(&api).await, ["10.9.0.1 kubernetes"]);
    make(&api, "b", wanted).await.unwrap();
    let back = json!({"spec": {"type": "NodePort", "externalName": null}});
    let changed = api.merge("services/default/a", back).await.unwrap();
    assert_eq!(changed["spec"]["ports"][0]["nodePort"], 30_001, "{changed}");
    assert_eq!(taken(&api).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_families() {
    let cluster = cluster(&["10.9.0.0/29", "fd00:9::/112"]).await;
    let api = cluster.admin();
    let both = json!({"ipFamilyPolicy": "RequireDualStack"});
    let made = make(&api, "a", both.clone()).await.unwrap();
    assert_eq!(made["ipFamilies"], json!(["IPv4", "IPv6"]));
    assert!(made["clusterIPs"][1].as_str().unwrap().starts_with("fd00:9::"), "{made}");
    let single = json!({"spec": {"ipFamilyPolicy": "SingleStack"}});
    let changed = api.merge("services/default/a", single).await.unwrap();
    assert_eq!(changed["spec"]["clusterIPs"].as_array().unwrap().len(), 1);
    assert_eq!(taken(&api).await.len(), 2);
    let changed = api.merge("services/default/a", json!({"spec": both})).await.unwrap();
    assert_eq!(changed["spec"]["clusterIPs"].as_array().unwrap().len(), 2, "{changed}");
    assert_eq!(taken(&api).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_have_different_ones() {
    let cluster = Cluster::start().await;
    let api = cluster.admin();
    let names: Vec<String> = (0..40).map(|i| format!("s{i}")).collect();
    let made = names.iter().map(|name| make(&api, name, json!({"type": "NodePort"})));
    let made = futures_util::future::join_all(made).await;
    let of = |field: &str| {
        let all = made.iter().map(|spec| spec.as_ref().unwrap().pointer(field).unwrap().to_string());
        all.collect::<std::collections::HashSet<_>>().len()
    };
    assert_eq!((of("/clusterIP"), of("/ports/0/nodePort")), (40, 40));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_own() {
    let cluster = cluster(&["10.9.0.0/29"]).await;
    let api = cluster.admin();
    let own = api.get("services/default/kubernetes").await.unwrap();
    assert_eq!(own["spec"]["clusterIP"], "10.9.0.1");
    assert_eq!(own["spec"]["ports"][0]["targetPort"], 6443);
    let slice = api.get("endpointslices.discovery.k8s.io/default/kubernetes").await.unwrap();
    assert_eq!(slice["endpoints"][0]["addresses"], json!(["10.64.0.1"]));
    let endpoints = api.get("endpoints/default/kubernetes").await.unwrap();
    assert_eq!(endpoints["subsets"][0]["addresses"], json!([{"ip": "10.64.0.1"}]));
    let range = api.get("servicecidrs.networking.k8s.io/-/kubernetes").await.unwrap();
    assert_eq!(range["status"]["conditions"][0]["status"], "True");
    let scope = Scope::Key("services/default/kubernetes".into());
    let interest = Interest { bucket: "services".into(), scope };
    let mut changes = cluster.store.watch(&[interest], cluster.store.revision()).unwrap();
    api.delete("services/default/kubernetes", Value::Null).await.unwrap();
    let back = async { while changes.next().await.unwrap().iter().all(|event| event.deleted) {} };
    tokio::time::timeout(Duration::from_secs(20), back).await.expect("it comes back at once");
    assert_eq!(api.get("services/default/kubernetes").await.unwrap()["spec"]["clusterIP"], "10.9.0.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_address_comes_back() {
    let cluster = cluster(&["10.9.0.0/24"]).await;
    let api = cluster.admin();
    make(&api, "a", json!({"clusterIP": "10.9.0.3"})).await.unwrap();
    let interest = Interest::whole("ipaddresses.networking.k8s.io");
    let mut changes = cluster.store.watch(&[interest], cluster.store.revision()).unwrap();
    let mut until = async |deleted: bool| {
        let seen =
            async { while !changes.next().await.unwrap().iter().any(|event| event.deleted == deleted) {} };
        tokio::time::timeout(Duration::from_secs(20), seen).await.expect("within its time");
    };
    api.delete("ipaddresses.networking.k8s.io/-/10.9.0.3", json!({})).await.unwrap();
    until(false).await;
    assert_eq!(taken(&api).await, ["10.9.0.1 kubernetes", "10.9.0.3 a"]);
    api.delete("services/default/a", json!({})).await.unwrap();
    until(true).await;
    assert_eq!(taken(&api).await, ["10.9.0.1 kubernetes"]);
}
