//! Repairs by table. What is taken and given back by writes is in `tests/it/services.rs`.

use serde_json::{Value, json};

use super::repair::{Repairs, compare};

fn service(name: &str, ip: &str) -> Value {
    json!({"metadata": {"namespace": "n", "name": name}, "spec": {"type": "ClusterIP", "clusterIPs": [ip]}})
}

fn address(ip: &str, name: &str, made: &str) -> Value {
    let mut address = kinds::ipaddress::of_service(ip, "n", name);
    address["metadata"]["creationTimestamp"] = json!(made);
    address
}

#[test]
fn strays_and_gaps() {
    let three = |ip: &str, name: &str| [ip.to_owned(), "n".to_owned(), name.to_owned()];
    let services = [
        service("a", "10.96.0.1"),
        service("b", "10.96.0.2"),
        service("c", "None"),
        service("d", "10.96.0.4"),
    ];
    let by_hand = json!({"metadata": {"name": "10.96.0.9"},
        "spec": {"parentRef": {"resource": "services", "namespace": "n", "name": "x"}}});
    let taken = [
        address("10.96.0.1", "a", "old"),
        address("10.96.0.4", "a", "old"),
        address("10.96.0.5", "gone", "old"),
        address("10.96.0.6", "coming", "new"),
        by_hand,
    ];
    let found = compare(&services, &taken, |made| made == "old");
    let want = Repairs {
        missing: vec![three("10.96.0.2", "b")],
        stray: vec![three("10.96.0.4", "a"), three("10.96.0.5", "gone")],
    };
    assert_eq!(found, want);
}
