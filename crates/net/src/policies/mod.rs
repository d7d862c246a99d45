//! Who may speak with whom: network policies on one node.
//!
//! `plane` says what the kernel is to hold and what of it changes (pure), `rules` are the rules, `state` carries changes
//! out. Invariants: a packet is judged by its connection (who began it, who answers), in either direction and each time,
//! so connections that live follow a change, and neither Services nor changed addresses hide anybody; the node itself
//! always passes, since what it sends and gets is not forwarded. Absent: selectors, the API (the node's).

mod plane;
mod rules;
mod state;

use std::collections::BTreeSet;
use std::net::IpAddr;

use async_trait::async_trait;

use crate::{Cidr, NetError, Network, Protocol};

pub(crate) use state::{State, remove};

/// Ports of a protocol, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    /// The protocol.
    pub protocol: Protocol,
    /// The first port.
    pub from: u16,
    /// The last one.
    pub to: u16,
}

/// A range without parts of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Block {
    /// The range.
    pub cidr: Cidr,
    /// What is not meant of it.
    pub except: Vec<Cidr>,
}

/// The other side.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peers {
    /// Whoever it is.
    All,
    /// Only these.
    These {
        /// A group of addresses, by its name.
        group: Option<String>,
        /// Ranges.
        blocks: Vec<Block>,
    },
}

/// What is allowed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Allow {
    /// With whom.
    pub peers: Peers,
    /// At which ports of who answers; `None` is everything, protocols without ports too.
    pub ports: Option<Vec<PortRange>>,
}

/// What policies say of one Pod; a direction without a value is open, one with an empty list shut.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodPolicy {
    /// Who may begin to speak with it.
    pub ingress: Option<Vec<Allow>>,
    /// With whom it may begin to speak.
    pub egress: Option<Vec<Allow>>,
}

/// What changes. A Pod or a group without a value is gone.
#[derive(Debug, Clone, Default)]
pub struct PolicyChanges {
    /// These are all; without it, others stay as they are.
    pub all: bool,
    /// The node's Pods, by each of their addresses.
    pub pods: Vec<(IpAddr, Option<PodPolicy>)>,
    /// Groups of addresses, by their names.
    pub groups: Vec<(String, Option<BTreeSet<IpAddr>>)>,
}

/// Holds Pods to their policies.
#[async_trait]
pub trait PolicyNetwork: Send + Sync + 'static {
    /// Makes the kernel follow, all of it or, if that fails, nothing; after a failure the next change carries all.
    async fn restrict(&self, changes: PolicyChanges) -> Result<(), NetError>;
}

#[async_trait]
impl PolicyNetwork for Network {
    async fn restrict(&self, changes: PolicyChanges) -> Result<(), NetError> {
        Self::restrict(self, changes).await
    }
}
