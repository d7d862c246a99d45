//! As whom the parts of a node speak to the API, and by what the node proves who it is: beside an API server in this program, or
//! as a member of a cluster elsewhere.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result};
use client::{Answer, Call, Gvr, Identity, Objects, Options, Target, Verb};
use serde_json::Value;

use super::{Api, admin_identity, dns, system_identity};
use crate::join::Membership;

/// See the module.
pub(super) struct Access {
    /// As the node.
    pub(super) node: Arc<dyn Objects>,
    /// As its part of Services, which also follows the other nodes.
    pub(super) services: Arc<dyn Objects>,
    /// As its part of network policies.
    pub(super) policies: Arc<dyn Objects>,
    /// As its DNS.
    pub(super) names: Arc<dyn Objects>,
    /// As the provisioner of this node's own volumes; a member of a cluster elsewhere has none.
    pub(super) volumes: Option<Arc<dyn Objects>>,
    /// As whoever tells where that is.
    pub(super) publisher: Arc<dyn Objects>,
    /// Where Pods look for it.
    pub(super) dns: Option<IpAddr>,
    /// The TLS side of the node's own endpoints.
    pub(super) tls: Arc<rustls::ServerConfig>,
    /// The bounds of their connections.
    pub(super) gate: listen::Gate,
    /// Where this program listens besides.
    pub(super) ports: Vec<SocketAddr>,
}

impl Access {
    /// Beside the API server.
    pub(super) fn here(api: &Api, name: &str, net: &net::Network) -> Result<Self> {
        let pair = api.pki.node_serving(name, &[net.host_ip(), Ipv4Addr::LOCALHOST.into()])?;
        let certificate = listen::Certificate::new(&pair.cert_pem, &pair.key_pem)?;
        let account = |account: &str| {
            let user = format!("system:serviceaccount:kube-system:{account}");
            api.server.objects(system_identity(&user), "minke")
        };
        Ok(Self {
            node: api.server.objects(identity(name), "kubelet"),
            services: api.server.objects(system_identity("system:kube-proxy"), "kube-proxy"),
            policies: account("network-policies"),
            names: account("kube-dns"),
            volumes: Some(account("minke-local-provisioner")),
            publisher: api.server.objects(admin_identity(), "minke"),
            dns: api.dns,
            tls: Arc::new(certificate.mutual_tls(api.pki.ca_pem())?),
            gate: api.gate.clone(),
            ports: vec![api.address, SocketAddr::new(net.gateway(), api.address.port())],
        })
    }

    /// In a cluster elsewhere.
    pub(super) async fn elsewhere(member: &Membership, net: &net::Network) -> Result<Self> {
        let certificate = member.serving(net.host_ip()).await?;
        let proxy: Arc<dyn Objects> = member.proxy.clone();
        let ranges = service_ranges(&*proxy).await.context("the ranges of Services cannot be read")?;
        Ok(Self {
            node: member.node.clone(),
            policies: proxy.clone(),
            names: proxy.clone(),
            volumes: None,
            publisher: proxy.clone(),
            services: proxy,
            dns: dns::address(&ranges),
            tls: Arc::new(certificate.mutual_tls(&member.ca_pem)?),
            gate: listen::Gate::new(listen::Limits::of_process()),
            ports: Vec::new(),
        })
    }
}

/// As whom the agent speaks.
fn identity(name: &str) -> Identity {
    Identity {
        name: format!("system:node:{name}"),
        groups: vec!["system:nodes".to_owned(), "system:authenticated".to_owned()],
        ..Identity::default()
    }
}

/// Of the first ServiceCIDR, which every cluster has.
async fn service_ranges(api: &dyn Objects) -> Result<Vec<base::Cidr>> {
    let target = Target {
        gvr: Gvr::new("networking.k8s.io", "v1", "servicecidrs"),
        namespace: String::new(),
        name: String::new(),
        subresource: String::new(),
    };
    let list = Call { target, verb: Verb::List, options: Options::default() };
    let list = api.call(list).await.and_then(Answer::value)?;
    let first =
        list["items"].as_array().into_iter().flatten().find(|item| item["metadata"]["name"] == "kubernetes");
    let ranges = first.and_then(|item| item["spec"]["cidrs"].as_array()).into_iter().flatten();
    ranges.filter_map(Value::as_str).map(|text| text.parse().with_context(|| format!("{text:?}"))).collect()
}
