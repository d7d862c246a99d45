//! Filters by interpretation: what each call gets.

use super::compile::*;
use super::number::number;
use super::*;

const ALLOW: u32 = 0x7fff_0000;

fn errno(number: i32) -> u32 {
    0x0005_0000 | number as u32
}

/// Runs a program on a call as the kernel does.
fn run(program: &[Instruction], architecture: u32, call: u32, arguments: [u64; 6]) -> u32 {
    let mut data = [0u32; 16];
    (data[0], data[1]) = (call, architecture);
    for (index, argument) in arguments.iter().enumerate() {
        (data[4 + index * 2], data[5 + index * 2]) = (*argument as u32, (*argument >> 32) as u32);
    }
    let (mut at, mut register) = (0, 0u32);
    loop {
        let instruction = program[at];
        let test = |yes: bool| usize::from(if yes { instruction.yes } else { instruction.no });
        at += 1 + match instruction.code {
            LOAD => {
                register = data[instruction.value as usize / 4];
                0
            }
            AND => {
                register &= instruction.value;
                0
            }
            JUMP => instruction.value as usize,
            EQUAL => test(register == instruction.value),
            GREATER => test(register > instruction.value),
            GREATER_EQUAL => test(register >= instruction.value),
            RETURN => return instruction.value,
            other => panic!("unknown code {other:#x}"),
        };
    }
}

fn on(program: &[Instruction], name: &str, arguments: &[u64]) -> u32 {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    run(program, NATIVE, number(name).unwrap(), all)
}

fn default_for(capabilities: &[&str]) -> Vec<Instruction> {
    let add: Vec<String> = capabilities.iter().map(|name| (*name).to_owned()).collect();
    compile(&default::profile(caps::compute(false, &add, &[], u64::MAX)))
}

#[test]
fn default_profile() {
    let program = default_for(&[]);
    assert!(program.len() < 400, "{} instructions", program.len());
    for (name, arguments, expect) in [
        ("read", &[][..], ALLOW),
        ("writev", &[], ALLOW),
        ("futex_waitv", &[], ALLOW),
        ("chroot", &[], ALLOW),
        ("mount", &[], errno(libc::EPERM)),
        ("bpf", &[], errno(libc::EPERM)),
        ("reboot", &[], errno(libc::EPERM)),
        ("io_uring_setup", &[], errno(libc::EPERM)),
        ("unshare", &[], errno(libc::EPERM)),
        ("clone3", &[], errno(libc::ENOSYS)),
        ("clone", &[libc::SIGCHLD as u64], ALLOW),
        ("clone", &[libc::CLONE_NEWUSER as u64], errno(libc::EPERM)),
        ("clone", &[libc::CLONE_NEWPID as u64 | 17], errno(libc::EPERM)),
        ("socket", &[1], ALLOW),
        ("socket", &[40], errno(libc::EPERM)),
        ("socket", &[1 << 32 | 40], ALLOW),
        ("personality", &[0x20008], ALLOW),
        ("personality", &[0xffff_ffff], ALLOW),
        ("personality", &[0x40000], errno(libc::EPERM)),
    ] {
        assert_eq!(on(&program, name, arguments), expect, "{name} {arguments:?}");
    }
    assert_eq!(run(&program, NATIVE, 5000, [0; 6]), errno(libc::ENOSYS), "newer than the profile");
    assert_eq!(run(&program, NATIVE, 0x4000_0001, [0; 6]), errno(libc::ENOSYS), "x32");
    assert_eq!(run(&program, 0x4000_0003, 4, [0; 6]), errno(libc::ENOSYS), "i386");
    let admin = default_for(&["SYS_ADMIN"]);
    for name in ["mount", "clone3", "unshare", "bpf"] {
        assert_eq!(on(&admin, name, &[]), ALLOW, "{name}");
    }
    assert_eq!(on(&admin, "clone", &[libc::CLONE_NEWUSER as u64]), ALLOW);
}

#[test]
fn comparisons() {
    let big = 5u64 << 32 | 7;
    for (operator, two, argument, holds) in [
        ("NE", 0, big, false),
        ("NE", 0, 7, true),
        ("EQ", 0, big, true),
        ("EQ", 0, 7, false),
        ("LT", 0, big - 1, true),
        ("LT", 0, big, false),
        ("LT", 0, 4 << 32 | 9, true),
        ("LT", 0, 6 << 32, false),
        ("LE", 0, big, true),
        ("LE", 0, big + 1, false),
        ("GE", 0, big, true),
        ("GE", 0, big - 1, false),
        ("GT", 0, 6 << 32, true),
        ("GT", 0, big, false),
        ("GT", 0, big + 1, true),
        ("MASKED_EQ", 5u64 << 32, 7 << 32 | 8, true),
        ("MASKED_EQ", 5u64 << 32, 2 << 32 | 8, false),
    ] {
        let text = format!(
            r#"{{"defaultAction":"SCMP_ACT_LOG","syscalls":[{{"names":["read","nosuch"],"action":"SCMP_ACT_ERRNO",
            "errnoRet":77,"args":[{{"index":2,"value":{big},"valueTwo":{two},"op":"SCMP_CMP_{operator}"}}]}}]}}"#
        );
        let program = compile(&profile::parse(text.as_bytes()).unwrap());
        let expect = if holds { errno(77) } else { 0x7ffc_0000 };
        assert_eq!(on(&program, "read", &[0, 0, argument]), expect, "{operator} {argument:#x}");
        assert_eq!(on(&program, "write", &[0, 0, argument]), 0x7ffc_0000);
    }
}

#[test]
fn every_call_alone() {
    // Alternating actions make as many ranges as there are calls: far jumps are exercised.
    let mut profile = profile::parse(br#"{"defaultAction":"SCMP_ACT_ERRNO"}"#).unwrap();
    for call in (0..460).step_by(2) {
        profile.rules.push(profile::Rule { call, action: profile::Action::ALLOW, conditions: vec![] });
    }
    let program = compile(&profile);
    for call in 0..458 {
        let expect = if call % 2 == 0 { ALLOW } else { errno(libc::EPERM) };
        assert_eq!(run(&program, NATIVE, call, [0; 6]), expect, "{call}");
    }
}

#[test]
fn bad_profiles_are_refused() {
    for (text, words) in [
        ("{}", "defaultAction"),
        (r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#, "not supported"),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO",
            "args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]}]}"#,
            "above 5",
        ),
    ] {
        assert!(profile::parse(text.as_bytes()).unwrap_err().contains(words), "{text}");
    }
}
