//! Rules → netlink messages, in the numbers of `linux/netfilter/nf_tables.h`.
//!
//! Invariant: every function makes one whole transaction. Numbers in attributes are in network order.

use super::{Chain, Element, Expr, Field, Reg, RuleSet, Set, Type};
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
const NEWSET: u16 = 9;
const NEWSETELEM: u16 = 12;
const DELSETELEM: u16 = 14;

/// The table's and the chain's name are attributes 1 and 2, or 1 and 3, of everything in a table.
pub(super) const TABLE: u16 = 1;
const LIST_ELEMENT: u16 = 1;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const SET_IS_MAP: u32 = 8;
/// Elements in one message; each takes at most 64 bytes, and nested attributes end at 64 KiB.
const ELEMENTS: usize = 500;

/// The number of a message of nf_tables.
pub(super) fn kind(message: u16) -> u16 {
    (SUBSYSTEM << 8) | message
}

/// The header of every message: IPv4, version 0, a resource.
pub(super) fn header(resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [u8::try_from(libc::AF_INET).expect("small"), 0, high, low]
}

/// A transaction around messages.
pub(super) fn transaction(inside: impl FnOnce(&mut Batch)) -> Batch {
    let mut batch = Batch::default();
    batch.message(BATCH_BEGIN, 0, &header(SUBSYSTEM));
    inside(&mut batch);
    batch.acknowledge();
    batch.message(BATCH_END, 0, &header(SUBSYSTEM));
    batch
}

/// Makes the table what the rule set says, whatever it was.
pub(crate) fn replace_table(rules: &RuleSet) -> Batch {
    transaction(|batch| {
        remove(batch, &rules.table);
        batch.message(kind(NEWTABLE), CREATE, &header(0)).text(TABLE, &rules.table);
        for (id, set) in (1..).zip(&rules.sets) {
            new_set(batch, &rules.table, set, id);
        }
        change_elements(batch, NEWSETELEM, &rules.table, &rules.elements);
        for chain in &rules.chains {
            new_chain(batch, &rules.table, chain);
        }
        for chain in &rules.chains {
            for rule in &chain.rules {
                new_rule(batch, APPEND, &rules.table, chain.name, rule, None);
            }
        }
    })
}

/// Removes the table; there need not be one.
pub(crate) fn delete_table(table: &str) -> Batch {
    transaction(|batch| remove(batch, table))
}

/// Adds elements to sets.
pub(crate) fn add_elements(table: &str, elements: &[Element]) -> Batch {
    transaction(|batch| change_elements(batch, NEWSETELEM, table, elements))
}

/// Removes elements from sets; all must be there.
pub(crate) fn delete_elements(table: &str, elements: &[Element]) -> Batch {
    transaction(|batch| change_elements(batch, DELSETELEM, table, elements))
}

/// Deleting what is not there fails, making what is there does not.
fn remove(batch: &mut Batch, table: &str) {
    batch.message(kind(NEWTABLE), CREATE, &header(0)).text(TABLE, table);
    batch.message(kind(DELTABLE), 0, &header(0)).text(TABLE, table);
}

fn type_number(types: &[Type]) -> u32 {
    types.iter().fold(0, |number, part| (number << 6) | *part as u32)
}

fn length(types: &[Type]) -> u32 {
    u32::try_from(types.len() * 4).expect("few parts")
}

fn new_set(batch: &mut Batch, table: &str, set: &Set, id: u32) {
    let flags = if set.value.is_empty() { 0 } else { SET_IS_MAP };
    batch.message(kind(NEWSET), CREATE, &header(0)).text(TABLE, table).text(2, set.name).be32(3, flags);
    batch.be32(4, type_number(set.key)).be32(5, length(set.key));
    if !set.value.is_empty() {
        batch.be32(6, type_number(set.value)).be32(7, length(set.value));
    }
    batch.be32(10, id);
}

fn change_elements(batch: &mut Batch, message: u16, table: &str, elements: &[Element]) {
    let mut sets: Vec<&str> = elements.iter().map(|element| element.set).collect();
    sets.sort_unstable();
    sets.dedup();
    let flags = if message == NEWSETELEM { CREATE } else { 0 };
    for set in sets {
        let own: Vec<&Element> = elements.iter().filter(|element| element.set == set).collect();
        for part in own.chunks(ELEMENTS) {
            batch.message(kind(message), flags, &header(0)).text(TABLE, table).text(2, set);
            batch.nest(3, |batch| part.iter().for_each(|element| new_element(batch, element)));
        }
    }
}

fn new_element(batch: &mut Batch, element: &Element) {
    batch.nest(LIST_ELEMENT, |batch| {
        batch.nest(1, |batch| {
            batch.attr(DATA_VALUE, &element.key);
        });
        if !element.value.is_empty() {
            batch.nest(2, |batch| {
                batch.attr(DATA_VALUE, &element.value);
            });
        }
    });
}

fn new_chain(batch: &mut Batch, table: &str, chain: &Chain) {
    let hook = &chain.hook;
    batch.message(kind(NEWCHAIN), CREATE, &header(0)).text(TABLE, table).text(3, chain.name);
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
    table: &str,
    chain: &str,
    rule: &[Expr],
    comment: Option<&str>,
) {
    batch.message(kind(NEWRULE), CREATE | place, &header(0)).text(TABLE, table).text(2, chain);
    batch.nest(4, |batch| rule.iter().for_each(|expr| new_expr(batch, expr)));
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
pub(super) fn delete_rule(batch: &mut Batch, table: &str, chain: &str, handle: &[u8]) {
    batch.message(kind(DELRULE), 0, &header(0)).text(TABLE, table).text(2, chain).attr(3, handle);
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

fn new_expr(batch: &mut Batch, step: &Expr) {
    match step {
        Expr::Load(field, Reg(reg)) => load(batch, *field, *reg),
        Expr::Compare { reg, negated, value: bytes } => expr(batch, "cmp", |batch| {
            batch.be32(1, reg.0).be32(2, u32::from(*negated));
            value(batch, 3, bytes);
        }),
        Expr::Mask { reg, mask } => expr(batch, "bitwise", |batch| {
            batch.be32(1, reg.0).be32(2, reg.0).be32(3, 4);
            value(batch, 4, mask);
            value(batch, 5, &[0; 4]);
        }),
        Expr::ToThisHost(reg) => {
            // The type of the destination address, and RTN_LOCAL in the machine's order.
            expr(batch, "fib", |batch| {
                batch.be32(1, reg.0).be32(2, 3).be32(3, 2);
            });
            new_expr(batch, &Expr::Compare { reg: *reg, negated: false, value: 2u32.to_ne_bytes().to_vec() });
        }
        Expr::ForeignSource(reg) => {
            // The index of the link that leads to the source, if it is the input link (source, input; index): else 0.
            expr(batch, "fib", |batch| {
                batch.be32(1, reg.0).be32(2, 1).be32(3, 9);
            });
            new_expr(batch, &Expr::Compare { reg: *reg, negated: false, value: vec![0; 4] });
        }
        Expr::InSet { set, reg } => expr(batch, "lookup", |batch| {
            batch.text(1, set).be32(2, reg.0);
        }),
        Expr::Map { set, key, value } => expr(batch, "lookup", |batch| {
            batch.text(1, set).be32(2, key.0).be32(3, value.0);
        }),
        Expr::Dnat { address, port } => expr(batch, "nat", |batch| {
            batch.be32(1, 1).be32(2, family()).be32(3, address.0).be32(5, port.0);
        }),
        Expr::Snat { address } => expr(batch, "nat", |batch| {
            batch.be32(1, 0).be32(2, family()).be32(3, address.0);
        }),
        Expr::Constant { reg, value: bytes } => expr(batch, "immediate", |batch| {
            batch.be32(1, reg.0);
            value(batch, 2, bytes);
        }),
        Expr::Masquerade => expr(batch, "masq", |_| {}),
        Expr::Accept => verdict(batch, 1),
        Expr::Drop => verdict(batch, 0),
    }
}

fn family() -> u32 {
    u32::try_from(libc::AF_INET).expect("small")
}

fn load(batch: &mut Batch, field: Field, reg: u32) {
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
    match field {
        Field::Source => expr(batch, "payload", payload(1, 12, 4)),
        Field::Destination => expr(batch, "payload", payload(1, 16, 4)),
        Field::Port => expr(batch, "payload", payload(2, 2, 2)),
        Field::Protocol => expr(batch, "meta", meta(16)),
        Field::InputName => expr(batch, "meta", meta(6)),
    }
}

/// An immediate in the verdict's register.
fn verdict(batch: &mut Batch, code: u32) {
    expr(batch, "immediate", |batch| {
        batch.be32(1, 0).nest(2, |batch| {
            batch.nest(DATA_VERDICT, |batch| {
                batch.be32(1, code);
            });
        });
    });
}

#[cfg(test)]
mod tests;
