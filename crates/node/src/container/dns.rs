//! `/etc/resolv.conf` by dnsPolicy (`pkg/kubelet/network/dns/dns.go`).

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Pod, PodDNSConfig};

/// Upstream's bounds.
const MAX_SERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_CHARS: usize = 2048;

/// Told of a Pod that will resolve no names.
const NO_SERVER: &str = "No nameserver that Pods can reach is known: the node's resolver files name loopback addresses only. \
                         Name a file with others as resolvConf in the configuration.";

/// What a resolv.conf says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolver {
    /// `nameserver` lines.
    pub servers: Vec<String>,
    /// The `search` line.
    pub searches: Vec<String>,
    /// The `options` line.
    pub options: Vec<String>,
}

/// The cluster's DNS, if there is one.
#[derive(Debug, Clone, Default)]
pub struct ClusterDns {
    /// Addresses; empty without cluster DNS.
    pub servers: Vec<String>,
    /// `cluster.local`.
    pub domain: String,
}

/// The outcome: the file and the warnings that become Events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The file.
    pub resolver: Resolver,
    /// Whether the Pod wanted cluster DNS and fell back: the `MissingClusterDNS` event.
    pub missing_cluster_dns: bool,
    /// Texts of `DNSConfigForming` events.
    pub warnings: Vec<String>,
}

impl Resolver {
    /// Reads the host's file.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut resolver = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => resolver.servers.extend(words.next().map(str::to_owned)),
                Some("search") => resolver.searches = words.map(str::to_owned).collect(),
                Some("options") => resolver.options.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        resolver
    }

    /// The file's text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        if !self.searches.is_empty() {
            text.push_str(&format!("search {}\n", self.searches.join(" ")));
        }
        for server in &self.servers {
            text.push_str(&format!("nameserver {server}\n"));
        }
        if !self.options.is_empty() {
            text.push_str(&format!("options {}\n", self.options.join(" ")));
        }
        text
    }
}

/// Whether a server answers only who is in the host's own network.
fn is_loopback(server: &str) -> bool {
    let address = server.split('%').next().unwrap_or_default();
    address.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// The resolver of Pods with a network of their own: of the first file that names a server which they reach, without
/// those that they do not; without such a file the first one, less its servers.
#[must_use]
pub fn reachable(files: impl IntoIterator<Item = Resolver>) -> Resolver {
    let mut first = None;
    for mut file in files {
        file.servers.retain(|server| !is_loopback(server));
        if !file.servers.is_empty() {
            return file;
        }
        first.get_or_insert(file);
    }
    first.unwrap_or_default()
}

/// The resolver of a Pod.
#[must_use]
pub fn of_pod(pod: &Pod, host: &Resolver, cluster: &ClusterDns) -> Outcome {
    let spec = pod.spec.clone().unwrap_or_default();
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let wants_cluster = match policy {
        "ClusterFirstWithHostNet" => true,
        "ClusterFirst" => spec.host_network != Some(true),
        _ => false,
    };
    let mut outcome = Outcome::default();
    outcome.resolver = match policy {
        "None" => Resolver::default(),
        _ if wants_cluster && !cluster.servers.is_empty() => with_cluster(pod, host, cluster),
        _ => {
            outcome.missing_cluster_dns = wants_cluster;
            host.clone()
        }
    };
    if let Some(config) = &spec.dns_config {
        merge(&mut outcome.resolver, config);
    }
    if outcome.resolver.servers.is_empty() && policy != "None" && spec.host_network != Some(true) {
        outcome.warnings.push(NO_SERVER.to_owned());
    }
    bound(&mut outcome);
    outcome
}

fn with_cluster(pod: &Pod, host: &Resolver, cluster: &ClusterDns) -> Resolver {
    let (namespace, domain) = (pod.metadata.namespace.as_deref().unwrap_or_default(), &cluster.domain);
    let mut searches = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
    searches.extend(host.searches.iter().cloned());
    Resolver {
        servers: cluster.servers.clone(),
        searches: distinct(searches),
        options: vec!["ndots:5".to_owned()],
    }
}

fn merge(resolver: &mut Resolver, config: &PodDNSConfig) {
    resolver.servers.extend(config.nameservers.iter().flatten().cloned());
    resolver.servers = distinct(std::mem::take(&mut resolver.servers));
    resolver.searches.extend(config.searches.iter().flatten().cloned());
    resolver.searches = distinct(std::mem::take(&mut resolver.searches));
    for option in config.options.iter().flatten() {
        let Some(name) = &option.name else { continue };
        resolver.options.retain(|o| o.split(':').next() != Some(name));
        resolver
            .options
            .push(option.value.as_ref().map_or_else(|| name.clone(), |value| format!("{name}:{value}")));
    }
}

fn distinct(list: Vec<String>) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    list.into_iter().filter(|item| seen.insert(item.clone())).collect()
}

fn bound(outcome: &mut Outcome) {
    let resolver = &mut outcome.resolver;
    if resolver.servers.len() > MAX_SERVERS {
        resolver.servers.truncate(MAX_SERVERS);
        outcome.warnings.push(format!(
            "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: {}",
            resolver.servers.join(" ")
        ));
    }
    let before = resolver.searches.len();
    resolver.searches.truncate(MAX_SEARCHES);
    while resolver.searches.join(" ").len() > MAX_SEARCH_CHARS {
        resolver.searches.pop();
    }
    if resolver.searches.len() < before {
        outcome.warnings.push(format!(
            "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: {}",
            resolver.searches.join(" ")
        ));
    }
}
