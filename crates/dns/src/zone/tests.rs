//! Questions and answers of the specification.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;

fn told(namespace: &str, name: &str, value: &Value) -> Told {
    Told::Now(Object {
        namespace: namespace.into(),
        name: name.into(),
        revision: 1,
        json: value.to_string().into(),
        facts: Arc::new(client::Facts::default()),
    })
}

fn all(names: &[&str]) -> Told {
    Told::All(names.iter().map(|name| ("d".into(), (*name).into())).collect())
}

fn zone() -> Zone {
    let mut zone = Zone::new("cluster.local", &["10.96.0.10".parse().unwrap()]);
    assert_eq!(zone.find("web.d.svc.cluster.local", RecordType::A), Found::Unknown);
    zone.services(told(
        "d",
        "web",
        &json!({"spec": {"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9", "fd00::9"],
            "ports": [{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}]}}),
    ));
    zone.services(told("d", "db", &json!({"spec": {"clusterIP": "None", "clusterIPs": ["None"]}})));
    let external = json!({"spec": {"type": "ExternalName", "externalName": "Example.com."}});
    zone.services(told("d", "out", &external));
    zone.slices(told(
        "d",
        "s",
        &json!({
        "metadata": {"labels": {SERVICE_NAME: "db"}}, "addressType": "IPv4",
        "ports": [{"name": "sql", "port": 5432}],
        "endpoints": [
            {"addresses": ["10.64.3.2"], "hostname": "db-0"}, {"addresses": ["10.64.3.3"]},
            {"addresses": ["10.64.3.4"], "conditions": {"ready": false}},
        ]}),
    ));
    zone.services(all(&["web", "db", "out"]));
    zone.slices(all(&["s"]));
    zone
}

/// The answer on one line.
fn answer(zone: &Zone, name: &str, kind: RecordType) -> String {
    let record = |record: &Record| match &record.data {
        RData::A(A(ip)) => ip.to_string(),
        RData::AAAA(AAAA(ip)) => ip.to_string(),
        RData::PTR(PTR(name)) | RData::CNAME(CNAME(name)) => name.to_string(),
        RData::SRV(srv) => format!("{} {} {} {}", srv.priority, srv.weight, srv.port, srv.target),
        other => other.to_string(),
    };
    match zone.find(name, kind) {
        Found::Records { answers, additionals } => {
            let list = |records: &[Record]| records.iter().map(record).collect::<Vec<_>>().join(", ");
            let more =
                if additionals.is_empty() { String::new() } else { format!(" + {}", list(&additionals)) };
            list(&answers) + &more
        }
        Found::Alias { target, .. } => format!("alias {target}"),
        other => format!("{other:?}"),
    }
}

#[test]
fn questions() {
    use RecordType::{A, AAAA, CNAME, MX, PTR, SRV, TXT};
    let zone = zone();
    for (name, kind, want) in [
        ("dns-version.cluster.local", TXT, "1.1.0"),
        ("web.d.svc.cluster.local", A, "10.96.0.9"),
        ("web.d.svc.cluster.local", AAAA, "fd00::9"),
        ("web.d.svc.cluster.local", MX, "Nothing"),
        ("_http._tcp.web.d.svc.cluster.local", SRV, "0 100 80 web.d.svc.cluster.local. + 10.96.0.9, fd00::9"),
        ("_dns._udp.web.d.svc.cluster.local", SRV, "0 100 53 web.d.svc.cluster.local. + 10.96.0.9, fd00::9"),
        ("_http._udp.web.d.svc.cluster.local", SRV, "NoName"),
        ("_http._tcp.web.d.svc.cluster.local", A, "Nothing"),
        ("_tcp.web.d.svc.cluster.local", SRV, "Nothing"),
        ("9.0.96.10.in-addr.arpa", PTR, "web.d.svc.cluster.local."),
        (
            "9.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa",
            PTR,
            "web.d.svc.cluster.local.",
        ),
        ("8.0.96.10.in-addr.arpa", PTR, "Outside"),
        ("db.d.svc.cluster.local", A, "10.64.3.2, 10.64.3.3"),
        ("db.d.svc.cluster.local", AAAA, "Nothing"),
        ("db-0.db.d.svc.cluster.local", A, "10.64.3.2"),
        ("10-64-3-3.db.d.svc.cluster.local", A, "10.64.3.3"),
        ("db-1.db.d.svc.cluster.local", A, "NoName"),
        (
            "_sql._tcp.db.d.svc.cluster.local",
            SRV,
            "0 50 5432 10-64-3-3.db.d.svc.cluster.local., 0 50 5432 db-0.db.d.svc.cluster.local. + 10.64.3.3, 10.64.3.2",
        ),
        ("2.3.64.10.in-addr.arpa", PTR, "db-0.db.d.svc.cluster.local."),
        ("4.3.64.10.in-addr.arpa", PTR, "Outside"),
        ("out.d.svc.cluster.local", A, "alias example.com"),
        ("out.d.svc.cluster.local", CNAME, "example.com."),
        ("10-64-3-2.d.pod.cluster.local", A, "10.64.3.2"),
        ("10-64-3-2.d.pod.cluster.local", AAAA, "Nothing"),
        ("x.d.pod.cluster.local", A, "NoName"),
        ("none.d.svc.cluster.local", A, "NoName"),
        ("d.svc.cluster.local", A, "Nothing"),
        ("e.svc.cluster.local", A, "NoName"),
        ("svc.cluster.local", A, "Nothing"),
        ("cluster.local", A, "Nothing"),
        ("ns.dns.cluster.local", A, "10.96.0.10"),
        ("example.com.d.svc.cluster.local", A, "NoName"),
        ("example.com", A, "Outside"),
        ("notcluster.local", A, "Outside"),
    ] {
        assert_eq!(answer(&zone, name, kind), want, "{name} {kind}");
    }
}

#[test]
fn names_go_with_their_objects() {
    let mut zone = zone();
    zone.slices(Told::Gone(("d".into(), "s".into())));
    assert_eq!(answer(&zone, "db.d.svc.cluster.local", RecordType::A), "Nothing");
    assert_eq!(answer(&zone, "2.3.64.10.in-addr.arpa", RecordType::PTR), "Outside");
    zone.services(all(&["db"]));
    assert_eq!(answer(&zone, "web.d.svc.cluster.local", RecordType::A), "NoName");
    assert_eq!(answer(&zone, "9.0.96.10.in-addr.arpa", RecordType::PTR), "Outside");
    assert!(zone.names.is_empty() && zone.by_service.is_empty());
}
