//! The Pod network of one node: addresses, routed veth pairs, hostPorts, masquerade; later Services and VXLAN.
//!
//! Invariants: everything made carries the instance's id and is removed by `down`; no command is ever run, links go
//! through rtnetlink and rules through our own nf_tables encoder in one transaction.
//! Deliberately absent: Pods and the API; callers hand in ids and ports.

use std::net::IpAddr;
use std::os::fd::OwnedFd;

/// A Pod's place in the network.
#[derive(Debug)]
pub struct Attachment {
    /// The network namespace, ready: loopback up, `eth0` addressed and routed.
    pub netns: OwnedFd,
    /// Addresses, primary first.
    pub ips: Vec<IpAddr>,
}
