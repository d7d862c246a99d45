//! The rules of Services. Those that never change lead by maps to chains that choose one of so many endpoints; these
//! are shared by all Services with as many.
//!
//! ```text
//! prerouting  a Pod's packet: inside, then services; others': services     (another instance's Pods: nothing)
//! output      inside, then services
//! inside      destination, protocol, port → what is different for who is inside
//! services    destination, protocol, port → a chain that picks; then the same with 0 for every address of the node
//! pick-N      a number below N → endpoint → destination
//! forward …   a new connection to what has no endpoints: rejected or dropped; to cluster IPs otherwise: rejected
//! postrouting a Pod to itself by a Service: from the gateway; from outside to an endpoint that is elsewhere: from here
//! ```
//!
//! Registers are loaded anew in every rule, as the kernel demands. Absent: marks of packets (others have their own
//! ideas of them); what a connection began with is asked instead.

use std::net::IpAddr;

use crate::nft::steps::{bits, family_of, fnv, in_range};
use crate::nft::{Chain, Expr, Family, Field, Hook, Reg, RuleSet, Set, Table, Type, Use, word};
use crate::{Cidr, Protocol};

pub(super) const SERVICES: &str = "services";
pub(super) const INSIDE: &str = "inside";
pub(super) const ENDPOINTS: &str = "endpoints";
pub(super) const REFUSED: &str = "refused";
pub(super) const LIVE: &str = "live";
pub(super) const AFFINITY: &str = "affinity";
pub(super) const CLUSTER_IPS: &str = "cluster-ips";
pub(super) const HAIRPIN: &str = "hairpin";
pub(super) const REJECT: &str = "reject";
/// Where the numbers of the endpoints for who is inside begin.
pub(super) const INSIDE_OFFSET: u32 = 1 << 16;
/// Before the host's own filters.
const FILTER: i32 = -10;
/// Bits of a connection: it is new; its destination was changed.
const NEW: u32 = 8;
const DNAT: u32 = 32;

/// What the fixed rules are made from.
#[derive(Debug, Clone)]
pub(crate) struct Ground {
    pub(crate) instance_id: u32,
    /// How the links of this instance's Pods begin, and those of every instance.
    pub(crate) link_prefix: String,
    pub(crate) any_link: String,
    /// The Pods' range, in its family.
    pub(crate) pods: Cidr,
    pub(crate) gateway: IpAddr,
    /// Ranges of cluster IPs.
    pub(crate) ranges: Vec<Cidr>,
    pub(crate) node_port_addresses: Vec<Cidr>,
}

/// A chain that chooses, by what it does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// One of `count` endpoints.
    Pick {
        /// At any address of the node.
        node: bool,
        /// For who is inside.
        inside: bool,
        count: u32,
        /// Seconds for which a client keeps its endpoint.
        affinity: Option<u32>,
    },
    /// Only for sources in these ranges.
    Only(Vec<Cidr>, Box<Way>),
}

impl Way {
    /// The chain's name.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Pick { node, inside, count, affinity } => {
                let part = |on: bool, text| if on { text } else { "" };
                let seconds = affinity.map(|seconds| format!("-{seconds}s")).unwrap_or_default();
                format!("pick-{}{}{count}{seconds}", part(*node, "node-"), part(*inside, "inside-"))
            }
            Self::Only(ranges, way) => {
                let text: Vec<String> = ranges.iter().map(ToString::to_string).collect();
                format!("only-{:016x}-{}", fnv(text.join(" ").as_bytes()), way.name())
            }
        }
    }

    /// The chain.
    pub(super) fn chain(&self, family: Family) -> Chain {
        let rules = match self {
            Self::Pick { node, inside, count, affinity } => {
                let pick = Picker { regs: Regs::of(family), node: *node };
                let offset = if *inside { INSIDE_OFFSET } else { 0 };
                match affinity {
                    None => vec![pick.any(*count, offset, None)],
                    Some(seconds) => vec![
                        pick.again(*seconds),
                        pick.any(*count, offset, Some(*seconds)),
                        // Where no more clients can be kept.
                        pick.any(*count, offset, None),
                    ],
                }
            }
            Self::Only(ranges, way) => {
                let of_family = ranges.iter().filter(|range| family_of(range.address()) == family);
                let pass = |range: &Cidr| {
                    let mut rule = in_range(Field::Source, *range, false);
                    rule.push(Expr::Goto(way.name()));
                    rule
                };
                of_family.map(pass).chain([vec![Expr::Drop]]).collect()
            }
        };
        Chain { name: self.name(), hook: None, rules }
    }
}

/// Where things stand: a destination in the first registers, and behind it what belongs to its key.
struct Regs {
    /// Words of an address.
    address: u32,
}

impl Regs {
    fn of(family: Family) -> Self {
        Self { address: family.width() / 4 }
    }

    fn protocol(&self) -> Reg {
        word(self.address)
    }

    fn port(&self) -> Reg {
        word(self.address + 1)
    }

    /// What follows a destination in a key.
    fn next(&self) -> Reg {
        word(self.address + 2)
    }

    /// The endpoint's address, behind a destination and another address.
    fn to(&self) -> Reg {
        word(2 * self.address + 2)
    }

    fn to_port(&self) -> Reg {
        word(3 * self.address + 2)
    }

    fn destination(&self, node: bool) -> Vec<Expr> {
        let width = usize::try_from(self.address * 4).expect("few");
        let address = match node {
            false => Expr::Load(Field::Destination, word(0)),
            true => Expr::Constant { reg: word(0), value: vec![0; width] },
        };
        vec![address, Expr::Load(Field::Protocol, self.protocol()), Expr::Load(Field::Port, self.port())]
    }
}

/// Writes the rules of a chain that picks.
struct Picker {
    regs: Regs,
    node: bool,
}

impl Picker {
    fn dnat(&self) -> Expr {
        Expr::Dnat { address: self.regs.to(), port: self.regs.to_port() }
    }

    fn remember(&self, seconds: u32) -> Expr {
        Expr::Remember { set: AFFINITY, key: word(0), value: self.regs.to(), seconds }
    }

    /// Any endpoint; a client that is to stay with it is kept.
    fn any(&self, count: u32, offset: u32, remember: Option<u32>) -> Vec<Expr> {
        let regs = &self.regs;
        let mut rule = regs.destination(self.node);
        rule.push(match count {
            1 => Expr::Constant { reg: regs.next(), value: offset.to_ne_bytes().to_vec() },
            _ => Expr::Random { reg: regs.next(), modulus: count, offset },
        });
        rule.push(Expr::Map { set: ENDPOINTS, key: word(0), value: regs.to() });
        if let Some(seconds) = remember {
            // What it had before, which is no endpoint any more, would stay.
            let forget = Expr::Forget { set: AFFINITY, key: word(0), value: regs.to() };
            rule.extend([Expr::Load(Field::Source, regs.next()), forget, self.remember(seconds)]);
        }
        rule.push(self.dnat());
        rule
    }

    /// The endpoint that the client had, if it still is one.
    fn again(&self, seconds: u32) -> Vec<Expr> {
        let regs = &self.regs;
        let find = |value| {
            [Expr::Load(Field::Source, regs.next()), Expr::Map { set: AFFINITY, key: word(0), value }]
        };
        let mut rule = regs.destination(self.node);
        rule.extend(find(regs.next()));
        rule.push(Expr::InSet { set: LIVE, reg: word(0) });
        rule.extend(find(regs.to()));
        rule.extend([self.remember(seconds), self.dnat()]);
        rule
    }
}

fn loopback(family: Family) -> Cidr {
    let (address, prefix) = match family {
        Family::V4 => ([127, 0, 0, 0].into(), 8),
        Family::V6 => (std::net::Ipv6Addr::LOCALHOST.into(), 128),
    };
    Cidr::new(address, prefix).expect("a range")
}

/// The table's name.
pub(super) fn table(instance_id: u32, family: Family) -> Table {
    Table { family, name: format!("minke-{instance_id:08x}-services") }
}

/// The table without any Service.
pub(super) fn fixed(ground: &Ground, family: Family) -> RuleSet {
    let chain = |name: &str, rules| Chain { name: name.to_owned(), hook: None, rules };
    let base = |name: &str, kind, number, priority, rules| Chain {
        name: name.to_owned(),
        hook: Some(Hook { kind, number, priority }),
        rules,
    };
    let jump = |to| vec![Expr::Jump(to)];
    RuleSet {
        table: table(ground.instance_id, family),
        sets: sets(family),
        elements: Vec::new(),
        chains: vec![
            base("prerouting", "nat", 0, -100, prerouting(ground, family)),
            base("output", "nat", 3, -100, vec![jump(INSIDE), jump(SERVICES)]),
            base("postrouting", "nat", 4, 99, postrouting(ground, family)),
            base("input", "filter", 1, FILTER, vec![jump("refuse")]),
            base("forward", "filter", 2, FILTER, vec![jump("refuse")]),
            base("local-output", "filter", 3, FILTER, vec![jump("refuse")]),
            chain(INSIDE, by_map(ground, family, INSIDE)),
            chain(SERVICES, by_map(ground, family, SERVICES)),
            chain("refuse", refuse(ground, family)),
            chain(REJECT, reject()),
        ],
    }
}

fn sets(family: Family) -> Vec<Set> {
    use Type::{Ipv4, Ipv6, Number, Port, Protocol, Verdict};
    let plain = |name, key, value| Set { name, key, value, usage: Use::Plain };
    let kept = |key, value| Set { name: AFFINITY, key, value, usage: Use::Remembered };
    // Keys are written out: they are borrowed for ever.
    match family {
        Family::V4 => vec![
            plain(SERVICES, &[Ipv4, Protocol, Port], &[Verdict]),
            plain(INSIDE, &[Ipv4, Protocol, Port], &[Verdict]),
            plain(REFUSED, &[Ipv4, Protocol, Port], &[Verdict]),
            plain(ENDPOINTS, &[Ipv4, Protocol, Port, Number], &[Ipv4, Port]),
            plain(LIVE, &[Ipv4, Protocol, Port, Ipv4, Port], &[]),
            kept(&[Ipv4, Protocol, Port, Ipv4], &[Ipv4, Port]),
            plain(CLUSTER_IPS, &[Ipv4], &[]),
            plain(HAIRPIN, &[Ipv4, Ipv4], &[]),
        ],
        Family::V6 => vec![
            plain(SERVICES, &[Ipv6, Protocol, Port], &[Verdict]),
            plain(INSIDE, &[Ipv6, Protocol, Port], &[Verdict]),
            plain(REFUSED, &[Ipv6, Protocol, Port], &[Verdict]),
            plain(ENDPOINTS, &[Ipv6, Protocol, Port, Number], &[Ipv6, Port]),
            plain(LIVE, &[Ipv6, Protocol, Port, Ipv6, Port], &[]),
            kept(&[Ipv6, Protocol, Port, Ipv6], &[Ipv6, Port]),
            plain(CLUSTER_IPS, &[Ipv6], &[]),
            plain(HAIRPIN, &[Ipv6, Ipv6], &[]),
        ],
    }
}

fn prerouting(ground: &Ground, family: Family) -> Vec<Vec<Expr>> {
    let link = |name: &str, negated| {
        [
            Expr::Load(Field::InputName, word(0)),
            Expr::Compare { reg: word(0), negated, value: name.as_bytes().to_vec() },
        ]
    };
    let mut others = [link(&ground.any_link, false), link(&ground.link_prefix, true)].concat();
    others.push(Expr::Accept);
    let mut rules = vec![others];
    if family_of(ground.pods.address()) == family {
        let mut own = in_range(Field::Source, ground.pods, false);
        own.push(Expr::Jump(INSIDE));
        rules.push(own);
    }
    rules.push(vec![Expr::Jump(SERVICES)]);
    rules
}

/// Conditions under which a packet goes to a node port, uses one register at a time.
fn node_addresses(ground: &Ground, family: Family) -> Vec<Vec<Expr>> {
    let local = Expr::ToThisHost(word(0));
    if ground.node_port_addresses.is_empty() {
        let mut rule = in_range(Field::Destination, loopback(family), true);
        rule.push(local);
        return vec![rule];
    }
    let ranges = ground.node_port_addresses.iter().filter(|range| family_of(range.address()) == family);
    let condition = |range: &Cidr| {
        let mut rule = in_range(Field::Destination, *range, false);
        rule.push(local.clone());
        rule
    };
    ranges.map(condition).collect()
}

/// What a map says of a destination, then what it says of the node's port.
fn by_map(ground: &Ground, family: Family, map: &'static str) -> Vec<Vec<Expr>> {
    let lookup = |node| {
        let mut rule = Regs::of(family).destination(node);
        rule.push(Expr::Verdict { set: map, key: word(0) });
        rule
    };
    let at_node = node_addresses(ground, family).into_iter().map(|mut rule| {
        rule.extend(lookup(true));
        rule
    });
    std::iter::once(lookup(false)).chain(at_node).collect()
}

fn refuse(ground: &Ground, family: Family) -> Vec<Vec<Expr>> {
    let new = |rule: Vec<Expr>| [bits(Field::State, NEW), rule].concat();
    let mut rules: Vec<Vec<Expr>> = by_map(ground, family, REFUSED).into_iter().map(new).collect();
    rules.push(vec![
        Expr::Load(Field::Destination, word(0)),
        Expr::InSet { set: CLUSTER_IPS, reg: word(0) },
        Expr::Goto(REJECT.to_owned()),
    ]);
    for range in ground.ranges.iter().filter(|range| family_of(range.address()) == family) {
        let mut rule = in_range(Field::Destination, *range, false);
        rule.push(Expr::Drop);
        rules.push(rule);
    }
    rules
}

/// TCP by a reset, which reaches also who sends by `lo`.
fn reject() -> Vec<Vec<Expr>> {
    let tcp = vec![
        Expr::Load(Field::Protocol, word(0)),
        Expr::Compare { reg: word(0), negated: false, value: vec![crate::nft::number(Protocol::Tcp)] },
        Expr::Reset,
    ];
    vec![tcp, vec![Expr::Reject]]
}

fn postrouting(ground: &Ground, family: Family) -> Vec<Vec<Expr>> {
    let regs = Regs::of(family);
    let from_here = match (family, ground.gateway) {
        (Family::V4, IpAddr::V4(gateway)) => vec![
            Expr::Constant { reg: word(0), value: gateway.octets().to_vec() },
            Expr::Snat { address: word(0) },
        ],
        _ => vec![Expr::Masquerade],
    };
    let mut itself = vec![
        Expr::Load(Field::Source, word(0)),
        Expr::Load(Field::Destination, word(regs.address)),
        Expr::InSet { set: HAIRPIN, reg: word(0) },
    ];
    itself.extend(from_here);
    let mut elsewhere = bits(Field::Status, DNAT);
    if family_of(ground.pods.address()) == family {
        elsewhere.extend(in_range(Field::Source, ground.pods, true));
        elsewhere.extend(in_range(Field::Destination, ground.pods, true));
    }
    elsewhere.extend([true, false].map(|source| Expr::Elsewhere { source, reg: word(0) }));
    let by_service = |node: bool| {
        let mut rule = elsewhere.clone();
        let mut began = regs.destination(node);
        if let Some(first) = began.first_mut().filter(|_| !node) {
            *first = Expr::Load(Field::OriginalDestination, word(0));
        }
        began[2] = Expr::Load(Field::OriginalPort, regs.port());
        rule.extend(began);
        rule.push(Expr::Constant { reg: regs.next(), value: vec![0; 4] });
        rule.extend([Expr::Map { set: ENDPOINTS, key: word(0), value: regs.to() }, Expr::Masquerade]);
        rule
    };
    vec![itself, by_service(false), by_service(true)]
}

/// A destination as a key; no address is every one of the node.
pub(super) fn key(family: Family, address: Option<IpAddr>, protocol: Protocol, port: u16) -> Vec<u8> {
    let width = usize::try_from(family.width()).expect("few");
    let address = address.map_or_else(|| vec![0; width], crate::nft::steps::octets);
    [&address[..], &[crate::nft::number(protocol), 0, 0, 0], &crate::nft::padded(port)].concat()
}
