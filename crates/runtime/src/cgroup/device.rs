//! Which devices a container may use: v1 `devices.allow`, v2 a small BPF program on the group.
//!
//! Invariant: what no rule allows is denied. Absent: exceptions to an allowed range.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

/// One thing that is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    /// `c` or `b`.
    pub(crate) kind: char,
    /// `None` is all.
    pub(crate) major: Option<u32>,
    /// `None` is all.
    pub(crate) minor: Option<u32>,
    /// Letters of `rwm`.
    pub(crate) access: String,
}

impl Rule {
    pub(crate) fn new(kind: char, major: Option<u32>, minor: Option<u32>, access: &str) -> Self {
        Self { kind, major, minor, access: access.to_owned() }
    }

    /// What every container may do: make any node, use the harmless ones and terminals.
    pub(crate) fn defaults() -> Vec<Self> {
        let mut rules = vec![Self::new('c', None, None, "m"), Self::new('b', None, None, "m")];
        for (major, minor) in [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2)] {
            rules.push(Self::new('c', Some(major), Some(minor), "rwm"));
        }
        rules.push(Self::new('c', Some(136), None, "rwm"));
        rules
    }
}

/// Replaces a v1 group's list.
pub(crate) fn restrict_v1(group: &Path, rules: &[Rule]) -> io::Result<()> {
    fs::write(group.join("devices.deny"), "a")?;
    let number = |value: Option<u32>| value.map_or_else(|| "*".to_owned(), |value| value.to_string());
    for rule in rules {
        let line = format!("{} {}:{} {}", rule.kind, number(rule.major), number(rule.minor), rule.access);
        fs::write(group.join("devices.allow"), line)?;
    }
    Ok(())
}

/// One eBPF instruction: code, registers, offset, immediate.
fn instruction(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> u64 {
    u64::from(code)
        | u64::from(to) << 8
        | u64::from(from) << 12
        | u64::from(offset as u16) << 16
        | u64::from(immediate as u32) << 32
}

/// The program for a list: r2 type, r3 access, r4 major, r5 minor; each rule jumps to the next on a mismatch.
pub(crate) fn program(rules: &[Rule]) -> Vec<u64> {
    const LOAD_WORD: u8 = 0x61;
    const AND: u8 = 0x54;
    const SHIFT_RIGHT: u8 = 0x74;
    const MOVE: u8 = 0xb7;
    const MOVE_REGISTER: u8 = 0xbc;
    const JUMP_NOT_EQUAL: u8 = 0x55;
    const JUMP_NOT_EQUAL_REGISTER: u8 = 0x5d;
    const EXIT: u8 = 0x95;
    // struct bpf_cgroup_dev_ctx { u32 access_type (access << 16 | type), major, minor }
    let mut code = vec![
        instruction(LOAD_WORD, 2, 1, 0, 0),
        instruction(AND, 2, 0, 0, 0xffff),
        instruction(LOAD_WORD, 3, 1, 0, 0),
        instruction(SHIFT_RIGHT, 3, 0, 0, 16),
        instruction(LOAD_WORD, 4, 1, 4, 0),
        instruction(LOAD_WORD, 5, 1, 8, 0),
    ];
    for rule in rules {
        let kind = if rule.kind == 'b' { 1 } else { 2 };
        // mknod 1, read 2, write 4
        let access = rule.access.chars().fold(0, |bits, letter| {
            bits | match letter {
                'm' => 1,
                'r' => 2,
                'w' => 4,
                _ => 0,
            }
        });
        let mut tests = vec![(JUMP_NOT_EQUAL, 2, 0, kind)];
        let mut body = Vec::new();
        if access != 7 {
            // Asked for more than allowed: r1 = r3 & access; r1 != r3 is a mismatch.
            body.push(instruction(MOVE_REGISTER, 1, 3, 0, 0));
            body.push(instruction(AND, 1, 0, 0, access));
            tests.push((JUMP_NOT_EQUAL_REGISTER, 1, 3, 0));
        }
        tests.extend(rule.major.map(|major| (JUMP_NOT_EQUAL, 4, 0, major as i32)));
        tests.extend(rule.minor.map(|minor| (JUMP_NOT_EQUAL, 5, 0, minor as i32)));
        // The two instructions of `body` stand before the second test; two more end the rule.
        let total = tests.len() + body.len() + 2;
        let mut placed = 0;
        for (index, (operation, to, from, value)) in tests.iter().enumerate() {
            if index == 1 && !body.is_empty() {
                placed += body.len();
                code.append(&mut body);
            }
            placed += 1;
            code.push(instruction(*operation, *to, *from, (total - placed) as i16, *value));
        }
        code.push(instruction(MOVE, 0, 0, 0, 1));
        code.push(instruction(EXIT, 0, 0, 0, 0));
    }
    code.push(instruction(MOVE, 0, 0, 0, 0));
    code.push(instruction(EXIT, 0, 0, 0, 0));
    code
}

/// Loads the program and attaches it to a v2 group.
pub(crate) fn restrict_v2(group: &OwnedFd, rules: &[Rule]) -> io::Result<()> {
    let code = program(rules);
    let program = crate::sys::load_device_program(&code)?;
    crate::sys::attach_device_program(group.as_raw_fd(), &program)
}
