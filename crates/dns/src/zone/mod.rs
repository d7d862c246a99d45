//! The names of the cluster. Pure.
//!
//! Invariant: an answer is a function of the Services, of the ready endpoints and of the question. Absent: names that
//! only exist outside.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use client::Object;
use client::follow::{Told, gone};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use k8s_openapi::api::core::v1::Service as ApiService;
use k8s_openapi::api::discovery::v1::EndpointSlice;

/// Seconds for which an answer may be kept: endpoints come and go.
const TTL: u32 = 5;
/// The version of the specification.
const VERSION: &str = "1.1.0";
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// What is known of a name.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Found {
    /// Records of the name, and those that will be asked for next.
    Records { answers: Vec<Record>, additionals: Vec<Record> },
    /// The name is another one, of which this is the record.
    Alias { record: Box<Record>, target: String },
    /// The name is there, with nothing of that type.
    Nothing,
    /// There is no such name.
    NoName,
    /// Not a name of the cluster.
    Outside,
    /// It is not known yet.
    Unknown,
}

/// Namespace and name of a Service.
type Key = (String, String);

#[derive(Debug)]
enum Service {
    /// Addresses of its own, and ports: name, protocol, number.
    Addresses(Vec<IpAddr>, Vec<(String, String, u16)>),
    Headless,
    External(String),
}

#[derive(Debug)]
struct Slice {
    service: Key,
    ports: Vec<(String, String, u16)>,
    /// Ready ones: the label that stands for it, and its address.
    endpoints: Vec<(String, IpAddr)>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Zone {
    domain: String,
    own: Vec<IpAddr>,
    services: BTreeMap<Key, Service>,
    slices: BTreeMap<Key, Slice>,
    by_service: BTreeMap<Key, BTreeSet<Key>>,
    /// Names by address, without the domain.
    names: BTreeMap<IpAddr, BTreeSet<String>>,
    /// Whether all Services, and all slices, were told.
    known: [bool; 2],
}

fn key(namespace: &str, name: &str) -> Key {
    (namespace.to_owned(), name.to_owned())
}

fn read<T: serde::de::DeserializeOwned>(object: &Object) -> Option<T> {
    match object.parse() {
        Ok(parsed) => Some(parsed),
        Err(error) => {
            tracing::error!("{}/{} is unreadable: {error}", object.namespace, object.name);
            None
        }
    }
}

/// An address as a label.
fn dashed(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(v4) => v4.to_string().replace('.', "-"),
        // Written out, so that no label begins or ends with a dash.
        IpAddr::V6(v6) => Vec::from(v6.segments().map(|part| format!("{part:x}"))).join("-"),
    }
}

/// The address that a label stands for.
fn undashed(label: &str) -> Option<IpAddr> {
    let v4 = label.replace('-', ".").parse::<Ipv4Addr>().map(IpAddr::V4);
    v4.or_else(|_| label.replace('-', ":").parse::<Ipv6Addr>().map(IpAddr::V6)).ok()
}

/// The address in a name of the reverse zones.
fn reversed(name: &str) -> Option<IpAddr> {
    if let Some(labels) = name.strip_suffix(".in-addr.arpa") {
        let parts: Vec<&str> = labels.rsplit('.').collect();
        return parts.join(".").parse::<Ipv4Addr>().ok().map(IpAddr::V4);
    }
    let digits: Vec<&str> = name.strip_suffix(".ip6.arpa")?.rsplit('.').collect();
    if digits.len() != 32 || digits.iter().any(|digit| digit.len() != 1) {
        return None;
    }
    u128::from_str_radix(&digits.concat(), 16).ok().map(|bits| Ipv6Addr::from(bits).into())
}

impl Zone {
    /// No names yet; `own` are the server's addresses.
    pub(crate) fn new(domain: &str, own: &[IpAddr]) -> Self {
        Self {
            domain: domain.to_ascii_lowercase(),
            own: own.to_vec(),
            services: BTreeMap::new(),
            slices: BTreeMap::new(),
            by_service: BTreeMap::new(),
            names: BTreeMap::new(),
            known: [false; 2],
        }
    }

    /// Takes news of Services.
    pub(crate) fn services(&mut self, told: Told) {
        match told {
            Told::Now(object) => {
                let service = read::<ApiService>(&object).as_ref().and_then(service);
                self.put_service(key(&object.namespace, &object.name), service);
            }
            Told::Gone((namespace, name)) => self.put_service(key(&namespace, &name), None),
            Told::All(all) => {
                let gone = gone(self.services.keys(), &all, key);
                gone.into_iter().for_each(|name| self.put_service(name, None));
                self.known[0] = true;
            }
        }
    }

    fn put_service(&mut self, key: Key, service: Option<Service>) {
        let name = format!("{}.{}.svc", key.1, key.0);
        if let Some(Service::Addresses(old, _)) = self.services.remove(&key) {
            old.iter().for_each(|ip| self.unname(*ip, &name));
        }
        let Some(service) = service else { return };
        if let Service::Addresses(ips, _) = &service {
            ips.iter().for_each(|ip| _ = self.names.entry(*ip).or_default().insert(name.clone()));
        }
        self.services.insert(key, service);
    }

    /// Takes news of slices.
    pub(crate) fn slices(&mut self, told: Told) {
        match told {
            Told::Now(object) => {
                let slice = read::<EndpointSlice>(&object);
                let slice = slice.as_ref().and_then(|slice| endpoints(&object.namespace, slice));
                self.put_slice(key(&object.namespace, &object.name), slice);
            }
            Told::Gone((namespace, name)) => self.put_slice(key(&namespace, &name), None),
            Told::All(all) => {
                let gone = gone(self.slices.keys(), &all, key);
                gone.into_iter().for_each(|name| self.put_slice(name, None));
                self.known[1] = true;
            }
        }
    }

    fn put_slice(&mut self, key: Key, slice: Option<Slice>) {
        let full = |label: &str, (space, service): &Key| format!("{label}.{service}.{space}.svc");
        if let Some(old) = self.slices.remove(&key) {
            old.endpoints.iter().for_each(|(label, ip)| self.unname(*ip, &full(label, &old.service)));
            if let Some(slices) = self.by_service.get_mut(&old.service) {
                slices.remove(&key);
                if slices.is_empty() {
                    self.by_service.remove(&old.service);
                }
            }
        }
        let Some(slice) = slice else { return };
        for (label, ip) in &slice.endpoints {
            self.names.entry(*ip).or_default().insert(full(label, &slice.service));
        }
        self.by_service.entry(slice.service.clone()).or_default().insert(key.clone());
        self.slices.insert(key, slice);
    }

    fn unname(&mut self, ip: IpAddr, name: &str) {
        if let Some(names) = self.names.get_mut(&ip) {
            names.remove(name);
            if names.is_empty() {
                self.names.remove(&ip);
            }
        }
    }

    /// What there is of a name (in lower case, without the last dot).
    pub(crate) fn find(&self, name: &str, kind: RecordType) -> Found {
        let inside = name == self.domain || self.rest(name).is_some();
        let back = reversed(name);
        if !inside && back.is_none() {
            return Found::Outside;
        }
        if self.known != [true; 2] {
            return Found::Unknown;
        }
        match (self.rest(name), back) {
            (Some(rest), _) => self.within(name, rest, kind),
            (None, Some(ip)) => self.back(name, ip, kind),
            (None, None) => self.apex(name, kind),
        }
    }

    /// What stands before the domain.
    fn rest<'a>(&self, name: &'a str) -> Option<&'a str> {
        name.strip_suffix(&*self.domain)?.strip_suffix('.')
    }

    fn apex(&self, name: &str, kind: RecordType) -> Found {
        let data = match kind {
            RecordType::SOA => return found(vec![self.authority()]),
            RecordType::NS => domain_name(&format!("ns.dns.{}", self.domain)).map(|name| RData::NS(NS(name))),
            _ => None,
        };
        data.and_then(|data| record(name, data)).map_or(Found::Nothing, |record| found(vec![record]))
    }

    /// The record that stands where there is nothing: for how long that may be kept.
    pub(crate) fn authority(&self) -> Record {
        let name = |text: String| domain_name(&text).unwrap_or_default();
        let (server, mail) = (format!("ns.dns.{}", self.domain), format!("hostmaster.{}", self.domain));
        let soa = SOA::new(name(server), name(mail), 1, 7200, 1800, 86_400, TTL);
        Record::from_rdata(name(self.domain.clone()), TTL, RData::SOA(soa))
    }

    fn back(&self, name: &str, ip: IpAddr, kind: RecordType) -> Found {
        let Some(names) = self.names.get(&ip) else { return Found::Outside };
        if kind != RecordType::PTR {
            return Found::Nothing;
        }
        let to = |rest: &String| domain_name(&format!("{rest}.{}", self.domain));
        let records = names.iter().filter_map(to).filter_map(|to| record(name, RData::PTR(PTR(to))));
        found(records.collect())
    }

    fn within(&self, name: &str, rest: &str, kind: RecordType) -> Found {
        let labels: Vec<&str> = rest.rsplit('.').collect();
        match &labels[..] {
            ["dns-version"] if kind == RecordType::TXT => {
                let text = RData::TXT(TXT::new(vec![VERSION.to_owned()]));
                found(record(name, text).into_iter().collect())
            }
            ["dns", "ns"] => addresses(name, kind, self.own.iter().copied()),
            ["dns-version" | "svc" | "pod" | "dns"] => Found::Nothing,
            ["pod", _] => Found::Nothing,
            ["pod", _, ip] => match undashed(ip) {
                Some(ip) => addresses(name, kind, [ip]),
                None => Found::NoName,
            },
            ["svc", namespace] => {
                let first = self.services.range(key(namespace, "")..).next();
                if first.is_some_and(|((space, _), _)| space == namespace) {
                    Found::Nothing
                } else {
                    Found::NoName
                }
            }
            ["svc", namespace, service, more @ ..] => {
                let key = key(namespace, service);
                match self.services.get(&key) {
                    Some(service) => self.of_service(name, &key, service, more, kind),
                    None => Found::NoName,
                }
            }
            _ => Found::NoName,
        }
    }

    fn of_service(&self, name: &str, key: &Key, service: &Service, more: &[&str], kind: RecordType) -> Found {
        match (service, more) {
            (Service::External(target), []) => {
                let alias = domain_name(target).and_then(|to| record(name, RData::CNAME(CNAME(to))));
                match alias {
                    Some(record) if kind == RecordType::CNAME => found(vec![record]),
                    Some(record) => Found::Alias { record: Box::new(record), target: target.clone() },
                    None => Found::Nothing,
                }
            }
            (Service::Addresses(ips, _), []) => addresses(name, kind, ips.iter().copied()),
            (Service::Headless, []) => {
                let all = self.endpoints(key).flat_map(|slice| &slice.endpoints).map(|(_, ip)| *ip);
                addresses(name, kind, all)
            }
            (Service::Headless, [label]) if !label.starts_with('_') => {
                let all = self.endpoints(key).flat_map(|slice| &slice.endpoints);
                let of_label: Vec<IpAddr> = all.filter(|(own, _)| own == label).map(|(_, ip)| *ip).collect();
                if of_label.is_empty() { Found::NoName } else { addresses(name, kind, of_label) }
            }
            (_, [protocol]) if protocol.starts_with('_') => Found::Nothing,
            (_, [protocol, port]) => match (protocol.strip_prefix('_'), port.strip_prefix('_')) {
                (Some(protocol), Some(port)) => self.servers(name, key, service, (port, protocol), kind),
                _ => Found::NoName,
            },
            _ => Found::NoName,
        }
    }

    fn endpoints(&self, service: &Key) -> impl Iterator<Item = &Slice> {
        let names = self.by_service.get(service).into_iter().flatten();
        names.filter_map(|name| self.slices.get(name))
    }

    /// SRV records of a port by its name and protocol.
    fn servers(
        &self,
        name: &str,
        key: &Key,
        service: &Service,
        wanted: (&str, &str),
        kind: RecordType,
    ) -> Found {
        let own = format!("{}.{}.svc.{}", key.1, key.0, self.domain);
        let number = |ports: &[(String, String, u16)]| {
            let found = ports.iter().find(|(name, protocol, _)| (&**name, &**protocol) == wanted);
            found.map(|(_, _, number)| *number)
        };
        // The target, its port, its addresses.
        let mut targets: BTreeMap<(String, u16), Vec<IpAddr>> = BTreeMap::new();
        match service {
            Service::Addresses(ips, ports) => {
                targets.extend(number(ports).map(|number| ((own, number), ips.clone())));
            }
            Service::Headless => {
                for slice in self.endpoints(key) {
                    let Some(number) = number(&slice.ports) else { continue };
                    for (label, ip) in &slice.endpoints {
                        targets.entry((format!("{label}.{own}"), number)).or_default().push(*ip);
                    }
                }
            }
            Service::External(_) => {}
        }
        if targets.is_empty() {
            return Found::NoName;
        }
        if kind != RecordType::SRV {
            return Found::Nothing;
        }
        let weight = u16::try_from(100 / targets.len()).unwrap_or(0).max(1);
        let (mut answers, mut additionals) = (Vec::new(), Vec::new());
        for ((target, number), ips) in targets {
            let Some(to) = domain_name(&target) else { continue };
            answers.extend(record(name, RData::SRV(SRV::new(0, weight, number, to))));
            additionals.extend(ips.into_iter().filter_map(|ip| record(&target, data(ip))));
        }
        Found::Records { answers, additionals }
    }
}

fn found(answers: Vec<Record>) -> Found {
    Found::Records { answers, additionals: Vec::new() }
}

fn domain_name(text: &str) -> Option<Name> {
    let mut name = Name::from_ascii(text).ok()?;
    name.set_fqdn(true);
    Some(name)
}

fn record(name: &str, data: RData) -> Option<Record> {
    Some(Record::from_rdata(domain_name(name)?, TTL, data))
}

fn data(ip: IpAddr) -> RData {
    match ip {
        IpAddr::V4(v4) => RData::A(A(v4)),
        IpAddr::V6(v6) => RData::AAAA(AAAA(v6)),
    }
}

/// The addresses of the family that is asked for.
fn addresses(name: &str, kind: RecordType, ips: impl IntoIterator<Item = IpAddr>) -> Found {
    let wanted = |ip: &IpAddr| match kind {
        RecordType::A => ip.is_ipv4(),
        RecordType::AAAA => ip.is_ipv6(),
        _ => false,
    };
    let distinct: BTreeSet<IpAddr> = ips.into_iter().filter(wanted).collect();
    let answers: Vec<Record> = distinct.into_iter().filter_map(|ip| record(name, data(ip))).collect();
    if answers.is_empty() { Found::Nothing } else { found(answers) }
}

fn service(service: &ApiService) -> Option<Service> {
    let spec = service.spec.as_ref()?;
    if spec.type_.as_deref() == Some("ExternalName") {
        return spec
            .external_name
            .as_ref()
            .map(|name| Service::External(name.trim_end_matches('.').to_ascii_lowercase()));
    }
    if spec.cluster_ip.as_deref() == Some("None") {
        return Some(Service::Headless);
    }
    let ips = spec.cluster_ips.iter().flatten().filter_map(|ip| ip.parse().ok()).collect();
    let port = |port: &k8s_openapi::api::core::v1::ServicePort| {
        named(port.name.as_deref(), port.protocol.as_deref(), Some(port.port))
    };
    Some(Service::Addresses(ips, spec.ports.iter().flatten().filter_map(port).collect()))
}

/// A port that has a name; only those have SRV records.
fn named(name: Option<&str>, protocol: Option<&str>, number: Option<i32>) -> Option<(String, String, u16)> {
    let name = name.filter(|name| !name.is_empty())?;
    Some((name.to_owned(), protocol.unwrap_or("TCP").to_ascii_lowercase(), u16::try_from(number?).ok()?))
}

fn endpoints(namespace: &str, slice: &EndpointSlice) -> Option<Slice> {
    let service = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
    let ready = |endpoint: &&k8s_openapi::api::discovery::v1::Endpoint| {
        endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
    };
    let one = |endpoint: &k8s_openapi::api::discovery::v1::Endpoint| {
        let ip: IpAddr = endpoint.addresses.first()?.parse().ok()?;
        Some((endpoint.hostname.clone().unwrap_or_else(|| dashed(ip)), ip))
    };
    Some(Slice {
        service: key(namespace, service),
        ports: slice
            .ports
            .iter()
            .flatten()
            .filter_map(|port| named(port.name.as_deref(), port.protocol.as_deref(), port.port))
            .collect(),
        endpoints: slice.endpoints.iter().flatten().filter(ready).filter_map(one).collect(),
    })
}

#[cfg(test)]
mod tests;
