//! The encoding byte by byte, where the order of bytes and the nesting matter.

use super::*;
use crate::nft::{Hook, R0, R1};

fn t() -> Table {
    Table { family: Family::V4, name: "t".to_owned() }
}

/// Bytes written as hex, blanks ignored.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16).unwrap()).unwrap();
    digits.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

#[track_caller]
fn check(batch: &Batch, expect: &[(u16, &str)]) {
    let found: Vec<(u16, String)> = batch
        .messages()
        .iter()
        .map(|(kind, bytes)| (*kind, bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
        .collect();
    let hexed = |text: &str| hex(text).iter().map(|byte| format!("{byte:02x}")).collect();
    let expect: Vec<(u16, String)> = expect.iter().map(|(kind, text)| (*kind, hexed(text))).collect();
    assert_eq!(found, expect);
}

const BEGIN: (u16, &str) = (0x10, "0200000a");
const END: (u16, &str) = (0x11, "0200000a");

#[test]
fn a_table_is_made_before_it_is_deleted() {
    let name = "02000000 0600 0100 74000000";
    check(&delete_table(&t()), &[BEGIN, (0x0a00, name), (0x0a02, name), END]);
}

#[test]
fn elements_by_set() {
    let elements = [
        Element { set: "b", key: vec![1, 2, 3, 4], value: Value::Data(vec![5, 6, 7, 8]) },
        Element { set: "a", key: vec![9, 9, 9, 9], value: Value::Nothing },
    ];
    let a = "02000000 0600 0100 74000000 0600 0200 61000000
        1400 0380  1000 0180  0c00 0180  0800 0100 09090909";
    let b = "02000000 0600 0100 74000000 0600 0200 62000000
        2000 0380  1c00 0180  0c00 0180  0800 0100 01020304  0c00 0280  0800 0100 05060708";
    check(&add_elements(&t(), &elements), &[BEGIN, (0x0a0c, a), (0x0a0c, b), END]);
    check(&delete_elements(&t(), &elements[1..]), &[BEGIN, (0x0a0e, a), END]);
}

#[test]
fn a_whole_rule_set() {
    let rules = RuleSet {
        table: t(),
        sets: vec![Set {
            name: "m",
            key: &[Type::Protocol, Type::Port],
            value: &[Type::Ipv4],
            usage: Use::Plain,
        }],
        elements: vec![],
        chains: vec![Chain {
            name: "c".to_owned(),
            hook: Some(Hook { kind: "nat", number: 4, priority: -100 }),
            rules: vec![vec![
                Expr::Load(Field::Port, R1),
                Expr::Map { set: "m", key: R0, value: R0 },
                Expr::Dnat { address: R0, port: R1 },
            ]],
        }],
    };
    let name = "02000000 0600 0100 74000000";
    let set = "02000000 0600 0100 74000000 0600 0200 6d000000 0800 0300 00000008
        0800 0400 0000030d 0800 0500 00000008 0800 0600 00000007 0800 0700 00000004 0800 0a00 00000001";
    let chain = "02000000 0600 0100 74000000 0600 0300 63000000
        1400 0480 0800 0100 00000004 0800 0200 ffffff9c  0800 0500 00000001  0800 0700 6e617400";
    let rule = "02000000 0600 0100 74000000 0600 0200 63000000  9400 0480
        3400 0180 0c00 0100 7061796c6f616400
            2400 0280 0800 0100 00000009 0800 0200 00000002 0800 0300 00000002 0800 0400 00000002
        2c00 0180 0b00 0100 6c6f6f6b75700000
            1c00 0280 0600 0100 6d000000 0800 0200 00000008 0800 0300 00000008
        3000 0180 0800 0100 6e617400
            2400 0280 0800 0100 00000001 0800 0200 00000002 0800 0300 00000008 0800 0500 00000009";
    check(
        &replace_table(&rules),
        &[
            BEGIN,
            (0x0a00, name),
            (0x0a02, name),
            (0x0a00, name),
            (0x0a09, set),
            (0x0a03, chain),
            (0x0a06, rule),
            END,
        ],
    );
}

#[test]
fn verdicts_and_comments() {
    let batch = transaction(|batch| new_rule(batch, APPEND, &t(), "c", &[Expr::Drop], Some("x")));
    let rule = "02000000 0600 0100 74000000 0600 0200 63000000
        3400 0480 3000 0180 0e00 0100 696d6d65646961746500 0000
            1c00 0280 0800 0100 00000000 1000 0280 0c00 0280 0800 0100 00000000
        0800 0700 00027800";
    check(&batch, &[BEGIN, (0x0a06, rule), END]);
}

#[test]
fn long_lists_are_split() {
    let element =
        |number: u16| Element { set: "s", key: number.to_be_bytes().to_vec(), value: Value::Nothing };
    let elements: Vec<Element> = (0..1200).map(element).collect();
    let batch = add_elements(&t(), &elements);
    assert_eq!(batch.messages().len(), 2 + 3);
}
