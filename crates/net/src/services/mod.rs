//! Services on one node: which destinations lead to which endpoints.
//!
//! `plane` says what the kernel is to hold and what of it changes, `chains` are the rules, `state` carries changes out.
//! Invariant: callers hand in plain data and have chosen the endpoints; a table per address family,
//! `minke-ID-services`, lives on until the first whole state of the next life replaces it, so a restart of the daemon
//! interrupts nothing. Absent: the API, the choice of endpoints (the node's), addresses of load balancers on links.

mod chains;
mod plane;
mod state;

use std::net::IpAddr;

use async_trait::async_trait;

use crate::{Cidr, NetError, Network, Protocol};

pub(crate) use chains::Ground;
pub(crate) use state::{State, remove};

/// An address and a port that answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// The address.
    pub ip: IpAddr,
    /// The port there.
    pub port: u16,
}

/// One port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// The protocol.
    pub protocol: Protocol,
    /// The port at the Service's own addresses.
    pub port: u16,
    /// The port at the nodes' addresses.
    pub node_port: Option<u16>,
    /// Whom it leads to.
    pub endpoints: Vec<Endpoint>,
    /// Those of this node, for what stays on the node.
    pub local: Vec<Endpoint>,
}

/// A Service that has addresses of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Service {
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// `clusterIPs`.
    pub cluster_ips: Vec<IpAddr>,
    /// `externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// Addresses of its load balancer, which may be the nodes' own.
    pub load_balancer_ips: Vec<IpAddr>,
    /// Who may use the load balancer's addresses; empty is everybody.
    pub source_ranges: Vec<Cidr>,
    /// Seconds for which a client stays with its endpoint.
    pub affinity: Option<u32>,
    /// Whether what comes from inside stays on its node.
    pub internal_local: bool,
    /// Whether what comes from outside stays on its node.
    pub external_local: bool,
}

/// What changes; a Service without a value is gone.
#[derive(Debug, Clone, Default)]
pub struct ServiceChanges {
    /// These are all Services; without it, the others stay as they are.
    pub all: bool,
    /// Ranges of cluster IPs; what belongs to no Service there reaches nobody. Read when `all` is set.
    pub ranges: Vec<Cidr>,
    /// Ranges of those of the node's addresses at which node ports are open; empty is every one but loopback. Read when
    /// `all` is set.
    pub node_port_addresses: Vec<Cidr>,
    /// By `NAMESPACE/NAME`.
    pub services: Vec<(String, Option<Service>)>,
}

/// Leads Services' traffic to their endpoints.
#[async_trait]
pub trait ServiceNetwork: Send + Sync + 'static {
    /// Makes the kernel follow, all of it or, if that fails, nothing; after a failure the next change carries all.
    async fn serve(&self, changes: ServiceChanges) -> Result<(), NetError>;
}

#[async_trait]
impl ServiceNetwork for Network {
    async fn serve(&self, changes: ServiceChanges) -> Result<(), NetError> {
        Self::serve(self, changes).await
    }
}
