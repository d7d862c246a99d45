//! Policies, Pods and Namespaces, of what their objects say what matters here. Pure.
//!
//! Invariant: a policy that cannot be understood in part allows nothing by that part.

use std::collections::BTreeMap;
use std::net::IpAddr;

use base::labels::Selector;
use k8s_openapi::api::core::v1::{Container, Pod as ApiPod};
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use net::{Block, PortRange, Protocol};

/// A Pod that has addresses of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pod {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) ips: Vec<IpAddr>,
    pub(super) here: bool,
    /// Name, protocol, number.
    pub(super) ports: Vec<(String, Protocol, u16)>,
}

/// A policy.
#[derive(Debug, Clone)]
pub(super) struct Policy {
    pub(super) selector: Selector,
    /// `None` where it says nothing of the direction.
    pub(super) ingress: Option<Vec<Rule>>,
    pub(super) egress: Option<Vec<Rule>>,
}

/// What one rule allows.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    /// `None` is everybody.
    pub(super) peers: Option<Vec<Peer>>,
    /// `None` is everything.
    pub(super) ports: Option<Vec<Port>>,
}

/// A peer.
#[derive(Debug, Clone)]
pub(super) enum Peer {
    Block(Block),
    Pods {
        /// `None` is the policy's own namespace.
        namespaces: Option<Selector>,
        pods: Selector,
    },
}

/// A port.
#[derive(Debug, Clone)]
pub(super) enum Port {
    Range(PortRange),
    Named(Protocol, String),
}

fn protocol(text: Option<&str>) -> Protocol {
    match text {
        Some("UDP") => Protocol::Udp,
        Some("SCTP") => Protocol::Sctp,
        _ => Protocol::Tcp,
    }
}

/// A Pod, if it is one that policies concern: it runs or will, in a network of its own.
pub(super) fn pod(pod: &ApiPod, node: &str) -> Option<Pod> {
    let (spec, status) = (pod.spec.as_ref()?, pod.status.as_ref()?);
    let over = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    if spec.host_network == Some(true) || over {
        return None;
    }
    let ips = status.pod_ips.iter().flatten().filter_map(|ip| ip.ip.parse().ok()).collect();
    let sidecars =
        spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let ports = |container: &Container| -> Vec<(String, Protocol, u16)> {
        let named = container.ports.iter().flatten().filter_map(|port| {
            let number = u16::try_from(port.container_port).ok()?;
            Some((port.name.clone()?, protocol(port.protocol.as_deref()), number))
        });
        named.collect()
    };
    Some(Pod {
        labels: pod.metadata.labels.clone().unwrap_or_default(),
        ips,
        here: spec.node_name.as_deref() == Some(node),
        ports: spec.containers.iter().chain(sidecars).flat_map(ports).collect(),
    })
}

fn selector(labels: &LabelSelector) -> Selector {
    let parsed = serde_json::to_value(labels).map(|value| Selector::from_label_selector(&value));
    match parsed {
        Ok(Ok(selector)) => selector,
        _ => Selector::nothing(),
    }
}

fn peer(peer: &NetworkPolicyPeer) -> Option<Peer> {
    if let Some(block) = &peer.ip_block {
        let except = block.except.iter().flatten().map(|text| text.parse()).collect::<Result<_, _>>();
        return Some(Peer::Block(Block { cidr: block.cidr.parse().ok()?, except: except.ok()? }));
    }
    Some(Peer::Pods {
        namespaces: peer.namespace_selector.as_ref().map(selector),
        pods: peer.pod_selector.as_ref().map_or_else(Selector::everything, selector),
    })
}

fn port(port: &NetworkPolicyPort) -> Option<Port> {
    let protocol = protocol(port.protocol.as_deref());
    Some(match &port.port {
        None => Port::Range(PortRange { protocol, from: 0, to: u16::MAX }),
        Some(IntOrString::Int(number)) => {
            let from = u16::try_from(*number).ok()?;
            let to = u16::try_from(port.end_port.unwrap_or(*number)).ok()?;
            Port::Range(PortRange { protocol, from, to })
        }
        Some(IntOrString::String(name)) => Port::Named(protocol, name.clone()),
    })
}

fn rule(peers: Option<&Vec<NetworkPolicyPeer>>, ports: Option<&Vec<NetworkPolicyPort>>) -> Rule {
    // An empty list is as none.
    let peers = peers.filter(|list| !list.is_empty()).map(|list| list.iter().filter_map(peer).collect());
    let ports = ports.filter(|list| !list.is_empty()).map(|list| list.iter().filter_map(port).collect());
    Rule { peers, ports }
}

/// A policy; one without types says them by what it has.
pub(super) fn policy(policy: &NetworkPolicy) -> Option<Policy> {
    let spec = policy.spec.as_ref()?;
    let types = spec.policy_types.clone().unwrap_or_default();
    let has = |name: &str| types.iter().any(|one| one == name);
    let (ingress, egress) = match types.is_empty() {
        true => (true, spec.egress.as_ref().is_some_and(|rules| !rules.is_empty())),
        false => (has("Ingress"), has("Egress")),
    };
    let of_ingress =
        || spec.ingress.iter().flatten().map(|one| rule(one.from.as_ref(), one.ports.as_ref())).collect();
    let of_egress =
        || spec.egress.iter().flatten().map(|one| rule(one.to.as_ref(), one.ports.as_ref())).collect();
    Some(Policy {
        selector: spec.pod_selector.as_ref().map_or_else(Selector::everything, selector),
        ingress: ingress.then(of_ingress),
        egress: egress.then(of_egress),
    })
}
