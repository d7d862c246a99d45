//! nf_tables: a rule set as data (`compile`), and as netlink messages (`encode`).
//!
//! Invariant: a table is replaced whole in one transaction; elements and chains are added and removed in between, each
//! change in one transaction. Absent: the `nft` command, reading rules back (tests do, with `nft`).

use std::collections::BTreeMap;
use std::io;

use crate::netlink::Socket;

mod compile;
mod encode;
mod foreign;
pub(crate) mod steps;

pub(crate) use compile::{Forward, Model, compile, elements, number, padded, table};
pub(crate) use encode::{add_elements, delete_elements, delete_table, replace_table};
pub(crate) use foreign::{accept_forwarding, withdraw_forwarding};

/// A 4-byte register of the rule machine; a value of `n` bytes fills registers from the named one on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reg(pub(crate) u32);

/// The register a number of words after the first one.
pub(crate) const fn word(number: u32) -> Reg {
    Reg(8 + number)
}

/// An address family of netfilter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Family {
    V4,
    V6,
}

/// A table by its family and name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) family: Family,
    pub(crate) name: String,
}

/// The first register, and the next ones for a concatenation.
pub(crate) const R0: Reg = Reg(8);
pub(crate) const R1: Reg = Reg(9);
pub(crate) const R2: Reg = Reg(10);

/// A part of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    /// Source address.
    Source,
    /// Destination address.
    Destination,
    /// Destination port of TCP, UDP, SCTP.
    Port,
    /// Transport protocol.
    Protocol,
    /// Name of the link it came in by.
    InputName,
    /// State of its connection, as bits.
    State,
    /// Status of its connection, as bits.
    Status,
    /// Source address that its connection began with.
    OriginalSource,
    /// Address, port and protocol of who answers in its connection, whatever it was addressed to.
    Answerer,
    AnswererPort,
    ConnectionProtocol,
    /// Destination address that its connection began with.
    OriginalDestination,
    /// Destination port that its connection began with.
    OriginalPort,
}

/// One step of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expr {
    /// Loads a field.
    Load(Field, Reg),
    /// Goes on only if the register begins with these bytes (or, negated, does not).
    Compare { reg: Reg, negated: bool, value: Vec<u8> },
    /// Goes on only if the port in the register lies between these, both included.
    Between { reg: Reg, from: u16, to: u16 },
    /// Keeps only these bits of what is in a register.
    Mask { reg: Reg, mask: Vec<u8> },
    /// Goes on only if the destination is an address of this host; uses the register.
    ToThisHost(Reg),
    /// Goes on only if the source (or, else, the destination) is no address of this host; uses the register.
    Elsewhere { source: bool, reg: Reg },
    /// Goes on only if packets to the source address would not leave by the link this one came in by; uses the register.
    ForeignSource(Reg),
    /// Goes on only if the set has the key in the register.
    InSet { set: &'static str, reg: Reg },
    /// Goes on only if the map has the key, and loads its value.
    Map { set: &'static str, key: Reg, value: Reg },
    /// Does what the map says of the key; goes on if it says nothing.
    Verdict { set: &'static str, key: Reg },
    /// Loads a random number from `offset` on, one of `modulus` many.
    Random { reg: Reg, modulus: u32, offset: u32 },
    /// Takes the key out of a map; what the value's register holds does not matter, but it must hold something.
    Forget { set: &'static str, key: Reg, value: Reg },
    /// Keeps key and value in a map for some seconds from now; a key that is there keeps its value.
    Remember { set: &'static str, key: Reg, value: Reg, seconds: u32 },
    /// Goes on with another chain, and comes back.
    Jump(&'static str),
    /// Goes on with another chain for good.
    Goto(String),
    /// Refuses the packet with an ICMP message: the port is unreachable.
    Reject,
    /// Refuses the packet of TCP with a reset.
    Reset,
    /// Changes destination address and port to those in the registers.
    Dnat { address: Reg, port: Reg },
    /// Loads a constant.
    Constant { reg: Reg, value: Vec<u8> },
    /// Changes the source address to that in the register.
    Snat { address: Reg },
    /// Changes the source address to that of the link it leaves by.
    Masquerade,
    /// Goes back to the chain that led here.
    Return,
    /// Ends the chain and lets the packet go on.
    Accept,
    /// Ends the packet.
    Drop,
}

/// Where a chain is hooked in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hook {
    /// `nat` or `filter`.
    pub(crate) kind: &'static str,
    /// Netfilter's number: 0 prerouting, 1 input, 2 forward, 3 output, 4 postrouting.
    pub(crate) number: u32,
    pub(crate) priority: i32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) name: String,
    /// `None`: only other chains lead to it.
    pub(crate) hook: Option<Hook>,
    pub(crate) rules: Vec<Vec<Expr>>,
}

/// A part of a set's key or value, with nft's own number for its type.
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Ipv4 = 7,
    Ipv6 = 8,
    Protocol = 12,
    Port = 13,
    /// A number of 32 bits in the machine's order, which nft calls a mark.
    Number = 19,
    /// What to do; stands alone as a value.
    Verdict = 0xffff_ff00,
}

/// What is special about a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// Elements come and go by our messages only.
    Plain,
    /// Rules add elements, which end by their timeout.
    Remembered,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Set {
    pub(crate) name: &'static str,
    pub(crate) key: &'static [Type],
    /// Not empty: a map to this.
    pub(crate) value: &'static [Type],
    pub(crate) usage: Use,
}

/// What an element says beside its key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Value {
    Nothing,
    Data(Vec<u8>),
    Goto(String),
    Jump(String),
    Drop,
}

/// An element of a set: key and, in a map, value, each part in its own register.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Element {
    pub(crate) set: &'static str,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Value,
}

/// What changes in a table from one state to the next. What is removed is there, what is added is not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) new_chains: Vec<Chain>,
    pub(crate) old_chains: Vec<String>,
    pub(crate) added: Vec<Element>,
    pub(crate) removed: Vec<Element>,
}

/// What comes and goes on the way from one state to the next; what does both stays.
#[derive(Debug, Default)]
pub(crate) struct Difference {
    elements: BTreeMap<Element, i32>,
    /// By name; the chain itself where it comes.
    chains: BTreeMap<String, (i32, Option<Chain>)>,
}

impl Difference {
    pub(crate) fn add(&mut self, element: Element) {
        *self.elements.entry(element).or_default() += 1;
    }

    pub(crate) fn remove(&mut self, element: Element) {
        *self.elements.entry(element).or_default() -= 1;
    }

    pub(crate) fn add_chain(&mut self, chain: Chain) {
        let entry = self.chains.entry(chain.name.clone()).or_default();
        *entry = (entry.0 + 1, Some(chain));
    }

    pub(crate) fn remove_chain(&mut self, name: String) {
        self.chains.entry(name).or_default().0 -= 1;
    }

    /// The change; chains that go are in the order of their names.
    pub(crate) fn change(self) -> Change {
        let mut change = Change::default();
        for (name, (sum, chain)) in self.chains {
            match sum.signum() {
                1 => change.new_chains.extend(chain),
                -1 => change.old_chains.push(name),
                _ => {}
            }
        }
        for (element, sum) in self.elements {
            match sum.signum() {
                1 => change.added.push(element),
                -1 => change.removed.push(element),
                _ => {}
            }
        }
        change
    }
}

impl Change {
    /// Whether nothing changes.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A whole table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RuleSet {
    pub(crate) table: Table,
    pub(crate) sets: Vec<Set>,
    pub(crate) elements: Vec<Element>,
    pub(crate) chains: Vec<Chain>,
}

/// Whether the kernel's table of one family follows from what is wanted. After a change that failed the next replaces the whole
/// table, so what the kernel holds is never half of something; a table is made when something of it is wanted.
#[derive(Debug)]
pub(crate) struct Follows {
    pub(crate) family: Family,
    good: bool,
}

impl Follows {
    /// Nothing is known of what the kernel holds.
    pub(crate) fn new(family: Family) -> Self {
        Self { family, good: false }
    }

    /// What the table begins with has changed: it is replaced with the next change.
    pub(crate) fn begin_anew(&mut self) {
        self.good = false;
    }

    /// Writes a change in one transaction. `fixed` is the table without anything in it, `whole` all that is to be in it.
    pub(crate) fn write(
        &mut self,
        netfilter: &mut Socket,
        change: &Change,
        table: &Table,
        (fixed, whole): (impl FnOnce() -> RuleSet, impl FnOnce() -> Change),
    ) -> io::Result<()> {
        let batch = if self.good {
            if change.is_empty() {
                return Ok(());
            }
            encode::change(table, change)
        } else {
            let whole = whole();
            // Where nothing is wanted of IPv6, the kernel need not have it.
            if self.family == Family::V6 && whole.is_empty() {
                return Ok(());
            }
            let mut rules = fixed();
            rules.chains.extend(whole.new_chains);
            rules.elements.extend(whole.added);
            replace_table(&rules)
        };
        let written = netfilter.transact(batch);
        self.good = written.is_ok();
        written
    }
}

/// Removes a table of both families; those that are not there are fine.
pub(crate) fn remove_both(netfilter: &mut Socket, table: impl Fn(Family) -> Table) -> io::Result<()> {
    netfilter.transact(delete_table(&table(Family::V4)))?;
    if let Err(error) = netfilter.transact(delete_table(&table(Family::V6))) {
        // A kernel without IPv6 has no such table.
        tracing::debug!(%error, "no table of IPv6");
    }
    Ok(())
}
