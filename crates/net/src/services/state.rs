//! Carries changes of Services into the kernel.
//!
//! Invariant: each change is one transaction per family; after one that failed, the next replaces the whole table, so
//! what the kernel holds is never half of something. A family's table is made when something of it is wanted.

use super::chains::{self, Ground};
use super::plane::{Front, Plane};
use super::{Endpoint, ServiceChanges};
use crate::conntrack::{self, Flow};
use crate::netlink::Socket;
use crate::nft::{self, Change, Family, RuleSet};
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
    family: Family,
    plane: Plane,
    /// Whether the kernel's table follows from the plane.
    good: bool,
}

impl State {
    /// Nothing yet; the kernel keeps what an earlier life left.
    pub(crate) fn new(ground: Ground) -> Self {
        let tables = [Family::V4, Family::V6].map(|family| Table {
            family,
            plane: Plane::new(family, ground.pods),
            good: false,
        });
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
            self.tables.iter_mut().for_each(|table| table.good = false);
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
        self.write(netfilter, ground, &change)?;
        let touched = self.plane.take_touched();
        if !touched.is_empty()
            && let Err(error) = forget(netfilter, self.family, &touched)
        {
            // Kernels may lack it; connections then end by their timeout.
            tracing::warn!(%error, "UDP connections to a Service may still go to where it led before");
        }
        Ok(())
    }

    fn write(&mut self, netfilter: &mut Socket, ground: &Ground, change: &Change) -> Result<(), NetError> {
        let batch = if self.good {
            if change.is_empty() {
                return Ok(());
            }
            nft::change(&chains::table(ground.instance_id, self.family), change)
        } else {
            let whole = self.plane.whole();
            // Where nothing is wanted of IPv6, the kernel need not have it.
            if self.family == Family::V6 && whole.is_empty() {
                return Ok(());
            }
            nft::replace_table(&with(chains::fixed(ground, self.family), whole))
        };
        let written = netfilter.transact(batch);
        self.good = written.is_ok();
        written.map_err(NetError::kernel("write the rules of Services"))
    }
}

fn with(mut rules: RuleSet, whole: Change) -> RuleSet {
    rules.chains.extend(whole.new_chains);
    rules.elements.extend(whole.added);
    rules
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
