//! Connections that netfilter remembers: UDP ones are made to forget a host port whose Pod changes, or packets would
//! go to where the port led before for as long as somebody sends.
//!
//! Invariant: only UDP connections to a host port of the lease are deleted (some other address's with the same port
//! among them: they are decided anew, alike). TCP ends by itself.

use std::io;

use crate::lease::Lease;
use crate::netlink::{ACK, Batch, Socket, errno, find};
use crate::{HostPort, Protocol};

const GET: u16 = (1 << 8) | 1;
const DELETE: u16 = (1 << 8) | 2;
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const PROTOCOL_NUMBER: u16 = 1;
const PROTOCOL_TO: u16 = 3;
const UDP: u8 = 17;
/// IPv4, version 0.
const HEADER: [u8; 4] = [2, 0, 0, 0];

/// The port that one direction of a UDP connection goes to.
fn udp_port(tuple: &[u8]) -> Option<u16> {
    let protocol = find(tuple, TUPLE_PROTOCOL)?;
    let port: [u8; 2] = find(protocol, PROTOCOL_TO)?.try_into().ok()?;
    (find(protocol, PROTOCOL_NUMBER)? == [UDP]).then_some(u16::from_be_bytes(port))
}

/// Deletes the UDP connections that a lease's host ports decide anew.
pub(crate) fn forget(netfilter: &mut Socket, lease: &Lease) -> io::Result<()> {
    let ports: Vec<&HostPort> =
        lease.host_ports.iter().filter(|port| port.protocol == Protocol::Udp).collect();
    if ports.is_empty() {
        return Ok(());
    }
    for bytes in netfilter.dump(GET, &HEADER)? {
        let Some(connection) = bytes.get(4..) else { continue };
        let Some(original) = find(connection, TUPLE_ORIGINAL) else { continue };
        if !ports.iter().any(|port| udp_port(original) == Some(port.host_port)) {
            continue;
        }
        let mut batch = Batch::default();
        batch.message(DELETE, ACK, &HEADER).nest(TUPLE_ORIGINAL, |batch| {
            batch.raw(original);
        });
        match netfilter.run(batch) {
            Err((_, error)) if errno(&error) != libc::ENOENT => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
