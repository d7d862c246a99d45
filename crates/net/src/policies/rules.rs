//! The rules of policies.
//!
//! ```text
//! forward   of no connection, from or to an isolated Pod: dropped; a Pod with itself: passes
//!           who answers → its chain; who began → its chain
//! in-HASH   for each thing allowed: ports, then peers: back; at the end: dropped
//! out-HASH  the same for who began
//! ```

use std::net::IpAddr;

use super::{Allow, Block, Peers, PortRange};
use crate::Cidr;
use crate::nft::steps::{bits, family_of, fnv, in_range, octets};
use crate::nft::{Chain, Expr, Family, Field, Hook, RuleSet, Set, Table, Type, Use, number, word};

pub(super) const INGRESS: &str = "ingress";
pub(super) const EGRESS: &str = "egress";
pub(super) const PEERS: &str = "peers";
pub(super) const ITSELF: &str = "itself";
pub(super) const ISOLATED: &str = "isolated";
/// After the Services' own filters, before the host's.
const FILTER: i32 = -5;
/// The bit of what belongs to no connection.
const INVALID: u32 = 1;

/// A direction, as the Pod sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Direction {
    In,
    Out,
}

impl Direction {
    pub(super) fn map(self) -> &'static str {
        if self == Self::In { INGRESS } else { EGRESS }
    }

    /// The chain of what is allowed: the same for all Pods that are allowed the same.
    pub(super) fn chain_name(self, allows: &[Allow]) -> String {
        let word = if self == Self::In { "in" } else { "out" };
        format!("{word}-{:016x}", fnv(format!("{allows:?}").as_bytes()))
    }

    /// Where the other side stands in a connection.
    fn peer(self) -> Field {
        if self == Self::In { Field::OriginalSource } else { Field::Answerer }
    }

    fn own(self) -> Field {
        if self == Self::In { Field::Answerer } else { Field::OriginalSource }
    }
}

pub(super) fn table(instance_id: u32, family: Family) -> Table {
    Table { family, name: format!("minke-{instance_id:08x}-policies") }
}

/// The table without any policy.
pub(super) fn fixed(instance_id: u32, family: Family) -> RuleSet {
    let address = if family == Family::V4 { Type::Ipv4 } else { Type::Ipv6 };
    let set = |name, key, value| Set { name, key, value, usage: Use::Plain };
    let (one, two, peer): (&'static [Type], &'static [Type], &'static [Type]) = match address {
        Type::Ipv4 => (&[Type::Ipv4], &[Type::Ipv4, Type::Ipv4], &[Type::Number, Type::Ipv4]),
        _ => (&[Type::Ipv6], &[Type::Ipv6, Type::Ipv6], &[Type::Number, Type::Ipv6]),
    };
    RuleSet {
        table: table(instance_id, family),
        sets: vec![
            set(INGRESS, one, &[Type::Verdict]),
            set(EGRESS, one, &[Type::Verdict]),
            set(PEERS, peer, &[]),
            set(ITSELF, two, &[]),
            set(ISOLATED, one, &[]),
        ],
        elements: Vec::new(),
        chains: vec![Chain {
            name: "forward".to_owned(),
            hook: Some(Hook { kind: "filter", number: 2, priority: FILTER }),
            rules: forward(family),
        }],
    }
}

fn forward(family: Family) -> Vec<Vec<Expr>> {
    let reg = word(0);
    let of_none = |field| {
        let mut rule = bits(Field::State, INVALID);
        rule.extend([Expr::Load(field, reg), Expr::InSet { set: ISOLATED, reg }, Expr::Drop]);
        rule
    };
    let itself = vec![
        Expr::Load(Field::OriginalSource, reg),
        Expr::Load(Field::Answerer, word(family.width() / 4)),
        Expr::InSet { set: ITSELF, reg },
        Expr::Accept,
    ];
    let of = |direction: Direction| {
        vec![Expr::Load(direction.own(), reg), Expr::Verdict { set: direction.map(), key: reg }]
    };
    vec![of_none(Field::Source), of_none(Field::Destination), itself, of(Direction::In), of(Direction::Out)]
}

/// The chain of what is allowed. `group` numbers groups of peers.
pub(super) fn chain(
    family: Family,
    direction: Direction,
    allows: &[Allow],
    group: &dyn Fn(&str) -> u32,
) -> Chain {
    let mut rules = Vec::new();
    for allow in allows {
        let peers = peers(family, direction, &allow.peers, group);
        let ports = match &allow.ports {
            None => vec![Vec::new()],
            Some(ranges) => ranges.iter().map(port).collect(),
        };
        for port in &ports {
            rules.extend(peers.iter().map(|peer| [&port[..], peer, &[Expr::Return]].concat()));
        }
    }
    rules.push(vec![Expr::Drop]);
    Chain { name: direction.chain_name(allows), hook: None, rules }
}

fn port(range: &PortRange) -> Vec<Expr> {
    let reg = word(0);
    let mut steps = vec![
        Expr::Load(Field::ConnectionProtocol, reg),
        Expr::Compare { reg, negated: false, value: vec![number(range.protocol)] },
    ];
    if (range.from, range.to) != (0, u16::MAX) {
        let (from, to) = (range.from, range.to);
        steps.extend([Expr::Load(Field::AnswererPort, reg), Expr::Between { reg, from, to }]);
    }
    steps
}

/// The conditions under which the other side is meant, each enough.
fn peers(family: Family, direction: Direction, peers: &Peers, group: &dyn Fn(&str) -> u32) -> Vec<Vec<Expr>> {
    let field = direction.peer();
    let Peers::These { group: named, blocks } = peers else { return vec![Vec::new()] };
    let member = named.iter().map(|name| {
        vec![
            Expr::Constant { reg: word(0), value: group(name).to_ne_bytes().to_vec() },
            Expr::Load(field, word(1)),
            Expr::InSet { set: PEERS, reg: word(0) },
        ]
    });
    let of_family = |range: &&Cidr| family_of(range.address()) == family;
    let within = |block: &Block| {
        let mut steps = in_range(field, block.cidr, false);
        block.except.iter().filter(of_family).for_each(|except| steps.extend(in_range(field, *except, true)));
        steps
    };
    let blocks = blocks.iter().filter(|block| family_of(block.cidr.address()) == family);
    member.chain(blocks.map(within)).collect()
}

/// The key of a member of a group.
pub(super) fn member(group: u32, ip: IpAddr) -> Vec<u8> {
    [&group.to_ne_bytes()[..], &octets(ip)].concat()
}
