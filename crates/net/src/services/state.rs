//! Carries changes of Services into the kernel.
//!
//! Invariant: each change is one transaction per family (`nft::Follows`).

use super::chains::{self, Ground};
use super::plane::{Front, Plane};
use super::{Endpoint, ServiceChanges};
use crate::conntrack::{self, Flow};
use crate::netlink::Socket;
use crate::nft::{self, Family, Follows};
use crate::{NetError, Protocol};
use std::collections::{BTreeSet, HashSet};

/// See the module.
#[derive(Debug)]
pub(crate) struct State {
    ground: Ground,
    tables: [Table; 2],
}

#[derive(Debug)]
struct Table {
    follows: Follows,
    plane: Plane,
}

impl State {
    /// Nothing yet; the kernel keeps what an earlier life left.
    pub(crate) fn new(ground: Ground) -> Self {
        let tables = [Family::V4, Family::V6]
            .map(|family| Table { follows: Follows::new(family), plane: Plane::new(family, ground.pods) });
        Self { ground, tables }
    }

    /// Has the kernel follow.
    pub(crate) fn apply(&mut self, netfilter: &mut Socket, changes: &ServiceChanges) -> Result<(), NetError> {
        if changes.all
            && (&self.ground.ranges, &self.ground.node_port_addresses)
                != (&changes.ranges, &changes.node_port_addresses)
        {
            self.ground.ranges.clone_from(&changes.ranges);
            self.ground.node_port_addresses.clone_from(&changes.node_port_addresses);
            self.tables.iter_mut().for_each(|table| table.follows.begin_anew());
        }
        for table in &mut self.tables {
            table.apply(netfilter, &self.ground, changes)?;
        }
        Ok(())
    }
}

impl Table {
    fn apply(
        &mut self,
        netfilter: &mut Socket,
        ground: &Ground,
        changes: &ServiceChanges,
    ) -> Result<(), NetError> {
        let named: HashSet<&str> = changes.services.iter().map(|(name, _)| name.as_str()).collect();
        let gone = self.plane.names().filter(|name| changes.all && !named.contains(name));
        let gone: Vec<String> = gone.map(str::to_owned).collect();
        let gone = gone.iter().map(|name| (name.as_str(), None));
        let these = changes.services.iter().map(|(name, service)| (name.as_str(), service.as_ref()));
        let change = self.plane.update(gone.chain(these));
        let family = self.follows.family;
        let anew = (|| chains::fixed(ground, family), || self.plane.whole());
        self.follows
            .write(netfilter, &change, &chains::table(ground.instance_id, family), anew)
            .map_err(NetError::kernel("write the rules of Services"))?;
        let touched = self.plane.take_touched();
        if !touched.is_empty()
            && let Err(error) = forget(netfilter, family, &touched)
        {
            // Kernels may lack it; connections then end by their timeout.
            tracing::warn!(%error, "UDP connections to a Service may still go to where it led before");
        }
        Ok(())
    }
}

/// Whether a connection goes to where one of these destinations leads no more.
fn is_stale(flow: &Flow, touched: &[(Front, BTreeSet<Endpoint>)]) -> bool {
    let (ip, port) = flow.to;
    let by = Endpoint { ip: flow.by.0, port: flow.by.1 };
    let leads_here = |front: &Front| {
        front.port == port
            && front.protocol == Protocol::Udp
            && front.address.is_none_or(|address| address == ip)
    };
    let mut hits = touched.iter().filter(|(front, _)| leads_here(front)).peekable();
    hits.peek().is_some() && hits.all(|(_, endpoints)| !endpoints.contains(&by))
}

fn forget(
    netfilter: &mut Socket,
    family: Family,
    touched: &[(Front, BTreeSet<Endpoint>)],
) -> std::io::Result<()> {
    conntrack::forget_those(netfilter, family == Family::V4, |flow| is_stale(flow, touched))
}

/// Removes the tables; those that are not there are fine.
pub(crate) fn remove(netfilter: &mut Socket, instance_id: u32) -> Result<(), NetError> {
    nft::remove_both(netfilter, |family| chains::table(instance_id, family))
        .map_err(NetError::kernel("remove the rules of Services"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_follow_endpoints() {
        let at = |text: &str| {
            let address: std::net::SocketAddr = text.parse().unwrap();
            (address.ip(), address.port())
        };
        let endpoint = |text: &str| Endpoint { ip: at(text).0, port: at(text).1 };
        let front = |address: Option<&str>, port| Front {
            address: address.map(|ip| ip.parse().unwrap()),
            protocol: Protocol::Udp,
            port,
        };
        let touched = [
            (front(Some("10.96.0.10"), 53), BTreeSet::from([endpoint("10.64.3.2:5353")])),
            (front(None, 30053), BTreeSet::new()),
        ];
        for (to, by, stale) in [
            ("10.96.0.10:53", "10.64.3.2:5353", false),
            ("10.96.0.10:53", "10.64.3.3:5353", true),
            ("10.96.0.10:53", "10.96.0.10:53", true),
            ("10.96.0.10:54", "10.96.0.10:54", false),
            ("192.0.2.1:30053", "10.64.3.2:5353", true),
            ("192.0.2.1:53", "192.0.2.1:53", false),
        ] {
            assert_eq!(is_stale(&Flow { to: at(to), by: at(by) }, &touched), stale, "{to} {by}");
        }
    }
}
