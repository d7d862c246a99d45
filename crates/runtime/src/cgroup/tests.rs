//! Values by table; the device program by interpretation.

use std::collections::BTreeMap;

use super::value::weight_of_shares;
use super::*;

#[test]
fn weights_are_the_kubelets() {
    for (shares, weight) in
        [(0, 0), (2, 1), (102, 17), (1024, 100), (2048, 174), (262_144, 10_000), (999_999, 10_000)]
    {
        assert_eq!(weight_of_shares(shares), weight, "shares {shares}");
    }
}

fn shown(layout: Layout, resources: &Resources) -> Vec<String> {
    let name = |write: Write| format!("{}={}", write.file, write.value);
    writes(layout, resources).into_iter().map(name).collect()
}

#[test]
fn limits_in_each_layout() {
    let resources = Resources {
        cpu_shares: Some(1024),
        cpu_quota: Some(50_000),
        cpu_period: Some(100_000),
        memory_limit: Some(64 << 20),
        memory_swap: Some(64 << 20),
        pids_limit: Some(-1),
        hugepages: BTreeMap::from([("2MB".into(), 0)]),
        unified: BTreeMap::from([("memory.oom.group".into(), "1".into())]),
        ..Resources::default()
    };
    assert_eq!(
        shown(Layout::V2, &resources),
        [
            "cpu.weight=100",
            "cpu.max=50000 100000",
            "memory.swap.max=0",
            "memory.max=67108864",
            "pids.max=max",
            "hugetlb.2MB.max=0",
            "memory.oom.group=1"
        ]
    );
    let v1 = [
        "cpu.shares=1024",
        "cpu.cfs_period_us=100000",
        "cpu.cfs_quota_us=50000",
        "memory.limit_in_bytes=67108864",
        "memory.memsw.limit_in_bytes=67108864",
        "pids.max=max",
        "hugetlb.2MB.limit_in_bytes=0",
    ];
    assert_eq!(shown(Layout::V1, &resources), v1);
    assert_eq!(shown(Layout::Hybrid, &resources), v1);
    let unlimited = Resources { cpu_quota: Some(-1), memory_limit: Some(-1), ..Resources::default() };
    assert_eq!(shown(Layout::V2, &unlimited), ["cpu.max=max 100000", "memory.max=max"]);
    assert_eq!(shown(Layout::V2, &Resources::default()), [""; 0]);
}

#[test]
fn mountinfo_lines() {
    let line = "31 24 0:27 / /sys/fs/cgroup/memory rw,nosuid shared:9 - cgroup cgroup rw,memory";
    assert_eq!(parse_mount(line), Some((PathBuf::from("/sys/fs/cgroup/memory"), "cgroup", "rw,memory")));
    assert_eq!(parse_mount("nonsense"), None);
}

#[test]
fn paths_outside_the_instance_are_refused() {
    let cgroups = Cgroups { v2: None, v1: BTreeMap::new(), root: "/minke-1".into() };
    for path in ["/", "/other", "/minke-11/x", "/minke-1/../x", "minke-1"] {
        assert!(cgroups.relative(path).is_err(), "{path}");
    }
    assert_eq!(cgroups.relative("/minke-1/a").unwrap(), "minke-1/a");
}

/// Runs the subset of eBPF that the device program uses.
fn run(code: &[u64], kind: u32, access: u32, major: u32, minor: u32) -> u64 {
    let context = [access << 16 | kind, major, minor];
    let mut registers = [0u64; 11];
    let mut at = 0usize;
    loop {
        let word = code[at];
        let (operation, to, from) = (word as u8, (word >> 8 & 15) as usize, (word >> 12 & 15) as usize);
        let (offset, value) = ((word >> 16) as u16 as i16, (word >> 32) as u32);
        at += 1;
        let jump = |at: usize| (at as i64 + i64::from(offset)) as usize;
        match operation {
            0x61 => registers[to] = u64::from(context[offset as usize / 4]),
            0x54 => registers[to] &= u64::from(value),
            0x74 => registers[to] >>= value,
            0xb7 => registers[to] = u64::from(value),
            0xbc => registers[to] = registers[from],
            0x55 if registers[to] != u64::from(value) => at = jump(at),
            0x5d if registers[to] != registers[from] => at = jump(at),
            0x55 | 0x5d => {}
            0x95 => return registers[0],
            other => panic!("unknown instruction {other:#x}"),
        }
    }
}

#[test]
fn device_program() {
    let (character, block, mknod, read, write) = (2, 1, 1, 2, 4);
    let mut rules = DeviceRule::defaults();
    rules.push(DeviceRule::new('b', Some(8), None, "r"));
    let code = device::program(&rules);
    for (kind, access, major, minor, allowed) in [
        (character, read | write, 1, 3, true),
        (character, read, 1, 1, false),
        (character, mknod, 1, 1, true),
        (character, mknod | read, 1, 1, false),
        (character, read | write | mknod, 136, 77, true),
        (block, mknod, 8, 0, true),
        (block, read, 8, 5, true),
        (block, read | write, 8, 5, false),
        (block, read, 9, 0, false),
    ] {
        let got = run(&code, kind, access, major, minor);
        assert_eq!(got == 1, allowed, "type {kind} access {access} {major}:{minor}");
    }
}
