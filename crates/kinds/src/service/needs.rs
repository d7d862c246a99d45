//! What a Service needs, read from its type: one place for who has an address, node ports, a port for health checks.
//!
//! Invariant: pure, on the spec as it is stored or about to be.

use serde_json::Value;

use super::NO_ADDRESS;
use crate::value::{is_set, is_true, items, text};

/// The needs of a Service with this spec.
#[derive(Debug, Clone, Copy)]
pub struct Needs<'a>(pub &'a Value);

impl<'a> Needs<'a> {
    fn kind(self) -> &'a str {
        text(&self.0["type"])
    }

    /// Whether it is only another name for something elsewhere.
    #[must_use]
    pub fn is_external_name(self) -> bool {
        self.kind() == "ExternalName"
    }

    /// Whether it is offered by a load balancer.
    #[must_use]
    pub fn is_load_balancer(self) -> bool {
        self.kind() == "LoadBalancer"
    }

    /// Whether it may have addresses in the cluster.
    #[must_use]
    pub fn addresses(self) -> bool {
        !self.is_external_name()
    }

    /// Whether its ports may have ports on the nodes.
    #[must_use]
    pub fn node_ports(self) -> bool {
        self.is_load_balancer() || self.kind() == "NodePort"
    }

    /// Whether a port on the nodes is found for each of its ports that asks for none.
    #[must_use]
    pub fn finds_node_ports(self) -> bool {
        let wished = &self.0["allocateLoadBalancerNodePorts"];
        self.node_ports() && (!self.is_load_balancer() || !is_set(wished) || is_true(wished))
    }

    /// Whether nodes tell a load balancer by a port of its own whether they have endpoints.
    #[must_use]
    pub fn health_check(self) -> bool {
        self.is_load_balancer() && text(&self.0["externalTrafficPolicy"]) == "Local"
    }

    /// Whether traffic may come from outside of the cluster.
    #[must_use]
    pub fn external_policy(self) -> bool {
        self.node_ports() || (self.kind() == "ClusterIP" && !items(&self.0["externalIPs"]).is_empty())
    }
}

/// Whether a Service with this spec wants no address of its own.
#[must_use]
pub fn is_headless(spec: &Value) -> bool {
    matches!(items(&spec["clusterIPs"]), [one] if text(one) == NO_ADDRESS)
}
