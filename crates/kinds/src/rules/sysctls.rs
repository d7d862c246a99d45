//! Names of sysctls, and which of them are safe in a Pod's own namespaces (`pkg/kubelet/sysctl`).
//!
//! Invariant: what is safe for the node is safe for Pod Security at its newest version. Absent: values.

/// A safe sysctl.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Safe {
    /// Its name with dots.
    pub name: &'static str,
    /// Whether it belongs to the Pod's network, so that a Pod in the node's may not have it.
    pub network: bool,
    /// From which minor version of Pod Security on it is allowed.
    pub since: u32,
}

const fn of_network(name: &'static str, since: u32) -> Safe {
    Safe { name, network: true, since }
}

/// All safe sysctls.
pub const SAFE: [Safe; 12] = [
    Safe { name: "kernel.shm_rmid_forced", network: false, since: 0 },
    of_network("net.ipv4.ip_local_port_range", 0),
    of_network("net.ipv4.tcp_syncookies", 0),
    of_network("net.ipv4.ping_group_range", 0),
    of_network("net.ipv4.ip_unprivileged_port_start", 0),
    of_network("net.ipv4.ip_local_reserved_ports", 27),
    of_network("net.ipv4.tcp_keepalive_time", 29),
    of_network("net.ipv4.tcp_fin_timeout", 29),
    of_network("net.ipv4.tcp_keepalive_intvl", 29),
    of_network("net.ipv4.tcp_keepalive_probes", 29),
    of_network("net.ipv4.tcp_rmem", 32),
    of_network("net.ipv4.tcp_wmem", 32),
];

/// The safe sysctl of this name, dots or slashes between its parts.
#[must_use]
pub fn safe(name: &str) -> Option<&'static Safe> {
    let name = dotted(name);
    SAFE.iter().find(|safe| safe.name == name)
}

/// The name with dots between its parts, whichever separator was written (`NormalizeName`): in
/// `net/ipv4/conf/eno2.100/rp_filter` the other one belongs to a part.
#[must_use]
pub fn dotted(name: &str) -> String {
    let swapped = |c: char| match c {
        '/' => '.',
        '.' => '/',
        other => other,
    };
    match name.find(['.', '/']) {
        Some(at) if name.as_bytes()[at] == b'/' => name.chars().map(swapped).collect(),
        _ => name.to_owned(),
    }
}

/// Whether it can be a sysctl's name (`IsValidSysctlName`).
#[must_use]
pub fn is_name(name: &str) -> bool {
    let part = |p: &str| {
        let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        edge(p.as_bytes().first())
            && edge(p.as_bytes().last())
            && p.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
    };
    name.len() <= 253 && name.split(['.', '/']).all(part)
}

/// A namespace that has sysctls of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Namespace {
    /// System V and POSIX queues and shared memory.
    Ipc,
    /// The network.
    Net,
}

/// The namespace that a sysctl belongs to; `None` for those of the whole machine (`GetNamespace`).
#[must_use]
pub fn namespace(name: &str) -> Option<Namespace> {
    let name = dotted(name);
    let ipc = ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|p| name.starts_with(p));
    if ipc || name == "kernel.sem" {
        Some(Namespace::Ipc)
    } else {
        name.starts_with("net.").then_some(Namespace::Net)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (name, want) in [
            ("kernel.shm_rmid_forced", "kernel.shm_rmid_forced"),
            ("kernel/shm_rmid_forced", "kernel.shm_rmid_forced"),
            ("net/ipv4/conf/eno2.100/rp_filter", "net.ipv4.conf.eno2/100.rp_filter"),
            ("net.ipv4.conf.eno2/100.rp_filter", "net.ipv4.conf.eno2/100.rp_filter"),
            ("a", "a"),
        ] {
            assert_eq!(dotted(name), want);
            assert!(is_name(name), "{name}");
        }
        for bad in ["", "a..b", "A", "a.", "-a", "a b", &"a".repeat(254)] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn safety_and_namespaces() {
        for (name, network) in [
            ("kernel/shm_rmid_forced", Some(false)),
            ("net.ipv4.tcp_rmem", Some(true)),
            ("kernel.msgmax", None),
        ] {
            assert_eq!(safe(name).map(|s| s.network), network, "{name}");
        }
        for (name, want) in [
            ("kernel.shmmax", Some(Namespace::Ipc)),
            ("fs/mqueue/msg_max", Some(Namespace::Ipc)),
            ("kernel.sem", Some(Namespace::Ipc)),
            ("kernel.semaphores", None),
            ("net.core.somaxconn", Some(Namespace::Net)),
            ("vm.swappiness", None),
        ] {
            assert_eq!(namespace(name), want, "{name}");
        }
        assert!(SAFE.iter().all(|s| (namespace(s.name) == Some(Namespace::Net)) == s.network));
    }
}
