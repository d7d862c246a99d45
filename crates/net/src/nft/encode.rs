//! Rules → netlink messages, in the numbers of `linux/netfilter/nf_tables.h`.
//!
//! Invariant: every function makes one whole transaction. Numbers in attributes are in network order.

use std::collections::BTreeMap;

use super::{Chain, Change, Element, Expr, Family, Field, Reg, RuleSet, Set, Table, Type, Use, Value};
use crate::netlink::{APPEND, Batch, CREATE};

const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEWTABLE: u16 = 0;
const DELTABLE: u16 = 2;
const NEWCHAIN: u16 = 3;
pub(super) const GETCHAIN: u16 = 4;
const NEWRULE: u16 = 6;
pub(super) const GETRULE: u16 = 7;
const DELRULE: u16 = 8;
const DELCHAIN: u16 = 5;
const NEWSET: u16 = 9;
const NEWSETELEM: u16 = 12;
const DELSETELEM: u16 = 14;

/// The table's and the chain's name are attributes 1 and 2, or 1 and 3, of everything in a table.
pub(super) const TABLE: u16 = 1;
const LIST_ELEMENT: u16 = 1;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const SET_IS_MAP: u32 = 8;
/// Elements have a timeout, and rules may add some.
const SET_REMEMBERS: u32 = 0x30;
/// Most elements that rules may add.
const REMEMBERED: u32 = 1 << 18;
/// Verdicts: on to another chain and back, or for good.
const JUMP: i32 = -3;
const GOTO: i32 = -4;
const RETURN: i32 = -5;
/// Comparisons: at most, at least.
const AT_MOST: u32 = 3;
const AT_LEAST: u32 = 5;
/// "Port unreachable" of ICMP and of ICMPv6.
const UNREACHABLE: [u8; 2] = [3, 4];
/// Elements in one message; each takes at most 120 bytes, and nested attributes end at 64 KiB.
const ELEMENTS: usize = 500;

/// The number of a message of nf_tables.
pub(super) fn kind(message: u16) -> u16 {
    (SUBSYSTEM << 8) | message
}

impl Family {
    /// Its number in messages.
    fn number(self) -> u8 {
        u8::try_from(if self == Self::V4 { libc::AF_INET } else { libc::AF_INET6 }).expect("small")
    }

    /// Bytes of an address.
    pub(crate) fn width(self) -> u32 {
        if self == Self::V4 { 4 } else { 16 }
    }
}

/// The header of every message: the family, version 0, a resource.
pub(super) fn header(family: Family, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family.number(), 0, high, low]
}

/// Begins a message about a table.
fn about<'a>(batch: &'a mut Batch, message: u16, flags: u16, table: &Table) -> &'a mut Batch {
    batch.message(kind(message), flags, &header(table.family, 0)).text(TABLE, &table.name)
}

/// A transaction around messages.
pub(super) fn transaction(inside: impl FnOnce(&mut Batch)) -> Batch {
    let mut batch = Batch::default();
    batch.message(BATCH_BEGIN, 0, &header(Family::V4, SUBSYSTEM));
    inside(&mut batch);
    batch.acknowledge();
    batch.message(BATCH_END, 0, &header(Family::V4, SUBSYSTEM));
    batch
}

/// Makes the table what the rule set says, whatever it was.
pub(crate) fn replace_table(rules: &RuleSet) -> Batch {
    let table = &rules.table;
    transaction(|batch| {
        remove(batch, table);
        about(batch, NEWTABLE, CREATE, table);
        for (id, set) in (1..).zip(&rules.sets) {
            new_set(batch, table, set, id);
        }
        new_chains(batch, table, &rules.chains);
        change_elements(batch, NEWSETELEM, table, &rules.elements);
    })
}

/// Removes the table; there need not be one.
pub(crate) fn delete_table(table: &Table) -> Batch {
    transaction(|batch| remove(batch, table))
}

/// Changes a table. What leads to a chain comes after it and goes before it.
pub(crate) fn change(table: &Table, change: &Change) -> Batch {
    transaction(|batch| {
        new_chains(batch, table, &change.new_chains);
        change_elements(batch, DELSETELEM, table, &change.removed);
        change_elements(batch, NEWSETELEM, table, &change.added);
        for chain in &change.old_chains {
            about(batch, DELCHAIN, 0, table).text(3, chain);
        }
    })
}

/// Adds elements to sets.
pub(crate) fn add_elements(table: &Table, elements: &[Element]) -> Batch {
    transaction(|batch| change_elements(batch, NEWSETELEM, table, elements))
}

/// Removes elements from sets; all must be there.
pub(crate) fn delete_elements(table: &Table, elements: &[Element]) -> Batch {
    transaction(|batch| change_elements(batch, DELSETELEM, table, elements))
}

/// Deleting what is not there fails, making what is there does not.
fn remove(batch: &mut Batch, table: &Table) {
    about(batch, NEWTABLE, CREATE, table);
    about(batch, DELTABLE, 0, table);
}

/// All of them before their rules, which may lead to any.
fn new_chains(batch: &mut Batch, table: &Table, chains: &[Chain]) {
    chains.iter().for_each(|chain| new_chain(batch, table, chain));
    for chain in chains {
        for rule in &chain.rules {
            new_rule(batch, APPEND, table, &chain.name, rule, None);
        }
    }
}

fn type_number(types: &[Type]) -> u32 {
    types.iter().fold(0, |number, part| (number << 6) | *part as u32)
}

fn length(types: &[Type]) -> u32 {
    types.iter().map(|part| if *part == Type::Ipv6 { 16 } else { 4 }).sum()
}

fn new_set(batch: &mut Batch, table: &Table, set: &Set, id: u32) {
    let remembers = set.usage == Use::Remembered;
    let map = if set.value.is_empty() { 0 } else { SET_IS_MAP };
    let flags = map | if remembers { SET_REMEMBERS } else { 0 };
    about(batch, NEWSET, CREATE, table).text(2, set.name).be32(3, flags);
    batch.be32(4, type_number(set.key)).be32(5, length(set.key));
    match set.value {
        [] => {}
        [Type::Verdict] => _ = batch.be32(6, Type::Verdict as u32),
        value => _ = batch.be32(6, type_number(value)).be32(7, length(value)),
    }
    if remembers {
        batch.nest(9, |batch| {
            batch.be32(1, REMEMBERED);
        });
    }
    batch.be32(10, id);
}

fn change_elements(batch: &mut Batch, message: u16, table: &Table, elements: &[Element]) {
    let mut by_set: BTreeMap<&str, Vec<&Element>> = BTreeMap::new();
    for element in elements {
        by_set.entry(element.set).or_default().push(element);
    }
    let flags = if message == NEWSETELEM { CREATE } else { 0 };
    for (set, own) in by_set {
        for part in own.chunks(ELEMENTS) {
            about(batch, message, flags, table).text(2, set);
            batch.nest(3, |batch| part.iter().for_each(|element| new_element(batch, element)));
        }
    }
}

fn new_element(batch: &mut Batch, element: &Element) {
    batch.nest(LIST_ELEMENT, |batch| {
        batch.nest(1, |batch| {
            batch.attr(DATA_VALUE, &element.key);
        });
        match &element.value {
            Value::Nothing => {}
            Value::Data(data) => _ = batch.nest(2, |batch| _ = batch.attr(DATA_VALUE, data)),
            Value::Goto(chain) => _ = batch.nest(2, |batch| verdict_data(batch, GOTO, Some(chain))),
            Value::Jump(chain) => _ = batch.nest(2, |batch| verdict_data(batch, JUMP, Some(chain))),
            Value::Drop => _ = batch.nest(2, |batch| verdict_data(batch, 0, None)),
        }
    });
}

fn new_chain(batch: &mut Batch, table: &Table, chain: &Chain) {
    about(batch, NEWCHAIN, CREATE, table).text(3, &chain.name);
    let Some(hook) = &chain.hook else { return };
    batch.nest(4, |batch| {
        batch.be32(1, hook.number).attr(2, &hook.priority.to_be_bytes());
    });
    // Policy: accept.
    batch.be32(5, 1).text(7, hook.kind);
}

/// Adds a rule at the end (`APPEND`) or the beginning of a chain.
pub(super) fn new_rule(
    batch: &mut Batch,
    place: u16,
    table: &Table,
    chain: &str,
    rule: &[Expr],
    comment: Option<&str>,
) {
    about(batch, NEWRULE, CREATE | place, table).text(2, chain);
    batch.nest(4, |batch| rule.iter().for_each(|expr| new_expr(batch, table.family, expr)));
    if let Some(comment) = comment {
        batch.attr(7, &user_data(comment));
    }
}

/// A comment as nft keeps it.
pub(super) fn user_data(comment: &str) -> Vec<u8> {
    let length = u8::try_from(comment.len() + 1).expect("comments here are short");
    [&[0, length], comment.as_bytes(), &[0]].concat()
}

/// Removes a rule by its number.
pub(super) fn delete_rule(batch: &mut Batch, table: &Table, chain: &str, handle: &[u8]) {
    about(batch, DELRULE, 0, table).text(2, chain).attr(3, handle);
}

fn expr(batch: &mut Batch, name: &str, data: impl FnOnce(&mut Batch)) {
    batch.nest(LIST_ELEMENT, |batch| {
        batch.text(1, name).nest(2, data);
    });
}

fn value(batch: &mut Batch, attribute: u16, bytes: &[u8]) {
    batch.nest(attribute, |batch| {
        batch.attr(DATA_VALUE, bytes);
    });
}

fn new_expr(batch: &mut Batch, family: Family, step: &Expr) {
    match step {
        Expr::Load(field, Reg(reg)) => load(batch, family, *field, *reg),
        Expr::Compare { reg, negated, value: bytes } => compare(batch, *reg, u32::from(*negated), bytes),
        Expr::Between { reg, from, to } => {
            compare(batch, *reg, AT_LEAST, &from.to_be_bytes());
            compare(batch, *reg, AT_MOST, &to.to_be_bytes());
        }
        Expr::Mask { reg, mask } => expr(batch, "bitwise", |batch| {
            batch.be32(1, reg.0).be32(2, reg.0).be32(3, u32::try_from(mask.len()).expect("few"));
            value(batch, 4, mask);
            value(batch, 5, &vec![0; mask.len()]);
        }),
        Expr::ToThisHost(reg) => of_this_host(batch, *reg, false, false),
        Expr::Elsewhere { source, reg } => of_this_host(batch, *reg, *source, true),
        Expr::ForeignSource(reg) => {
            // The index of the link that leads to the source, if it is the input link (source, input; index): else 0.
            expr(batch, "fib", |batch| {
                batch.be32(1, reg.0).be32(2, 1).be32(3, 9);
            });
            compare(batch, *reg, 0, &[0; 4]);
        }
        Expr::Jump(chain) => verdict(batch, JUMP, Some(chain)),
        Expr::Goto(chain) => verdict(batch, GOTO, Some(chain)),
        Expr::Return => verdict(batch, RETURN, None),
        Expr::Constant { reg, value: bytes } => expr(batch, "immediate", |batch| {
            batch.be32(1, reg.0);
            value(batch, 2, bytes);
        }),
        Expr::Random { reg, modulus, offset } => expr(batch, "numgen", |batch| {
            batch.be32(1, reg.0).be32(2, *modulus).be32(3, 1).be32(4, *offset);
        }),
        Expr::InSet { .. }
        | Expr::Map { .. }
        | Expr::Verdict { .. }
        | Expr::Forget { .. }
        | Expr::Remember { .. } => use_set(batch, step),
        _ => end(batch, family, step),
    }
}

/// Compares with the kernel's number for how: 0 equal, 1 not equal.
fn compare(batch: &mut Batch, reg: Reg, how: u32, bytes: &[u8]) {
    expr(batch, "cmp", |batch| {
        batch.be32(1, reg.0).be32(2, how);
        value(batch, 3, bytes);
    });
}

/// Compares the type of an address with RTN_LOCAL, which is in the machine's order.
fn of_this_host(batch: &mut Batch, reg: Reg, source: bool, negated: bool) {
    expr(batch, "fib", |batch| {
        batch.be32(1, reg.0).be32(2, 3).be32(3, if source { 1 } else { 2 });
    });
    compare(batch, reg, u32::from(negated), &2u32.to_ne_bytes());
}

/// The steps that read or fill a set.
fn use_set(batch: &mut Batch, step: &Expr) {
    let lookup = |batch: &mut Batch, set: &str, key: Reg, to: Option<u32>| {
        expr(batch, "lookup", |batch| {
            batch.text(1, set).be32(2, key.0);
            to.into_iter().for_each(|to| _ = batch.be32(3, to));
        });
    };
    match step {
        Expr::InSet { set, reg } => lookup(batch, set, *reg, None),
        Expr::Map { set, key, value } => lookup(batch, set, *key, Some(value.0)),
        Expr::Verdict { set, key } => lookup(batch, set, *key, Some(0)),
        // Operation 2: delete.
        Expr::Forget { set, key, value } => expr(batch, "dynset", |batch| {
            batch.text(1, set).be32(3, 2).be32(4, key.0).be32(5, value.0);
        }),
        Expr::Remember { set, key, value, seconds } => expr(batch, "dynset", |batch| {
            let milliseconds = u64::from(*seconds) * 1000;
            // Operation 1: add, or begin the time anew.
            batch
                .text(1, set)
                .be32(3, 1)
                .be32(4, key.0)
                .be32(5, value.0)
                .attr(6, &milliseconds.to_be_bytes());
        }),
        _ => {}
    }
}

/// The steps that decide about a packet or its connection.
fn end(batch: &mut Batch, family: Family, step: &Expr) {
    let number = u32::from(family.number());
    match step {
        Expr::Dnat { address, port } => expr(batch, "nat", |batch| {
            batch.be32(1, 1).be32(2, number).be32(3, address.0).be32(5, port.0);
        }),
        Expr::Snat { address } => expr(batch, "nat", |batch| {
            batch.be32(1, 0).be32(2, number).be32(3, address.0);
        }),
        Expr::Masquerade => expr(batch, "masq", |_| {}),
        Expr::Reject => expr(batch, "reject", |batch| {
            batch.be32(1, 0).attr(2, &[UNREACHABLE[usize::from(family == Family::V6)]]);
        }),
        Expr::Reset => expr(batch, "reject", |batch| {
            batch.be32(1, 1).attr(2, &[0]);
        }),
        Expr::Accept => verdict(batch, 1, None),
        Expr::Drop => verdict(batch, 0, None),
        _ => {}
    }
}

fn load(batch: &mut Batch, family: Family, field: Field, reg: u32) {
    let width = family.width();
    let payload = |base: u32, offset: u32, length: u32| {
        move |batch: &mut Batch| {
            batch.be32(1, reg).be32(2, base).be32(3, offset).be32(4, length);
        }
    };
    let meta = |key: u32| {
        move |batch: &mut Batch| {
            batch.be32(1, reg).be32(2, key);
        }
    };
    // Of the connection; where it differs by direction, of the original one (0) or of the answers (1).
    let connection = |key: u32, direction: Option<u8>| {
        move |batch: &mut Batch| {
            batch.be32(1, reg).be32(2, key);
            direction.into_iter().for_each(|direction| _ = batch.attr(3, &[direction]));
        }
    };
    // The keys of IPv6 addresses are two higher.
    let of_family = |key: u32| if family == Family::V4 { key } else { key + 2 };
    let source = if family == Family::V4 { 12 } else { 8 };
    match field {
        Field::Source => expr(batch, "payload", payload(1, source, width)),
        Field::Destination => expr(batch, "payload", payload(1, source + width, width)),
        Field::Port => expr(batch, "payload", payload(2, 2, 2)),
        Field::Protocol => expr(batch, "meta", meta(16)),
        Field::InputName => expr(batch, "meta", meta(6)),
        Field::State => expr(batch, "ct", connection(0, None)),
        Field::Status => expr(batch, "ct", connection(2, None)),
        Field::ConnectionProtocol => expr(batch, "ct", connection(10, None)),
        Field::OriginalSource => expr(batch, "ct", connection(of_family(19), Some(0))),
        Field::OriginalDestination => expr(batch, "ct", connection(of_family(20), Some(0))),
        Field::OriginalPort => expr(batch, "ct", connection(12, Some(0))),
        Field::Answerer => expr(batch, "ct", connection(of_family(19), Some(1))),
        Field::AnswererPort => expr(batch, "ct", connection(11, Some(1))),
    }
}

/// An immediate in the verdict's register.
fn verdict(batch: &mut Batch, code: i32, chain: Option<&str>) {
    expr(batch, "immediate", |batch| {
        batch.be32(1, 0).nest(2, |batch| verdict_data(batch, code, chain));
    });
}

fn verdict_data(batch: &mut Batch, code: i32, chain: Option<&str>) {
    batch.nest(DATA_VERDICT, |batch| {
        batch.attr(1, &code.to_be_bytes());
        chain.into_iter().for_each(|chain| _ = batch.text(2, chain));
    });
}

#[cfg(test)]
mod tests;
