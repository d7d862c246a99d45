//! What one node runs: the agent with its HTTPS endpoints, Services, network policies and DNS.
//!
//! Invariant: they end together, after the agent; its Pods and what the kernel holds for them live on.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::access::Access;
use super::{Ground, VERSION, cgroup_root, dns, tokio_listener};
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
    access: Option<Access>,
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
        own_ports: access.iter().flat_map(|a| a.ports.clone()).chain([listener.local_addr()?]).collect(),
        runtime: ground.runtime,
        images,
        network: ground.net,
        api: access.as_ref().map(|a| a.node.clone()),
        volumes_api: access.as_ref().and_then(|a| a.volumes.clone()),
        node_ips: vec![node_ip],
        port: listener.local_addr()?.port(),
        resolv_conf: config.resolv_conf.clone(),
        labels: BTreeMap::new(),
        cluster_dns: access.as_ref().and_then(|a| a.dns).into_iter().collect(),
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
    if let Some(access) = access {
        beside = start_beside(&access, config, name, network, &stop).await?;
        let listener = tokio_listener(listener)?;
        serving = Some(tokio::spawn(node::server::serve(listener, access.tls, access.gate, handle.clone())));
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

/// The node's part of Services, of network policies, the way to other nodes, and its DNS.
async fn start_beside(
    access: &Access,
    config: &Config,
    name: &str,
    network: Arc<net::Network>,
    stop: &CancellationToken,
) -> Result<Vec<JoinHandle<()>>> {
    let services = node::services::Settings {
        api: access.services.clone(),
        network: network.clone(),
        node: name.to_owned(),
        node_port_addresses: config.node_port_ranges()?,
    };
    let policies = node::policies::Settings {
        api: access.policies.clone(),
        network: network.clone(),
        node: name.to_owned(),
    };
    let peers = node::peers::Settings {
        api: access.services.clone(),
        network: network.clone(),
        node: name.to_owned(),
    };
    let mut parts = vec![
        tokio::spawn(node::services::run(services, stop.clone())),
        tokio::spawn(node::policies::run(policies, stop.clone())),
        tokio::spawn(node::peers::run(peers, stop.clone())),
    ];
    if let Some(address) = access.dns {
        let (publisher, reader) = (access.publisher.clone(), access.names.clone());
        let node = dns::Node { name, ip: network.gateway(), resolv_conf: config.resolv_conf.clone() };
        parts.push(dns::start(publisher, reader, node, address, stop.clone()).await?);
    }
    Ok(parts)
}

/// Upstream's port of a node's HTTPS endpoints, or a free one if another instance has it.
fn endpoint(instance: &Instance) -> Result<std::net::TcpListener> {
    let at = |port| std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, port));
    at(PORT).or_else(|_| at(0)).with_context(|| format!("instance {}: no port for the node", instance.hex()))
}
