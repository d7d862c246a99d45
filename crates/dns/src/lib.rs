//! The cluster's DNS, to the Kubernetes DNS specification 1.1.0: names of Services, of what stands behind headless ones
//! and of Pods; everything else is asked of the host's own servers.
//!
//! `zone` answers (pure), `forward` asks others, `cache` keeps what they said (pure), `server` speaks the protocol.
//! Invariants: names of the cluster are never asked outside; before all Services are known they are answered with
//! `SERVFAIL`, which nobody keeps. Absent: DNSSEC of our own, zone transfers, names that are not the cluster's and not the
//! host's.

mod cache;
mod forward;
mod server;
mod zone;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use client::follow::{Told, follow};
use client::{Gvr, Objects, Options, Target};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use forward::Forward;
use server::Server;
pub use server::Sockets;
use zone::Zone;

/// Changes that wait.
const QUEUE: usize = 256;

/// What the server is told at its start.
pub struct Config {
    /// The API as one who may read Services and EndpointSlices.
    pub api: Arc<dyn Objects>,
    /// `cluster.local`.
    pub domain: String,
    /// The addresses at which the cluster finds this server: who forwards to them would ask himself.
    pub own: Vec<IpAddr>,
    /// The host's resolver file.
    pub resolv_conf: PathBuf,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum DnsError {
    /// The address cannot be listened on.
    #[error("dns: cannot listen on {at}")]
    Listen {
        /// The address.
        at: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

enum News {
    Service(Told),
    Slice(Told),
}

/// Answers until told to stop.
pub async fn run(config: Config, sockets: Sockets, stop: CancellationToken) {
    let (sender, mut news) = mpsc::channel(QUEUE);
    let mut tasks = tokio::task::JoinSet::new();
    let mut watch = |gvr: Gvr, tell: fn(Told) -> News| {
        let target =
            Target { gvr, namespace: String::new(), name: String::new(), subresource: String::new() };
        tasks.spawn(follow(config.api.clone(), target, Options::default(), sender.clone(), tell));
    };
    watch(Gvr::new("", "v1", "services"), News::Service);
    watch(Gvr::new("discovery.k8s.io", "v1", "endpointslices"), News::Slice);
    let zone = Zone::new(&config.domain, &config.own);
    let forward = Forward::new(config.resolv_conf, config.own);
    let server = Arc::new(Server::new(zone, forward));
    server.clone().listen(sockets, &mut tasks);
    let learn = async {
        while let Some(one) = news.recv().await {
            server.learn(|zone| match one {
                News::Service(told) => zone.services(told),
                News::Slice(told) => zone.slices(told),
            });
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = learn => {}
    }
    tasks.shutdown().await;
}
