//! Capability sets.
//!
//! Invariant: a container never gets what the daemon does not hold itself. Absent: inheritable and ambient sets,
//! which containers do not get.

use std::fs;

/// Names by number, without `CAP_`.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// containerd's default set (`pkg/oci/spec.go` defaultUnixCaps).
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// A set as bits.
pub(crate) type Set = u64;

fn bit(name: &str) -> Option<Set> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    NAMES.iter().position(|known| *known == bare).map(|number| 1 << number)
}

pub(crate) fn has(set: Set, name: &str) -> bool {
    bit(name).is_some_and(|bit| set & bit != 0)
}

/// The names in a set.
pub(crate) fn names(set: Set) -> Vec<&'static str> {
    NAMES.iter().enumerate().filter(|(number, _)| set & (1 << number) != 0).map(|(_, name)| *name).collect()
}

/// What this process may hand on: its bounding set.
pub(crate) fn bounding() -> Set {
    from_status(&fs::read_to_string("/proc/self/status").unwrap_or_default())
}

fn from_status(status: &str) -> Set {
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:"))
        .and_then(|value| Set::from_str_radix(value.trim(), 16).ok())
        .unwrap_or(0)
}

/// Everything this machine's kernel knows, whether or not it is held.
pub(crate) fn known() -> Set {
    let last =
        fs::read_to_string("/proc/sys/kernel/cap_last_cap").ok().and_then(|text| text.trim().parse().ok());
    let last: u32 = last.unwrap_or(40);
    if last >= 63 { Set::MAX } else { (1 << (last + 1)) - 1 }
}

/// The container's set: default, or all when privileged; `add` then `drop`, each understanding `ALL`, as containerd
/// (`WithAddedCapabilities` before `WithDroppedCapabilities`, but `ALL` in drop before single adds). Names that are no
/// capability have no effect, as in runc; see [`unknown`].
pub(crate) fn compute(privileged: bool, add: &[String], drop: &[String], bounding: Set) -> Set {
    if privileged {
        return bounding;
    }
    let mut set = DEFAULT.iter().filter_map(|name| bit(name)).fold(0, |set, bit| set | bit);
    if add.iter().any(|name| is_all(name)) {
        set = Set::MAX;
    }
    if drop.iter().any(|name| is_all(name)) {
        set = 0;
    }
    let named = |names: &[String]| names.iter().filter_map(|name| bit(name)).fold(0, |set, bit| set | bit);
    (set | named(add)) & !named(drop) & bounding
}

fn is_all(name: &str) -> bool {
    name.eq_ignore_ascii_case("ALL") || name.eq_ignore_ascii_case("CAP_ALL")
}

/// The names that are no capability known here: of a newer kernel, or misspelt.
pub(crate) fn unknown<'a>(names: impl IntoIterator<Item = &'a String>) -> Vec<&'a str> {
    let known = |name: &&String| !is_all(name) && bit(name).is_none();
    names.into_iter().filter(known).map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(add: &[&str], drop: &[&str], bounding: Set) -> String {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        format!("{:x}", compute(false, &list(add), &list(drop), bounding))
    }

    #[test]
    fn sets() {
        let all = (1 << 41) - 1;
        for (add, drop, bounding, expect) in [
            (&[][..], &[][..], all, "a80425fb"),
            (&["NET_ADMIN"], &[], all, "a80435fb"),
            (&["CAP_NET_ADMIN", "net_raw"], &["CHOWN"], all, "a80435fa"),
            (&[], &["ALL"], all, "0"),
            (&["NET_BIND_SERVICE"], &["all"], all, "400"),
            (&["ALL"], &[], all, "1ffffffffff"),
            (&["ALL"], &["SYS_ADMIN"], all, "1ffffdfffff"),
            (&["ALL"], &[], all & !(1 << 24), "1fffeffffff"),
            (&["cap_net_admin"], &["Cap_All"], all, "1000"),
            (&["FLY", "NET_ADMIN"], &[], all, "a80435fb"),
            (&[], &["FLY", "CHOWN"], all, "a80425fa"),
        ] {
            assert_eq!(check(add, drop, bounding), expect, "+{add:?} -{drop:?}");
        }
        assert_eq!(compute(true, &[], &["ALL".into()], all), all);
    }

    #[test]
    fn unknown_names() {
        let names = ["CHOWN", "cap_kill", "all", "FLY", "CAP_CAP_KILL", ""].map(str::to_owned);
        assert_eq!(unknown(&names), ["FLY", "CAP_CAP_KILL", ""]);
    }

    #[test]
    fn status_line() {
        assert_eq!(from_status("Name:\tx\nCapBnd:\t000001fffeffffff\n"), 0x1ff_feff_ffff);
        assert_eq!(names(0b101), ["CHOWN", "DAC_READ_SEARCH"]);
    }
}
