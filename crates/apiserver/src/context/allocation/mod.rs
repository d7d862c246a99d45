//! What is given out to Services: addresses, each an object of its own, and ports on the nodes.
//!
//! Invariants: an address is taken by creating its IPAddress, so the store keeps two Services from having one; a port is
//! taken by who has it in a stored Service (the store's index says) or in a write on its way. What is taken is looked at
//! again once the write has ended, against what is stored then, so how it ended does not matter. What a crash leaves is
//! put right at the next start ([`repair`]). Absent: which addresses and ports are wished for (`kinds::service`).

mod addresses;
mod ports;
pub(crate) mod repair;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};

use base::Cidr;
use kinds::service::KIND as SERVICES;
use kinds::service::allocation::addresses as held_by;
use kinds::service::families::FAMILIES;
use kinds::servicecidr::{DEFAULT, KIND as RANGES};
use serde_json::Value;
use store::Store;

use crate::context::nature::Nature;
use crate::context::object;

/// What Services are given of, and where the API server itself is reached.
#[derive(Debug, Clone)]
pub struct ServiceNetwork {
    /// Ranges of addresses, the default family first, one for each family.
    pub ranges: Vec<Cidr>,
    /// Ports on the nodes.
    pub node_ports: RangeInclusive<u16>,
    /// Where the Service `kubernetes` leads; nothing where the server is reached from this machine only.
    pub endpoint: Option<SocketAddr>,
}

impl Default for ServiceNetwork {
    fn default() -> Self {
        let range = Cidr::new(Ipv4Addr::new(10, 96, 0, 0).into(), 12).expect("12 bits are few");
        Self { ranges: vec![range], node_ports: 30_000..=32_767, endpoint: None }
    }
}

impl ServiceNetwork {
    /// The address of the Service `kubernetes`: the first of the first range.
    #[must_use]
    pub fn own_address(&self) -> Option<IpAddr> {
        self.ranges.first().map(|range| range.nth(1))
    }
}

/// Why ranges cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "the addresses of Services are in {stored} since the first start; {asked} can only add a second family to that"
)]
pub struct RangeError {
    stored: String,
    asked: String,
}

/// The ranges that an instance uses: those that it began with, which may only get a second family; without any, those that
/// are asked for, or the default.
///
/// # Errors
/// If others are asked for than it began with.
pub fn ranges_in_effect(store: &dyn Store, asked: Option<&[Cidr]>) -> Result<Vec<Cidr>, RangeError> {
    let entry = store.get(&object::key(&RANGES, "", DEFAULT));
    let stored = entry.map(|entry| object::parse(&RANGES, &entry.value)).map(|range| ranges_of(&range));
    match (stored, asked) {
        (Some(stored), Some(asked)) if !asked.starts_with(&stored) => {
            let text = |ranges: &[Cidr]| ranges.iter().map(Cidr::to_string).collect::<Vec<_>>().join(",");
            Err(RangeError { stored: text(&stored), asked: text(asked) })
        }
        (_, Some(asked)) => Ok(asked.to_vec()),
        (Some(stored), None) => Ok(stored),
        (None, None) => Ok(ServiceNetwork::default().ranges),
    }
}

fn ranges_of(range: &Value) -> Vec<Cidr> {
    let texts = range["spec"]["cidrs"].as_array().into_iter().flatten().filter_map(Value::as_str);
    texts.filter_map(|text| text.parse().ok()).collect()
}

/// Gives addresses and ports. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Allocator {
    store: Arc<dyn Store>,
    nature: Arc<dyn Nature>,
    network: Arc<ServiceNetwork>,
    /// Ports of writes on their way.
    pending: Arc<Mutex<HashSet<i64>>>,
}

impl Allocator {
    pub(crate) fn new(store: Arc<dyn Store>, nature: Arc<dyn Nature>, network: ServiceNetwork) -> Self {
        Self { store, nature, network: Arc::new(network), pending: Arc::default() }
    }

    /// Families that the cluster has, the default one first.
    pub(crate) fn families(&self) -> Vec<&'static str> {
        let six = |range: &Cidr| usize::from(range.address().is_ipv6());
        self.network.ranges.iter().map(|range| FAMILIES[six(range)]).collect()
    }

    pub(crate) fn network(&self) -> &ServiceNetwork {
        &self.network
    }
}

/// The Service that something is taken for.
#[derive(Debug, Clone)]
pub(crate) struct Owner {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// What was taken for one write of a Service, and what that may set free.
pub(crate) struct Taken(Option<Work>);

struct Work {
    allocator: Allocator,
    owner: Owner,
    /// Addresses whose objects go unless the stored Service has them.
    addresses: Vec<String>,
    ports: Vec<i64>,
}

impl Taken {
    /// Nothing yet; `before` are the addresses that the Service has.
    pub(crate) fn new(allocator: Allocator, owner: Owner, before: Vec<String>) -> Self {
        Self(Some(Work { allocator, owner, addresses: before, ports: Vec::new() }))
    }

    fn work(&mut self) -> &mut Work {
        self.0.as_mut().expect("only what ends it takes it out")
    }

    /// Nothing was taken and nothing is to be given back.
    pub(crate) fn forget(mut self) {
        self.0 = None;
    }

    /// The write has ended: lets go of what the Service, as it is stored now, has not.
    pub(crate) async fn end(mut self) {
        if let Some(work) = self.0.take() {
            work.settle().await;
        }
    }

    /// Whether there is anything to look at when the write has ended, which leaves the Service with this spec.
    pub(crate) fn matters(&self, spec: &Value) -> bool {
        let after: HashSet<&str> = held_by(spec).collect();
        let changes = |work: &Work| {
            !work.ports.is_empty() || work.addresses.iter().any(|ip| !after.contains(ip.as_str()))
        };
        self.0.as_ref().is_some_and(changes)
    }
}

impl Work {
    async fn settle(self) {
        let Owner { namespace, name } = &self.owner;
        let entry = self.allocator.store.get(&object::key(&SERVICES, namespace, name));
        let stored = entry.map(|entry| object::parse(&SERVICES, &entry.value)).unwrap_or_default();
        let kept: HashSet<&str> = held_by(&stored["spec"]).collect();
        for address in self.addresses.iter().filter(|address| !kept.contains(address.as_str())) {
            self.allocator.release(address, &self.owner).await;
        }
        self.allocator.let_go(&self.ports);
    }
}

impl Drop for Taken {
    /// Only here if the request ended while it was taken.
    fn drop(&mut self) {
        let Some(work) = self.0.take() else { return };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(work.settle())),
            Err(error) => tracing::error!(%error, "what a Service had taken waits for the next start"),
        }
    }
}
