//! What destinations take, and that the way there leaves no trace.

use super::*;
use crate::services::ServicePort;

fn pods() -> Cidr {
    "10.64.3.0/24".parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn endpoints(list: &[&str]) -> Vec<Endpoint> {
    let parse = |text: &&str| {
        let at: std::net::SocketAddr = text.parse().unwrap();
        Endpoint { ip: at.ip(), port: at.port() }
    };
    list.iter().map(parse).collect()
}

fn web(all: &[&str], local: &[&str]) -> Service {
    let port = ServicePort {
        protocol: Protocol::Tcp,
        port: 80,
        node_port: None,
        endpoints: endpoints(all),
        local: endpoints(local),
    };
    Service { ports: vec![port], cluster_ips: vec![ip("10.96.0.9")], ..Service::default() }
}

/// A line for each chain and element: `+` comes, `-` goes.
fn told(change: &Change) -> Vec<String> {
    let element = |element: &Element| {
        let value = match &element.value {
            Value::Nothing => String::new(),
            Value::Data(data) => format!(" {data:?}"),
            Value::Goto(chain) | Value::Jump(chain) => format!(" {chain}"),
            Value::Drop => " drop".to_owned(),
        };
        format!("{} {:?}{value}", element.set, element.key)
    };
    let mut lines: Vec<String> = change.new_chains.iter().map(|chain| format!("+{}", chain.name)).collect();
    lines.extend(change.old_chains.iter().map(|chain| format!("-{chain}")));
    lines.extend(change.removed.iter().map(|gone| format!("-{}", element(gone))));
    lines.extend(change.added.iter().map(|new| format!("+{}", element(new))));
    lines
}

const KEY: &str = "10, 96, 0, 9, 6, 0, 0, 0, 0, 80, 0, 0";

#[test]
fn one_endpoint_and_another() {
    let mut plane = Plane::new(Family::V4, pods());
    let hairpin = |last| format!("hairpin [10, 64, 3, {last}, 10, 64, 3, {last}]");
    let change = plane.update([("d/web", Some(&web(&["10.64.3.2:8080"], &[])))]);
    assert_eq!(
        told(&change),
        [
            "+pick-1".to_owned(),
            "+cluster-ips [10, 96, 0, 9]".to_owned(),
            format!("+endpoints [{KEY}, 0, 0, 0, 0] [10, 64, 3, 2, 31, 144, 0, 0]"),
            format!("+{}", hairpin(2)),
            format!("+services [{KEY}] pick-1"),
        ]
    );
    let change = plane.update([("d/web", Some(&web(&["10.64.3.2:8080", "10.64.3.3:8080"], &[])))]);
    assert_eq!(
        told(&change),
        [
            "+pick-2".to_owned(),
            "-pick-1".to_owned(),
            format!("-services [{KEY}] pick-1"),
            format!("+endpoints [{KEY}, 1, 0, 0, 0] [10, 64, 3, 3, 31, 144, 0, 0]"),
            format!("+{}", hairpin(3)),
            format!("+services [{KEY}] pick-2"),
        ]
    );
    assert!(plane.update([("d/web", Some(&web(&["10.64.3.3:8080", "10.64.3.2:8080"], &[])))]).is_empty());
    let change = plane.update([("d/web", Some(&web(&[], &[])))]);
    assert!(told(&change).contains(&format!("+refused [{KEY}] reject")), "{change:?}");
    plane.update([("d/web", None)]);
    assert!(plane.whole().is_empty());
}

#[test]
fn policies() {
    let remote: &[&str] = &["192.0.2.9:80"];
    for (all, local, internal, external, want) in [
        (remote, &[][..], false, false, "services: pick-1; node: pick-node-1"),
        (remote, &[], true, false, "refused: drop; node: pick-node-1"),
        (remote, &[], false, true, "services: pick-1; node refused: drop; node inside: pick-node-inside-1"),
        (&[], &[], true, true, "refused: reject; node refused: reject"),
        (
            &["192.0.2.9:80", "10.64.3.2:80"],
            &["10.64.3.2:80"],
            true,
            true,
            "services: pick-1; node: pick-node-1; node inside: pick-node-inside-2",
        ),
        // Locally there is only one that ends.
        (&["192.0.2.9:80"], &["10.64.3.2:80"], true, false, "services: pick-1; node: pick-node-1"),
    ] {
        let mut service = web(all, local);
        service.ports[0].node_port = Some(30_080);
        (service.internal_local, service.external_local) = (internal, external);
        let mut plane = Plane::new(Family::V4, pods());
        let change = plane.update([("d/web", Some(&service))]);
        let mut found: Vec<String> = Vec::new();
        for element in change.added.iter().filter(|e| [SERVICES, INSIDE, REFUSED].contains(&e.set)) {
            let node = if element.key.starts_with(&[0; 4]) { "node " } else { "" };
            let set = if element.set == SERVICES && !node.is_empty() { "" } else { element.set };
            let value = match &element.value {
                Value::Goto(chain) => chain.as_str(),
                _ => "drop",
            };
            found.push(format!("{}: {value}", format!("{node}{set}").trim()));
        }
        let mut want: Vec<&str> = want.split("; ").collect();
        found.sort();
        want.sort_unstable();
        assert_eq!(found, want, "{all:?} {local:?} {internal} {external}");
    }
}

#[test]
fn ranges_and_affinity_make_chains() {
    let mut service = web(&["10.64.3.2:80"], &[]);
    service.load_balancer_ips = vec![ip("203.0.113.1"), ip("2001:db8::1")];
    service.source_ranges = vec!["192.0.2.0/24".parse().unwrap()];
    service.affinity = Some(10_800);
    let mut plane = Plane::new(Family::V4, pods());
    let change = plane.update([("d/web", Some(&service))]);
    let names: Vec<&str> = change.new_chains.iter().map(|chain| chain.name.as_str()).collect();
    assert_eq!(names, ["only-c1398717fdb49a4a-pick-1-10800s", "pick-1-10800s"]);
    assert_eq!(change.added.iter().filter(|element| element.set == LIVE).count(), 2);
    let change = plane.update([("d/web", None)]);
    assert_eq!(change.old_chains, ["only-c1398717fdb49a4a-pick-1-10800s", "pick-1-10800s"]);
    let six = Plane::new(Family::V6, pods()).update([("d/web", Some(&service))]);
    assert_eq!(told(&six).len(), 1, "no endpoints of that family: {:?}", told(&six));
}

#[test]
fn the_first_name_has_it() {
    let mut plane = Plane::new(Family::V4, pods());
    let leads_to = |plane: &Plane| {
        let endpoint = plane.whole().added.into_iter().find(|element| element.set == ENDPOINTS);
        endpoint.map(|element| element.value)
    };
    let to = |last| Some(Value::Data(vec![10, 64, 3, last, 0, 80, 0, 0]));
    plane.update([("b", Some(&web(&["10.64.3.3:80"], &[])))]);
    plane.update([("a", Some(&web(&["10.64.3.2:80"], &[])))]);
    assert_eq!(leads_to(&plane), to(2));
    plane.update([("c", Some(&web(&["10.64.3.4:80"], &[])))]);
    plane.update([("a", None)]);
    assert_eq!(leads_to(&plane), to(3));
}

#[test]
fn only_the_services_count_and_not_the_way() {
    let mut seed = 7_u32;
    let mut next = |below: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 16) % below
    };
    let mut plane = Plane::new(Family::V4, pods());
    let mut kernel: BTreeSet<String> = BTreeSet::new();
    let mut now: BTreeMap<String, Service> = BTreeMap::new();
    for _ in 0..2000 {
        let name = format!("s{}", next(6));
        let list: Vec<String> = (0..next(4)).map(|_| format!("10.64.3.{}:80", 2 + next(5))).collect();
        let list: Vec<&str> = list.iter().map(String::as_str).collect();
        let mut service = web(&list, &list[..list.len() / 2]);
        service.cluster_ips = vec![ip(&format!("10.96.0.{}", next(4)))];
        service.external_ips = (0..next(2)).map(|n| ip(&format!("203.0.113.{n}"))).collect();
        service.ports[0].node_port = (next(2) == 0).then(|| 30_000 + u16::try_from(next(3)).unwrap());
        service.affinity = (next(3) == 0).then_some(60);
        service.external_local = next(2) == 0;
        let service = (next(4) > 0).then_some(service);
        let change = plane.update([(name.as_str(), service.as_ref())]);
        for line in told(&change) {
            let changed = match line.split_at(1) {
                ("+", what) => kernel.insert(what.to_owned()),
                (_, what) => kernel.remove(what),
            };
            assert!(changed, "{line}");
        }
        match service {
            Some(service) => _ = now.insert(name, service),
            None => _ = now.remove(&name),
        }
        let mut fresh = Plane::new(Family::V4, pods());
        fresh.update(now.iter().map(|(name, service)| (name.as_str(), Some(service))));
        let want = |change: Change| -> BTreeSet<String> {
            told(&change).iter().map(|line| line[1..].to_owned()).collect()
        };
        assert_eq!(want(fresh.whole()), kernel);
        assert_eq!(want(plane.whole()), kernel);
    }
}
