//! Links, addresses, routes and neighbours, as messages.
//!
//! Invariant: each function adds exactly the messages it names. Absent: order and meaning of the steps (`worker`).

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::Cidr;
use crate::netlink::{self, ACK, Batch, CREATE, EXCL, REPLACE, Socket, find};

const NEWLINK: u16 = 16;
const DELLINK: u16 = 17;
const GETLINK: u16 = 18;
const SETLINK: u16 = 19;
const NEWADDR: u16 = 20;
const DELADDR: u16 = 21;
const NEWROUTE: u16 = 24;
const DELROUTE: u16 = 25;
const GETROUTE: u16 = 26;
const NEWNEIGH: u16 = 28;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_GROUP: u16 = 27;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_NUM_TX_QUEUES: u16 = 31;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const VETH_PEER: u16 = 1;
const INET_CONF: u16 = 1;
const INET_CONF_ROUTE_LOCALNET: u16 = 26;
/// What a Pod may say of itself and of others on its link, in the numbers of `linux/ip.h`: no redirects, only its own
/// address as a source, no source routes, ARP for its own address only, nothing learnt unasked.
const INET_CONF_GUARD: &[(u16, u32)] = &[(3, 0), (4, 0), (8, 1), (9, 0), (13, 1), (21, 0), (23, 0)];
const INET6_ADDR_GEN_MODE: u16 = 8;
const ADDR_GEN_NONE: u8 = 1;
const UP: u32 = 1;

const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTA_TABLE: u16 = 15;
const TABLE_MAIN: u8 = 254;
const TABLE_LOCAL: u8 = 255;
/// Marks our routes (`M`).
const PROTOCOL: u8 = 77;
const SCOPE_GLOBAL: u8 = 0;
const SCOPE_LINK: u8 = 253;
const SCOPE_HOST: u8 = 254;
const UNICAST: u8 = 1;
const UNREACHABLE: u8 = 7;
const ONLINK: u32 = 4;
const PERMANENT: u16 = 0x80;

/// A hardware address.
pub(crate) type Mac = [u8; 6];

/// The two ends of a Pod's link.
#[derive(Debug, Clone)]
pub(crate) struct Veth<'a> {
    pub(crate) host_name: &'a str,
    pub(crate) host_mac: Mac,
    pub(crate) pod_mac: Mac,
    pub(crate) mtu: u32,
    /// The index of `eth0` in the Pod.
    pub(crate) pod_index: u32,
}

/// A link as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) alias: String,
    pub(crate) mtu: u32,
    /// The index of its other end, in that one's namespace.
    pub(crate) peer: u32,
}

/// A route as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) to: Cidr,
    pub(crate) oif: u32,
    pub(crate) source: Option<IpAddr>,
    /// The next router, if it is not on the link itself.
    pub(crate) via: Option<IpAddr>,
    pub(crate) metric: u32,
    /// Made by some instance of Minke.
    pub(crate) ours: bool,
    /// An address of this host or a broadcast address.
    pub(crate) local: bool,
}

fn link_header(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..].copy_from_slice(&change.to_ne_bytes());
    header
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn family(address: IpAddr) -> u8 {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    u8::try_from(family).expect("families are small")
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Makes both ends, still down; the Pod's is `eth0` in its namespace.
pub(crate) fn new_veth(batch: &mut Batch, veth: &Veth<'_>, netns: BorrowedFd<'_>) {
    let queues = |batch: &mut Batch| {
        for kind in [IFLA_NUM_TX_QUEUES, IFLA_NUM_RX_QUEUES] {
            batch.attr(kind, &1u32.to_ne_bytes());
        }
        batch.attr(IFLA_MTU, &veth.mtu.to_ne_bytes());
    };
    let peer = |batch: &mut Batch| {
        // Not yet up: the kernel has not joined the two ends then.
        batch.raw(&link_header(veth.pod_index, 0, 0));
        batch.text(IFLA_IFNAME, "eth0").attr(IFLA_ADDRESS, &veth.pod_mac);
        batch.attr(IFLA_NET_NS_FD, &netns.as_raw_fd().to_ne_bytes());
        queues(batch);
    };
    batch.message(NEWLINK, CREATE | EXCL | ACK, &link_header(0, 0, 0));
    batch.text(IFLA_IFNAME, veth.host_name).attr(IFLA_ADDRESS, &veth.host_mac);
    queues(batch);
    batch.nest(IFLA_LINKINFO, |batch| {
        batch.text(INFO_KIND, "veth").nest(INFO_DATA, |batch| {
            batch.nest(VETH_PEER, peer);
        });
    });
}

/// Names the owner and sets what routing needs, before the link is up: nothing believed that a Pod says of others, no
/// IPv6 chatter on the host's end, and, for host ports on 127.0.0.1, its answers let in.
pub(crate) fn configure_link(batch: &mut Batch, index: u32, alias: &str, ipv6: bool, localnet: bool) {
    batch.message(SETLINK, ACK, &link_header(index, 0, 0)).text(IFLA_IFALIAS, alias);
    batch.nest(IFLA_AF_SPEC, |batch| {
        batch.nest(u16::try_from(libc::AF_INET).expect("small"), |batch| {
            batch.nest(INET_CONF, |batch| {
                for (setting, value) in INET_CONF_GUARD {
                    batch.attr(*setting, &value.to_ne_bytes());
                }
                batch.attr(INET_CONF_ROUTE_LOCALNET, &u32::from(localnet).to_ne_bytes());
            });
        });
        if ipv6 {
            batch.nest(u16::try_from(libc::AF_INET6).expect("small"), |batch| {
                batch.attr(INET6_ADDR_GEN_MODE, &[ADDR_GEN_NONE]);
            });
        }
    });
}

/// Brings a link up.
pub(crate) fn link_up(batch: &mut Batch, index: u32) {
    batch.message(SETLINK, ACK, &link_header(index, UP, UP));
}

/// Puts a link into a group.
pub(crate) fn set_group(batch: &mut Batch, index: u32, group: u32) {
    batch.message(SETLINK, ACK, &link_header(index, 0, 0)).attr(IFLA_GROUP, &group.to_ne_bytes());
}

/// Removes every link of a group with its routes and its peer: the kernel waits once for all of them.
pub(crate) fn delete_group(batch: &mut Batch, group: u32) {
    batch.message(DELLINK, ACK, &link_header(0, 0, 0)).attr(IFLA_GROUP, &group.to_ne_bytes());
}

fn address(batch: &mut Batch, kind: u16, flags: u16, index: u32, address: IpAddr, scope: u8) {
    let mut header = [family(address), width(address), 0, scope, 0, 0, 0, 0];
    header[4..].copy_from_slice(&index.to_ne_bytes());
    // IFA_ADDRESS and IFA_LOCAL.
    batch.message(kind, flags | ACK, &header).attr(1, &octets(address)).attr(2, &octets(address));
}

/// Adds an address that stands alone to a link.
pub(crate) fn new_address(batch: &mut Batch, index: u32, ip: IpAddr) {
    address(batch, NEWADDR, CREATE | EXCL, index, ip, SCOPE_GLOBAL);
}

/// Adds the gateway's address to `lo`; nobody takes it as a source who does not ask for it.
pub(crate) fn new_gateway(batch: &mut Batch, index: u32, ip: IpAddr) {
    address(batch, NEWADDR, CREATE | REPLACE, index, ip, SCOPE_HOST);
}

/// Removes the gateway's address.
pub(crate) fn delete_gateway(batch: &mut Batch, index: u32, ip: IpAddr) {
    address(batch, DELADDR, 0, index, ip, SCOPE_HOST);
}

fn route_header(to: Cidr, scope: u8, kind: u8, flags: u32) -> [u8; 12] {
    let mut header = [family(to.address()), to.prefix(), 0, 0, TABLE_MAIN, PROTOCOL, scope, kind, 0, 0, 0, 0];
    header[8..].copy_from_slice(&flags.to_ne_bytes());
    header
}

/// Routes a Pod's address to its link, with the gateway as the host's source address.
pub(crate) fn new_pod_route(batch: &mut Batch, index: u32, pod: IpAddr, gateway: IpAddr) {
    let to = Cidr::new(pod, width(pod)).expect("a whole address");
    batch.message(NEWROUTE, CREATE | REPLACE | ACK, &route_header(to, SCOPE_LINK, UNICAST, 0));
    batch.attr(RTA_DST, &octets(pod)).attr(RTA_OIF, &index.to_ne_bytes()).attr(RTA_PREFSRC, &octets(gateway));
}

/// Routes everything to the gateway behind the Pod's own link.
pub(crate) fn new_default_route(batch: &mut Batch, index: u32, gateway: IpAddr) {
    let everything = Cidr::new(gateway, 0).expect("no bits");
    batch.message(NEWROUTE, CREATE | EXCL | ACK, &route_header(everything, SCOPE_GLOBAL, UNICAST, ONLINK));
    batch.attr(RTA_GATEWAY, &octets(gateway)).attr(RTA_OIF, &index.to_ne_bytes());
}

/// Makes addresses of the range that no Pod has unreachable, rather than somebody else's.
pub(crate) fn new_range_route(batch: &mut Batch, range: Cidr) {
    batch.message(NEWROUTE, CREATE | REPLACE | ACK, &route_header(range, SCOPE_GLOBAL, UNREACHABLE, 0));
    batch.attr(RTA_DST, &octets(range.address()));
}

/// Removes that.
pub(crate) fn delete_range_route(batch: &mut Batch, range: Cidr) {
    batch.message(DELROUTE, ACK, &route_header(range, SCOPE_GLOBAL, UNREACHABLE, 0));
    batch.attr(RTA_DST, &octets(range.address()));
}

/// Routes a range to this host itself, with the gateway as the host's source address. Each instance has its own metric,
/// so that several may have the same range.
pub(crate) fn new_service_route(batch: &mut Batch, index: u32, range: Cidr, gateway: IpAddr, metric: u32) {
    batch.message(NEWROUTE, CREATE | REPLACE | ACK, &route_header(range, SCOPE_LINK, UNICAST, 0));
    batch.attr(RTA_DST, &octets(range.address())).attr(RTA_OIF, &index.to_ne_bytes());
    batch.attr(RTA_PREFSRC, &octets(gateway)).attr(RTA_PRIORITY, &metric.to_ne_bytes());
}

/// Removes that.
pub(crate) fn delete_service_route(batch: &mut Batch, index: u32, range: Cidr, metric: u32) {
    batch.message(DELROUTE, ACK, &route_header(range, SCOPE_LINK, UNICAST, 0));
    batch.attr(RTA_DST, &octets(range.address())).attr(RTA_OIF, &index.to_ne_bytes());
    batch.attr(RTA_PRIORITY, &metric.to_ne_bytes());
}

/// Routes another node's range to that node, which is on a link of this host.
pub(crate) fn new_peer_route(batch: &mut Batch, range: Cidr, via: IpAddr, index: u32, metric: u32) {
    batch.message(NEWROUTE, CREATE | REPLACE | ACK, &route_header(range, SCOPE_GLOBAL, UNICAST, 0));
    batch.attr(RTA_DST, &octets(range.address())).attr(RTA_OIF, &index.to_ne_bytes());
    batch.attr(RTA_GATEWAY, &octets(via)).attr(RTA_PRIORITY, &metric.to_ne_bytes());
}

/// Removes that.
pub(crate) fn delete_peer_route(batch: &mut Batch, range: Cidr, metric: u32) {
    batch.message(DELROUTE, ACK, &route_header(range, SCOPE_GLOBAL, UNICAST, 0));
    batch.attr(RTA_DST, &octets(range.address())).attr(RTA_PRIORITY, &metric.to_ne_bytes());
}

/// Saves the first packet a question.
pub(crate) fn new_neighbour(batch: &mut Batch, index: u32, ip: IpAddr, mac: Mac) {
    let mut header = [0; 12];
    header[0] = family(ip);
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..10].copy_from_slice(&PERMANENT.to_ne_bytes());
    batch.message(NEWNEIGH, CREATE | REPLACE | ACK, &header).attr(1, &octets(ip)).attr(2, &mac);
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

/// Every link of the namespace.
pub(crate) fn links(socket: &mut Socket) -> io::Result<Vec<Link>> {
    let found = socket.dump(GETLINK, &link_header(0, 0, 0))?;
    Ok(found.iter().filter_map(|bytes| parse_link(bytes)).collect())
}

fn parse_link(bytes: &[u8]) -> Option<Link> {
    let attributes = bytes.get(16..)?;
    let name = |kind| find(attributes, kind).map(netlink::text).unwrap_or_default();
    Some(Link {
        index: word(bytes, 4),
        name: name(IFLA_IFNAME),
        alias: name(IFLA_IFALIAS),
        mtu: find(attributes, IFLA_MTU).map_or(0, |data| word(data, 0)),
        peer: find(attributes, IFLA_LINK).map_or(0, |data| word(data, 0)),
    })
}

/// Every IPv4 route of every table.
pub(crate) fn routes(socket: &mut Socket) -> io::Result<Vec<Route>> {
    let mut header = [0; 12];
    header[0] = family(Ipv4Addr::LOCALHOST.into());
    let found = socket.dump(GETROUTE, &header)?;
    Ok(found.iter().filter_map(|bytes| parse_route(bytes)).collect())
}

/// The route to an address.
pub(crate) fn route_to(socket: &mut Socket, ip: IpAddr) -> io::Result<Option<Route>> {
    let mut header = [0; 12];
    (header[0], header[1]) = (family(ip), width(ip));
    let mut batch = Batch::default();
    batch.message(GETROUTE, 0, &header).attr(RTA_DST, &octets(ip));
    Ok(parse_route(&socket.get(batch)?))
}

fn parse_route(bytes: &[u8]) -> Option<Route> {
    let (header, attributes) = bytes.split_first_chunk::<12>()?;
    let ip = |kind| {
        let data: [u8; 4] = find(attributes, kind)?.try_into().ok()?;
        Some(IpAddr::V4(data.into()))
    };
    if i32::from(header[0]) != libc::AF_INET {
        return None;
    }
    let table = find(attributes, RTA_TABLE).map_or(u32::from(header[4]), |data| word(data, 0));
    Some(Route {
        to: Cidr::new(ip(RTA_DST).unwrap_or(Ipv4Addr::UNSPECIFIED.into()), header[1])?,
        oif: find(attributes, RTA_OIF).map_or(0, |data| word(data, 0)),
        source: ip(RTA_PREFSRC),
        via: ip(RTA_GATEWAY),
        metric: find(attributes, RTA_PRIORITY).map_or(0, |data| word(data, 0)),
        ours: header[5] == PROTOCOL,
        local: table == u32::from(TABLE_LOCAL),
    })
}

/// The index of a link by name, `None` if there is none.
pub(crate) fn index_of(socket: &Socket, name: &str) -> io::Result<Option<u32>> {
    match rustix::net::netdevice::name_to_index(socket, name) {
        Ok(index) => Ok(Some(index)),
        Err(rustix::io::Errno::NODEV) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
