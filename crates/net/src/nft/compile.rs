//! What the network wants of netfilter → rules. Pure.
//!
//! ```text
//! guard        from a Pod with an address that is not its own: drop
//!              from a Pod to 127.0.0.0/8: drop (host ports let loopback answers in, see rtnl::configure_link)
//! prerouting,  to a host port of one address, then to one of every address of this host: to its Pod
//! output
//! postrouting  a Pod to itself by its host port, or this host by 127.0.0.1: from the gateway
//!              out of the range of all nodes' Pods: from the host
//! ```

use std::net::{IpAddr, Ipv4Addr};

use super::{Chain, Element, Expr, Family, Field, Hook, R0, R1, R2, RuleSet, Set, Table, Type, Use, Value};
use crate::lease::Lease;
use crate::{Cidr, HostPort, Protocol};

const PORTS: &str = "hostports";
const IP_PORTS: &str = "hostip-ports";
const HAIRPIN: &str = "hairpin";

/// What the rules are made from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Model<'a> {
    pub(crate) instance_id: u32,
    pub(crate) link_prefix: &'a str,
    pub(crate) range: Cidr,
    /// Where Pods are met under their own addresses, other nodes' too.
    pub(crate) cluster: Cidr,
    pub(crate) gateway: Ipv4Addr,
}

/// Addresses whose forwarding other tables are asked to accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Forward {
    pub(crate) rules: Vec<Vec<Expr>>,
}

impl Forward {
    /// Everything from and to the range.
    pub(crate) fn of(range: Cidr) -> Self {
        let rule = |field| [in_range(field, range, false), vec![Expr::Accept]].concat();
        Self { rules: vec![rule(Field::Source), rule(Field::Destination)] }
    }
}

/// An instance's table.
pub(crate) fn table(instance_id: u32) -> Table {
    Table { family: Family::V4, name: format!("minke-{instance_id:08x}") }
}

/// The whole table.
pub(crate) fn compile<'a>(model: &Model<'_>, leases: impl Iterator<Item = &'a Lease>) -> RuleSet {
    let nat = |number, priority| Hook { kind: "nat", number, priority };
    let chain = |name: &str, hook, rules| Chain { name: name.to_owned(), hook: Some(hook), rules };
    let set = |name, key, value| Set { name, key, value, usage: Use::Plain };
    RuleSet {
        table: table(model.instance_id),
        sets: vec![
            set(PORTS, &[Type::Protocol, Type::Port], &[Type::Ipv4, Type::Port]),
            set(IP_PORTS, &[Type::Ipv4, Type::Protocol, Type::Port], &[Type::Ipv4, Type::Port]),
            set(HAIRPIN, &[Type::Ipv4, Type::Ipv4], &[]),
        ],
        elements: leases.flat_map(elements).collect(),
        chains: vec![
            chain("guard", Hook { kind: "filter", number: 0, priority: -300 }, guard(model)),
            chain("prerouting", nat(0, -100), host_ports()),
            chain("output", nat(3, -100), host_ports()),
            chain("postrouting", nat(4, 100), sources(model)),
        ],
    }
}

/// The elements that one Pod needs.
pub(crate) fn elements(lease: &Lease) -> Vec<Element> {
    let pod = lease.ip.octets();
    let mut elements: Vec<Element> =
        lease.host_ports.iter().filter_map(|port| host_port(port, pod)).collect();
    if !elements.is_empty() {
        elements.push(Element { set: HAIRPIN, key: [pod, pod].concat(), value: Value::Nothing });
    }
    // A Pod may name a port twice.
    elements.sort();
    elements.dedup_by(|a, b| (a.set, &a.key) == (b.set, &b.key));
    elements
}

fn host_port(port: &HostPort, pod: [u8; 4]) -> Option<Element> {
    let value = Value::Data([pod, padded(port.container_port)].concat());
    let key = [[number(port.protocol), 0, 0, 0], padded(port.host_port)].concat();
    match port.host_ip {
        None => Some(Element { set: PORTS, key, value }),
        Some(IpAddr::V4(ip)) => {
            Some(Element { set: IP_PORTS, key: [&ip.octets()[..], &key].concat(), value })
        }
        // Until Pods have IPv6 addresses nothing can answer there.
        Some(IpAddr::V6(_)) => None,
    }
}

/// A port as registers hold it.
pub(crate) fn padded(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}

/// A protocol's number.
pub(crate) fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    }
}

fn in_range(field: Field, range: Cidr, negated: bool) -> Vec<Expr> {
    let mask = u32::MAX.checked_shl(32 - u32::from(range.prefix())).unwrap_or(0).to_be_bytes();
    let IpAddr::V4(network) = range.address() else { return Vec::new() };
    vec![
        Expr::Load(field, R0),
        Expr::Mask { reg: R0, mask: mask.to_vec() },
        Expr::Compare { reg: R0, negated, value: network.octets().to_vec() },
    ]
}

fn loopback() -> Cidr {
    Cidr::new(Ipv4Addr::new(127, 0, 0, 0).into(), 8).expect("8 bits of 32")
}

fn guard(model: &Model<'_>) -> Vec<Vec<Expr>> {
    let from_pod = [
        Expr::Load(Field::InputName, R0),
        Expr::Compare { reg: R0, negated: false, value: model.link_prefix.as_bytes().to_vec() },
    ];
    // By the routes and not by a set: each Pod's link has the one route to its address. The link's rp_filter says the
    // same, but others may widen it (systemd does, for every new link, and conf/all).
    let spoofed = vec![Expr::ForeignSource(R0)];
    let to_loopback = in_range(Field::Destination, loopback(), false);
    [spoofed, to_loopback].map(|which| [&from_pod[..], &which, &[Expr::Drop]].concat()).to_vec()
}

fn host_ports() -> Vec<Vec<Expr>> {
    let dnat = Expr::Dnat { address: R0, port: R1 };
    vec![
        vec![
            Expr::Load(Field::Destination, R0),
            Expr::Load(Field::Protocol, R1),
            Expr::Load(Field::Port, R2),
            Expr::Map { set: IP_PORTS, key: R0, value: R0 },
            dnat.clone(),
        ],
        vec![
            Expr::ToThisHost(R0),
            Expr::Load(Field::Protocol, R0),
            Expr::Load(Field::Port, R1),
            Expr::Map { set: PORTS, key: R0, value: R0 },
            dnat,
        ],
    ]
}

fn sources(model: &Model<'_>) -> Vec<Vec<Expr>> {
    let from_gateway =
        [Expr::Constant { reg: R0, value: model.gateway.octets().to_vec() }, Expr::Snat { address: R0 }];
    let itself = vec![
        Expr::Load(Field::Source, R0),
        Expr::Load(Field::Destination, R1),
        Expr::InSet { set: HAIRPIN, reg: R0 },
    ];
    let by_loopback =
        [in_range(Field::Source, loopback(), false), in_range(Field::Destination, model.range, false)];
    let leaving =
        [in_range(Field::Source, model.range, false), in_range(Field::Destination, model.cluster, true)];
    vec![
        [itself, from_gateway.to_vec()].concat(),
        [by_loopback.concat(), from_gateway.to_vec()].concat(),
        [leaving.concat(), vec![Expr::Masquerade]].concat(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(host_ports: &[(Option<&str>, u16, u16, Protocol)]) -> Lease {
        let port = |&(ip, host_port, container_port, protocol): &(Option<&str>, u16, u16, Protocol)| {
            HostPort { host_ip: ip.map(|ip| ip.parse().unwrap()), host_port, container_port, protocol }
        };
        Lease { ip: Ipv4Addr::new(10, 64, 3, 2), host_ports: host_ports.iter().map(port).collect() }
    }

    #[test]
    fn host_ports_become_elements() {
        let pod_80: &[u8] = &[10, 64, 3, 2, 0, 80, 0, 0];
        let hairpin: (&str, &[u8], &[u8]) = (HAIRPIN, &[10, 64, 3, 2, 10, 64, 3, 2], &[]);
        let tcp: (&str, &[u8], &[u8]) = (PORTS, &[6, 0, 0, 0, 0x1f, 0x90, 0, 0], pod_80);
        let sctp: (&str, &[u8], &[u8]) = (PORTS, &[132, 0, 0, 0, 0x1f, 0x90, 0, 0], pod_80);
        let one: (&str, &[u8], &[u8]) = (IP_PORTS, &[127, 0, 0, 1, 17, 0, 0, 0, 0x1f, 0x90, 0, 0], pod_80);
        for (ports, expect) in [
            (vec![], vec![]),
            (vec![(None, 8080, 80, Protocol::Tcp)], vec![hairpin, tcp]),
            (vec![(None, 8080, 80, Protocol::Tcp), (None, 8080, 80, Protocol::Tcp)], vec![hairpin, tcp]),
            (vec![(None, 8080, 80, Protocol::Sctp)], vec![hairpin, sctp]),
            (vec![(Some("127.0.0.1"), 8080, 80, Protocol::Udp)], vec![hairpin, one]),
            (vec![(Some("::1"), 8080, 80, Protocol::Tcp)], vec![]),
        ] {
            let elements = elements(&lease(&ports));
            let data = |value: &Value| if let Value::Data(data) = value { data.clone() } else { Vec::new() };
            let found: Vec<_> = elements.iter().map(|e| (e.set, e.key.clone(), data(&e.value))).collect();
            let expect: Vec<_> =
                expect.iter().map(|(set, key, v)| (*set, key.to_vec(), v.to_vec())).collect();
            assert_eq!(found, expect, "{ports:?}");
        }
    }

    #[test]
    fn ranges_are_compared_under_their_mask() {
        for (range, mask, network) in [
            ("10.64.3.0/24", [255, 255, 255, 0], [10, 64, 3, 0]),
            ("10.64.0.0/18", [255, 255, 192, 0], [10, 64, 0, 0]),
        ] {
            let rule = in_range(Field::Source, range.parse().unwrap(), true);
            let value = network.to_vec();
            assert_eq!(
                rule,
                [
                    Expr::Load(Field::Source, R0),
                    Expr::Mask { reg: R0, mask: mask.to_vec() },
                    Expr::Compare { reg: R0, negated: true, value }
                ]
            );
        }
    }

    #[test]
    fn one_table_per_instance() {
        let model = Model {
            instance_id: 0x1f,
            link_prefix: "mk0000",
            range: "10.64.3.0/24".parse().unwrap(),
            cluster: "10.64.0.0/16".parse().unwrap(),
            gateway: Ipv4Addr::new(10, 64, 3, 1),
        };
        let leases = [lease(&[(None, 8080, 80, Protocol::Tcp)]), lease(&[])];
        let rules = compile(&model, leases.iter());
        assert_eq!(rules.table.name, "minke-0000001f");
        assert_eq!(rules.elements, elements(&leases[0]));
        let known: Vec<&str> = rules.sets.iter().map(|set| set.name).collect();
        for expr in rules.chains.iter().flat_map(|chain| chain.rules.iter().flatten()) {
            if let Expr::Map { set, .. } | Expr::InSet { set, .. } = expr {
                assert!(known.contains(set));
            }
        }
    }
}
