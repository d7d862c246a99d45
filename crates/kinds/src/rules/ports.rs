//! Ports on the node's own addresses (`framework.HostPortInfo`, `pkg/scheduler/framework/plugins/nodeports`).
//!
//! Invariant: an address that is none counts as all of them, as an absent one does.

use std::net::{IpAddr, Ipv4Addr};

use k8s_openapi::api::core::v1::{Container, ContainerPort, PodSpec};

use super::containers::lasting;

/// A port on a node's addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// Unspecified for all.
    pub ip: IpAddr,
    /// `TCP`, `UDP`, `SCTP`.
    pub protocol: String,
    /// Port.
    pub port: i32,
}

impl HostPort {
    /// What a container's port takes of the node; nothing without `hostPort`.
    #[must_use]
    pub fn new(port: &ContainerPort) -> Option<Self> {
        let ip = port.host_ip.as_ref().and_then(|ip| ip.parse().ok());
        Some(Self {
            ip: ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
            port: port.host_port.filter(|port| *port > 0)?,
        })
    }

    /// Whether both cannot be had at once.
    #[must_use]
    pub fn conflicts(&self, other: &Self) -> bool {
        let meet = self.ip == other.ip || self.ip.is_unspecified() || other.ip.is_unspecified();
        self.port == other.port && self.protocol == other.protocol && meet
    }
}

/// The host ports of these containers.
pub fn of<'c>(containers: impl Iterator<Item = &'c Container>) -> impl Iterator<Item = HostPort> {
    containers.flat_map(|c| c.ports.iter().flatten()).filter_map(HostPort::new)
}

/// The host ports that a Pod holds for its life: those of init containers that end are free again before others start.
pub fn held(spec: &PodSpec) -> impl Iterator<Item = HostPort> {
    of(lasting(spec))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::pod_spec;
    use super::*;

    #[test]
    fn conflicts() {
        let port = |ip: &str, protocol: &str, port: i32| {
            let said = json!({"containerPort": 1, "hostPort": port, "hostIP": ip, "protocol": protocol});
            HostPort::new(&serde_json::from_value(said).unwrap()).unwrap()
        };
        let tcp = port("", "TCP", 80);
        for (other, want) in [
            (port("", "TCP", 80), true),
            (port("192.0.2.1", "TCP", 80), true),
            (port("::", "TCP", 80), true),
            (port("", "UDP", 80), false),
            (port("", "TCP", 81), false),
        ] {
            assert_eq!(tcp.conflicts(&other), want, "{other:?}");
            assert_eq!(other.conflicts(&tcp), want, "{other:?}");
        }
        let one = port("192.0.2.1", "TCP", 80);
        assert!(one.conflicts(&one));
        assert!(!one.conflicts(&port("192.0.2.2", "TCP", 80)));
    }

    #[test]
    fn who_holds_them() {
        let ports = |n: i32| json!([{"containerPort": 1, "hostPort": n}, {"containerPort": 2}]);
        let spec = pod_spec(&json!({
            "initContainers": [{"name": "i", "ports": ports(1)}, {"name": "s", "restartPolicy": "Always", "ports": ports(2)}],
            "containers": [{"name": "a", "ports": ports(3)}],
        }));
        assert_eq!(held(&spec).map(|p| p.port).collect::<Vec<_>>(), [3, 2]);
    }
}
