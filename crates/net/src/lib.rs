//! The Pod network of one node: addresses, routed veth pairs, hostPorts, masquerade, Services, policies, the way to other nodes'
//! Pods; later VXLAN.
//!
//! Invariants: everything made carries the instance's id and is removed by [`Network::teardown`]; no command is ever
//! run, links and rules go through our own netlink encoder, rules in one transaction; nothing is done twice if asked
//! twice. Deliberately absent: Pods and the API (callers hand in ids and ports), `/etc/hosts` and `resolv.conf` (the
//! node's), hostNetwork (such a Pod is never attached).
//!
//! # For the node's wiring
//!
//! ```no_run
//! # async fn wiring() -> Result<(), net::NetError> {
//! use net::{Config, HostPort, Network, Protocol};
//! // Once, at start. Blocks a few milliseconds; rules and leases of an earlier life are taken over.
//! let config = Config { instance_id: 0x1f2e_3d4c, data_dir: "/var/lib/minke".into(), ..Config::default() };
//! let network = tokio::task::spawn_blocking(|| Network::open(config)).await.expect("open does not panic")?;
//! // `status.hostIP`, Node.spec.podCIDR, and the address that the API server also listens on, for Pods.
//! let (_node_ip, _cidr, _gateway) = (network.host_ip(), network.pod_cidr(), network.gateway());
//! // A new sandbox: give `netns` to the shim, then drop it. The namespace lives as long as somebody is in it.
//! let port = HostPort { host_ip: None, host_port: 8080, container_port: 80, protocol: Protocol::Tcp };
//! let attachment = network.attach("pod-uid", &[port]).await?;
//! println!("podIPs {:?} in {:?}", attachment.ips, attachment.netns);
//! // After a restart of the daemon, for each sandbox that still lives; then the leases of those that do not.
//! network.adopt("pod-uid", std::path::Path::new("/proc/4711/ns/net")).await?;
//! for gone in network.unclaimed().await? {
//!     network.detach(&gone).await?;
//! }
//! // `minke down`.
//! network.teardown().await
//! # }
//! ```

mod conntrack;
mod host;
mod lease;
mod netlink;
mod netns;
mod nft;
mod peers;
mod pod_network;
mod policies;
mod range;
mod reaper;
mod rtnl;
mod services;
mod worker;

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use host::Host;
use tokio::sync::{mpsc, oneshot};
use worker::{Answer, Command};

pub use base::{Cidr, CidrError};
pub use peers::{Peer, PeerNetwork};
pub use pod_network::{PodName, PodNetwork};
pub use policies::{Allow, Block, Peers, PodPolicy, PolicyChanges, PolicyNetwork, PortRange};
pub use services::{Endpoint, Service, ServiceChanges, ServiceNetwork, ServicePort};

/// What makes one instance's network.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The instance's id, written as 8 hex digits wherever the kernel keeps a name.
    pub instance_id: u32,
    /// Where leases and the Pod range are kept, in the directory `net`.
    pub data_dir: PathBuf,
    /// The Pod range; `None` takes a free /24 and keeps it.
    pub pod_cidr: Option<Cidr>,
    /// The range of all nodes' Pods, whom this node's Pods meet under their own addresses; `None` is what such a free /24 is
    /// taken of, a /16 (a /17 in 192.168.128.0/17), and for another range that alone.
    pub cluster_cidr: Option<Cidr>,
    /// MTU of the Pods' links in bytes; `None` is that of the host's default route.
    pub mtu: Option<u32>,
}

/// A transport protocol of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// TCP, the default of a container's port.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP, where the kernel has it.
    Sctp,
}

/// A port of the host that leads to a Pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct HostPort {
    /// Only this address of the host; `None` (the API's empty, `0.0.0.0` or `::`) is every one, loopback included.
    pub host_ip: Option<IpAddr>,
    /// The host's port.
    pub host_port: u16,
    /// The Pod's port.
    pub container_port: u16,
    /// The protocol.
    pub protocol: Protocol,
}

/// A Pod's place in the network.
#[derive(Debug)]
pub struct Attachment {
    /// The network namespace, ready: loopback up, `eth0` addressed and routed.
    pub netns: OwnedFd,
    /// Addresses, primary first.
    pub ips: Vec<IpAddr>,
}

/// Why the network did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The kernel refused an operation.
    #[error("network: cannot {what}")]
    Kernel {
        /// The operation and what it was about.
        what: String,
        /// The kernel's reason.
        source: std::io::Error,
    },
    /// The network's own file cannot be read or written.
    #[error("network: cannot use {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The range that was asked for is in use.
    #[error("network: the Pod range {range} overlaps {with}: choose another one with podCIDR")]
    RangeTaken {
        /// The range.
        range: Cidr,
        /// What is there.
        with: String,
    },
    /// No range is free.
    #[error("network: the host has routes to every Pod range that would be chosen: choose one with podCIDR")]
    NoRange,
    /// The range is unusable.
    #[error("network: the Pod range {0} must be an IPv4 range between /16 and /28")]
    RangeSize(Cidr),
    /// Every address of the range is leased.
    #[error("network: no free address in the Pod range {0}")]
    NoAddress(Cidr),
    /// Another Pod has that port of the host.
    #[error("network: host port {port} ({protocol:?}) is in use by Pod {by}")]
    HostPortTaken {
        /// The port.
        port: u16,
        /// Its protocol.
        protocol: Protocol,
        /// The Pod's uid.
        by: String,
    },
    /// A uid that cannot be a file's name.
    #[error("network: {0:?} cannot be the uid of a Pod")]
    Uid(String),
    /// There is no lease, or its link is gone: the sandbox has no network any more.
    #[error("network: Pod {0} is not attached")]
    NotAttached(String),
    /// A plug-in failed; its own words.
    #[error("{0}")]
    Plugin(String),
    /// The network's thread has ended.
    #[error("network: closed")]
    Closed,
}

impl NetError {
    fn kernel(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        |source| Self::Kernel { what, source }
    }
}

/// The network of this instance. See the module for its use.
#[derive(Debug)]
pub struct Network {
    range: Cidr,
    cluster: Cidr,
    gateway: Ipv4Addr,
    host_ip: IpAddr,
    worker: mpsc::Sender<Command>,
}

impl Network {
    /// Takes the Pod range, sets up gateway and rules, takes over earlier leases. Blocks; needs `CAP_NET_ADMIN`.
    pub fn open(config: Config) -> Result<Arc<Self>, NetError> {
        let host = Host::set_up(&config)?;
        let (range, cluster) = (host.range(), host.cluster());
        let (gateway, host_ip) = (host.gateway(), host.host_ip());
        let worker = worker::start(host)?;
        Ok(Arc::new(Self { range, cluster, gateway, host_ip, worker }))
    }

    /// Removes an instance's network without opening it, for a `minke down` that finds no daemon. Blocks; nothing
    /// left to remove is success.
    pub fn remove(config: &Config) -> Result<(), NetError> {
        Host::remove(config)
    }

    /// The Pod range of this node.
    pub fn pod_cidr(&self) -> Cidr {
        self.range
    }

    /// The range of all nodes' Pods.
    pub fn cluster_cidr(&self) -> Cidr {
        self.cluster
    }

    /// The host's address as Pods see it, on `lo`: their default gateway.
    pub fn gateway(&self) -> IpAddr {
        self.gateway.into()
    }

    /// The host's main address: the source of its default route, without one the gateway.
    pub fn host_ip(&self) -> IpAddr {
        self.host_ip
    }

    /// Gives a Pod a namespace with an address and opens its host ports. A lease of that uid is replaced.
    pub async fn attach(&self, uid: &str, host_ports: &[HostPort]) -> Result<Attachment, NetError> {
        let (uid, host_ports) = (uid.to_owned(), host_ports.to_vec());
        self.ask(|answer| Command::Attach { uid, host_ports, answer }).await
    }

    /// Takes over a Pod attached in an earlier life of the daemon, its namespace named by a path such as
    /// `/proc/PID/ns/net`.
    pub async fn adopt(&self, uid: &str, netns: &Path) -> Result<Attachment, NetError> {
        let (uid, netns) = (uid.to_owned(), netns.to_owned());
        self.ask(|answer| Command::Adopt { uid, netns, answer }).await
    }

    /// Closes a Pod's host ports and ends its lease; its link goes within a moment, unless it went with its namespace.
    /// Nothing of it left is success.
    pub async fn detach(&self, uid: &str) -> Result<(), NetError> {
        let uid = uid.to_owned();
        self.ask(|answer| Command::Detach { uid, answer }).await
    }

    /// The uids that hold a lease and were neither attached nor adopted in this life of the daemon.
    pub async fn unclaimed(&self) -> Result<Vec<String>, NetError> {
        self.ask(|answer| Command::Unclaimed { answer }).await
    }

    /// Makes the kernel lead Services' traffic as they now are.
    pub async fn serve(&self, changes: ServiceChanges) -> Result<(), NetError> {
        self.ask(|answer| Command::Serve { changes, answer }).await
    }

    /// Makes the kernel hold Pods to their policies as they now are.
    pub async fn restrict(&self, changes: PolicyChanges) -> Result<(), NetError> {
        self.ask(|answer| Command::Restrict { changes, answer }).await
    }

    /// Makes these the other nodes whose Pods are reached, and says which of them are not on this host's own segments: to
    /// those there is no way yet.
    pub async fn reach(&self, peers: Vec<Peer>) -> Result<Vec<Peer>, NetError> {
        self.ask(|answer| Command::Reach { peers, answer }).await
    }

    /// Removes every link, rule, address, route and file of this instance. Attaching is over after that.
    pub async fn teardown(&self) -> Result<(), NetError> {
        self.ask(|answer| Command::Teardown { answer }).await
    }

    async fn ask<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Result<T, NetError> {
        let (answer, answered) = oneshot::channel();
        self.worker.send(command(answer)).await.map_err(|_| NetError::Closed)?;
        answered.await.map_err(|_| NetError::Closed)?
    }
}
