//! Where the API server itself reaches a Service: at one of its ready endpoints, or where its external name leads.
//!
//! Invariant: decided anew for each question, off what is stored. Absent: cluster addresses (a server without a node on its
//! machine has no way to them).

use std::net::{IpAddr, SocketAddr};

use kinds::endpointslice::{KIND as SLICES, SERVICE_NAME};
use kinds::service::{KIND as SERVICES, Needs};
use serde_json::Value;

use super::object;
use super::services::Services;

/// Why a Service is not reached, in upstream's words.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ReachError {
    /// There is none.
    #[error("service {0:?} not found")]
    Missing(String),
    /// It has no such port.
    #[error("no service port {0} found for service {1:?}")]
    Port(u16, String),
    /// Nobody answers for it.
    #[error("no endpoints available for service {0:?}")]
    NoEndpoint(String),
    /// Its external name leads nowhere.
    #[error("dial tcp: {0}")]
    Name(String),
}

/// The address of a Service's port.
pub(crate) async fn service(
    services: &Services,
    (namespace, name): (&str, &str),
    port: u16,
) -> Result<SocketAddr, ReachError> {
    let entry = services.store.get(&object::key(&SERVICES, namespace, name));
    let entry = entry.ok_or_else(|| ReachError::Missing(name.to_owned()))?;
    let service = object::parse(&SERVICES, &entry.value);
    if Needs(&service["spec"]).is_external_name() {
        let host = service["spec"]["externalName"].as_str().unwrap_or_default();
        let found = client::names::resolve(host.trim_end_matches('.')).await.map_err(ReachError::Name)?;
        let first = found.first().ok_or_else(|| ReachError::Name(format!("lookup {host}: no such host")))?;
        return Ok(SocketAddr::new(*first, port));
    }
    let port_name = port_name(&service, port).ok_or_else(|| ReachError::Port(port, name.to_owned()))?;
    let (_, sets) = services.store.read(&[&SLICES.bucket]);
    let prefix = object::prefix(&SLICES, namespace);
    let of_service = sets.iter().flat_map(|set| set.prefix(&prefix));
    let of_service = of_service.filter(|entry| entry.facts().label(SERVICE_NAME) == Some(name));
    let slices: Vec<Value> = of_service.map(|entry| object::parse(&SLICES, &entry.value)).collect();
    let ready = endpoints(&slices, port_name);
    let chance = usize::from_le_bytes(services.random()[..8].try_into().unwrap_or_default());
    let chosen = chance.checked_rem(ready.len()).and_then(|at| ready.get(at));
    chosen.copied().ok_or_else(|| ReachError::NoEndpoint(name.to_owned()))
}

/// The name of a Service's port by its number.
fn port_name(service: &Value, port: u16) -> Option<&str> {
    let ports = service["spec"]["ports"].as_array();
    let found = ports.into_iter().flatten().find(|one| one["port"].as_u64() == Some(port.into()));
    found.map(|one| one["name"].as_str().unwrap_or_default())
}

/// The ready endpoints of a port.
fn endpoints(slices: &[Value], port_name: &str) -> Vec<SocketAddr> {
    let mut all = Vec::new();
    for slice in slices {
        let ports = slice["ports"].as_array();
        let port =
            ports.into_iter().flatten().find(|one| one["name"].as_str().unwrap_or_default() == port_name);
        let number = port.and_then(|port| u16::try_from(port["port"].as_u64()?).ok());
        let Some(number) = number else { continue };
        let endpoints = slice["endpoints"].as_array();
        let ready = endpoints.into_iter().flatten().filter(|one| one["conditions"]["ready"] != false);
        let ips = ready.filter_map(|one| one["addresses"][0].as_str()?.parse::<IpAddr>().ok());
        all.extend(ips.map(|ip| SocketAddr::new(ip, number)));
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ports_and_endpoints() {
        let service = json!({"spec": {"ports": [{"port": 443, "name": "web"}, {"port": 80}]}});
        assert_eq!(port_name(&service, 443), Some("web"));
        assert_eq!(port_name(&service, 80), Some(""));
        assert_eq!(port_name(&service, 1), None);
        let slices = [
            json!({"ports": [{"name": "web", "port": 8443}], "endpoints": [
                {"addresses": ["10.0.0.1"], "conditions": {"ready": true}},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
                {"addresses": ["fd00::1"]}]}),
            json!({"ports": [{"port": 1}], "endpoints": [{"addresses": ["10.0.0.3"]}]}),
        ];
        let shown = |name: &str| endpoints(&slices, name).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(shown("web"), ["10.0.0.1:8443", "[fd00::1]:8443"]);
        assert_eq!(shown(""), ["10.0.0.3:1"]);
        assert!(shown("other").is_empty());
    }
}
