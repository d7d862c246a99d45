//! How a container's environment tells of Services (`pkg/kubelet/envvars`).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Service;

/// A Service with an address, and one of its ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The Service's name.
    pub service: String,
    /// Its address.
    pub host: String,
    /// The port's name, may be empty.
    pub port_name: String,
    /// The port.
    pub port: i32,
    /// `TCP`, `UDP`, `SCTP`.
    pub protocol: String,
}

/// The links of a Service, in the order of its ports; one without an address has none.
#[must_use]
pub fn links(service: &Service) -> Vec<Link> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let host = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty() && *ip != "None");
    let name = service.metadata.name.clone().unwrap_or_default();
    let ports = spec.ports.iter().flatten().filter(|_| spec.type_.as_deref() != Some("ExternalName"));
    let link = |host: &str, port: &k8s_openapi::api::core::v1::ServicePort| Link {
        service: name.clone(),
        host: host.to_owned(),
        port_name: port.name.clone().unwrap_or_default(),
        port: port.port,
        protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
    };
    host.into_iter().flat_map(|host| ports.clone().map(|port| link(host, port)).collect::<Vec<_>>()).collect()
}

/// The variables of these links; of two Services of one name the later one tells.
#[must_use]
pub fn variables(links: &[Link]) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut before = None;
    for link in links {
        let is_first = before.replace(&link.service) != Some(&link.service);
        tell(&mut all, link, is_first);
    }
    all
}

fn tell(all: &mut BTreeMap<String, String>, link: &Link, is_first: bool) {
    let prefix = variable(&link.service);
    let (host, port, protocol) = (&link.host, link.port, link.protocol.to_lowercase());
    let shown = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    let url = format!("{protocol}://{shown}:{port}");
    let mut set = |name: String, value: String| {
        all.insert(format!("{prefix}_{name}"), value);
    };
    if is_first {
        set("SERVICE_HOST".into(), host.clone());
        set("SERVICE_PORT".into(), port.to_string());
        set("PORT".into(), url.clone());
    }
    if !link.port_name.is_empty() {
        set(format!("SERVICE_PORT_{}", variable(&link.port_name)), port.to_string());
    }
    let of_port = format!("PORT_{port}_{}", protocol.to_uppercase());
    set(of_port.clone(), url);
    set(format!("{of_port}_PROTO"), protocol);
    set(format!("{of_port}_PORT"), port.to_string());
    set(format!("{of_port}_ADDR"), host.clone());
}

fn variable(name: &str) -> String {
    name.to_uppercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(spec: serde_json::Value) -> Vec<Link> {
        links(&serde_json::from_value(json!({"metadata": {"name": "redis-main"}, "spec": spec})).unwrap())
    }

    #[test]
    fn of_a_service_with_two_ports() {
        let spec = json!({"clusterIP": "10.96.0.11", "ports": [{"name": "client", "port": 6379, "protocol": "TCP"},
            {"name": "gossip-x", "port": 53, "protocol": "UDP"}]});
        let all = variables(&of(spec));
        for (name, value) in [
            ("REDIS_MAIN_SERVICE_HOST", "10.96.0.11"),
            ("REDIS_MAIN_SERVICE_PORT", "6379"),
            ("REDIS_MAIN_SERVICE_PORT_CLIENT", "6379"),
            ("REDIS_MAIN_SERVICE_PORT_GOSSIP_X", "53"),
            ("REDIS_MAIN_PORT", "tcp://10.96.0.11:6379"),
            ("REDIS_MAIN_PORT_6379_TCP", "tcp://10.96.0.11:6379"),
            ("REDIS_MAIN_PORT_6379_TCP_PROTO", "tcp"),
            ("REDIS_MAIN_PORT_6379_TCP_PORT", "6379"),
            ("REDIS_MAIN_PORT_6379_TCP_ADDR", "10.96.0.11"),
            ("REDIS_MAIN_PORT_53_UDP", "udp://10.96.0.11:53"),
        ] {
            assert_eq!(all.get(name).map(String::as_str), Some(value), "{name}");
        }
        assert_eq!(all.len(), 13);
    }

    #[test]
    fn of_services_without_an_address() {
        let ports = json!([{"port": 80}]);
        assert_eq!(of(json!({"clusterIP": "None", "ports": ports})), []);
        assert_eq!(of(json!({"type": "ExternalName", "ports": ports})), []);
        let six = variables(&of(json!({"clusterIP": "fd00::9", "ports": ports})));
        assert_eq!(six["REDIS_MAIN_PORT"], "tcp://[fd00::9]:80");
    }
}
