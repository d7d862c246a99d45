//! Services and their endpoints as one node sees them. Pure.
//!
//! Invariant: what a Service leads to is a function of the Service, its slices and the node. The choice is upstream's:
//! ready endpoints, near ones where every endpoint says for whom it is meant; without any, those that end but still
//! serve.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use client::Object;
use client::follow::{Told, gone};
use k8s_openapi::api::core::v1::{Node, Service, ServicePort};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use net::{Cidr, Protocol};

const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Set on what another proxy serves.
const OTHER_PROXY: &str = "service.kubernetes.io/service-proxy-name";
const ZONE: &str = "topology.kubernetes.io/zone";

/// What changed since it was asked last.
#[derive(Debug, Default)]
pub(super) struct Changed {
    /// Everything is told anew.
    pub(super) all: bool,
    /// Services by `NAMESPACE/NAME`.
    pub(super) services: BTreeSet<String>,
}

/// An endpoint, of what its slice says what matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Endpoint {
    ip: IpAddr,
    here: bool,
    ready: bool,
    /// It ends, and still serves.
    ending: bool,
    for_nodes: Vec<String>,
    for_zones: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Slice {
    service: String,
    /// Name, protocol, number.
    ports: Vec<(String, Protocol, u16)>,
    endpoints: Vec<Endpoint>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct View {
    node: String,
    zone: String,
    services: HashMap<String, Service>,
    slices: HashMap<String, Slice>,
    /// Slices by Service.
    by_service: HashMap<String, BTreeSet<String>>,
    ranges: BTreeMap<String, Vec<Cidr>>,
    changed: Changed,
    /// Whether all Services, and all slices, were told.
    known: [bool; 2],
}

fn full_name(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

/// Parses what must be readable to matter.
fn read<T: serde::de::DeserializeOwned>(object: &Object) -> Option<T> {
    match object.parse() {
        Ok(parsed) => Some(parsed),
        Err(error) => {
            tracing::error!("{}/{} is unreadable: {error}", object.namespace, object.name);
            None
        }
    }
}

fn protocol(text: Option<&str>) -> Protocol {
    match text {
        Some("UDP") => Protocol::Udp,
        Some("SCTP") => Protocol::Sctp,
        _ => Protocol::Tcp,
    }
}

fn port_number(number: i32) -> Option<u16> {
    u16::try_from(number).ok().filter(|port| *port != 0)
}

fn addresses<'a>(texts: impl IntoIterator<Item = &'a String>) -> Vec<IpAddr> {
    texts.into_iter().filter_map(|text| text.parse().ok()).collect()
}

impl View {
    pub(super) fn new(node: &str) -> Self {
        Self {
            node: node.to_owned(),
            zone: String::new(),
            services: HashMap::new(),
            slices: HashMap::new(),
            by_service: HashMap::new(),
            ranges: BTreeMap::new(),
            changed: Changed { all: true, services: BTreeSet::new() },
            known: [false; 2],
        }
    }

    /// Takes news of Services.
    pub(super) fn services(&mut self, told: Told) {
        match told {
            Told::Now(object) => {
                let name = full_name(&object.namespace, &object.name);
                match read::<Service>(&object) {
                    Some(service) => _ = self.services.insert(name.clone(), service),
                    None => _ = self.services.remove(&name),
                }
                self.changed.services.insert(name);
            }
            Told::Gone((namespace, name)) => {
                let name = full_name(&namespace, &name);
                self.services.remove(&name);
                self.changed.services.insert(name);
            }
            Told::All(all) => {
                let gone = gone(self.services.keys(), &all, full_name);
                gone.iter().for_each(|name| _ = self.services.remove(name));
                self.changed.services.extend(gone);
                self.known[0] = true;
            }
        }
    }

    /// Takes news of slices.
    pub(super) fn slices(&mut self, told: Told) {
        match told {
            Told::Now(object) => {
                let name = full_name(&object.namespace, &object.name);
                let slice = read(&object).and_then(|slice| self.slice(&object.namespace, &slice));
                self.put_slice(name, slice);
            }
            Told::Gone((namespace, name)) => self.put_slice(full_name(&namespace, &name), None),
            Told::All(all) => {
                let gone = gone(self.slices.keys(), &all, full_name);
                gone.into_iter().for_each(|name| self.put_slice(name, None));
                self.known[1] = true;
            }
        }
    }

    fn put_slice(&mut self, name: String, slice: Option<Slice>) {
        if self.slices.get(&name) == slice.as_ref() {
            return;
        }
        if let Some(old) = self.slices.remove(&name) {
            if let Some(names) = self.by_service.get_mut(&old.service) {
                names.remove(&name);
                if names.is_empty() {
                    self.by_service.remove(&old.service);
                }
            }
            self.changed.services.insert(old.service);
        }
        if let Some(new) = slice {
            self.changed.services.insert(new.service.clone());
            self.by_service.entry(new.service.clone()).or_default().insert(name.clone());
            self.slices.insert(name, new);
        }
    }

    /// Takes news of the ranges of cluster IPs.
    pub(super) fn ranges(&mut self, told: Told) {
        let before = self.service_ranges();
        match told {
            Told::Now(object) => {
                let spec = read::<ServiceCIDR>(&object).and_then(|range| range.spec);
                let cidrs = spec.and_then(|spec| spec.cidrs).unwrap_or_default();
                let cidrs = cidrs.iter().filter_map(|text| text.parse().ok()).collect();
                self.ranges.insert(object.name.to_string(), cidrs);
            }
            Told::Gone((_, name)) => _ = self.ranges.remove(&*name),
            Told::All(all) => self.ranges.retain(|name, _| all.iter().any(|(_, listed)| **listed == **name)),
        }
        self.changed.all |= before != self.service_ranges();
    }

    /// Takes news of this node.
    pub(super) fn node(&mut self, told: Told) {
        let Told::Now(object) = told else { return };
        let Some(node) = read::<Node>(&object) else { return };
        let zone = node.metadata.labels.unwrap_or_default().remove(ZONE).unwrap_or_default();
        if zone != self.zone {
            self.zone = zone;
            self.changed.all = true;
        }
    }

    /// The ranges of cluster IPs.
    pub(super) fn service_ranges(&self) -> Vec<Cidr> {
        self.ranges.values().flatten().copied().collect()
    }

    /// Has everything told anew.
    pub(super) fn tell_all(&mut self) {
        self.changed.all = true;
    }

    /// What changed since the last time; nothing before all is known.
    pub(super) fn changed(&mut self) -> Option<Changed> {
        if self.known != [true; 2] {
            return None;
        }
        let mut changed = std::mem::take(&mut self.changed);
        if changed.all {
            changed.services.extend(self.services.keys().cloned());
        }
        Some(changed)
    }

    fn slice(&self, namespace: &str, slice: &EndpointSlice) -> Option<Slice> {
        let service = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
        let ports = slice.ports.iter().flatten().filter_map(|port| {
            let number = port.port.and_then(port_number)?;
            Some((port.name.clone().unwrap_or_default(), protocol(port.protocol.as_deref()), number))
        });
        let endpoint = |endpoint: &k8s_openapi::api::discovery::v1::Endpoint| {
            // Only the first address counts, by the kind's own words.
            let ip = endpoint.addresses.first()?.parse().ok()?;
            let conditions = endpoint.conditions.clone().unwrap_or_default();
            let hints = endpoint.hints.clone().unwrap_or_default();
            let ready = conditions.ready.unwrap_or(true);
            Some(Endpoint {
                ip,
                here: endpoint.node_name.as_deref() == Some(&*self.node),
                ready,
                ending: conditions.terminating.unwrap_or(false) && conditions.serving.unwrap_or(ready),
                for_nodes: hints.for_nodes.into_iter().flatten().map(|node| node.name).collect(),
                for_zones: hints.for_zones.into_iter().flatten().map(|zone| zone.name).collect(),
            })
        };
        Some(Slice {
            service: full_name(namespace, service),
            ports: ports.collect(),
            endpoints: slice.endpoints.iter().flatten().filter_map(endpoint).collect(),
        })
    }

    /// A Service as the network takes it; `None` if it has no addresses of its own.
    pub(super) fn service(&self, name: &str) -> Option<net::Service> {
        let service = self.services.get(name)?;
        let spec = service.spec.as_ref()?;
        let elsewhere =
            service.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(OTHER_PROXY));
        let cluster_ips = addresses(spec.cluster_ips.iter().flatten());
        if elsewhere || spec.type_.as_deref() == Some("ExternalName") || cluster_ips.is_empty() {
            return None;
        }
        let affinity = (spec.session_affinity.as_deref() == Some("ClientIP")).then(|| {
            let config = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
            config
                .and_then(|client| client.timeout_seconds)
                .and_then(|s| u32::try_from(s).ok())
                .unwrap_or(10_800)
        });
        let local = |policy: &Option<String>| policy.as_deref() == Some("Local");
        Some(net::Service {
            ports: spec.ports.iter().flatten().filter_map(|port| self.port(name, port)).collect(),
            cluster_ips,
            external_ips: addresses(spec.external_ips.iter().flatten()),
            load_balancer_ips: balancers(service),
            source_ranges: source_ranges(spec.load_balancer_source_ranges.as_deref().unwrap_or_default()),
            affinity,
            internal_local: local(&spec.internal_traffic_policy),
            external_local: local(&spec.external_traffic_policy),
        })
    }

    fn port(&self, service: &str, port: &ServicePort) -> Option<net::ServicePort> {
        let (endpoints, local) = self.choose(service, port.name.as_deref().unwrap_or_default());
        Some(net::ServicePort {
            protocol: protocol(port.protocol.as_deref()),
            port: port_number(port.port)?,
            node_port: port.node_port.and_then(port_number),
            endpoints,
            local,
        })
    }

    /// The endpoints of a port, and those of this node.
    fn choose(&self, service: &str, port: &str) -> (Vec<net::Endpoint>, Vec<net::Endpoint>) {
        let slices = self.by_service.get(service).into_iter().flatten();
        let slices = slices.filter_map(|name| self.slices.get(name));
        let found: Vec<(net::Endpoint, &Endpoint)> = slices
            .filter_map(|slice| Some((slice, slice.ports.iter().find(|(name, _, _)| name == port)?.2)))
            .flat_map(|(slice, port)| {
                slice.endpoints.iter().map(move |one| (net::Endpoint { ip: one.ip, port }, one))
            })
            .collect();
        let near = self.near(found.iter().map(|(_, endpoint)| *endpoint));
        let those = |which: &dyn Fn(&Endpoint) -> bool| -> Vec<net::Endpoint> {
            found.iter().filter(|(_, endpoint)| which(endpoint)).map(|(to, _)| *to).collect()
        };
        let first = |ready: Vec<net::Endpoint>, ending: &dyn Fn(&Endpoint) -> bool| {
            if ready.is_empty() { those(ending) } else { ready }
        };
        let all = first(those(&|e| e.ready && near.is_none_or(|near| near(self, e))), &|e| e.ending);
        let local = first(those(&|e| e.ready && e.here), &|e| e.ending && e.here);
        (all, local)
    }

    /// How it is said which endpoints are near, if every ready one says it and one is.
    fn near<'a>(
        &self,
        endpoints: impl Iterator<Item = &'a Endpoint>,
    ) -> Option<fn(&Self, &Endpoint) -> bool> {
        let ready: Vec<&Endpoint> = endpoints.filter(|endpoint| endpoint.ready).collect();
        let of_node: fn(&Self, &Endpoint) -> bool = |view, endpoint| endpoint.for_nodes.contains(&view.node);
        let of_zone: fn(&Self, &Endpoint) -> bool = |view, endpoint| endpoint.for_zones.contains(&view.zone);
        let usable = |said: fn(&Endpoint) -> bool, near: fn(&Self, &Endpoint) -> bool| {
            ready.iter().all(|e| said(e)) && ready.iter().any(|e| near(self, e))
        };
        if usable(|e| !e.for_nodes.is_empty(), of_node) {
            return Some(of_node);
        }
        (!self.zone.is_empty() && usable(|e| !e.for_zones.is_empty(), of_zone)).then_some(of_zone)
    }

    /// The port at which a Service's load balancer asks whether this node has endpoints.
    pub(super) fn health_port(&self, name: &str) -> Option<u16> {
        let spec = self.services.get(name)?.spec.as_ref()?;
        let asked = spec.type_.as_deref() == Some("LoadBalancer")
            && spec.external_traffic_policy.as_deref() == Some("Local");
        spec.health_check_node_port.filter(|_| asked).and_then(port_number)
    }

    /// How many ready endpoints a Service has here.
    pub(super) fn local_endpoints(&self, name: &str) -> usize {
        let slices = self.by_service.get(name).into_iter().flatten();
        let endpoints = slices.filter_map(|slice| self.slices.get(slice)).flat_map(|slice| &slice.endpoints);
        endpoints.filter(|e| e.here && e.ready).map(|e| e.ip).collect::<BTreeSet<_>>().len()
    }
}

/// The addresses of a Service's load balancer that lead here directly.
fn balancers(service: &Service) -> Vec<IpAddr> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = status.and_then(|balancer| balancer.ingress.as_ref()).into_iter().flatten();
    let direct = ingress.filter(|one| one.ip_mode.as_deref() != Some("Proxy"));
    addresses(direct.filter_map(|one| one.ip.as_ref()))
}

/// Ranges, blanks around them ignored as upstream does.
fn source_ranges(texts: &[String]) -> Vec<Cidr> {
    texts.iter().filter_map(|text| text.trim().parse().ok()).collect()
}

#[cfg(test)]
mod tests;
