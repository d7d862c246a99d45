//! From rules to classic BPF: architecture, then a binary search over ranges of call numbers, then arguments.
//!
//! Invariant: pure; about 9 comparisons decide any call. Calls above all that a profile names get ENOSYS where the
//! default would be a denial, as runc: programs then fall back instead of failing on calls newer than the profile.
//! Absent: optimisation of argument checks.

use std::collections::BTreeMap;

use super::profile::{Action, Compare, Condition, Profile, Rule};

/// `sock_filter`: code, jump if true, jump if false, constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) code: u16,
    pub(super) yes: u8,
    pub(super) no: u8,
    pub(super) value: u32,
}

pub(super) const LOAD: u16 = 0x20;
pub(super) const AND: u16 = 0x54;
pub(super) const JUMP: u16 = 0x05;
pub(super) const EQUAL: u16 = 0x15;
pub(super) const GREATER: u16 = 0x25;
pub(super) const GREATER_EQUAL: u16 = 0x35;
pub(super) const RETURN: u16 = 0x06;

/// Offsets in `seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

#[cfg(target_arch = "x86_64")]
pub(super) const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
pub(super) const NATIVE: u32 = 0xc000_00b7;

/// x32 calls are native calls with this bit.
const X32: u32 = 0x4000_0000;

const NO_CALL: Action = Action::errno(libc::ENOSYS as u32);

fn plain(code: u16, value: u32) -> Instruction {
    Instruction { code, yes: 0, no: 0, value }
}

/// What is done on a call.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Leaf {
    Always(Action),
    /// Rules with conditions in order, then what remains.
    Checked(Vec<Rule>, Action),
}

/// The program for a profile.
pub(super) fn compile(profile: &Profile) -> Vec<Instruction> {
    let mut program = vec![plain(LOAD, ARCHITECTURE)];
    program.push(Instruction { code: EQUAL, yes: 1, no: 0, value: NATIVE });
    program.push(plain(RETURN, NO_CALL.0));
    program.push(plain(LOAD, NUMBER));
    program.extend(search(&ranges(profile)));
    program
}

/// First number of each range and what is done there; the first begins at 0.
fn ranges(profile: &Profile) -> Vec<(u32, Leaf)> {
    let mut calls: BTreeMap<u32, Vec<&Rule>> = BTreeMap::new();
    for rule in &profile.rules {
        calls.entry(rule.call).or_default().push(rule);
    }
    let mut ranges = vec![(0, Leaf::Always(profile.default))];
    let mut put = |from: u32, leaf: Leaf| match ranges.last_mut() {
        Some((_, last)) if *last == leaf => {}
        Some((start, last)) if *start == from => *last = leaf,
        _ => ranges.push((from, leaf)),
    };
    let mut next = 0;
    for (call, rules) in &calls {
        if *call > next {
            put(next, Leaf::Always(profile.default));
        }
        put(*call, leaf(rules, profile.default));
        next = call + 1;
    }
    put(next, Leaf::Always(if denies(profile.default) { NO_CALL } else { profile.default }));
    put(X32, Leaf::Always(NO_CALL));
    ranges
}

/// Anything stricter than logging.
fn denies(action: Action) -> bool {
    !matches!(action.0 & 0xffff_0000, 0x7fff_0000 | 0x7ffc_0000 | 0x7ff0_0000)
}

fn leaf(rules: &[&Rule], default: Action) -> Leaf {
    let unconditional = rules.iter().find(|rule| rule.conditions.is_empty()).map(|rule| rule.action);
    let checked: Vec<Rule> =
        rules.iter().filter(|rule| !rule.conditions.is_empty()).copied().cloned().collect();
    let rest = unconditional.unwrap_or(default);
    if checked.iter().all(|rule| rule.action == rest) {
        Leaf::Always(rest)
    } else {
        Leaf::Checked(checked, rest)
    }
}

fn search(ranges: &[(u32, Leaf)]) -> Vec<Instruction> {
    let [(_, leaf)] = ranges else {
        let (low, high) = ranges.split_at(ranges.len() / 2);
        let (low, from, high) = (search(low), high[0].0, search(high));
        let mut program = Vec::with_capacity(low.len() + high.len() + 2);
        match u8::try_from(low.len()) {
            Ok(distance) => {
                program.push(Instruction { code: GREATER_EQUAL, yes: distance, no: 0, value: from })
            }
            Err(_) => {
                program.push(Instruction { code: GREATER_EQUAL, yes: 0, no: 1, value: from });
                program.push(plain(JUMP, low.len() as u32));
            }
        }
        program.extend(low);
        program.extend(high);
        return program;
    };
    match leaf {
        Leaf::Always(action) => vec![plain(RETURN, action.0)],
        Leaf::Checked(rules, rest) => {
            let mut program: Vec<Instruction> = rules.iter().flat_map(check).collect();
            program.push(plain(RETURN, rest.0));
            program
        }
    }
}

/// One rule: returns its action if all conditions hold, else goes on behind itself.
fn check(rule: &Rule) -> Vec<Instruction> {
    let mut program = Vec::new();
    let mut failing = Vec::new();
    for condition in &rule.conditions {
        let base = program.len();
        let (code, fails) = compare(condition);
        program.extend(code);
        failing.extend(fails.into_iter().map(|(at, on)| (base + at, on)));
    }
    program.push(plain(RETURN, rule.action.0));
    let end = program.len();
    for (at, on) in failing {
        // At most 6 arguments of at most 6 instructions: always within 255.
        let distance = (end - at - 1) as u8;
        if on { program[at].yes = distance } else { program[at].no = distance }
    }
    program
}

/// Code that goes on behind itself if the condition holds; the jumps (index, on true or false) taken if it does not.
fn compare(condition: &Condition) -> (Vec<Instruction>, Vec<(usize, bool)>) {
    let low_at = ARGUMENTS + condition.index * 8;
    let (load_low, load_high) = (plain(LOAD, low_at), plain(LOAD, low_at + 4));
    let (low, high) = (condition.value as u32, (condition.value >> 32) as u32);
    let test = |code, yes, no, value| Instruction { code, yes, no, value };
    match condition.compare {
        Compare::Equal => (
            vec![load_high, test(EQUAL, 0, 0, high), load_low, test(EQUAL, 0, 0, low)],
            vec![(1, false), (3, false)],
        ),
        Compare::NotEqual => {
            (vec![load_high, test(EQUAL, 0, 2, high), load_low, test(EQUAL, 0, 0, low)], vec![(3, true)])
        }
        Compare::Greater | Compare::GreaterOrEqual => {
            let last = if condition.compare == Compare::Greater { GREATER } else { GREATER_EQUAL };
            (
                vec![
                    load_high,
                    test(GREATER, 3, 0, high),
                    test(EQUAL, 0, 0, high),
                    load_low,
                    test(last, 0, 0, low),
                ],
                vec![(2, false), (4, false)],
            )
        }
        Compare::Less | Compare::LessOrEqual => {
            let last = if condition.compare == Compare::Less { GREATER_EQUAL } else { GREATER };
            (
                vec![
                    load_high,
                    test(GREATER, 0, 0, high),
                    test(EQUAL, 0, 2, high),
                    load_low,
                    test(last, 0, 0, low),
                ],
                vec![(1, true), (4, true)],
            )
        }
        Compare::MaskedEqual(mask) => (
            vec![
                load_high,
                plain(AND, (mask >> 32) as u32),
                test(EQUAL, 0, 0, high),
                load_low,
                plain(AND, mask as u32),
                test(EQUAL, 0, 0, low),
            ],
            vec![(2, false), (5, false)],
        ),
    }
}

/// As the kernel reads it.
pub(super) fn bytes(program: &[Instruction]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(program.len() * 8);
    for instruction in program {
        bytes.extend_from_slice(&instruction.code.to_ne_bytes());
        bytes.extend_from_slice(&[instruction.yes, instruction.no]);
        bytes.extend_from_slice(&instruction.value.to_ne_bytes());
    }
    bytes
}
