//! What the kernel is to hold of Services in one address family, and what of it changes with a Service. Pure.
//!
//! Invariant: what the kernel holds is a function of the Services alone, not of the way here; a destination that two
//! Services claim belongs to the one whose name comes first. A Service's change costs what its own ports have.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::chains::{CLUSTER_IPS, ENDPOINTS, HAIRPIN, INSIDE, INSIDE_OFFSET, LIVE, REFUSED};
use super::chains::{REJECT, SERVICES, Way, key};
use super::{Endpoint, Service};
use crate::nft::steps::{family_of, octets};
use crate::nft::{Change, Difference, Element, Family, Value, padded};
use crate::{Cidr, Protocol};

/// Where packets may want to go; without an address, to any of the node's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Front {
    pub(super) address: Option<IpAddr>,
    pub(super) protocol: Protocol,
    pub(super) port: u16,
}

/// What happens to them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    to: Target,
    /// Whether the address is nobody's but Services'.
    cluster: bool,
    /// For who is inside, if it differs.
    inside: Option<Target>,
    ranges: Vec<Cidr>,
    affinity: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    /// One of these, of which there are some.
    Endpoints(Vec<Endpoint>),
    /// There are none anywhere.
    Reject,
    /// There are none here.
    Drop,
}

/// Something that several destinations may need; it is there once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Shared {
    Chain(Way),
    Element(Element),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Plane {
    family: Family,
    /// Whether an address is a Pod's of this node.
    pods: Cidr,
    /// The destinations that each Service claims.
    services: BTreeMap<String, BTreeSet<Front>>,
    /// Who claims a destination, and what for.
    fronts: BTreeMap<Front, BTreeMap<String, Entry>>,
    shared: BTreeMap<Shared, usize>,
    /// UDP destinations that changed since they were last taken.
    touched: BTreeSet<Front>,
}

/// What one destination takes in the kernel.
#[derive(Debug, Default)]
struct Held {
    own: BTreeSet<Element>,
    shared: BTreeSet<Shared>,
}

impl Plane {
    /// Nothing yet.
    pub(super) fn new(family: Family, pods: Cidr) -> Self {
        let (services, fronts, shared) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { family, pods, services, fronts, shared, touched: BTreeSet::new() }
    }

    /// Takes Services as they are now, `None` for one that is gone, and says what changes.
    pub(super) fn update<'a>(
        &mut self,
        changes: impl IntoIterator<Item = (&'a str, Option<&'a Service>)>,
    ) -> Change {
        let mut difference = Difference::default();
        for (name, service) in changes {
            let entries = service.map(|service| entries(self.family, service)).unwrap_or_default();
            self.replace(name, entries, &mut difference);
        }
        difference.change()
    }

    fn replace(&mut self, name: &str, entries: BTreeMap<Front, Entry>, difference: &mut Difference) {
        let before = self.services.remove(name).unwrap_or_default();
        let after: BTreeSet<Front> = entries.keys().copied().collect();
        let mut entries = entries;
        for front in before.union(&after) {
            let claims = self.fronts.entry(*front).or_default();
            let old = claims.values().next().cloned();
            match entries.remove(front) {
                Some(entry) => _ = claims.insert(name.to_owned(), entry),
                None => _ = claims.remove(name),
            }
            let new = claims.values().next().cloned();
            if claims.is_empty() {
                self.fronts.remove(front);
            }
            if old != new {
                self.exchange(*front, old.as_ref(), new.as_ref(), difference);
            }
        }
        if !after.is_empty() {
            self.services.insert(name.to_owned(), after);
        }
    }

    fn exchange(
        &mut self,
        front: Front,
        old: Option<&Entry>,
        new: Option<&Entry>,
        difference: &mut Difference,
    ) {
        if front.protocol == Protocol::Udp {
            self.touched.insert(front);
        }
        let held = |entry: Option<&Entry>| entry.map(|entry| self.held(front, entry)).unwrap_or_default();
        let (old, new) = (held(old), held(new));
        old.own.difference(&new.own).for_each(|element| difference.remove(element.clone()));
        new.own.difference(&old.own).for_each(|element| difference.add(element.clone()));
        for shared in new.shared.difference(&old.shared) {
            let users = self.shared.entry(shared.clone()).or_default();
            *users += 1;
            if *users == 1 {
                add(difference, self.family, shared.clone());
            }
        }
        for shared in old.shared.difference(&new.shared) {
            let users = self.shared.entry(shared.clone()).or_default();
            *users = users.saturating_sub(1);
            if *users == 0 {
                self.shared.remove(shared);
                remove(difference, shared.clone());
            }
        }
    }

    /// What a destination takes.
    fn held(&self, front: Front, entry: &Entry) -> Held {
        let mut held = Held::default();
        let key = key(self.family, front.address, front.protocol, front.port);
        if let Some(ip) = front.address.filter(|_| entry.cluster) {
            let ip = Element { set: CLUSTER_IPS, key: octets(ip), value: Value::Nothing };
            held.shared.insert(Shared::Element(ip));
        }
        self.hold(&mut held, &key, front, entry, false, &entry.to);
        if let Some(inside) = &entry.inside {
            self.hold(&mut held, &key, front, entry, true, inside);
        }
        held
    }

    fn hold(&self, held: &mut Held, key: &[u8], front: Front, entry: &Entry, inside: bool, target: &Target) {
        let mut own = |set, key: Vec<u8>, value| held.own.insert(Element { set, key, value });
        let endpoints = match target {
            Target::Endpoints(endpoints) => endpoints,
            // What is refused has its own address still; who is inside has been led away before.
            Target::Reject if !inside => {
                own(REFUSED, key.to_vec(), Value::Goto(REJECT.to_owned()));
                return;
            }
            Target::Drop if !inside => {
                own(REFUSED, key.to_vec(), Value::Drop);
                return;
            }
            Target::Reject | Target::Drop => return,
        };
        let offset = if inside { INSIDE_OFFSET } else { 0 };
        for (number, endpoint) in (offset..).zip(endpoints) {
            let (ip, port) = (octets(endpoint.ip), padded(endpoint.port));
            let address = [&ip[..], &port].concat();
            own(ENDPOINTS, [key, &number.to_ne_bytes()].concat(), Value::Data(address.clone()));
            if entry.affinity.is_some() {
                own(LIVE, [key, &address].concat(), Value::Nothing);
            }
            if self.pods.contains(endpoint.ip) {
                let itself = Element { set: HAIRPIN, key: ip.repeat(2), value: Value::Nothing };
                held.shared.insert(Shared::Element(itself));
            }
        }
        let count = u32::try_from(endpoints.len()).expect("fewer than are numbered");
        let mut way = Way::Pick { node: front.address.is_none(), inside, count, affinity: entry.affinity };
        held.shared.insert(Shared::Chain(way.clone()));
        if !entry.ranges.is_empty() {
            way = Way::Only(entry.ranges.clone(), Box::new(way));
            held.shared.insert(Shared::Chain(way.clone()));
        }
        let map = if inside { INSIDE } else { SERVICES };
        held.own.insert(Element { set: map, key: key.to_vec(), value: Value::Goto(way.name()) });
    }

    /// The Services that have destinations here.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.services.keys().map(String::as_str)
    }

    /// Everything that the kernel is to hold now, for a table that has the fixed rules only.
    pub(super) fn whole(&self) -> Change {
        let mut difference = Difference::default();
        for (front, claims) in &self.fronts {
            let Some(entry) = claims.values().next() else { continue };
            self.held(*front, entry).own.into_iter().for_each(|own| difference.add(own));
        }
        self.shared.keys().for_each(|shared| add(&mut difference, self.family, shared.clone()));
        difference.change()
    }

    /// The UDP destinations that changed, each with its endpoints now.
    pub(super) fn take_touched(&mut self) -> Vec<(Front, BTreeSet<Endpoint>)> {
        let touched = std::mem::take(&mut self.touched);
        touched.into_iter().map(|front| (front, self.endpoints(front))).collect()
    }

    fn endpoints(&self, front: Front) -> BTreeSet<Endpoint> {
        let entry = self.fronts.get(&front).and_then(|claims| claims.values().next());
        let targets = entry.into_iter().flat_map(|entry| [Some(&entry.to), entry.inside.as_ref()]).flatten();
        let listed = targets.filter_map(|target| match target {
            Target::Endpoints(endpoints) => Some(endpoints),
            Target::Reject | Target::Drop => None,
        });
        listed.flatten().copied().collect()
    }
}

fn add(difference: &mut Difference, family: Family, shared: Shared) {
    match shared {
        Shared::Chain(way) => difference.add_chain(way.chain(family)),
        Shared::Element(element) => difference.add(element),
    }
}

fn remove(difference: &mut Difference, shared: Shared) {
    match shared {
        Shared::Chain(way) => difference.remove_chain(way.name()),
        Shared::Element(element) => difference.remove(element),
    }
}

/// The destinations of a Service in a family.
fn entries(family: Family, service: &Service) -> BTreeMap<Front, Entry> {
    let mut entries = BTreeMap::new();
    let of_family = |list: &[Endpoint]| -> Vec<Endpoint> {
        let mut own: Vec<Endpoint> =
            list.iter().filter(|endpoint| family_of(endpoint.ip) == family).copied().collect();
        own.sort();
        own.dedup();
        own
    };
    let cluster = fronts_of(family, &service.cluster_ips);
    for port in &service.ports {
        let (all, local) = (of_family(&port.endpoints), of_family(&port.local));
        let target = |only_local: bool| match (only_local, &all[..], &local[..]) {
            (true, _, [_, ..]) => Target::Endpoints(local.clone()),
            (false, [_, ..], _) => Target::Endpoints(all.clone()),
            (_, [], []) => Target::Reject,
            _ => Target::Drop,
        };
        let (internal, external) = (target(service.internal_local), target(service.external_local));
        // From inside, what is outside is as good as any: only others' addresses must be kept.
        let inside = (service.external_local && external != target(false)).then(|| target(false));
        let mut add = |addresses: &[Option<IpAddr>], number: u16, entry: &Entry| {
            for address in addresses {
                let front = Front { address: *address, protocol: port.protocol, port: number };
                entries.entry(front).or_insert_with(|| entry.clone());
            }
        };
        let affinity = service.affinity;
        let within = Entry { to: internal, cluster: true, inside: None, ranges: Vec::new(), affinity };
        add(&cluster, port.port, &within);
        let mut outside = Entry { to: external, cluster: false, inside, ranges: Vec::new(), affinity };
        add(&fronts_of(family, &service.external_ips), port.port, &outside);
        // A Service has node ports in the families that it has cluster IPs of.
        if let Some(number) = port.node_port.filter(|_| !cluster.is_empty()) {
            add(&[None], number, &outside);
        }
        outside.ranges.clone_from(&service.source_ranges);
        add(&fronts_of(family, &service.load_balancer_ips), port.port, &outside);
    }
    entries
}

fn fronts_of(family: Family, addresses: &[IpAddr]) -> Vec<Option<IpAddr>> {
    addresses.iter().filter(|ip| family_of(**ip) == family).copied().map(Some).collect()
}

#[cfg(test)]
mod tests;
