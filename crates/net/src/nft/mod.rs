//! nf_tables: a rule set as data (`compile`), and as netlink messages (`encode`).
//!
//! Invariant: one table per instance, replaced whole in one transaction; single elements are added and removed in
//! between. Absent: the `nft` command, reading rules back (tests do, with `nft`).

mod compile;
mod encode;
mod foreign;

pub(crate) use compile::{Forward, Model, compile, elements, table_name};
pub(crate) use encode::{add_elements, delete_elements, delete_table, replace_table};
pub(crate) use foreign::{accept_forwarding, withdraw_forwarding};

/// A 4-byte register of the rule machine; a value of `n` bytes fills registers from the named one on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reg(pub(crate) u32);

/// The first register, and the next ones for a concatenation.
pub(crate) const R0: Reg = Reg(8);
pub(crate) const R1: Reg = Reg(9);
pub(crate) const R2: Reg = Reg(10);

/// A part of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    /// IPv4 source address.
    Source,
    /// IPv4 destination address.
    Destination,
    /// Destination port of TCP, UDP, SCTP.
    Port,
    /// Transport protocol.
    Protocol,
    /// Name of the link it came in by.
    InputName,
}

/// One step of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expr {
    /// Loads a field.
    Load(Field, Reg),
    /// Goes on only if the register begins with these bytes (or, negated, does not).
    Compare { reg: Reg, negated: bool, value: Vec<u8> },
    /// Keeps only these bits of an address in a register.
    Mask { reg: Reg, mask: [u8; 4] },
    /// Goes on only if the destination is an address of this host; uses the register.
    ToThisHost(Reg),
    /// Goes on only if packets to the source address would not leave by the link this one came in by; uses the register.
    ForeignSource(Reg),
    /// Goes on only if the set has the key in the register.
    InSet { set: &'static str, reg: Reg },
    /// Goes on only if the map has the key, and loads its value.
    Map { set: &'static str, key: Reg, value: Reg },
    /// Changes destination address and port to those in the registers.
    Dnat { address: Reg, port: Reg },
    /// Loads a constant.
    Constant { reg: Reg, value: Vec<u8> },
    /// Changes the source address to that in the register.
    Snat { address: Reg },
    /// Changes the source address to that of the link it leaves by.
    Masquerade,
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
    /// Netfilter's number: 0 prerouting, 3 output, 4 postrouting.
    pub(crate) number: u32,
    pub(crate) priority: i32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) name: &'static str,
    pub(crate) hook: Hook,
    pub(crate) rules: Vec<Vec<Expr>>,
}

/// A part of a set's key or value, with nft's own number for its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Ipv4 = 7,
    Protocol = 12,
    Port = 13,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Set {
    pub(crate) name: &'static str,
    pub(crate) key: &'static [Type],
    /// Not empty: a map to this.
    pub(crate) value: &'static [Type],
}

/// An element of a set: key and, in a map, value, each part in its own register.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Element {
    pub(crate) set: &'static str,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

/// An instance's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RuleSet {
    pub(crate) table: String,
    pub(crate) sets: Vec<Set>,
    pub(crate) elements: Vec<Element>,
    pub(crate) chains: Vec<Chain>,
}
