//! The way to other nodes' Pods: a route for each node's range, by the node itself where it is on a segment of this host.
//!
//! Invariant: what is asked for is all there is; routes of an earlier life are known by the instance's own metric. Absent: nodes
//! behind routers (they need a tunnel, and are told instead of reached).

use std::net::IpAddr;

use async_trait::async_trait;

use crate::netlink::{Batch, Socket, errno};
use crate::{Cidr, NetError, Network, rtnl};

/// Another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Peer {
    /// The range of its Pods.
    pub range: Cidr,
    /// Its own address.
    pub node: IpAddr,
}

/// Who makes the way to other nodes' Pods. See [`Network::reach`].
#[async_trait]
pub trait PeerNetwork: Send + Sync + 'static {
    /// Makes these the nodes whose Pods are reached; returns those to which there is no way.
    async fn reach(&self, peers: Vec<Peer>) -> Result<Vec<Peer>, NetError>;
}

#[async_trait]
impl PeerNetwork for Network {
    async fn reach(&self, peers: Vec<Peer>) -> Result<Vec<Peer>, NetError> {
        Self::reach(self, peers).await
    }
}

/// The metric of an instance's routes to other nodes: its own, and not that of its Services' ranges.
pub(crate) fn metric(instance_id: u32) -> u32 {
    (instance_id & 0x3fff_ffff) | 0x4000_0000
}

/// See [`Network::reach`].
pub(crate) fn reach(socket: &mut Socket, metric: u32, peers: Vec<Peer>) -> Result<Vec<Peer>, NetError> {
    let own = own_ranges(socket, metric)?;
    let gone = own.iter().filter(|range| !peers.iter().any(|peer| peer.range == **range));
    gone.copied().try_for_each(|range| remove(socket, metric, range))?;
    let mut unreached = Vec::new();
    for peer in peers {
        match link_to(socket, peer.node)? {
            Some(index) => add(socket, metric, peer, index)?,
            None => {
                if own.contains(&peer.range) {
                    remove(socket, metric, peer.range)?;
                }
                unreached.push(peer);
            }
        }
    }
    Ok(unreached)
}

/// Removes all of an instance's routes to other nodes.
pub(crate) fn remove_routes(socket: &mut Socket, metric: u32) -> Result<(), NetError> {
    own_ranges(socket, metric)?.into_iter().try_for_each(|range| remove(socket, metric, range))
}

fn own_ranges(socket: &mut Socket, metric: u32) -> Result<Vec<Cidr>, NetError> {
    let routes = rtnl::routes(socket).map_err(NetError::kernel("list the host's routes"))?;
    Ok(routes.iter().filter(|route| route.ours && route.metric == metric).map(|route| route.to).collect())
}

/// The link whose segment an address is on.
fn link_to(socket: &mut Socket, node: IpAddr) -> Result<Option<u32>, NetError> {
    match rtnl::route_to(socket, node) {
        Ok(way) => Ok(way.filter(|way| way.via.is_none() && !way.local).map(|way| way.oif)),
        Err(error) if [libc::ENETUNREACH, libc::EHOSTUNREACH].contains(&errno(&error)) => Ok(None),
        Err(error) => Err(NetError::kernel(format!("find the way to node {node}"))(error)),
    }
}

fn add(socket: &mut Socket, metric: u32, peer: Peer, index: u32) -> Result<(), NetError> {
    let mut batch = Batch::default();
    rtnl::new_peer_route(&mut batch, peer.range, peer.node, index, metric);
    let what = format!("route {} to node {}", peer.range, peer.node);
    socket.run(batch).map_err(|(_, error)| NetError::kernel(what)(error))
}

fn remove(socket: &mut Socket, metric: u32, range: Cidr) -> Result<(), NetError> {
    let mut batch = Batch::default();
    rtnl::delete_peer_route(&mut batch, range, metric);
    match socket.run(batch) {
        Err((_, error)) if errno(&error) != libc::ESRCH => {
            Err(NetError::kernel(format!("remove the route to {range}"))(error))
        }
        _ => Ok(()),
    }
}
