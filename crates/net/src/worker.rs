//! The thread that owns the netlink sockets: commands in, one after the other, answers out.
//!
//! Invariant: a lease is on disk before anything of it is in the kernel; a link without a lease is a stray, which the
//! next start removes. So whatever happens in between, nothing is lost and nothing stays.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use tokio::sync::{mpsc, oneshot};

use crate::host::Host;
use crate::lease::Lease;
use crate::netlink::{Batch, errno};
use crate::netns::{self, Netns, Pool};
use crate::reaper::Reaper;
use crate::rtnl::{self, Mac, Veth};
use crate::{Attachment, HostPort, NetError, Peer, PolicyChanges, ServiceChanges, nft};

/// Commands that may wait.
const QUEUE: usize = 256;

pub(crate) type Answer<T> = oneshot::Sender<Result<T, NetError>>;

/// What callers ask for.
#[derive(Debug)]
pub(crate) enum Command {
    Attach { uid: String, host_ports: Vec<HostPort>, answer: Answer<Attachment> },
    Adopt { uid: String, netns: PathBuf, answer: Answer<Attachment> },
    Detach { uid: String, answer: Answer<()> },
    Unclaimed { answer: Answer<Vec<String>> },
    Serve { changes: ServiceChanges, answer: Answer<()> },
    Restrict { changes: PolicyChanges, answer: Answer<()> },
    Reach { peers: Vec<Peer>, answer: Answer<Vec<Peer>> },
    Teardown { answer: Answer<()> },
}

struct Worker {
    host: Host,
    pool: Pool,
    reaper: Reaper,
    /// Attached or adopted in this life.
    claimed: HashSet<String>,
}

/// Starts the thread; it ends when the sender is gone, or after `Teardown`.
pub(crate) fn start(host: Host) -> Result<mpsc::Sender<Command>, NetError> {
    let (sender, mut commands) = mpsc::channel(QUEUE);
    let reaper = Reaper::start(host.group())?;
    let mut worker = Worker { host, pool: Pool::start()?, reaper, claimed: HashSet::new() };
    let run = move || {
        while let Some(command) = commands.blocking_recv() {
            match command {
                Command::Teardown { answer } => {
                    reply(answer, worker.host.tear_down());
                    return;
                }
                other => worker.perform(other),
            }
        }
    };
    std::thread::Builder::new()
        .name("network".to_owned())
        .spawn(run)
        .map_err(NetError::kernel("start the network's thread"))?;
    Ok(sender)
}

fn reply<T>(answer: Answer<T>, result: Result<T, NetError>) {
    // A caller that no longer waits is not an error: a lease it does not know of is unclaimed after a restart.
    let _ = answer.send(result);
}

impl Worker {
    fn perform(&mut self, command: Command) {
        match command {
            Command::Attach { uid, host_ports, answer } => reply(answer, self.attach(&uid, &host_ports)),
            Command::Adopt { uid, netns, answer } => reply(answer, self.adopt(&uid, &netns)),
            Command::Detach { uid, answer } => reply(answer, self.detach(&uid)),
            Command::Unclaimed { answer } => {
                let uids = self.host.leases.iter().map(|(uid, _)| uid.to_owned());
                reply(answer, Ok(uids.filter(|uid| !self.claimed.contains(uid)).collect()));
            }
            Command::Serve { changes, answer } => reply(answer, self.host.serve(&changes)),
            Command::Restrict { changes, answer } => reply(answer, self.host.restrict(&changes)),
            Command::Reach { peers, answer } => reply(answer, self.host.reach(peers)),
            Command::Teardown { answer } => reply(answer, Err(NetError::Closed)),
        }
    }

    fn attach(&mut self, uid: &str, host_ports: &[HostPort]) -> Result<Attachment, NetError> {
        self.detach(uid)?;
        let lease = self.host.leases.add(uid, host_ports)?;
        let attached = self.plumb(uid, &lease);
        match &attached {
            Ok(_) => _ = self.claimed.insert(uid.to_owned()),
            Err(_) => {
                if let Err(error) = self.detach(uid) {
                    tracing::warn!(%error, uid, "what was made of a Pod's network is still there");
                }
            }
        }
        attached
    }

    fn plumb(&mut self, uid: &str, lease: &Lease) -> Result<Attachment, NetError> {
        let mut netns = self.pool.take()?;
        self.link(uid, lease, &mut netns)?;
        self.open_ports(lease)?;
        Ok(Attachment { netns: netns.fd, ips: vec![lease.ip.into()] })
    }

    /// Makes the Pod's link, addresses and routes: three datagrams.
    fn link(&mut self, uid: &str, lease: &Lease, netns: &mut Netns) -> Result<(), NetError> {
        let host = &mut self.host;
        let name = host.link_name(lease.ip);
        let cannot = |what: &str| NetError::kernel(format!("{what} {name} of Pod {uid}"));
        let (pod, gateway) = (IpAddr::V4(lease.ip), IpAddr::V4(host.gateway()));
        let (host_mac, pod_mac) = (mac(host.gateway()), mac(lease.ip));
        let pod_index = netns.free_index;
        let veth = Veth { host_name: &name, host_mac, pod_mac, mtu: host.mtu(), pod_index };
        let mut batch = Batch::default();
        rtnl::new_veth(&mut batch, &veth, netns.fd.as_fd());
        let mut made = host.route.run(batch.clone());
        if made.as_ref().is_err_and(|(_, error)| errno(error) == libc::EEXIST) {
            // The address's last link is still with the reaper.
            host.delete_links(&Vec::from_iter(host.link_index(lease.ip)?))?;
            made = host.route.run(batch);
        }
        made.map_err(|(_, error)| cannot("make the link")(error))?;

        // The end that comes up last works at once, the other a moment later: the Pod, not yet started, has that.
        let mut batch = Batch::default();
        rtnl::link_up(&mut batch, pod_index);
        rtnl::new_address(&mut batch, pod_index, pod);
        rtnl::new_neighbour(&mut batch, pod_index, gateway, host_mac);
        rtnl::new_default_route(&mut batch, pod_index, gateway);
        netns.socket.run(batch).map_err(|(_, error)| cannot("set up the Pod's end of the link")(error))?;

        let index = host.link_index(lease.ip)?;
        let index = index.ok_or(io::ErrorKind::NotFound.into()).map_err(cannot("find the link"))?;
        let mut batch = Batch::default();
        host.guard_link(&mut batch, index, uid, lease)?;
        rtnl::link_up(&mut batch, index);
        rtnl::new_neighbour(&mut batch, index, pod, pod_mac);
        rtnl::new_pod_route(&mut batch, index, pod, gateway);
        host.route.run(batch).map_err(|(_, error)| cannot("set up the link")(error))
    }

    fn open_ports(&mut self, lease: &Lease) -> Result<(), NetError> {
        let elements = nft::elements(lease);
        if elements.is_empty() {
            return Ok(());
        }
        let batch = nft::add_elements(&self.host.table(), &elements);
        self.host.netfilter.transact(batch).map_err(NetError::kernel("open host ports"))?;
        self.host.decide_anew(lease);
        Ok(())
    }

    fn adopt(&mut self, uid: &str, netns: &Path) -> Result<Attachment, NetError> {
        let gone = || NetError::NotAttached(uid.to_owned());
        let lease = self.host.leases.get(uid).ok_or_else(gone)?.clone();
        let file = File::open(netns).map_err(|source| NetError::File { path: netns.to_owned(), source })?;
        let index = self.host.link_index(lease.ip)?;
        // The namespace must be the one that the link leads to, not one that got the same path since.
        let inside = netns::inside(file.as_fd(), || rtnl::links(&mut crate::netlink::Socket::route()?))
            .map_err(NetError::kernel("look into a Pod's namespace"))?;
        if index.is_none() || !inside.iter().any(|link| link.name == "eth0" && Some(link.peer) == index) {
            return Err(gone());
        }
        self.claimed.insert(uid.to_owned());
        Ok(Attachment { netns: file.into(), ips: vec![lease.ip.into()] })
    }

    fn detach(&mut self, uid: &str) -> Result<(), NetError> {
        let Some(lease) = self.host.leases.get(uid).cloned() else { return Ok(()) };
        if !lease.host_ports.is_empty() {
            self.host.close_ports(&lease)?;
            self.host.decide_anew(&lease);
        }
        if let Some(index) = self.host.link_index(lease.ip)? {
            self.reaper.remove(index)?;
        }
        self.claimed.remove(uid);
        self.host.leases.remove(uid)
    }
}

/// The hardware address of an IPv4 address: locally administered, unique where the address is.
fn mac(ip: Ipv4Addr) -> Mac {
    let [a, b, c, d] = ip.octets();
    [0x0a, 0x58, a, b, c, d]
}
