//! The cluster's DNS: where it listens, and the Service by which Pods find it.
//!
//! Invariant: `kube-system/kube-dns` is made once, at the tenth address of the Services' range as upstream's installers
//! have it, and then the user's: one who gives it a selector has Pods of his own answer. Absent: the answers (`dns`).

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use base::cidr::Cidr;
use bytes::Bytes;
use client::{Call, Gvr, Objects, Options, PatchType, Status, Target, Verb};
use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The name of the domain.
pub(super) const DOMAIN: &str = "cluster.local";
const PORT: u16 = 53;
const NAMESPACE: &str = "kube-system";
const NAME: &str = "kube-dns";
/// Which address of the range.
const TENTH: u64 = 10;
const HOST: &str = "/etc/resolv.conf";
/// Between two tries to make the objects.
const AGAIN: Duration = Duration::from_secs(2);

/// A node's server.
pub(super) struct Node<'a> {
    pub(super) name: &'a str,
    /// Where it listens: an address that Pods reach.
    pub(super) ip: IpAddr,
    pub(super) resolv_conf: Option<PathBuf>,
}

/// The address at which a cluster whose Services have these ranges finds its DNS.
pub(super) fn address(ranges: &[Cidr]) -> Option<IpAddr> {
    ranges.first().filter(|range| range.size() > TENTH).map(|range| range.nth(TENTH))
}

/// Starts a node's server, which answers as `reader` may read.
///
/// # Errors
/// If it cannot listen.
pub(super) async fn start(
    admin: Arc<dyn Objects>,
    reader: Arc<dyn Objects>,
    node: Node<'_>,
    address: IpAddr,
    stop: CancellationToken,
) -> Result<JoinHandle<()>> {
    let sockets = dns::Sockets::bind(node.ip, PORT).await.context("the cluster's DNS")?;
    let objects = objects(node.name, sockets.address()?, address);
    let config = dns::Config {
        api: reader,
        domain: DOMAIN.to_owned(),
        own: vec![address, node.ip],
        resolv_conf: node.resolv_conf.unwrap_or_else(|| HOST.into()),
    };
    Ok(tokio::spawn(async move {
        tokio::select! {
            () = dns::run(config, sockets, stop.clone()) => {}
            () = async { publish(&*admin, &objects, address).await; std::future::pending().await } => {}
        }
    }))
}

/// The Service, and the slice of this node's endpoint.
fn objects(node: &str, at: SocketAddr, address: IpAddr) -> (Value, Value) {
    let family = if at.is_ipv4() { "IPv4" } else { "IPv6" };
    let ports = [("dns", "UDP"), ("dns-tcp", "TCP")];
    let port = |(name, protocol): (&str, &str), number: u16| json!({"name": name, "port": number, "protocol": protocol});
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": {
            "k8s-app": NAME, "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"}},
        "spec": {
            "clusterIP": address, "clusterIPs": [address], "ports": ports.map(|one| port(one, PORT)),
            // Each node has its own.
            "internalTrafficPolicy": "Local",
        },
    });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": format!("{NAME}-{node}"), "namespace": NAMESPACE, "labels": {
            "kubernetes.io/service-name": NAME, "endpointslice.kubernetes.io/managed-by": "minke.dev"}},
        "addressType": family, "ports": ports.map(|one| port(one, at.port())),
        "endpoints": [{"addresses": [at.ip()], "nodeName": node, "conditions": {"ready": true}}],
    });
    (service, slice)
}

/// Makes the objects, however long it takes.
async fn publish(admin: &dyn Objects, (service, slice): &(Value, Value), address: IpAddr) {
    let mut told = false;
    while let Err(error) = make(admin, service, slice, address).await {
        if !std::mem::replace(&mut told, true) {
            tracing::warn!("the cluster's DNS is not announced yet: {error}");
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn make(admin: &dyn Objects, service: &Value, slice: &Value, address: IpAddr) -> Result<(), Status> {
    let target = |gvr, name: &str| Target {
        gvr,
        namespace: NAMESPACE.to_owned(),
        name: name.to_owned(),
        subresource: String::new(),
    };
    let call = |target, verb| {
        let options = Options { field_manager: "minke".to_owned(), force: true, ..Options::default() };
        admin.call(Call { target, verb, options })
    };
    let services = Gvr::of::<Service>();
    let there = match call(target(services.clone(), NAME), Verb::Get).await {
        Err(status) if status.is("NotFound") => {
            call(target(services, ""), Verb::Create(service.clone())).await?
        }
        found => found?,
    };
    let there = there.value()?;
    if there["spec"]["clusterIP"] != json!(address) {
        tracing::warn!("{NAMESPACE}/{NAME} is not at {address}, where Pods look for it");
    }
    if there["spec"]["selector"].as_object().is_some_and(|selector| !selector.is_empty()) {
        return Ok(());
    }
    let slices = Gvr::new("discovery.k8s.io", "v1", "endpointslices");
    let name = slice["metadata"]["name"].as_str().unwrap_or_default();
    call(target(slices, name), Verb::Patch(PatchType::Apply, Bytes::from(slice.to_string())))
        .await
        .map(|_| ())
}
