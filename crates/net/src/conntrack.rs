//! Connections that netfilter remembers: UDP ones are made to forget where a host port or a Service led before, or
//! packets would go there for as long as somebody sends.
//!
//! Invariant: only UDP connections that the caller picks are deleted. TCP ends by itself.

use std::io;
use std::net::IpAddr;

use crate::lease::Lease;
use crate::netlink::{ACK, Batch, Socket, errno, find};
use crate::{HostPort, Protocol};

const GET: u16 = (1 << 8) | 1;
const DELETE: u16 = (1 << 8) | 2;
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const PROTOCOL_NUMBER: u16 = 1;
const PROTOCOL_FROM: u16 = 2;
const PROTOCOL_TO: u16 = 3;
const UDP: u8 = 17;

/// A UDP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flow {
    /// Where its first packet was sent.
    pub(crate) to: (IpAddr, u16),
    /// Who answers.
    pub(crate) by: (IpAddr, u16),
}

/// The source (or, else, the destination) of one direction of a UDP connection.
fn end(tuple: &[u8], source: bool) -> Option<(IpAddr, u16)> {
    let protocol = find(tuple, TUPLE_PROTOCOL)?;
    if find(protocol, PROTOCOL_NUMBER)? != [UDP] {
        return None;
    }
    let port = find(protocol, if source { PROTOCOL_FROM } else { PROTOCOL_TO })?;
    let addresses = find(tuple, TUPLE_IP)?;
    let (v4, v6) = if source { (1, 3) } else { (2, 4) };
    let v4 = find(addresses, v4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()).map(IpAddr::from);
    let ip =
        v4.or_else(|| find(addresses, v6).and_then(|b| <[u8; 16]>::try_from(b).ok()).map(IpAddr::from))?;
    Some((ip, u16::from_be_bytes(port.try_into().ok()?)))
}

/// Deletes the UDP connections, of IPv4 or else of IPv6, for which this holds.
pub(crate) fn forget_those(
    netfilter: &mut Socket,
    ipv4: bool,
    which: impl Fn(&Flow) -> bool,
) -> io::Result<()> {
    let family = if ipv4 { libc::AF_INET } else { libc::AF_INET6 };
    // Version 0.
    let header = [u8::try_from(family).expect("small"), 0, 0, 0];
    for bytes in netfilter.dump(GET, &header)? {
        let Some(connection) = bytes.get(4..) else { continue };
        let Some(original) = find(connection, TUPLE_ORIGINAL) else { continue };
        let by = find(connection, TUPLE_REPLY).and_then(|reply| end(reply, true));
        let (Some(to), Some(by)) = (end(original, false), by) else { continue };
        if !which(&Flow { to, by }) {
            continue;
        }
        let mut batch = Batch::default();
        batch.message(DELETE, ACK, &header).nest(TUPLE_ORIGINAL, |batch| {
            batch.raw(original);
        });
        match netfilter.run(batch) {
            Err((_, error)) if errno(&error) != libc::ENOENT => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Deletes the UDP connections that a lease's host ports decide anew (some other address's with the same port among
/// them: they are decided anew, alike).
pub(crate) fn forget(netfilter: &mut Socket, lease: &Lease) -> io::Result<()> {
    let ports: Vec<&HostPort> =
        lease.host_ports.iter().filter(|port| port.protocol == Protocol::Udp).collect();
    if ports.is_empty() {
        return Ok(());
    }
    forget_those(netfilter, true, |flow| ports.iter().any(|port| flow.to.1 == port.host_port))
}
