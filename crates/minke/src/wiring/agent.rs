//! What one node runs: the agent with its HTTPS endpoints, Services, network policies and DNS.
//!
//! Invariant: they end together, after the agent; its Pods and what the kernel holds for them live on.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use client::Identity;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Api, Ground, VERSION, admin_identity, cgroup_root, dns, system_identity, tokio_listener};
use crate::config::Config;
use crate::instance::Instance;

/// Upstream's port of a node's HTTPS endpoints.
const PORT: u16 = 10_250;

/// The node agent at work.
pub(super) struct NodeTask {
    pub(super) handle: node::NodeHandle,
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl NodeTask {
    /// Ends the agent; its Pods live on.
    pub(super) async fn stop(&self) {
        self.stop.cancel();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the node ended badly");
        }
    }
}

/// Starts the agent and what stands beside it.
///
/// # Errors
/// The first part that cannot start.
pub(super) async fn start(
    instance: &Instance,
    config: &Config,
    name: &str,
    ground: Ground,
    images: Arc<images::Images>,
    api: Option<&Api>,
    stop: &CancellationToken,
) -> Result<NodeTask> {
    let root = cgroup_root(instance, config);
    crate::instance::keep_atomic(&instance.dir.join("cgroup-root"), &root)?;
    let node_ip = ground.net.host_ip();
    let listener = endpoint(instance)?;
    let network = ground.net.clone();
    let settings = node::Config {
        name: name.to_owned(),
        data_dir: instance.dir.clone(),
        cgroup_root: root,
        own_ports: own_ports(&ground, api, listener.local_addr()?),
        runtime: ground.runtime,
        images,
        network: ground.net,
        api: api.map(|a| a.server.objects(identity(name), "kubelet")),
        node_ips: vec![node_ip],
        port: listener.local_addr()?.port(),
        resolv_conf: config.resolv_conf.clone(),
        labels: BTreeMap::new(),
        cluster_dns: api.and_then(|api| api.dns).into_iter().collect(),
        cluster_domain: dns::DOMAIN.to_owned(),
        limits: config.limits()?,
        version: VERSION.to_owned(),
        seccomp_default: config.seccomp_default,
    };
    let node = node::Node::new(settings)?;
    let handle = node.handle();
    let stop = stop.child_token();
    let (mut beside, mut serving) = (Vec::new(), None);
    // Without an API server there are no Services, and nobody could prove to the endpoints who he is.
    if let Some(api) = api {
        beside = start_beside(api, config, name, network, &stop).await?;
        serving = Some(serve(api, name, node_ip, listener, handle.clone())?);
    }
    let token = stop.clone();
    let task = tokio::spawn(async move {
        if let Err(error) = node.run(token).await {
            tracing::error!(error = format!("{:#}", anyhow::Error::new(error)), "the node ended");
        }
        if let Some(serving) = serving {
            serving.abort();
        }
        for part in beside {
            if let Err(error) = part.await {
                tracing::error!(%error, "a part of the node ended badly");
            }
        }
    });
    Ok(NodeTask { handle, stop, task: Mutex::new(Some(task)) })
}

/// As whom the agent speaks.
fn identity(name: &str) -> Identity {
    Identity {
        name: format!("system:node:{name}"),
        groups: vec!["system:nodes".to_owned(), "system:authenticated".to_owned()],
        ..Identity::default()
    }
}

/// The node's part of Services, of network policies, and its DNS.
async fn start_beside(
    api: &Api,
    config: &Config,
    name: &str,
    network: Arc<net::Network>,
    stop: &CancellationToken,
) -> Result<Vec<JoinHandle<()>>> {
    let services = node::services::Settings {
        api: api.server.objects(system_identity("system:kube-proxy"), "kube-proxy"),
        network: network.clone(),
        node: name.to_owned(),
        node_port_addresses: config.node_port_ranges()?,
    };
    let policies = node::policies::Settings {
        api: api
            .server
            .objects(system_identity("system:serviceaccount:kube-system:network-policies"), "minke"),
        network: network.clone(),
        node: name.to_owned(),
    };
    let mut parts = vec![
        tokio::spawn(node::services::run(services, stop.clone())),
        tokio::spawn(node::policies::run(policies, stop.clone())),
    ];
    if let Some(address) = api.dns {
        let admin = api.server.objects(admin_identity(), "minke");
        let reader =
            api.server.objects(system_identity("system:serviceaccount:kube-system:kube-dns"), "minke");
        let node = dns::Node { name, ip: network.gateway(), resolv_conf: config.resolv_conf.clone() };
        parts.push(dns::start(admin, reader, node, address, stop.clone()).await?);
    }
    Ok(parts)
}

/// Where this program listens: the API server, also for Pods, and the node.
fn own_ports(ground: &Ground, api: Option<&Api>, node: SocketAddr) -> Vec<SocketAddr> {
    let api = api.map(|a| [a.address, SocketAddr::new(ground.net.gateway(), a.address.port())]);
    api.into_iter().flatten().chain([node]).collect()
}

/// The node's HTTPS endpoints, for whom the cluster's CA vouches.
fn serve(
    api: &Api,
    name: &str,
    ip: IpAddr,
    listener: std::net::TcpListener,
    handle: node::NodeHandle,
) -> Result<JoinHandle<()>> {
    let pair = api.pki.node_serving(name, &[ip, Ipv4Addr::LOCALHOST.into()])?;
    let tls = Arc::new(api.pki.node_server_tls(&pair)?);
    let listener = tokio_listener(listener)?;
    Ok(tokio::spawn(node::server::serve(listener, tls, api.gate.clone(), handle)))
}

/// Upstream's port of a node's HTTPS endpoints, or a free one if another instance has it.
fn endpoint(instance: &Instance) -> Result<std::net::TcpListener> {
    let at = |port| std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, port));
    at(PORT).or_else(|_| at(0)).with_context(|| format!("instance {}: no port for the node", instance.hex()))
}
