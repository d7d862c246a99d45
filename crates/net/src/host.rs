//! The host's side: range, gateway, rules, and the end of them all.
//!
//! Invariant: setting up twice changes nothing; tearing down removes only what carries the instance's id. `ip_forward`
//! is set and never reset: others may rely on it by then.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use crate::lease::{Lease, Leases};
use crate::netlink::{Batch, Socket, errno};
use crate::nft::{self, Forward, Model, Table};
use crate::range::{Claims, enclosing};
use crate::rtnl::{self, Link, Route};
use crate::{
    Cidr, Config, NetError, Peer, PolicyChanges, ServiceChanges, conntrack, peers, policies, services,
};

const IP_FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";
/// What keeps IPv6 of Pods out of the host; the last two hold where somebody turns IPv6 on for all links.
const IPV6_GUARD: &[(&str, &str)] = &[("disable_ipv6", "1"), ("accept_ra", "0"), ("accept_redirects", "0")];
/// Always the first link.
const LOOPBACK: u32 = 1;
/// MTU of a host without a default route.
const MTU: u32 = 1500;
/// An address outside, to ask which way it would go; nothing is sent there.
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// See the module.
#[derive(Debug)]
pub(crate) struct Host {
    config: Config,
    pub(crate) route: Socket,
    pub(crate) netfilter: Socket,
    pub(crate) leases: Leases,
    gateway: Ipv4Addr,
    mtu: u32,
    host_ip: IpAddr,
    ipv6: bool,
    services: services::State,
    policies: policies::State,
}

/// The first address of the range after the network's.
fn gateway_of(range: Cidr) -> Option<Ipv4Addr> {
    match range.address() {
        IpAddr::V4(network) if (16..=28).contains(&range.prefix()) => {
            Some(Ipv4Addr::from(u32::from(network) + 1))
        }
        _ => None,
    }
}

/// Nobody else's: group 0 is every link's at first, and small numbers are an administrator's.
fn doomed_group(instance_id: u32) -> u32 {
    instance_id | 0x8000_0000
}

/// How the links of every instance begin.
const ANY_LINK: &str = "mk";

fn link_prefix(instance_id: u32) -> String {
    format!("{ANY_LINK}{:04x}", instance_id >> 16)
}

impl Host {
    pub(crate) fn set_up(config: &Config) -> Result<Self, NetError> {
        let mut route = Socket::route().map_err(NetError::kernel("open an rtnetlink socket"))?;
        let netfilter = Socket::netfilter().map_err(NetError::kernel("open an nf_tables socket"))?;
        let leases = take_range(config, &mut route)?;
        let range = leases.range();
        let gateway = gateway_of(range).ok_or(NetError::RangeSize(range))?;
        let (mtu, host_ip) = uplink(&mut route).map_err(NetError::kernel("find the default route"))?;
        let mut host = Self {
            gateway,
            mtu: config.mtu.or(mtu).unwrap_or(MTU),
            host_ip: host_ip.unwrap_or(gateway.into()),
            ipv6: Path::new("/proc/sys/net/ipv6").exists(),
            policies: policies::State::new(config.instance_id),
            services: services::State::new(services::Ground {
                instance_id: config.instance_id,
                link_prefix: link_prefix(config.instance_id),
                any_link: ANY_LINK.to_owned(),
                pods: range,
                gateway: gateway.into(),
                ranges: Vec::new(),
                node_port_addresses: Vec::new(),
            }),
            config: config.clone(),
            route,
            netfilter,
            leases,
        };
        host.set_up_gateway()?;
        host.remove_strays()?;
        host.guard_links()?;
        host.set_up_rules()?;
        Ok(host)
    }

    pub(crate) fn range(&self) -> Cidr {
        self.leases.range()
    }

    pub(crate) fn cluster(&self) -> Cidr {
        self.config.cluster_cidr.unwrap_or_else(|| enclosing(self.range()))
    }

    pub(crate) fn gateway(&self) -> Ipv4Addr {
        self.gateway
    }

    pub(crate) fn host_ip(&self) -> IpAddr {
        self.host_ip
    }

    pub(crate) fn mtu(&self) -> u32 {
        self.mtu
    }

    pub(crate) fn table(&self) -> Table {
        nft::table(self.config.instance_id)
    }

    /// The group that this instance's links enter to be removed.
    pub(crate) fn group(&self) -> u32 {
        doomed_group(self.config.instance_id)
    }

    /// The name of the link to the Pod with this address: unique as the address is.
    pub(crate) fn link_name(&self, ip: Ipv4Addr) -> String {
        let IpAddr::V4(network) = self.range().address() else { return String::new() };
        format!("{}{}", link_prefix(self.config.instance_id), u32::from(ip) - u32::from(network))
    }

    /// The index of the link to the Pod with this address, `None` if there is none.
    pub(crate) fn link_index(&self, ip: Ipv4Addr) -> Result<Option<u32>, NetError> {
        rtnl::index_of(&self.route, &self.link_name(ip)).map_err(NetError::kernel("look for a Pod's link"))
    }

    /// What a link says of its owner.
    pub(crate) fn alias(&self, uid: &str) -> String {
        format!("minke/{:08x}/{uid}", self.config.instance_id)
    }

    /// Settings of a Pod's link that must hold before the link is up. IPv6 is off until Pods have it: otherwise the host
    /// would take router advertisements and redirects from them.
    pub(crate) fn guard_link(
        &self,
        batch: &mut Batch,
        index: u32,
        uid: &str,
        lease: &Lease,
    ) -> Result<(), NetError> {
        rtnl::configure_link(batch, index, &self.alias(uid), self.ipv6, !lease.host_ports.is_empty());
        if !self.ipv6 {
            return Ok(());
        }
        let name = self.link_name(lease.ip);
        for (setting, value) in IPV6_GUARD {
            match fs::write(format!("/proc/sys/net/ipv6/conf/{name}/{setting}"), value) {
                // A link whose MTU is too small has no IPv6.
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(NetError::kernel(format!("set {setting} of {name}"))(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Sets again what guards the links of an earlier life, which may have been another version's, or changed since.
    fn guard_links(&mut self) -> Result<(), NetError> {
        let leases: Vec<(String, Lease)> =
            self.leases.iter().map(|(uid, lease)| (uid.to_owned(), lease.clone())).collect();
        for (uid, lease) in leases {
            let Some(index) = self.link_index(lease.ip)? else { continue };
            let mut batch = Batch::default();
            self.guard_link(&mut batch, index, &uid, &lease)?;
            match self.route.run(batch) {
                // A link that goes meanwhile with its namespace needs no guard.
                Err((_, error)) if errno(&error) != libc::ENODEV => {
                    return Err(NetError::kernel("guard the links of running Pods")(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn set_up_gateway(&mut self) -> Result<(), NetError> {
        let forwards = fs::read_to_string(IP_FORWARD).is_ok_and(|value| value.trim() == "1");
        if !forwards {
            fs::write(IP_FORWARD, "1").map_err(NetError::kernel("set net.ipv4.ip_forward"))?;
        }
        let mut batch = Batch::default();
        rtnl::link_up(&mut batch, LOOPBACK);
        rtnl::new_gateway(&mut batch, LOOPBACK, self.gateway.into());
        rtnl::new_range_route(&mut batch, self.range());
        let what = format!("set up the gateway {}", self.gateway);
        self.route.run(batch).map_err(|(_, error)| NetError::kernel(what)(error))
    }

    /// Removes links of this instance that no lease knows.
    fn remove_strays(&mut self) -> Result<(), NetError> {
        let known: HashSet<String> = self.leases.iter().map(|(_, lease)| self.link_name(lease.ip)).collect();
        let strays = own_links(&mut self.route, self.config.instance_id)?;
        let strays = strays.iter().filter(|link| !known.contains(&link.name));
        let strays: Vec<u32> = strays.map(|link| link.index).collect();
        self.delete_links(&strays)
    }

    fn set_up_rules(&mut self) -> Result<(), NetError> {
        let link_prefix = link_prefix(self.config.instance_id);
        let model = Model {
            instance_id: self.config.instance_id,
            link_prefix: &link_prefix,
            range: self.range(),
            cluster: self.cluster(),
            gateway: self.gateway,
        };
        let rules = nft::compile(&model, self.leases.iter().map(|(_, lease)| lease));
        self.netfilter
            .transact(nft::replace_table(&rules))
            .map_err(NetError::kernel(format!("write the nf_tables table {}", rules.table.name)))?;
        let forward = Forward::of(self.range());
        nft::accept_forwarding(&mut self.netfilter, &rules.table.name, &forward)
            .map_err(NetError::kernel("have the host's FORWARD chain accept Pods"))
    }

    /// Has the kernel lead Services' traffic as they now are. The node itself reaches cluster IPs by a route: without a
    /// way out it would have none, and what leads nowhere must not leave the machine.
    pub(crate) fn serve(&mut self, changes: &ServiceChanges) -> Result<(), NetError> {
        let own = |range: &&Cidr| changes.all && range.address().is_ipv4();
        for range in changes.ranges.iter().filter(own) {
            let mut batch = Batch::default();
            rtnl::new_service_route(&mut batch, LOOPBACK, *range, self.gateway.into(), self.group());
            let what = format!("route the Services' range {range}");
            self.route.run(batch).map_err(|(_, error)| NetError::kernel(what)(error))?;
        }
        self.services.apply(&mut self.netfilter, changes)
    }

    /// Has the kernel hold Pods to their policies as they now are.
    pub(crate) fn restrict(&mut self, changes: &PolicyChanges) -> Result<(), NetError> {
        self.policies.apply(&mut self.netfilter, changes)
    }

    /// Routes the ranges of these nodes to them, and no others; those without a way are returned.
    pub(crate) fn reach(&mut self, peers: Vec<Peer>) -> Result<Vec<Peer>, NetError> {
        peers::reach(&mut self.route, peers::metric(self.config.instance_id), peers)
    }

    /// Removes links; those that are gone are fine.
    pub(crate) fn delete_links(&mut self, indices: &[u32]) -> Result<(), NetError> {
        let group = self.group();
        delete_links(&mut self.route, group, indices)
    }

    /// Has netfilter decide anew where UDP to a Pod's host ports goes, once they are open or closed.
    pub(crate) fn decide_anew(&mut self, lease: &Lease) {
        if let Err(error) = conntrack::forget(&mut self.netfilter, lease) {
            // Kernels may lack it; connections then end by their timeout.
            tracing::warn!(%error, "UDP connections to a host port may still go to where it led before");
        }
    }

    /// Removes a Pod's elements; an element that was never added fails the whole, so each stands alone then.
    pub(crate) fn close_ports(&mut self, lease: &Lease) -> Result<(), NetError> {
        let (table, elements) = (self.table(), nft::elements(lease));
        if self.netfilter.transact(nft::delete_elements(&table, &elements)).is_ok() {
            return Ok(());
        }
        for element in elements {
            match self.netfilter.transact(nft::delete_elements(&table, &[element])) {
                Err(error) if errno(&error) != libc::ENOENT => {
                    return Err(NetError::kernel("close host ports")(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes everything.
    pub(crate) fn tear_down(&mut self) -> Result<(), NetError> {
        Self::remove(&self.config)
    }

    /// Removes everything that carries the instance's id; what is not there is fine.
    pub(crate) fn remove(config: &Config) -> Result<(), NetError> {
        let mut route = Socket::route().map_err(NetError::kernel("open an rtnetlink socket"))?;
        let mut netfilter = Socket::netfilter().map_err(NetError::kernel("open an nf_tables socket"))?;
        let claims = Claims::lock(config)?;
        let links: Vec<u32> =
            own_links(&mut route, config.instance_id)?.iter().map(|link| link.index).collect();
        delete_links(&mut route, doomed_group(config.instance_id), &links)?;
        services::remove(&mut netfilter, config.instance_id)?;
        policies::remove(&mut netfilter, config.instance_id)?;
        remove_service_routes(&mut route, doomed_group(config.instance_id))?;
        let table = nft::table(config.instance_id);
        nft::withdraw_forwarding(&mut netfilter, &table.name)
            .and_then(|()| netfilter.transact(nft::delete_table(&table)))
            .map_err(NetError::kernel(format!("remove the nf_tables table {}", table.name)))?;
        peers::remove_routes(&mut route, peers::metric(config.instance_id))?;
        if let Some(leases) = Leases::load(&config.data_dir)? {
            remove_gateway(&mut route, leases.range())?;
        }
        claims.withdraw()?;
        Leases::forget(&config.data_dir)
    }
}

/// Removes the routes that lead to Services' ranges, known by their metric.
fn remove_service_routes(route: &mut Socket, metric: u32) -> Result<(), NetError> {
    let routes = rtnl::routes(route).map_err(NetError::kernel("list the host's routes"))?;
    for own in routes.iter().filter(|found| found.ours && found.metric == metric) {
        let mut batch = Batch::default();
        rtnl::delete_service_route(&mut batch, LOOPBACK, own.to, metric);
        match route.run(batch) {
            Err((_, error)) if errno(&error) != libc::ESRCH => {
                return Err(NetError::kernel(format!("remove the route to {}", own.to))(error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn remove_gateway(route: &mut Socket, range: Cidr) -> Result<(), NetError> {
    let Some(gateway) = gateway_of(range) else { return Ok(()) };
    let mut address = Batch::default();
    rtnl::delete_gateway(&mut address, LOOPBACK, gateway.into());
    let mut reject = Batch::default();
    rtnl::delete_range_route(&mut reject, range);
    for batch in [address, reject] {
        match route.run(batch) {
            Err((_, error)) if ![libc::EADDRNOTAVAIL, libc::ESRCH].contains(&errno(&error)) => {
                return Err(NetError::kernel(format!("remove the gateway {gateway}"))(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The range of an earlier life, or the configured one, or a free one; saved and claimed.
fn take_range(config: &Config, route: &mut Socket) -> Result<Leases, NetError> {
    let claims = Claims::lock(config)?;
    let routes = rtnl::routes(route).map_err(NetError::kernel("list the host's routes"))?;
    let kept = Leases::load(&config.data_dir)?;
    let wanted = config.pod_cidr.or(kept.as_ref().map(Leases::range));
    let leases = match (kept, wanted) {
        (Some(kept), Some(wanted)) if kept.range() == wanted => {
            let foreign = foreign(&routes, wanted);
            match claims.taken(wanted, &foreign) {
                None => kept,
                Some(with) if config.pod_cidr.is_some() || kept.iter().next().is_some() => {
                    return Err(NetError::RangeTaken { range: wanted, with });
                }
                // Nobody uses it yet: another one is as good.
                Some(_) => free_range(config, &claims, &routes)?,
            }
        }
        (Some(kept), Some(wanted)) if kept.iter().next().is_some() => {
            let with = format!("the Pods that still run in {}", kept.range());
            return Err(NetError::RangeTaken { range: wanted, with });
        }
        (kept, Some(wanted)) => {
            gateway_of(wanted).ok_or(NetError::RangeSize(wanted))?;
            if let Some(with) = claims.taken(wanted, &routes) {
                return Err(NetError::RangeTaken { range: wanted, with });
            }
            kept.map_or(Ok(()), |kept| remove_gateway(route, kept.range()))?;
            Leases::new(&config.data_dir, wanted)
        }
        (_, None) => free_range(config, &claims, &routes)?,
    };
    claims.claim(leases.range())?;
    leases.save_range()?;
    Ok(leases)
}

fn free_range(config: &Config, claims: &Claims, routes: &[Route]) -> Result<Leases, NetError> {
    let range = claims.choose(config.instance_id, routes).ok_or(NetError::NoRange)?;
    Ok(Leases::new(&config.data_dir, range))
}

/// The routes that an earlier life of this instance, whose range this is, did not make.
fn foreign(routes: &[Route], own: Cidr) -> Vec<Route> {
    let gateway = gateway_of(own).map(IpAddr::V4);
    let is_own = |route: &&Route| {
        let inside = own.contains(route.to.address()) && route.to.prefix() >= own.prefix();
        inside && (route.ours || (route.local && Some(route.to.address()) == gateway))
    };
    routes.iter().filter(|route| !is_own(route)).cloned().collect()
}

/// MTU and source address of the way out.
fn uplink(route: &mut Socket) -> io::Result<(Option<u32>, Option<IpAddr>)> {
    let way = match rtnl::route_to(route, OUTSIDE.into()) {
        Ok(Some(way)) => way,
        Ok(None) => return Ok((None, None)),
        Err(error) if [libc::ENETUNREACH, libc::EHOSTUNREACH].contains(&errno(&error)) => {
            return Ok((None, None));
        }
        Err(error) => return Err(error),
    };
    let link = rtnl::links(route)?.into_iter().find(|link| link.index == way.oif);
    Ok((link.map(|link| link.mtu), way.source))
}

/// The links of an instance.
fn own_links(route: &mut Socket, instance_id: u32) -> Result<Vec<Link>, NetError> {
    let (prefix, alias) = (link_prefix(instance_id), format!("minke/{instance_id:08x}/"));
    let links = rtnl::links(route).map_err(NetError::kernel("list links"))?;
    // A link without an alias was being made when the daemon died.
    let own = links.into_iter().filter(|link| {
        link.name.starts_with(&prefix) && (link.alias.is_empty() || link.alias.starts_with(&alias))
    });
    Ok(own.collect())
}

/// Removes links, all at once; those that are gone, or go meanwhile with their namespace, are fine.
pub(crate) fn delete_links(route: &mut Socket, group: u32, indices: &[u32]) -> Result<(), NetError> {
    if indices.is_empty() {
        return Ok(());
    }
    let mut batch = Batch::default();
    indices.iter().for_each(|index| rtnl::set_group(&mut batch, *index, group));
    let mut last = Batch::default();
    rtnl::delete_group(&mut last, group);
    for batch in [batch, last] {
        match route.run(batch) {
            Err((_, error)) if errno(&error) != libc::ENODEV => {
                return Err(NetError::kernel(format!("remove the links {indices:?}"))(error));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ranges_that_hold_pods_have_a_gateway() {
        for (range, expect) in [
            ("10.64.3.0/24", Some([10, 64, 3, 1])),
            ("10.64.0.0/16", Some([10, 64, 0, 1])),
            ("10.64.3.16/28", Some([10, 64, 3, 17])),
            ("10.0.0.0/8", None),
            ("10.64.3.0/30", None),
            ("fd00::/64", None),
        ] {
            assert_eq!(gateway_of(range.parse().unwrap()), expect.map(Ipv4Addr::from), "{range}");
        }
    }

    #[test]
    fn own_routes_do_not_stand_in_the_way() {
        let route = |to: &str, ours, local| Route {
            to: to.parse().unwrap(),
            oif: 1,
            source: None,
            via: None,
            metric: 0,
            ours,
            local,
        };
        let own = "10.64.3.0/24".parse().unwrap();
        for (route, expect) in [
            (route("10.64.3.0/24", true, false), false),
            (route("10.64.3.7/32", true, false), false),
            (route("10.64.3.1/32", false, true), false),
            (route("10.64.3.2/32", false, true), true),
            (route("10.64.3.0/24", false, false), true),
            (route("10.0.0.0/8", true, false), true),
        ] {
            assert_eq!(!foreign(std::slice::from_ref(&route), own).is_empty(), expect, "{route:?}");
        }
    }
}
